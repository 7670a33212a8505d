//! `salt-master`: a master in the foreground until it is told to end.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use brine_bus::address::Node;
use brine_config::{Environment, Opts, Role};
use brine_node::master::{Master, MasterOptions};

use super::optparse::{Opt, Syntax, Takes};
use crate::commands::bus;
use crate::logs::{self, Level, Look};
use crate::place;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    ConfigDir,
    LogLevel,
}

const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-master",
    usage: "[options]",
    about: "The Salt master: takes minions in and gives them jobs.",
    options: &[
        Opt {
            key: Key::ConfigDir,
            names: &["-c", "--config-dir"],
            takes: Takes::Text("CONFIG_DIR"),
            help: "directory of the configuration",
        },
        Opt {
            key: Key::LogLevel,
            names: &["-l", "--log-level"],
            takes: Takes::Text("LOG_LEVEL"),
            help: "what is logged",
        },
    ],
};

/// Serves until told to end.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let line = SYNTAX.parse(&words).map_err(anyhow::Error::msg)?;
    let path = line.value(Key::ConfigDir).map_or_else(
        || PathBuf::from(Role::Master.default_file()),
        |directory| PathBuf::from(directory).join("master"),
    );
    let path = std::path::absolute(&path).unwrap_or(path);
    let loaded = Opts::load(Role::Master, &path, &Environment::current())
        .with_context(|| format!("configuration {}", path.display()))?;
    logs::start(Level::Info, Look::Salt);
    bus::raise_file_limit();
    let options = MasterOptions::from_opts(&loaded.opts, &loaded.brine)?;
    let address = place::address(&loaded.opts, &Node::Master, None)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let told_to_end = bus::told_to_end()?;
        let (served, log) = bus::open(&address, &loaded)?;
        let master = Master::start(options, served, log).await?;
        tracing::info!(
            ret_port = master.ret_port(),
            publish_port = master.publish_port(),
            "ready"
        );
        master.run(told_to_end).await;
        anyhow::Ok(())
    })?;
    Ok(ExitCode::SUCCESS)
}

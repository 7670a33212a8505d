//! `salt-master`: a master in the foreground until it is told to end.

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Context;
use brine_bus::address::Node;
use brine_config::Role;
use brine_node::master::{Master, MasterOptions};

use super::options::{BASIC, CONFIG_DIR, Key, LOG_LEVEL};
use super::optparse::Syntax;
use super::start::{self, Read};
use crate::commands::bus;
use crate::place;

const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-master",
    usage: "[options]",
    about: "Takes minions in and gives them jobs. This is Brine.",
    options: &[BASIC, CONFIG_DIR, LOG_LEVEL],
};

/// Serves until told to end.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, |_| Ok(()))? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    let loaded = start::configure(&line, Role::Master, "master")?;
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

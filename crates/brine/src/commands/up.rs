//! `brine up`: the try-it command. A bus in a scratch directory, the events of a small Salt site
//! on it, and what to try printed; all of it gone when it ends.

mod site;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use brine_bus::address::{Address, Node};
use brine_bus::client::tokio::Publisher;
use brine_bus::client::{PublishError, PublisherConfig};
use brine_bus::{BusConfig, Modes, Served, Sockets};
use brine_log::{Framings, Log, LogConfig};
use brine_wire::compat::Compat;
use brine_wire::frame::Framing;
use tempfile::TempDir;
use tokio::sync::watch;

use super::bus;
use crate::show;

/// What `brine up` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Use this directory, and keep it, instead of a scratch one
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Pause between the site's jobs
    #[arg(long, value_name = "SECS", value_parser = show::seconds, default_value = "2")]
    every: Duration,
}

/// Runs until it is told to end.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let scratch = match arguments.directory {
        None => Some(TempDir::with_prefix("brine-").context("cannot make a directory")?),
        Some(_) => None,
    };
    let root = match (&scratch, &arguments.directory) {
        (Some(scratch), _) => scratch.path().to_owned(),
        (None, directory) => std::path::absolute(directory.as_deref().unwrap_or(Path::new(".")))?,
    };
    bus::raise_file_limit();
    bus::runtime()?.block_on(serve(&root, arguments.every))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(root: &Path, every: Duration) -> anyhow::Result<()> {
    let sock_dir = root.join("sock");
    fs::create_dir_all(&sock_dir).with_context(|| sock_dir.display().to_string())?;
    fs::write(root.join("master"), configuration(root))
        .with_context(|| root.join("master").display().to_string())?;
    let address = Address::ipc(&sock_dir, &Node::Master)?;
    let sockets = Sockets::bind(
        &address,
        Modes {
            publish: 0o660,
            pull: 0o600,
        },
    )?;
    let served = Served {
        sockets,
        framing: Framing::Bare,
    };
    let log = Log::new(LogConfig {
        framings: Framings::Bare,
        ..LogConfig::default()
    });
    let ending = watch::Sender::new(false);
    let mut ended = ending.subscribe();
    let told_to_end = bus::told_to_end()?;
    let shutdown = async {
        told_to_end.await;
        ending.send_replace(true);
    };
    let site = async {
        let publisher = Publisher::new(&address, PublisherConfig::for_compat(Compat::NEWEST));
        tokio::select! {
            lived = site::live(publisher, every) => lived,
            // Nothing can come but the end.
            _ = ended.wait_for(|is_ending| *is_ending) => Ok(()),
        }
    };
    io::stdout().write_all(invitation(root, &sock_dir).as_bytes())?;
    let ((), lived): ((), Result<(), PublishError>) = tokio::join!(
        brine_bus::serve(vec![served], log, BusConfig::default(), shutdown),
        site,
    );
    Ok(lived?)
}

/// A master's configuration by which Salt's tools, and ours, find the bus.
fn configuration(root: &Path) -> String {
    format!(
        "root_dir: {}\nsock_dir: /sock\ncachedir: /cache\n",
        root.display()
    )
}

fn invitation(root: &Path, sock_dir: &Path) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "brine".into());
    let program = program.display();
    let sock_dir = sock_dir.display();
    let root = root.display();
    format!(
        "\
A bus is up, and the events of a small site are firing on it. In another terminal, try:

  {program} watch --sock-dir {sock_dir}
  {program} watch 'salt/job/*/ret/*' --pretty --count 1 --sock-dir {sock_dir}
  {program} watch --summary --sock-dir {sock_dir}
  {program} send myco/hello '{{from: me}}' --sock-dir {sock_dir}
  {program} salt-run -c {root} state.event 'salt/minion/*/start' pretty=True
  {program} bench --sock-dir {sock_dir}

Or with real Salt's Python library:

  import salt.config, salt.utils.event
  opts = salt.config.master_config(\"{root}/master\")
  with salt.utils.event.get_event(\"master\", opts=opts, listen=True) as bus:
      for event in bus.iter_events(full=True):
          print(event[\"tag\"], event[\"data\"])

Ctrl-C ends it and leaves nothing behind.
"
    )
}

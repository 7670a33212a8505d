//! `brine up`: the command for trying Brine. Runs a master and an accepted minion with a custom module in a scratch
//! directory, publishes a job now and then, and prints commands to try. It removes everything at the end.

mod claim;
mod masters;
mod scratch;
mod site;

use std::fs::Permissions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_bus::address::Node;
use brine_bus::client::tokio::Subscriber;
use brine_bus::client::{SubscriberConfig, Wait};
use brine_node::master::MasterHandle;
use brine_wire::compat::Compat;
use brine_wire::matching::{MatchType, TagMatch};
use tempfile::TempDir;
use tokio::sync::watch;

use self::claim::Claim;
use self::scratch::{Names, Scratch, USER};
use crate::host;
use crate::terminal;
use crate::{bus_location, node, show};

/// The arguments of `brine up`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit codes: 0 ended by a signal; 1 failed; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Use this directory, and keep it, instead of a scratch one
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Seconds between the site's jobs
    #[arg(long, value_name = "SECS", value_parser = show::some_seconds, default_value = "5")]
    every: Duration,
    /// Run N masters that share one bus, each with a minion, over a nats-server that is started for them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=16), default_value = "1")]
    masters: u8,
    /// Salt series or release to be compatible with [default: 3008]
    #[arg(long, value_name = "RELEASE")]
    compat: Option<Compat>,
}

/// A new directory for this user alone: who may read the configuration in it has the password of an API that runs
/// commands as this user.
fn private_directory() -> std::io::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("brine-")
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
}

/// How long the minion may take to sign in and start.
const SIGN_IN: Duration = Duration::from_secs(60);

/// Runs until a signal ends it.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let scratch = match arguments.directory {
        None => Some(private_directory().context("cannot make a directory")?),
        Some(_) => None,
    };
    let root = match (&scratch, &arguments.directory) {
        (Some(scratch), _) => scratch.path().to_owned(),
        (None, directory) => std::path::absolute(directory.as_deref().unwrap_or(Path::new(".")))?,
    };
    host::raise_file_limit();
    let _claim = Claim::take(&root)?;
    if arguments.masters > 1 {
        masters::run(&root, arguments.masters, arguments.every, arguments.compat)?;
        return Ok(ExitCode::SUCCESS);
    }
    let scratch_files = Scratch::make(&root, &Names::alone(arguments.compat))?;
    host::node_runtime()?.block_on(serve(&scratch_files, arguments.every))?;
    Ok(ExitCode::SUCCESS)
}

/// Runs master and minion; the minion ends first, so that its last events still reach the master.
async fn serve(scratch: &Scratch, every: Duration) -> anyhow::Result<()> {
    let shutdown = host::shutdown_signal()?;
    let terminal_closed = host::terminal_closed()?;
    let (ending, ended) = (watch::Sender::new(false), watch::Sender::new(false));
    let until = |mut flag: watch::Receiver<bool>| async move {
        // The sender lives as long as all of this.
        let _ = flag.wait_for(|is_set| *is_set).await;
    };
    let (master, mut attached) = node::master(&scratch.master).await?;
    let handle = master.handle();
    let (api, _) = attached.start_api(&scratch.master, handle.clone())?;
    let master = tokio::spawn(master.run(until(ended.subscribe())));
    let mut starts = listen(scratch).await?;
    let (minion, _minion_history) = node::minion(&scratch.minion, None)?;
    let minion = tokio::spawn(minion.run(until(ending.subscribe())));
    let lived = tokio::select! {
        lived = life(scratch, &handle, api, &mut starts, every) => lived,
        () = shutdown => Ok(()),
        // So that the scratch directory, keys included, does not stay behind.
        () = terminal_closed => Ok(()),
    };
    ending.send_replace(true);
    minion.await?;
    ended.send_replace(true);
    master.await?;
    lived
}

/// A listener on the master's bus, connected.
async fn listen(scratch: &Scratch) -> anyhow::Result<Subscriber> {
    let address = bus_location::address(&scratch.master.opts, &Node::Master, None)?;
    let mut starts = Subscriber::new(&address, SubscriberConfig::default());
    starts.connect(SIGN_IN).await?;
    Ok(starts)
}

/// Prints what to try once the minion has started, then publishes jobs.
async fn life(
    scratch: &Scratch,
    master: &MasterHandle,
    api: SocketAddr,
    starts: &mut Subscriber,
    every: Duration,
) -> anyhow::Result<()> {
    let minion = &scratch.minion_id;
    let started = TagMatch::new(MatchType::StartsWith, format!("salt/minion/{minion}/start"))?;
    if starts
        .get_event(&started, Wait::For(SIGN_IN))
        .await?
        .is_none()
    {
        bail!("the minion did not start within a minute; try again with -l debug");
    }
    starts.close();
    site::sync(master).await?;
    invite(&invitation(scratch, api))?;
    Ok(site::live(master, every).await?)
}

/// Prints what to try: prose as wide as the terminal, commands as they are to be copied.
fn invite(text: &str) -> std::io::Result<()> {
    let mut out = terminal::stdout();
    for line in text.lines() {
        match line.starts_with(' ') {
            true => writeln!(out, "{line}")?,
            false => out.prose(line, 0)?,
        }
    }
    out.flush()
}

/// How this program is called: by its name, if that finds it.
fn program() -> String {
    let own = std::env::current_exe().unwrap_or_else(|_| "brine".into());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("brine"));
    let found = found.into_iter().find(|file| file.is_file());
    match found.and_then(|file| file.canonicalize().ok()) {
        Some(file) if file == own => "brine".to_owned(),
        _ => own.display().to_string(),
    }
}

fn invitation(scratch: &Scratch, api: SocketAddr) -> String {
    let program = program();
    let root = scratch.root.display();
    let password = &scratch.password;
    let minion = &scratch.minion_id;
    let compat = scratch.master.brine.compat.unwrap_or(Compat::NEWEST);
    format!(
        "\
A master and its minion {minion} are running; the minion gets a job now and then. In another terminal, try:

  {program} watch -c {root}
  {program} salt -c {root} '*' test.ping
  {program} salt-call -c {root} event.send myco/hello '{{from: me}}'
  {program} salt-run -c {root} state.event 'salt/job/*/ret/*' pretty=True count=1
  {program} salt-key -c {root} -L
  {program} send myco/hello '{{from: me}}' -c {root}

A custom Python module that sends an event. After editing it in {root}/srv/salt/_modules, run the second
command to sync it:

  {program} salt -c {root} {minion} my_custom_module.do_something
  {program} salt -c {root} {minion} saltutil.sync_modules

Over HTTPS, with a certificate of its own (user {USER}, password {password}, eauth sharedsecret): a page for
browsers at https://{api}/, and Salt's API:

  curl -sk https://{api}/login -d eauth=sharedsecret -d username={USER} -d password={password}
  curl -skN https://{api}/events?token=TOKEN

How fast it is:

  {program} bench
  {program} watch --summary -c {root}

Programs and Python library of real Salt {compat} work with it too:

  salt -c {root} '*' test.ping
  salt-run -c {root} state.event pretty=True

Ctrl-C ends it.
"
    )
}

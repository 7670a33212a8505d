//! Says what a command waits for when an answer is late, so that a hung bus is not taken for a slow command.

use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use brine_bus::address::{Address, Endpoint};
use brine_bus::client::local::blocking::LocalClient;

use super::bench::listener;
use super::doctor::{exists, is_stopped};
use crate::show;

/// After so long an answer is late.
pub(crate) const LATE: Duration = Duration::from_secs(2);

/// How long an answer may take that waits for no disk. A bus that takes longer hangs.
pub(crate) const ANSWER: Duration = Duration::from_secs(3);

/// Asks a bus; after two seconds says that it has not answered yet, and how long this waits.
pub(crate) fn ask<T>(
    client: &mut LocalClient,
    limit: Duration,
    question: impl FnOnce(&mut LocalClient) -> T,
) -> T {
    let path = client.address().path().to_owned();
    let _notice = Notice::start(move || waiting(&path, Some(limit)));
    question(client)
}

/// What is said of a bus that took a connection and is silent; without a limit only the user ends the wait.
pub(crate) fn waiting(socket: &Path, limit: Option<Duration>) -> String {
    let end = match limit {
        Some(limit) => format!("giving up after {} s", limit.as_secs()),
        None => "Ctrl-C ends the wait".to_owned(),
    };
    format!(
        "waiting: {} has taken the connection and does not answer yet; {end}",
        bus_at(socket)
    )
}

/// A bus, with its process.
pub(crate) fn bus_at(socket: &Path) -> String {
    format!("the bus at {}{}", socket.display(), process_of(socket))
}

/// Which process serves a bus, in parentheses; empty if that is not known.
pub(crate) fn process_of(socket: &Path) -> String {
    let server = listener(&Endpoint::Path(socket.to_owned()));
    server.map_or_else(String::new, |pid| match is_stopped(pid) {
        true => format!(" (pid {pid}, which is stopped: kill -CONT {pid} lets it go on)"),
        false => format!(" (pid {pid})"),
    })
}

/// Looks whether the process that serves a bus of Salt's is stopped: it has no socket that answers, and the kernel goes
/// on accepting connections for it.
pub(crate) struct StopWatch {
    address: Address,
    /// The process, if this user may know it.
    server: Option<i32>,
    /// Whether the user knows that it is stopped.
    is_told: bool,
    next: Instant,
}

impl StopWatch {
    pub(crate) fn new(address: Address) -> Self {
        Self {
            server: listener(address.pull()),
            address,
            is_told: false,
            next: Instant::now(),
        }
    }

    /// Whether it was stopped at the last look.
    pub(crate) const fn is_stopped(&self) -> bool {
        self.is_told
    }

    /// When to look again.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// What has changed since the last look, once each.
    pub(crate) fn look(&mut self) -> Option<String> {
        if self.next > Instant::now() {
            return None;
        }
        self.next = Instant::now() + LATE;
        // Not asked again while it is there: each question is a connection, which a stopped one does not take.
        if !self.server.is_some_and(exists) {
            self.server = listener(self.address.pull());
        }
        let pid = self.server?;
        let is_stopped = is_stopped(pid);
        if is_stopped == std::mem::replace(&mut self.is_told, is_stopped) {
            return None;
        }
        let bus = format!("the bus at {}", self.address.publish());
        Some(match is_stopped {
            true => format!(
                "{bus} sends nothing: its process (pid {pid}) is stopped; kill -CONT {pid} lets it go on"
            ),
            false => format!("{bus} goes on"),
        })
    }
}

/// Printed unless it is dropped in time.
struct Notice {
    _end: SyncSender<()>,
}

impl Notice {
    fn start(text: impl FnOnce() -> String + Send + 'static) -> Self {
        let (end, has_ended) = sync_channel(1);
        thread::spawn(move || {
            if has_ended.recv_timeout(LATE) == Err(RecvTimeoutError::Timeout) {
                show::complain(&text());
            }
        });
        Self { _end: end }
    }
}

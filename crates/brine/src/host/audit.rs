//! The audit of what users of the local socket and the HTTP API do, and how a process beside the master reports it.
//!
//! The master decides what is worth an event (`brine_node::master::audit`). A process beside it fires these events on
//! the master's bus, on its own thread: neither requests nor streams wait for the bus.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use brine_api::{Audit, Noticed, Origin, Subject};
use brine_bus::address::Node;
use brine_bus::client::blocking::Publisher;
use brine_node::master::audit::{Act, of_user};
use brine_wire::Map;

use crate::bus_location::{self, BusLocation};

/// The most events that wait for the bus. Beyond that, they go to the log instead.
const WAITING: usize = 1024;
/// How long the bus may take to accept one.
const ACCEPT: Duration = Duration::from_secs(1);

/// The audit of a process beside the master; `None` unless the configuration asks for it. Ends when it is dropped.
pub(super) fn beside(location: &BusLocation) -> anyhow::Result<Option<Audit>> {
    if !location.brine.audit || location.node != Node::Master {
        return Ok(None);
    }
    let config = bus_location::publisher_config(None, location.opts.as_ref())?;
    let bus = Publisher::new(&location.address, config);
    let (events, waiting) = sync_channel(WAITING);
    let thread = std::thread::Builder::new()
        .name("brine-audit".to_owned())
        .spawn(move || report(bus, &waiting))
        .context("cannot start the thread of the audit")?;
    let reporter = Reporter {
        events: Some(events),
        thread: Some(thread),
    };
    Ok(Some(Arc::new(move |subject, noticed| {
        if let Some(event) = of_user(who(subject), act(noticed)) {
            reporter.take(event);
        }
    })))
}

type Event = (&'static str, Map);

struct Reporter {
    events: Option<SyncSender<Event>>,
    thread: Option<JoinHandle<()>>,
}

impl Reporter {
    fn take(&self, event: Event) {
        let Some(events) = &self.events else { return };
        if let Err(TrySendError::Full((tag, data)) | TrySendError::Disconnected((tag, data))) =
            events.try_send(event)
        {
            tracing::warn!(
                tag,
                ?data,
                "too many audit records at once: this one is not fired as an event"
            );
        }
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        drop(self.events.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}

/// Fires what is to be reported until its sender is gone.
fn report(mut bus: Publisher, waiting: &Receiver<Event>) {
    while let Ok((tag, mut data)) = waiting.recv() {
        if let Err(err) = bus.fire_event(tag, &mut data, Some(ACCEPT)) {
            tracing::warn!(tag, ?data, %err, "the master's bus does not accept an audit event");
        }
    }
}

/// What a subject does, as the master's audit names it.
pub(super) const fn act(noticed: Noticed<'_>) -> Act<'_> {
    match noticed {
        Noticed::Reads => Act::Reads,
        Noticed::Fires { tag } => Act::Fires(tag),
        Noticed::IsRefused { tag } => Act::IsRefused(tag),
    }
}

/// A subject as audit events name it.
pub(super) fn who(subject: &Subject) -> Map {
    let mut who: Map = [("user", subject.user.as_str())].into_iter().collect();
    if let Some(pid) = subject.pid() {
        who.insert("pid", i64::from(pid));
    }
    if let Some(uid) = subject.uid() {
        who.insert("uid", u64::from(uid));
    }
    if subject.origin == Origin::Login {
        who.insert("through", "API");
    }
    who
}

//! A connection that reconnects when it ends, with growing pauses between the attempts.

use std::io;
use std::time::{Duration, Instant};

use super::{Call, Step};
use crate::address::Endpoint;
use crate::client::error::LinkError;
use crate::client::socket::Progress;

/// A connection to a bus, or the pause before the next attempt to make one.
#[derive(Debug)]
pub(in crate::client) struct Connection<S> {
    pub(super) endpoint: Endpoint,
    pub(super) socket: Option<S>,
    backoff: Backoff,
    /// When the next attempt to connect is due.
    not_before: Option<Instant>,
}

impl<S> Connection<S> {
    pub(in crate::client) const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            socket: None,
            backoff: Backoff(None),
            not_before: None,
        }
    }

    pub(in crate::client) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connects there from now on.
    pub(in crate::client) fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
    }

    pub(in crate::client) const fn socket(&self) -> Option<&S> {
        self.socket.as_ref()
    }

    /// The other end has sent something: after the next disconnection, the first attempt is due soon.
    pub(in crate::client) const fn made_progress(&mut self) {
        self.backoff.reset();
    }

    /// What to do while there is no connection: a call whose time is over still tries once.
    pub(in crate::client) fn step(&self, call: &Call, now: Instant) -> Step<'_, S> {
        let due = self
            .not_before
            .map(|due| call.deadline().map_or(due, |at| at.min(due)));
        match due {
            Some(due) if due > now => Step::WaitUntil(due),
            _ => Step::Connect(&self.endpoint),
        }
    }

    /// Keeps the socket, or plans the next attempt. Returns the error if there is no next attempt.
    pub(in crate::client) fn handle_connect(
        &mut self,
        attempt: io::Result<S>,
        call: &Call,
        now: Instant,
    ) -> Result<(), io::Error> {
        match attempt {
            Ok(socket) => self.socket = Some(socket),
            // Rights do not change by themselves: waiting would only hide the reason.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Err(error),
            Err(error) if call.is_late(now) => return Err(error),
            Err(_) => self.not_before = Some(now + self.backoff.next()),
        }
        Ok(())
    }

    /// The connection is over; the next attempt waits a little.
    pub(in crate::client) fn lost(&mut self, now: Instant) {
        if self.socket.take().is_some() {
            self.not_before = Some(now + self.backoff.next());
        }
    }

    /// A read or write ended: progress ends the back-off; an end, or an error of the system, the connection.
    pub(super) fn handle_transfer(&mut self, result: &Result<Progress, LinkError>, now: Instant) {
        match result {
            Ok(Progress::Bytes(_)) => self.backoff.reset(),
            Ok(Progress::Over) | Err(LinkError::System(_)) => self.lost(now),
            Ok(Progress::Later) | Err(LinkError::Interrupted) => {}
        }
    }

    /// Forgets a connection that belongs to somebody else; the next attempt is due at once.
    pub(in crate::client) fn forget(&mut self) {
        self.socket = None;
        self.not_before = None;
    }
}

/// Pauses between attempts to connect: short at first, since a bus that restarts is back at once.
#[derive(Debug, Default)]
pub(super) struct Backoff(Option<Duration>);

impl Backoff {
    pub(super) const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(250);

    pub(super) fn next(&mut self) -> Duration {
        let pause = self
            .0
            .map_or(Self::FIRST, |last| (last * 2).min(Self::LONGEST));
        self.0 = Some(pause);
        pause
    }

    pub(super) const fn reset(&mut self) {
        self.0 = None;
    }
}

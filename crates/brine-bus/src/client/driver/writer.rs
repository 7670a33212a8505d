//! The writing side of a client: what is queued, when to write, and when to give up.

use std::io;
use std::time::{Duration, Instant};

use super::connection::Connection;
use super::{Call, Driver, Goal, Step};
use crate::address::Endpoint;
use crate::client::error::{LinkError, PublishError};
use crate::client::outbox::Outbox;
use crate::client::socket::Progress;
use crate::client::{PublisherConfig, Wait};

/// The writing side: an outbox and its connection.
#[derive(Debug)]
pub(in crate::client) struct Writer<S> {
    connection: Connection<S>,
    outbox: Outbox,
}

impl<S> Writer<S> {
    pub(in crate::client) fn new(endpoint: Endpoint, config: &PublisherConfig) -> Self {
        Self {
            connection: Connection::new(endpoint),
            outbox: Outbox::new(config.framing),
        }
    }

    pub(in crate::client) fn push(&mut self, event: &[u8]) {
        self.outbox.push(event);
    }

    pub(in crate::client) fn queued_bytes(&self) -> usize {
        self.outbox.unwritten().len()
    }

    /// The connection is over, or is to be.
    pub(in crate::client) fn disconnect(&mut self, now: Instant) {
        self.connection.lost(now);
        self.outbox.restart();
    }

    /// Takes back the event queued last, which was not sent. A bus discards half an event when its
    /// connection ends.
    pub(in crate::client) fn take_back(&mut self, now: Instant) {
        self.disconnect(now);
        self.outbox.take_back();
    }

    /// Drops what is queued, and the connection if that cuts an event in two.
    pub(in crate::client) fn discard(&mut self, now: Instant) {
        if !self.outbox.is_empty() {
            self.disconnect(now);
            self.outbox.clear();
        }
    }

    /// Drops a connection that a parent process made, and what was queued before the fork: the
    /// parent sends it.
    pub(in crate::client) fn leave_to_parent(&mut self) {
        self.connection.forget();
        self.outbox.clear();
    }

    /// The socket of a TCP connection. Unlike a UNIX socket's, its end is not noticed by the next
    /// write: the event would be lost first.
    pub(in crate::client) const fn tcp_socket(&self) -> Option<&S> {
        match self.connection.endpoint {
            Endpoint::Tcp(_) => self.connection.socket.as_ref(),
            Endpoint::Path(_) => None,
        }
    }
}

impl<S> Driver<S> for Writer<S> {
    type Error = PublishError;

    fn step(&mut self, call: &mut Call, now: Instant) -> Step<'_, S> {
        call.start(now);
        if call.goal == Goal::Transfer && self.outbox.is_empty() {
            return Step::Done;
        }
        match &self.connection.socket {
            None => self.connection.step(call, now),
            Some(socket) if call.goal == Goal::Transfer => {
                Step::Write(socket, self.outbox.unwritten())
            }
            Some(_) => Step::Done,
        }
    }

    fn handle_connect(
        &mut self,
        attempt: io::Result<S>,
        call: &Call,
        now: Instant,
    ) -> Result<(), io::Error> {
        self.connection.handle_connect(attempt, call, now)
    }

    fn handle_transfer(
        &mut self,
        result: Result<Progress, LinkError>,
        call: &mut Call,
        now: Instant,
    ) -> Result<(), PublishError> {
        self.connection.handle_transfer(&result, now);
        if self.connection.socket.is_none() {
            self.outbox.restart();
        }
        let endpoint = &self.connection.endpoint;
        match result {
            Ok(Progress::Bytes(bytes)) => {
                self.outbox.wrote(bytes);
                // The time limit is for a bus that accepts nothing; each time it accepts some bytes, the limit starts
                // again.
                call.deadline = Some(call.wait.deadline(now));
            }
            Ok(Progress::Later) => {
                let waited = match call.wait {
                    Wait::For(time) => time,
                    _ => Duration::ZERO,
                };
                let endpoint = endpoint.clone();
                return Err(PublishError::Stalled { endpoint, waited });
            }
            Ok(Progress::Over) if call.attempts.give_up(self.outbox.unsent()) => {
                let endpoint = endpoint.clone();
                return Err(PublishError::Closed { endpoint });
            }
            Ok(Progress::Over) => {}
            Err(error) => return Err(PublishError::from_link(endpoint, error)),
        }
        Ok(())
    }

    fn endpoint(&self) -> &Endpoint {
        &self.connection.endpoint
    }
}

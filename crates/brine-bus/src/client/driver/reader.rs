//! The reading side of a client: when to read, and what has arrived.

use std::io;
use std::mem;
use std::time::Instant;

use brine_wire::matching::TagMatch;

use super::connection::Connection;
use super::{Call, Driver, Goal, Step};
use crate::address::Endpoint;
use crate::client::error::{LinkError, ReceiveError};
use crate::client::event::{Event, EventRef};
use crate::client::session::{Session, Taken};
use crate::client::socket::Progress;
use crate::client::{Reconnect, SubscriberConfig, Wait};

/// The reading side: a session and its connection.
#[derive(Debug)]
pub(in crate::client) struct Reader<S> {
    connection: Connection<S>,
    pub(in crate::client) session: Session,
    reconnect: Reconnect,
}

impl<S> Reader<S> {
    pub(in crate::client) fn new(endpoint: Endpoint, config: &SubscriberConfig) -> Self {
        Self {
            connection: Connection::new(endpoint),
            session: Session::new(config),
            reconnect: config.reconnect,
        }
    }

    /// The next matching event among those that have arrived. `None`: the call is over, or there
    /// is more to read.
    pub(in crate::client) fn take(
        &mut self,
        wanted: &TagMatch,
        call: &mut Call,
        now: impl Fn() -> Instant,
    ) -> Result<Option<Event>, ReceiveError> {
        loop {
            match self.session.take_one(wanted) {
                Ok(Taken::Event(event)) => return Ok(Some(event)),
                Ok(Taken::Other) if matches!(call.wait, Wait::Once(_)) => {
                    call.is_over = true;
                    return Ok(None);
                }
                Ok(Taken::Other) => {}
                Ok(Taken::Nothing) => return Ok(None),
                Err(error) => {
                    let error = ReceiveError::from_session(&self.connection.endpoint, error);
                    return Err(self.failed(error, now()));
                }
            }
        }
    }

    /// Moves to the next event, whatever its tag; see [`Session::advance`].
    #[inline]
    pub(in crate::client) fn advance(
        &mut self,
        now: impl Fn() -> Instant,
    ) -> Result<bool, ReceiveError> {
        self.session.advance().map_err(|error| {
            let error = ReceiveError::from_session(&self.connection.endpoint, error.into());
            self.failed(error, now())
        })
    }

    pub(in crate::client) fn current(&self) -> Option<EventRef<'_>> {
        self.session.current()
    }

    /// Ends the connection and forgets the pending events; the next call connects at once.
    pub(in crate::client) fn close(&mut self) {
        self.connection.socket = None;
        self.session.disconnected();
        self.session.forget_pending();
    }

    /// Drops a connection that a parent process made: two readers of one socket would steal each
    /// other's bytes.
    pub(in crate::client) fn leave_to_parent(&mut self) {
        self.connection.forget();
        self.session.disconnected();
    }

    pub(in crate::client) const fn socket(&self) -> Option<&S> {
        self.connection.socket.as_ref()
    }

    /// Gives the connection up if the error makes it useless.
    fn failed(&mut self, error: ReceiveError, now: Instant) -> ReceiveError {
        if matches!(
            error,
            ReceiveError::NotABus { .. } | ReceiveError::System { .. }
        ) {
            self.lost(now);
        }
        error
    }

    fn lost(&mut self, now: Instant) {
        self.connection.lost(now);
        self.session.disconnected();
    }
}

impl<S> Driver<S> for Reader<S> {
    type Error = ReceiveError;

    fn step(&mut self, call: &mut Call, now: Instant) -> Step<'_, S> {
        call.start(now);
        // What has arrived is looked at first.
        if call.is_over || mem::take(&mut call.has_arrived) {
            return Step::Done;
        }
        match &self.connection.socket {
            None => self.connection.step(call, now),
            Some(_) if call.goal == Goal::Connect => Step::Done,
            // A stream that never pauses must not outlast the deadline.
            Some(_) if call.has_read && call.is_late(now) => {
                call.is_over = true;
                Step::Done
            }
            Some(socket) => Step::Read(socket, self.session.room()),
        }
    }

    fn handle_connect(
        &mut self,
        attempt: io::Result<S>,
        call: &Call,
        now: Instant,
    ) -> Result<(), io::Error> {
        self.connection.handle_connect(attempt, call, now)?;
        if self.connection.socket.is_some() {
            self.session.connected();
        }
        Ok(())
    }

    fn handle_transfer(
        &mut self,
        result: Result<Progress, LinkError>,
        call: &mut Call,
        now: Instant,
    ) -> Result<(), ReceiveError> {
        self.connection.handle_transfer(&result, now);
        if self.connection.socket.is_none() {
            self.session.disconnected();
        }
        let endpoint = &self.connection.endpoint;
        match result {
            Ok(Progress::Bytes(bytes)) => {
                self.session.filled(bytes);
                call.has_read = true;
                call.has_arrived = true;
            }
            Ok(Progress::Later) => call.is_over = true,
            Ok(Progress::Over) if self.reconnect == Reconnect::Never => {
                let endpoint = endpoint.clone();
                return Err(ReceiveError::Closed { endpoint });
            }
            Ok(Progress::Over) => {}
            Err(error) => return Err(ReceiveError::from_link(endpoint, error)),
        }
        Ok(())
    }

    fn endpoint(&self) -> &Endpoint {
        &self.connection.endpoint
    }
}

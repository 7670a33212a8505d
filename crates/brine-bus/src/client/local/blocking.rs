//! The client of the local socket for programs without a runtime: it uses no thread, and survives `fork`.
//!
//! It waits as [`crate::client::blocking`] does.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use brine_log::Position;
use brine_wire::{Map, Value};

use super::events::Events;
use super::exchange::{self, Exchange, Question};
use super::fires::Fires;
use super::{
    ANSWER_TIME, Acknowledge, Delivery, EventQuery, Fired, LocalAddress, LocalError, Method,
};
use crate::client::blocking::{Waiter, drive};
use crate::client::driver::Call;
use crate::client::{PublisherConfig, Wait};

/// A client of a local socket. Connects when it is needed, and again when the connection is gone.
#[derive(Debug)]
pub struct LocalClient {
    exchange: Exchange<OwnedFd>,
    waiter: Waiter,
    config: PublisherConfig,
}

impl LocalClient {
    /// A client that is not connected. `config` says how events that it fires are stamped and how
    /// large they may be.
    #[must_use]
    pub fn new(address: LocalAddress, config: PublisherConfig) -> Self {
        Self {
            exchange: Exchange::new(address),
            waiter: Waiter::new(),
            config,
        }
    }

    /// Where the socket is.
    #[must_use]
    pub const fn address(&self) -> &LocalAddress {
        self.exchange.address()
    }

    /// As [`crate::client::blocking::Subscriber::check_while_waiting`].
    pub fn check_while_waiting(&mut self, check: impl FnMut() -> ControlFlow<()> + Send + 'static) {
        self.waiter.check_while_waiting(check);
    }

    /// Connects within this time (`None`: waits for ever), unless there is a connection. The calls below try once.
    ///
    /// # Errors
    /// [`LocalError::Connect`] when nobody serves the socket.
    pub fn connect(&mut self, timeout: Option<Duration>) -> Result<(), LocalError> {
        self.leave_inherited();
        let mut call = Call::connect(Wait::from_timeout(timeout));
        drive(&mut self.exchange, &mut self.waiter, &mut call)
    }

    /// What runs, as `GET /status` says it.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn status(&mut self, timeout: Option<Duration>) -> Result<Value, LocalError> {
        self.request(Method::Get, "/status", timeout)
    }

    /// The named readers whose positions are kept, as `GET /consumers` says it.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn consumers(&mut self, timeout: Option<Duration>) -> Result<Value, LocalError> {
        self.request(Method::Get, "/consumers", timeout)
    }

    /// Any request without a body whose answer is JSON: a path and, where it takes one, a query.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn request(
        &mut self,
        method: Method,
        target: &str,
        timeout: Option<Duration>,
    ) -> Result<Value, LocalError> {
        let question = Question::plain(method, target.to_owned());
        exchange::json(&self.ask(question, timeout)?)
    }

    /// Has the node run a command: `client`, `fun` and whatever the client takes.
    ///
    /// # Errors
    /// [`LocalError::Refused`] with the name of Salt's exception as code when the command failed.
    pub fn run(&mut self, command: Map, timeout: Option<Duration>) -> Result<Value, LocalError> {
        exchange::returned(&self.ask(Question::run(command), timeout)?)
    }

    /// Fires events and waits until they are acknowledged; returns the result of each. Sets `_stamp` in their data.
    ///
    /// # Errors
    /// [`LocalError`]. If the connection breaks meanwhile, nobody knows which events were accepted.
    pub fn fire(
        &mut self,
        events: impl IntoIterator<Item = (String, Map)>,
        acknowledge: Acknowledge,
        timeout: Option<Duration>,
    ) -> Result<Vec<Fired>, LocalError> {
        match Question::fire(events, acknowledge, &self.config)? {
            Some(question) => self.ask_to_fire(question, timeout),
            None => Ok(Vec::new()),
        }
    }

    /// Fires one event that is encoded already, as [`brine_wire::event::encode_event`] does it.
    ///
    /// # Errors
    /// As [`LocalClient::fire`].
    pub fn fire_raw(
        &mut self,
        event: &[u8],
        acknowledge: Acknowledge,
        timeout: Option<Duration>,
    ) -> Result<Fired, LocalError> {
        let fired = self.ask_to_fire(Question::fire_raw(event, acknowledge), timeout)?;
        fired.into_iter().next().ok_or(LocalError::Unexpected {
            expected: "an answer for each event",
        })
    }

    /// A stream of events to be fired, over its own connection.
    ///
    /// # Errors
    /// [`LocalError::Connect`] when nobody serves the socket within the time.
    pub fn fire_stream(
        &self,
        acknowledge: Acknowledge,
        timeout: Option<Duration>,
    ) -> Result<FireStream, LocalError> {
        let address = self.exchange.address().clone();
        let mut stream = FireStream {
            fires: Fires::new(address, acknowledge, self.config),
            waiter: Waiter::new(),
        };
        let mut call = Call::connect(Wait::from_timeout(timeout));
        drive(&mut stream.fires, &mut stream.waiter, &mut call)?;
        Ok(stream)
    }

    /// Events from where `query` says, over a separate connection. Waits until the server has answered: an event fired
    /// after this is part of a stream that begins now.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn events(
        &self,
        query: &EventQuery,
        timeout: Option<Duration>,
    ) -> Result<EventStream, LocalError> {
        let mut stream = EventStream::new(self.exchange.address().clone(), query);
        stream.connect(timeout)?;
        Ok(stream)
    }

    /// The events that are kept now: [`EventQuery::of_history`].
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn history(
        &self,
        query: EventQuery,
        timeout: Option<Duration>,
    ) -> Result<EventStream, LocalError> {
        self.events(&query.of_history(), timeout)
    }

    /// The same, connected by its first call.
    #[must_use]
    pub fn unconnected_events(&self, query: &EventQuery) -> EventStream {
        EventStream::new(self.exchange.address().clone(), query)
    }

    /// Closes the connection; the next request connects.
    pub fn close(&mut self) {
        self.exchange.leave();
    }

    fn ask_to_fire(
        &mut self,
        question: Question,
        timeout: Option<Duration>,
    ) -> Result<Vec<Fired>, LocalError> {
        let answer = self.ask(question, timeout)?;
        exchange::fired(&answer, self.exchange.count())
    }

    fn ask(
        &mut self,
        question: Question,
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, LocalError> {
        self.leave_inherited();
        self.exchange.ask(question);
        let mut call = Call::transfer(Wait::from_timeout(timeout));
        drive(&mut self.exchange, &mut self.waiter, &mut call)?;
        self.exchange.answer()
    }

    fn leave_inherited(&mut self) {
        if self.waiter.has_forked() {
            self.exchange.leave();
        }
    }
}

/// Events from a local socket. It reconnects when the connection breaks, and continues after
/// [`EventStream::position`].
#[derive(Debug)]
pub struct EventStream {
    events: Events<OwnedFd>,
    waiter: Waiter,
}

impl EventStream {
    /// A stream that is not connected. Until it is, a stream that begins now has not begun.
    #[must_use]
    pub fn new(address: LocalAddress, query: &EventQuery) -> Self {
        Self {
            events: Events::new(address, query),
            waiter: Waiter::new(),
        }
    }

    /// As [`crate::client::blocking::Subscriber::check_while_waiting`].
    pub fn check_while_waiting(&mut self, check: impl FnMut() -> ControlFlow<()> + Send + 'static) {
        self.waiter.check_while_waiting(check);
    }

    /// Connects, trying for so long (`None`: for ever), and then waits for the server's answer.
    ///
    /// # Errors
    /// [`LocalError`]; [`LocalError::TimedOut`] if there was a connection and no answer.
    pub fn connect(&mut self, timeout: Option<Duration>) -> Result<(), LocalError> {
        self.leave_inherited();
        let mut call = Call::connect(Wait::from_timeout(timeout));
        drive(&mut self.events, &mut self.waiter, &mut call)?;
        let mut call = Call::answer(Wait::For(ANSWER_TIME));
        drive(&mut self.events, &mut self.waiter, &mut call)?;
        match call.is_over() {
            true => Err(self.events.timed_out()),
            false => Ok(()),
        }
    }

    /// Whether the server has begun to answer: a connection alone may end with a refusal.
    #[must_use]
    pub const fn is_answered(&self) -> bool {
        self.events.is_answered()
    }

    /// When the server last said anything, if only that it is alive ([`EventQuery::heartbeat`]).
    #[must_use]
    pub const fn heard(&self) -> Option<Instant> {
        self.events.heard()
    }

    /// Where the stream is: every event up to here has been given or did not match. `None` before
    /// anything is known.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.events.position()
    }

    /// The next event or gap; `None` when the time is over.
    ///
    /// # Errors
    /// [`LocalError`] when the server refuses to continue. It reconnects within the time if the connection breaks;
    /// [`LocalError::Connect`] if there was no connection when the time was over.
    pub fn next(&mut self, wait: Wait) -> Result<Option<Delivery>, LocalError> {
        self.leave_inherited();
        let mut call = Call::transfer(wait);
        loop {
            if let Some(delivery) = self.events.take()? {
                return Ok(Some(delivery));
            }
            drive(&mut self.events, &mut self.waiter, &mut call)?;
            if call.is_over() {
                return self.events.take();
            }
        }
    }

    /// The connection's socket, for programs that wait for several.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.events.socket().map(AsFd::as_fd)
    }

    /// Closes the connection; the next call reconnects and continues at the position.
    pub fn close(&mut self) {
        self.events.leave();
    }

    fn leave_inherited(&mut self) {
        if self.waiter.has_forked() {
            self.events.leave();
        }
    }
}

/// Events fired without waiting for each: any number in flight over one request, each answered, in order. If the
/// connection breaks, nobody knows which of the unanswered ones were accepted.
#[derive(Debug)]
pub struct FireStream {
    fires: Fires<OwnedFd>,
    waiter: Waiter,
}

impl FireStream {
    /// Fires an event. It is sent when 64 KiB have come together, or with [`FireStream::next`].
    /// Answers that come meanwhile are kept for that.
    ///
    /// # Errors
    /// [`LocalError::Event`] for an event that cannot be fired; any other ends the stream.
    pub fn fire(&mut self, tag: &str, data: &mut Map) -> Result<(), LocalError> {
        self.leave_inherited();
        if self.fires.push(tag, data)? {
            self.flush()?;
        }
        Ok(())
    }

    /// As [`FireStream::fire`], for an event that is encoded already.
    ///
    /// # Errors
    /// As [`FireStream::fire`].
    pub fn fire_raw(&mut self, event: &[u8]) -> Result<(), LocalError> {
        if self.fires.push_raw(event) {
            self.flush()?;
        }
        Ok(())
    }

    /// Sends what was fired, waiting as long as that takes.
    ///
    /// # Errors
    /// [`LocalError`]: the stream is over.
    pub fn flush(&mut self) -> Result<(), LocalError> {
        self.leave_inherited();
        self.fires.flush();
        let mut call = Call::connect(Wait::Forever);
        drive(&mut self.fires, &mut self.waiter, &mut call)
    }

    /// The next answer; sends first what was fired. `None` when the time is over, or when nothing is
    /// in flight.
    ///
    /// # Errors
    /// [`LocalError`]: the stream is over. [`LocalError::Refused`] says why no event is taken.
    pub fn next(&mut self, wait: Wait) -> Result<Option<Fired>, LocalError> {
        self.leave_inherited();
        self.fires.flush();
        let mut call = Call::transfer(wait);
        loop {
            let answer = self.fires.take();
            if answer.is_some() || self.fires.unanswered() == 0 || call.is_over() {
                return Ok(answer);
            }
            if self.fires.is_over() {
                return Err(self.fires.closed());
            }
            drive(&mut self.fires, &mut self.waiter, &mut call)?;
        }
    }

    /// Says that no more events come. What is unanswered can still be awaited.
    ///
    /// # Errors
    /// [`LocalError`]: the stream is over.
    pub fn finish(&mut self) -> Result<(), LocalError> {
        self.fires.finish();
        self.flush()
    }

    /// How many events were fired and have no answer yet.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.fires.unanswered()
    }

    fn leave_inherited(&mut self) {
        if self.waiter.has_forked() {
            self.fires.leave();
        }
    }
}

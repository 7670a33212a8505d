//! The client of the local socket for programs on tokio.
//!
//! Like [`super::blocking`], but it awaits where that one waits, and its futures can be dropped at any such point:
//! what was read stays, and what was not written yet stays queued.

use std::time::Duration;

use brine_log::Position;
use brine_wire::{Map, Value};

use super::events::Events;
use super::exchange::{self, Exchange, Question};
use super::fires::Fires;
use super::{
    ANSWER_TIME, Acknowledge, Delivery, EventQuery, Fired, LocalAddress, LocalError, Method,
};
use crate::client::driver::Call;
use crate::client::tokio::{Stream, drive};
use crate::client::{PublisherConfig, Wait};

/// A client of a local socket. Connects when it is needed, and again when the connection is gone.
#[derive(Debug)]
pub struct LocalClient {
    exchange: Exchange<Stream>,
    config: PublisherConfig,
}

impl LocalClient {
    /// A client that is not connected. `config` says how events that it fires are stamped and how
    /// large they may be.
    #[must_use]
    pub fn new(address: LocalAddress, config: PublisherConfig) -> Self {
        Self {
            exchange: Exchange::new(address),
            config,
        }
    }

    /// Connects within this time (`None`: waits for ever), unless there is a connection. The calls below try once.
    ///
    /// # Errors
    /// [`LocalError::Connect`] when nobody serves the socket.
    pub async fn connect(&mut self, timeout: Option<Duration>) -> Result<(), LocalError> {
        let mut call = Call::connect(Wait::from_timeout(timeout));
        drive(&mut self.exchange, &mut call).await
    }

    /// What runs, as `GET /status` says it. Dropping the future gives the answer up.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn status(&mut self, timeout: Option<Duration>) -> Result<Value, LocalError> {
        self.request(Method::Get, "/status", timeout).await
    }

    /// The named readers whose positions are kept, as `GET /consumers` says it. Dropping the future gives the
    /// answer up.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn consumers(&mut self, timeout: Option<Duration>) -> Result<Value, LocalError> {
        self.request(Method::Get, "/consumers", timeout).await
    }

    /// Any request without a body whose answer is JSON: a path and, where it takes one, a query. Dropping the future gives the
    /// answer up.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn request(
        &mut self,
        method: Method,
        target: &str,
        timeout: Option<Duration>,
    ) -> Result<Value, LocalError> {
        let question = Question::plain(method, target.to_owned());
        exchange::json(&self.ask(question, timeout).await?)
    }

    /// Has the node run a command: `client`, `fun` and whatever the client takes. Dropping the future
    /// gives the answer up; the command may run all the same.
    ///
    /// # Errors
    /// [`LocalError::Refused`] with the name of Salt's exception as code when the command failed.
    pub async fn run(
        &mut self,
        command: Map,
        timeout: Option<Duration>,
    ) -> Result<Value, LocalError> {
        exchange::returned(&self.ask(Question::run(command), timeout).await?)
    }

    /// Fires events and waits until they are acknowledged; returns the result of each. Sets `_stamp` in their data.
    /// Dropping the future gives up the answer; the events may be fired nevertheless.
    ///
    /// # Errors
    /// [`LocalError`]. If the connection breaks meanwhile, nobody knows which events were accepted.
    pub async fn fire(
        &mut self,
        events: impl IntoIterator<Item = (String, Map)>,
        acknowledge: Acknowledge,
        timeout: Option<Duration>,
    ) -> Result<Vec<Fired>, LocalError> {
        let Some(question) = Question::fire(events, acknowledge, &self.config)? else {
            return Ok(Vec::new());
        };
        let answer = self.ask(question, timeout).await?;
        exchange::fired(&answer, self.exchange.count())
    }

    /// A stream of events to be fired, over its own connection.
    ///
    /// # Errors
    /// [`LocalError::Connect`] when nobody serves the socket within the time.
    pub async fn fire_stream(
        &self,
        acknowledge: Acknowledge,
        timeout: Option<Duration>,
    ) -> Result<FireStream, LocalError> {
        let address = self.exchange.address().clone();
        let mut fires = Fires::new(address, acknowledge, self.config);
        drive(&mut fires, &mut Call::connect(Wait::from_timeout(timeout))).await?;
        Ok(FireStream { fires })
    }

    /// Events from where `query` says, over a separate connection. Waits until the server has answered: an event fired
    /// after this is part of a stream that begins now.
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn events(
        &self,
        query: &EventQuery,
        timeout: Option<Duration>,
    ) -> Result<EventStream, LocalError> {
        let mut stream = EventStream::new(self.exchange.address().clone(), query);
        stream.connect(timeout).await?;
        Ok(stream)
    }

    /// The events that are kept now: [`EventQuery::of_history`].
    ///
    /// # Errors
    /// [`LocalError`].
    pub async fn history(
        &self,
        query: EventQuery,
        timeout: Option<Duration>,
    ) -> Result<EventStream, LocalError> {
        self.events(&query.of_history(), timeout).await
    }

    /// The same, connected by its first call.
    #[must_use]
    pub fn unconnected_events(&self, query: &EventQuery) -> EventStream {
        EventStream::new(self.exchange.address().clone(), query)
    }

    async fn ask(
        &mut self,
        question: Question,
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, LocalError> {
        self.exchange.ask(question);
        let mut call = Call::transfer(Wait::from_timeout(timeout));
        drive(&mut self.exchange, &mut call).await?;
        self.exchange.answer()
    }
}

/// Events from a local socket. It reconnects when the connection breaks, and continues after
/// [`EventStream::position`].
#[derive(Debug)]
pub struct EventStream {
    events: Events<Stream>,
}

impl EventStream {
    /// A stream that is not connected. Until it is, a stream that begins now has not begun.
    #[must_use]
    pub fn new(address: LocalAddress, query: &EventQuery) -> Self {
        Self {
            events: Events::new(address, query),
        }
    }

    /// Connects, trying for so long (`None`: for ever), and then waits for the server's answer.
    ///
    /// # Errors
    /// [`LocalError`]; [`LocalError::TimedOut`] if there was a connection and no answer.
    pub async fn connect(&mut self, timeout: Option<Duration>) -> Result<(), LocalError> {
        let mut call = Call::connect(Wait::from_timeout(timeout));
        drive(&mut self.events, &mut call).await?;
        let mut call = Call::answer(Wait::For(ANSWER_TIME));
        drive(&mut self.events, &mut call).await?;
        match call.is_over() {
            true => Err(self.events.timed_out()),
            false => Ok(()),
        }
    }

    /// Where the stream is: every event up to here has been given or did not match. `None` before
    /// anything is known.
    #[must_use]
    pub const fn position(&self) -> Option<Position> {
        self.events.position()
    }

    /// The next event or gap; `None` when the time is over. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`LocalError`] when the server refuses to continue. It reconnects within the time if the connection breaks;
    /// [`LocalError::Connect`] if there was no connection when the time was over.
    pub async fn next(&mut self, wait: Wait) -> Result<Option<Delivery>, LocalError> {
        let mut call = Call::transfer(wait);
        loop {
            if let Some(delivery) = self.events.take()? {
                return Ok(Some(delivery));
            }
            drive(&mut self.events, &mut call).await?;
            if call.is_over() {
                return self.events.take();
            }
        }
    }
}

/// Events fired without waiting for each: any number in flight over one request, each answered, in order. If the
/// connection breaks, nobody knows which of the unanswered ones were accepted.
#[derive(Debug)]
pub struct FireStream {
    fires: Fires<Stream>,
}

impl FireStream {
    /// Fires an event. It is sent when 64 KiB have come together, or with [`FireStream::next`].
    /// Answers that come meanwhile are kept for that. Dropping the future leaves the event to be sent.
    ///
    /// # Errors
    /// [`LocalError::Event`] for an event that cannot be fired; any other ends the stream.
    pub async fn fire(&mut self, tag: &str, data: &mut Map) -> Result<(), LocalError> {
        if self.fires.push(tag, data)? {
            self.flush().await?;
        }
        Ok(())
    }

    /// As [`FireStream::fire`], for an event that is encoded already.
    ///
    /// # Errors
    /// As [`FireStream::fire`].
    pub async fn fire_raw(&mut self, event: &[u8]) -> Result<(), LocalError> {
        if self.fires.push_raw(event) {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what was fired, waiting as long as that takes. Dropping the future leaves the rest to be
    /// sent.
    ///
    /// # Errors
    /// [`LocalError`]: the stream is over.
    pub async fn flush(&mut self) -> Result<(), LocalError> {
        self.fires.flush();
        drive(&mut self.fires, &mut Call::connect(Wait::Forever)).await
    }

    /// The next answer; sends first what was fired. `None` when the time is over, or when nothing is
    /// in flight. Dropping the future loses no answer.
    ///
    /// # Errors
    /// [`LocalError`]: the stream is over. [`LocalError::Refused`] says why no event is taken.
    pub async fn next(&mut self, wait: Wait) -> Result<Option<Fired>, LocalError> {
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
            drive(&mut self.fires, &mut call).await?;
        }
    }

    /// Says that no more events come. What is unanswered can still be awaited.
    ///
    /// # Errors
    /// [`LocalError`]: the stream is over.
    pub async fn finish(&mut self) -> Result<(), LocalError> {
        self.fires.finish();
        self.flush().await
    }

    /// How many events were fired and have no answer yet.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.fires.unanswered()
    }
}

//! A stream of events, which continues where it was after its connection broke.

use std::io;
use std::time::Instant;

use brine_log::{LogId, Millis, Position, Seq};
use brine_wire::record::{self, Record};

use super::error::LocalError;
use super::http::{Body, Head, Request};
use super::link::Link;
use super::{Delivery, EventQuery, LocalAddress, MAX_RECORD, Stored};
use crate::address::Endpoint;
use crate::client::driver::{Call, Driver, Step};
use crate::client::error::LinkError;
use crate::client::event::EventRef;
use crate::client::socket::Progress;

/// A stream of events from a local socket.
#[derive(Debug)]
pub(super) struct Events<S> {
    link: Link<S>,
    target: String,
    /// Whether the stream ends by itself.
    ends: bool,
    /// How many events are still wanted.
    left: Option<u64>,
    state: State,
    /// What is of the body and not used yet.
    records: Vec<u8>,
    used: usize,
    log: LogId,
    position: Option<Position>,
    /// When the server last said anything: its answer's head, an event, a heartbeat.
    heard: Option<Instant>,
}

#[derive(Debug)]
enum State {
    /// There is no connection, or the request is being sent.
    AwaitHead,
    /// The server refused; why is in the body.
    Refused(Head, Body),
    Streaming(Body),
    Complete,
}

impl<S> Events<S> {
    pub(super) fn new(address: LocalAddress, query: &EventQuery) -> Self {
        Self {
            link: Link::new(address),
            target: query.target(),
            ends: query.ends || !query.until.is_empty(),
            left: query.limit,
            state: State::AwaitHead,
            records: Vec::new(),
            used: 0,
            log: LogId(0),
            position: None,
            heard: None,
        }
    }

    pub(super) const fn heard(&self) -> Option<Instant> {
        self.heard
    }

    pub(super) const fn position(&self) -> Option<Position> {
        self.position
    }

    /// Whether the server has begun to answer.
    pub(super) const fn is_answered(&self) -> bool {
        matches!(self.state, State::Streaming(_))
    }

    pub(super) const fn socket(&self) -> Option<&S> {
        self.link.socket()
    }

    pub(super) fn timed_out(&self) -> LocalError {
        LocalError::TimedOut {
            endpoint: self.link.endpoint().clone(),
        }
    }

    /// The next event or gap among what has arrived.
    pub(super) fn take(&mut self) -> Result<Option<Delivery>, LocalError> {
        if self.left == Some(0) {
            return Ok(Some(Delivery::End));
        }
        while let Some((record, length)) = record::next(&self.records[self.used..], MAX_RECORD)? {
            let at = |log, seq| Position {
                log: LogId(log),
                seq: Seq(seq),
            };
            let delivery = match record {
                Record::Log { log } => {
                    self.log = LogId(log);
                    None
                }
                Record::Event {
                    sequence,
                    at: time,
                    event,
                    sender,
                } => {
                    let position = at(self.log.0, sequence);
                    self.position = Some(position);
                    self.left = self.left.map(|left| left.saturating_sub(1));
                    let event = EventRef::parse(event).map(EventRef::to_event);
                    event.map(|event| {
                        Delivery::Event(Stored {
                            position,
                            at: Millis(time),
                            event,
                            sender: sender.map(Into::into),
                        })
                    })
                }
                Record::Gap {
                    from,
                    to,
                    missed,
                    reason,
                } => {
                    let (from, to) = (at(from.0, from.1), at(to.0, to.1));
                    self.position = Some(to);
                    Some(Delivery::Gap {
                        from,
                        to,
                        missed,
                        reason,
                    })
                }
                Record::Heartbeat { sequence } => {
                    self.position = Some(at(self.log.0, sequence));
                    None
                }
                Record::Refused { code, message } => {
                    self.state = State::Complete;
                    return Err(LocalError::Refused {
                        status: 200,
                        code,
                        message,
                    });
                }
                Record::Fired { .. } | Record::Fire { .. } => {
                    return Err(LocalError::Unexpected { expected: "events" });
                }
            };
            self.used += length;
            if delivery.is_some() {
                return Ok(delivery);
            }
        }
        self.records.drain(..self.used);
        self.used = 0;
        Ok(matches!(self.state, State::Complete).then_some(Delivery::End))
    }

    /// Closes the connection; the next call reconnects and continues at the position.
    pub(super) fn leave(&mut self) {
        self.link.forget();
        self.cut();
    }

    /// The connection is over, and so is the unfinished record.
    fn cut(&mut self) {
        if !matches!(self.state, State::Complete) {
            self.state = State::AwaitHead;
        }
        self.records.clear();
        self.used = 0;
    }

    /// Takes what has come of the answer.
    fn read(&mut self, call: &mut Call, now: Instant) -> Result<(), LocalError> {
        if matches!(self.state, State::AwaitHead)
            && let Some(head) = self.link.head()?
        {
            let body = Body::new(head.body);
            self.state = match head.status {
                200 => {
                    self.heard = Some(now);
                    State::Streaming(body)
                }
                _ => State::Refused(head, body),
            };
        }
        match &mut self.state {
            State::AwaitHead | State::Complete => {}
            State::Refused(head, body) => {
                let status = head.status;
                self.link.body(body, &mut self.records)?;
                if body.is_done() {
                    let error = LocalError::refused(status, &self.records);
                    self.leave();
                    return Err(error);
                }
            }
            State::Streaming(body) => {
                let before = self.records.len();
                self.link.body(body, &mut self.records)?;
                if self.records.len() > before {
                    call.note_arrival();
                    self.heard = Some(now);
                }
                if body.is_done() && self.ends {
                    self.state = State::Complete;
                    self.link.forget();
                } else if body.is_done() {
                    // A server that ends also closes streams that are not finished: more events will follow.
                    self.lost_between_records(now);
                }
            }
        }
        Ok(())
    }

    /// The connection is over; whole records that came are still given.
    fn lost_between_records(&mut self, now: Instant) {
        self.link.lost(now);
        self.state = State::AwaitHead;
    }
}

impl<S> Driver<S> for Events<S> {
    type Error = LocalError;

    fn step(&mut self, call: &mut Call, now: Instant) -> Step<'_, S> {
        call.start(now);
        let is_answered = matches!(self.state, State::Streaming(_) | State::Complete);
        let is_connected = self.link.socket().is_some();
        let is_complete = matches!(self.state, State::Complete);
        // What has arrived is looked at first: it would be lost with the connection, and a short stream
        // may have ended with it.
        if call.take_arrival()
            || is_complete
            || call.is_over()
            || (call.is_answer() && is_answered)
            || (call.is_connect() && is_connected)
        {
            return Step::Done;
        }
        if !is_connected {
            // What is left of a record that was cut.
            self.cut();
            return self.link.connect(call, now);
        }
        // A stream that never pauses must not outlast the deadline.
        if call.has_read() && call.is_late(now) {
            call.end();
            return Step::Done;
        }
        self.link.transfer().unwrap_or(Step::Done)
    }

    fn handle_connect(
        &mut self,
        attempt: io::Result<S>,
        call: &Call,
        now: Instant,
    ) -> Result<(), io::Error> {
        self.link.handle_connect(attempt, call, now)?;
        if self.link.socket().is_some() {
            self.link.begin(&Request {
                method: "GET",
                target: &self.target,
                resume: self.position,
                length: Some(0),
            });
        }
        Ok(())
    }

    fn handle_transfer(
        &mut self,
        result: Result<Progress, LinkError>,
        call: &mut Call,
        now: Instant,
    ) -> Result<(), LocalError> {
        match result {
            Ok(Progress::Bytes(bytes)) if !self.link.unwritten().is_empty() => {
                self.link.wrote(bytes);
            }
            Ok(Progress::Bytes(bytes)) => {
                self.link.filled(bytes);
                call.note_read();
                return self.read(call, now).inspect_err(|_| self.leave());
            }
            Ok(Progress::Over) => {
                self.lost_between_records(now);
                if call.is_answer() {
                    let endpoint = self.link.endpoint().clone();
                    return Err(LocalError::Closed { endpoint });
                }
            }
            Ok(Progress::Later) => call.end(),
            Err(error) => {
                let error = LocalError::from_link(self.link.endpoint(), error);
                if matches!(error, LocalError::System { .. }) {
                    self.lost_between_records(now);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn endpoint(&self) -> &Endpoint {
        self.link.endpoint()
    }
}

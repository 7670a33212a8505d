//! Events fired over one request whose body does not end: any number in flight, each of them answered.

use std::collections::VecDeque;
use std::io;
use std::time::Instant;

use brine_log::LogId;
use brine_wire::Map;
use brine_wire::record::{self, Record};

use super::error::LocalError;
use super::exchange::one_fired;
use super::http::{self, Body, Head, Request};
use super::link::Link;
use super::{Acknowledge, Fired, LocalAddress, MAX_RECORD};
use crate::address::Endpoint;
use crate::client::PublisherConfig;
use crate::client::driver::{Call, Driver, Step};
use crate::client::error::LinkError;
use crate::client::socket::Progress;

/// This much is written together, in bytes.
const PIECE_BYTES: usize = 64 << 10;

/// A stream of events to a local socket.
#[derive(Debug)]
pub(super) struct Fires<S> {
    link: Link<S>,
    config: PublisherConfig,
    target: &'static str,
    state: State,
    /// Events that are not in a chunk of the body yet.
    piece: Vec<u8>,
    /// Events that were fired and are not answered yet.
    unanswered: usize,
    log: LogId,
    /// Answers as they arrived, and how much of them is not used yet.
    records: Vec<u8>,
    answers: VecDeque<Fired>,
    is_finished: bool,
}

#[derive(Debug)]
enum State {
    AwaitHead,
    Refused(Head, Body),
    Streaming(Body),
    /// The answers are complete, or the connection is over.
    Over,
}

impl<S> Fires<S> {
    pub(super) fn new(
        address: LocalAddress,
        acknowledge: Acknowledge,
        config: PublisherConfig,
    ) -> Self {
        Self {
            link: Link::new(address),
            config,
            target: http::fire_target(acknowledge),
            state: State::AwaitHead,
            piece: Vec::new(),
            unanswered: 0,
            log: LogId(0),
            records: Vec::new(),
            answers: VecDeque::new(),
            is_finished: false,
        }
    }

    /// Takes an event to be sent; `true` when there is so much that it should be now.
    pub(super) fn push(&mut self, tag: &str, data: &mut Map) -> Result<bool, LocalError> {
        let event = self.config.encode(tag, data)?;
        Ok(self.push_raw(&event))
    }

    pub(super) fn push_raw(&mut self, event: &[u8]) -> bool {
        Record::Fire { event }.encode(&mut self.piece);
        self.unanswered += 1;
        self.piece.len() >= PIECE_BYTES
    }

    /// Has what was pushed written with the next steps.
    pub(super) fn flush(&mut self) {
        if !self.piece.is_empty() {
            http::chunk(&self.piece, self.link.out());
            self.piece.clear();
            self.piece.shrink_to(2 * PIECE_BYTES);
        }
    }

    /// Ends the body: the server answers what it has, and that is the end.
    pub(super) fn finish(&mut self) {
        self.flush();
        if !self.is_finished {
            http::last_chunk(self.link.out());
            self.is_finished = true;
        }
    }

    /// The next answer that has come.
    pub(super) fn take(&mut self) -> Option<Fired> {
        self.answers.pop_front()
    }

    /// Events that were fired and whose answers have not come.
    pub(super) const fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Whether no more answers come.
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// Why there are no more answers, when some are still awaited.
    pub(super) fn closed(&self) -> LocalError {
        LocalError::Closed {
            endpoint: self.link.endpoint().clone(),
        }
    }

    /// Drops the connection of a parent process: what was fired is the parent's.
    pub(super) fn leave(&mut self) {
        self.link.forget();
        self.state = State::Over;
        self.piece.clear();
        self.unanswered = 0;
    }

    /// Takes what has come of the answers.
    fn read(&mut self, call: &mut Call) -> Result<(), LocalError> {
        if matches!(self.state, State::AwaitHead)
            && let Some(head) = self.link.head()?
        {
            let body = Body::new(head.body);
            self.state = match head.status {
                200 => State::Streaming(body),
                _ => State::Refused(head, body),
            };
        }
        let is_done = match &mut self.state {
            State::AwaitHead | State::Over => return Ok(()),
            State::Refused(_, body) | State::Streaming(body) => {
                self.link.body(body, &mut self.records)?;
                body.is_done()
            }
        };
        if let State::Refused(head, _) = &self.state {
            let status = head.status;
            return match is_done {
                true => Err(LocalError::refused(status, &self.records)),
                false => Ok(()),
            };
        }
        let mut used = 0;
        while let Some((record, length)) = record::next(&self.records[used..], MAX_RECORD)? {
            used += length;
            if let Some(fired) = one_fired(record, &mut self.log)? {
                if self.unanswered == 0 {
                    return Err(LocalError::Unexpected {
                        expected: "an answer for each event",
                    });
                }
                self.unanswered -= 1;
                self.answers.push_back(fired);
                call.note_arrival();
            }
        }
        self.records.drain(..used);
        if is_done {
            return self.ended();
        }
        Ok(())
    }

    /// The answers or the connection ended: an error if some answer did not come.
    fn ended(&mut self) -> Result<(), LocalError> {
        let endpoint = self.link.endpoint().clone();
        self.link.forget();
        self.state = State::Over;
        if self.unanswered > 0 || !self.is_finished {
            return Err(LocalError::Closed { endpoint });
        }
        Ok(())
    }
}

impl<S> Driver<S> for Fires<S> {
    type Error = LocalError;

    /// A call that connects is done when the socket is open; any other when all is written and an
    /// answer has come that the caller has not looked at.
    fn step(&mut self, call: &mut Call, now: Instant) -> Step<'_, S> {
        call.start(now);
        let is_connected = self.link.socket().is_some();
        let is_written = self.link.unwritten().is_empty();
        if self.is_over()
            || call.is_over()
            || (call.is_connect() && is_connected && is_written)
            || (is_written && call.take_arrival())
        {
            return Step::Done;
        }
        if !is_connected {
            return self.link.connect(call, now);
        }
        // A server whose answers are not read stops reading too, so both directions must make progress together.
        let step = match is_written {
            true => self.link.transfer(),
            false => self.link.exchange(),
        };
        step.unwrap_or(Step::Done)
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
                method: "POST",
                target: self.target,
                resume: None,
                length: None,
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
                Ok(())
            }
            other => self.handle_read(other, call, now),
        }
    }

    fn handle_read(
        &mut self,
        result: Result<Progress, LinkError>,
        call: &mut Call,
        _now: Instant,
    ) -> Result<(), LocalError> {
        match result {
            Ok(Progress::Bytes(bytes)) => {
                self.link.filled(bytes);
                self.read(call).inspect_err(|_| {
                    self.link.forget();
                    self.state = State::Over;
                })
            }
            Ok(Progress::Over) => self.ended(),
            Ok(Progress::Later) => {
                call.end();
                Ok(())
            }
            Err(error) => Err(LocalError::from_link(self.link.endpoint(), error)),
        }
    }

    fn endpoint(&self) -> &Endpoint {
        self.link.endpoint()
    }
}

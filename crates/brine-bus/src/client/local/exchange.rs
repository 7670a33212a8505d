//! Requests that get one complete answer: status, commands, and events that are fired together.

use std::borrow::Cow;
use std::io;
use std::time::Instant;

use brine_log::{LogId, Position, Seq};
use brine_wire::record::{self, Record};
use brine_wire::{Map, Value, msgpack};

use super::error::LocalError;
use super::http::{self, Body, Head, Request};
use super::link::Link;
use super::{Acknowledge, Fired, LocalAddress, MAX_RECORD, Method};
use crate::address::Endpoint;
use crate::client::PublisherConfig;
use crate::client::driver::{Call, Driver, Step};
use crate::client::error::LinkError;
use crate::client::socket::Progress;

/// The longest whole answer, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// One request at a time over a connection that is kept.
#[derive(Debug)]
pub(super) struct Exchange<S> {
    link: Link<S>,
    question: Question,
    state: State,
    answer: Vec<u8>,
    /// Whether the connection has served a request before this one.
    is_used: bool,
}

/// What is asked.
#[derive(Debug, Default)]
pub(super) struct Question {
    method: &'static str,
    target: Cow<'static, str>,
    body: Vec<u8>,
    /// How many events it fires.
    count: usize,
}

#[derive(Debug)]
enum State {
    /// Nothing is asked.
    Idle,
    /// To be sent once there is a connection.
    Asked,
    /// Sent, or being sent.
    AwaitHead,
    AwaitBody(Head, Body),
    Answered(Head),
}

impl<S> Exchange<S> {
    pub(super) fn new(address: LocalAddress) -> Self {
        Self {
            link: Link::new(address),
            question: Question::default(),
            state: State::Idle,
            answer: Vec::new(),
            is_used: false,
        }
    }

    pub(super) const fn address(&self) -> &LocalAddress {
        self.link.address()
    }

    /// Begins a request. An answer that another one still waited for is given up.
    pub(super) fn ask(&mut self, question: Question) {
        if !matches!(self.state, State::Idle) {
            self.leave();
        }
        self.question = question;
        self.state = State::Asked;
        self.answer.clear();
        if self.link.socket().is_some() {
            self.send();
        }
    }

    /// The body of the answer.
    pub(super) fn answer(&mut self) -> Result<Vec<u8>, LocalError> {
        let State::Answered(head) = std::mem::replace(&mut self.state, State::Idle) else {
            return Err(LocalError::Unexpected {
                expected: "an answer",
            });
        };
        let body = std::mem::take(&mut self.answer);
        match head.status {
            200 => Ok(body),
            status => {
                // What it did not read of a body would be taken for the next request.
                self.leave();
                Err(LocalError::refused(status, &body))
            }
        }
    }

    /// How many events the request fired.
    pub(super) const fn count(&self) -> usize {
        self.question.count
    }

    /// Drops the connection, a parent process's for instance.
    pub(super) fn leave(&mut self) {
        self.link.forget();
        self.state = State::Idle;
        self.is_used = false;
    }

    fn send(&mut self) {
        self.link.begin(&Request {
            method: self.question.method,
            target: &self.question.target,
            resume: None,
            length: Some(self.question.body.len()),
        });
        self.link.out().extend_from_slice(&self.question.body);
        self.state = State::AwaitHead;
    }

    /// Takes what has come of the answer.
    fn read(&mut self) -> Result<(), LocalError> {
        if matches!(self.state, State::AwaitHead)
            && let Some(head) = self.link.head()?
        {
            self.state = State::AwaitBody(head, Body::new(head.body));
        }
        if let State::AwaitBody(head, body) = &mut self.state {
            self.link.body(body, &mut self.answer)?;
            if self.answer.len() > MAX_ANSWER {
                return Err(LocalError::Unexpected {
                    expected: "a shorter answer",
                });
            }
            if body.is_done() {
                self.state = State::Answered(*head);
                self.is_used = true;
            }
        }
        Ok(())
    }

    /// The connection ended. One that was kept may have been closed meanwhile: then nothing was read
    /// of the request, and it is sent again.
    fn ended(&mut self) -> Result<(), LocalError> {
        let endpoint = self.link.endpoint().clone();
        let is_unread = !self.link.unwritten().is_empty() || self.question.method == "GET";
        let again = self.is_used && is_unread && self.link.is_unanswered();
        self.link.forget();
        self.is_used = false;
        if again {
            self.state = State::Asked;
            return Ok(());
        }
        self.state = State::Idle;
        Err(LocalError::Closed { endpoint })
    }
}

impl<S> Driver<S> for Exchange<S> {
    type Error = LocalError;

    fn step(&mut self, call: &mut Call, now: Instant) -> Step<'_, S> {
        call.start(now);
        let is_connected = self.link.socket().is_some();
        if matches!(self.state, State::Answered(_)) || (call.is_connect() && is_connected) {
            return Step::Done;
        }
        if is_connected {
            return self.link.transfer().unwrap_or(Step::Done);
        }
        self.link.connect(call, now)
    }

    fn handle_connect(
        &mut self,
        attempt: io::Result<S>,
        call: &Call,
        now: Instant,
    ) -> Result<(), io::Error> {
        let attempt = match attempt {
            // A request does not wait for a bus; a call that is to connect does.
            Err(error) if !call.is_connect() => {
                self.state = State::Idle;
                return Err(error);
            }
            attempt => attempt,
        };
        self.link.handle_connect(attempt, call, now)?;
        if self.link.socket().is_some() && matches!(self.state, State::Asked) {
            self.send();
        }
        Ok(())
    }

    fn handle_transfer(
        &mut self,
        result: Result<Progress, LinkError>,
        _call: &mut Call,
        _now: Instant,
    ) -> Result<(), LocalError> {
        match result {
            Ok(Progress::Bytes(bytes)) if !self.link.unwritten().is_empty() => {
                self.link.wrote(bytes);
                Ok(())
            }
            Ok(Progress::Bytes(bytes)) => {
                self.link.filled(bytes);
                self.read().inspect_err(|_| self.leave())
            }
            Ok(Progress::Over) => self.ended(),
            Ok(Progress::Later) => {
                let endpoint = self.link.endpoint().clone();
                self.leave();
                Err(LocalError::TimedOut { endpoint })
            }
            Err(error) => {
                let error = LocalError::from_link(self.link.endpoint(), error);
                self.leave();
                Err(error)
            }
        }
    }

    fn endpoint(&self) -> &Endpoint {
        self.link.endpoint()
    }
}

impl Question {
    /// A request without a body and with an answer in JSON.
    pub(super) fn plain(method: Method, target: impl Into<Cow<'static, str>>) -> Self {
        Self {
            method: method.name(),
            target: target.into(),
            body: Vec::new(),
            count: 0,
        }
    }

    /// `POST /run`.
    pub(super) fn run(command: Map) -> Self {
        let mut body = Vec::new();
        msgpack::encode(&command.into(), &mut body);
        Self {
            method: "POST",
            target: "/run".into(),
            body,
            count: 0,
        }
    }

    /// `POST /events`; `None` without an event.
    pub(super) fn fire(
        events: impl IntoIterator<Item = (String, Map)>,
        acknowledge: Acknowledge,
        config: &PublisherConfig,
    ) -> Result<Option<Self>, LocalError> {
        let mut question = Self {
            method: "POST",
            target: http::fire_target(acknowledge).into(),
            body: Vec::new(),
            count: 0,
        };
        for (tag, mut data) in events {
            let event = config.encode(&tag, &mut data)?;
            question.add(&event);
        }
        Ok((question.count > 0).then_some(question))
    }

    /// The same for one event that is encoded already.
    pub(super) fn fire_raw(event: &[u8], acknowledge: Acknowledge) -> Self {
        let mut question = Self {
            method: "POST",
            target: http::fire_target(acknowledge).into(),
            body: Vec::new(),
            count: 0,
        };
        question.add(event);
        question
    }

    fn add(&mut self, event: &[u8]) {
        Record::Fire { event }.encode(&mut self.body);
        self.count += 1;
    }
}

/// What an answer to [`Question::plain`] says.
pub(super) fn json(answer: &[u8]) -> Result<Value, LocalError> {
    brine_wire::json::parse(answer).map_err(|_| LocalError::Unexpected { expected: "JSON" })
}

/// What an answer to [`Question::run`] says.
pub(super) fn returned(answer: &[u8]) -> Result<Value, LocalError> {
    let expected = LocalError::Unexpected {
        expected: "a return",
    };
    match msgpack::decode(answer) {
        Ok(Value::Map(mut answer)) => answer.remove("return").ok_or(expected),
        _ => Err(expected),
    }
}

/// The results in an answer to [`Question::fire`] of this many events.
pub(super) fn fired(mut answer: &[u8], count: usize) -> Result<Vec<Fired>, LocalError> {
    let mut answers = Vec::with_capacity(count);
    let mut log = LogId(0);
    while let Some((record, length)) = record::next(answer, MAX_RECORD)? {
        answers.extend(one_fired(record, &mut log)?);
        answer = &answer[length..];
    }
    if answers.len() == count {
        Ok(answers)
    } else {
        Err(LocalError::Unexpected {
            expected: "an answer for each event",
        })
    }
}

/// What one record says of an event that was fired.
pub(super) fn one_fired(record: Record<'_>, log: &mut LogId) -> Result<Option<Fired>, LocalError> {
    match record {
        Record::Log { log: id } => {
            *log = LogId(id);
            Ok(None)
        }
        Record::Fired { sequence } => Ok(Some(Fired::At(Position {
            log: *log,
            seq: Seq(sequence),
        }))),
        Record::Refused { code, message } => Ok(Some(Fired::Refused { code, message })),
        _ => Err(LocalError::Unexpected {
            expected: "answers to events",
        }),
    }
}

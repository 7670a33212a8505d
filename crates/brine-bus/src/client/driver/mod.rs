//! What a client does with its connection, without sockets and without a clock: when to connect, how long to pause
//! between attempts, when to give up, what to read or write next.
//!
//! A shell ([`super::blocking`], [`super::tokio`]) asks a [`Driver`] for the next [`Step`], carries it out and
//! reports the result. The driver never looks into the socket type `S`; tests use numbers. [`Reader`] drives a
//! [`Session`](super::session::Session), [`Writer`] an [`Outbox`](super::outbox::Outbox). The current time is always
//! an argument.

mod connection;
mod reader;
mod writer;

use std::io;
use std::mem;
use std::time::Instant;

pub(super) use self::connection::Connection;
pub(super) use self::reader::Reader;
pub(super) use self::writer::Writer;
use super::Wait;
use super::error::LinkError;
use super::socket::Progress;
use crate::address::Endpoint;

/// What to do next. Reading, writing or connecting waits at most until [`Call::deadline`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a, S> {
    /// Wait until this moment and ask again.
    WaitUntil(Instant),
    /// Connect to this endpoint and report to [`Driver::handle_connect`].
    Connect(&'a Endpoint),
    /// Read from the socket into the buffer and report to [`Driver::handle_transfer`].
    Read(&'a S, &'a mut [u8]),
    /// Write bytes to the socket and report to [`Driver::handle_transfer`].
    Write(&'a S, &'a [u8]),
    /// Read into the buffer or write the bytes, whichever the socket allows first; report a read to
    /// [`Driver::handle_read`] and a write to [`Driver::handle_transfer`].
    Exchange(&'a S, &'a mut [u8], &'a [u8]),
    /// The call has what it wanted, or its time is over.
    Done,
}

/// One side of a client: what both shells carry out step by step.
pub(super) trait Driver<S> {
    /// Why a call fails.
    type Error: From<super::ConnectError>;

    /// The next step of a call.
    fn step(&mut self, call: &mut Call, now: Instant) -> Step<'_, S>;

    /// An attempt to connect ended. Gives the error back if it was the last attempt of the call.
    fn handle_connect(
        &mut self,
        attempt: io::Result<S>,
        call: &Call,
        now: Instant,
    ) -> Result<(), io::Error>;

    /// A read or write ended; [`Progress::Later`] means that the call's time is over.
    fn handle_transfer(
        &mut self,
        result: Result<Progress, LinkError>,
        call: &mut Call,
        now: Instant,
    ) -> Result<(), Self::Error>;

    /// The read of a [`Step::Exchange`] ended.
    fn handle_read(
        &mut self,
        result: Result<Progress, LinkError>,
        call: &mut Call,
        now: Instant,
    ) -> Result<(), Self::Error> {
        self.handle_transfer(result, call, now)
    }

    /// Where the bus is.
    fn endpoint(&self) -> &Endpoint;
}

/// One call of a program: what it is for, and the time it may take.
#[derive(Debug)]
pub(super) struct Call {
    goal: Goal,
    wait: Wait,
    /// `None` until the first step: a call that finds its event at once never looks at the clock.
    deadline: Option<Option<Instant>>,
    has_read: bool,
    /// Bytes were read that the caller has not looked at.
    has_arrived: bool,
    is_over: bool,
    attempts: Attempts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Connect,
    Answer,
    Transfer,
}

impl Call {
    /// Only makes sure that there is a connection.
    pub(super) fn connect(wait: Wait) -> Self {
        Self::new(Goal::Connect, wait)
    }

    /// Makes sure that the other end has answered, where that is more than a connection.
    pub(super) fn answer(wait: Wait) -> Self {
        Self::new(Goal::Answer, wait)
    }

    /// Reads or writes.
    pub(super) fn transfer(wait: Wait) -> Self {
        Self::new(Goal::Transfer, wait)
    }

    fn new(goal: Goal, wait: Wait) -> Self {
        Self {
            goal,
            wait,
            deadline: None,
            has_read: false,
            has_arrived: false,
            is_over: false,
            attempts: Attempts::default(),
        }
    }

    /// When the call's time is over; `None` for never.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline.flatten()
    }

    /// Whether the call ended because its time was over.
    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    pub(super) fn start(&mut self, now: Instant) {
        let wait = self.wait;
        self.deadline.get_or_insert_with(|| wait.deadline(now));
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|at| now >= at)
    }

    /// Whether the call only makes sure that there is a connection.
    pub(super) fn is_connect(&self) -> bool {
        self.goal == Goal::Connect
    }

    /// Whether the call is over once the other end has answered.
    pub(super) fn is_answer(&self) -> bool {
        self.goal == Goal::Answer
    }

    /// The time is over.
    pub(super) const fn end(&mut self) {
        self.is_over = true;
    }

    /// Something was read.
    pub(super) const fn note_read(&mut self) {
        self.has_read = true;
    }

    pub(super) const fn has_read(&self) -> bool {
        self.has_read
    }

    /// There is something for the caller to look at.
    pub(super) const fn note_arrival(&mut self) {
        self.has_arrived = true;
    }

    /// Whether there is; from now on it has been looked at.
    pub(super) const fn take_arrival(&mut self) -> bool {
        mem::replace(&mut self.has_arrived, false)
    }
}

/// Counts connections that ended before they took an event, so that a call does not retry for ever.
#[derive(Debug, Default)]
struct Attempts {
    unsent: usize,
    without_progress: u32,
}

impl Attempts {
    const MOST: u32 = 3;

    /// A connection ended with this many events unsent: whether to give up.
    const fn give_up(&mut self, unsent: usize) -> bool {
        self.without_progress = if unsent == self.unsent {
            self.without_progress + 1
        } else {
            1
        };
        self.unsent = unsent;
        self.without_progress >= Self::MOST
    }
}

#[cfg(test)]
mod tests;

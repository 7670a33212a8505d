//! What a client does with its connection, without sockets and without a clock: when to connect,
//! how long to pause between attempts, when to give up, what to read or write next.
//!
//! A shell ([`super::blocking`], [`super::tokio`]) asks a [`Driver`] for the next [`Step`], carries
//! it out and reports the result. The socket's type `S` means nothing here; tests use numbers.
//! [`Reader`] drives a [`Session`], [`Writer`] an [`Outbox`]. The moment is always an argument.

use std::io;
use std::mem;
use std::time::{Duration, Instant};

use brine_wire::matching::TagMatch;

use super::error::{LinkError, PublishError, ReceiveError};
use super::event::{Event, EventRef};
use super::outbox::Outbox;
use super::session::{Session, Taken};
use super::socket::Progress;
use super::{PublisherConfig, Reconnect, SubscriberConfig, Wait};
use crate::address::Endpoint;

/// What to do next. Whoever reads, writes or connects waits at most until [`Call::deadline`].
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

/// A connection to a bus, or the pause before the next attempt to make one.
#[derive(Debug)]
pub(super) struct Connection<S> {
    endpoint: Endpoint,
    socket: Option<S>,
    backoff: Backoff,
    /// When the next attempt to connect is due.
    not_before: Option<Instant>,
}

impl<S> Connection<S> {
    pub(super) const fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            socket: None,
            backoff: Backoff(None),
            not_before: None,
        }
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connects there from now on.
    pub(super) fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.endpoint = endpoint;
    }

    pub(super) const fn socket(&self) -> Option<&S> {
        self.socket.as_ref()
    }

    /// The other end has sent something: the next attempt after an end is due soon.
    pub(super) const fn made_progress(&mut self) {
        self.backoff.reset();
    }

    /// What to do while there is no connection: a call whose time is over still tries once.
    pub(super) fn step(&self, call: &Call, now: Instant) -> Step<'_, S> {
        let due = self
            .not_before
            .map(|due| call.deadline().map_or(due, |at| at.min(due)));
        match due {
            Some(due) if due > now => Step::WaitUntil(due),
            _ => Step::Connect(&self.endpoint),
        }
    }

    /// Keeps the socket, or plans the next attempt. The error comes back if there is none.
    pub(super) fn handle_connect(
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
    pub(super) fn lost(&mut self, now: Instant) {
        if self.socket.take().is_some() {
            self.not_before = Some(now + self.backoff.next());
        }
    }

    /// Forgets a connection that belongs to somebody else; the next attempt is due at once.
    pub(super) fn forget(&mut self) {
        self.socket = None;
        self.not_before = None;
    }
}

/// The reading side: a session and its connection.
#[derive(Debug)]
pub(super) struct Reader<S> {
    connection: Connection<S>,
    pub(super) session: Session,
    reconnect: Reconnect,
}

impl<S> Reader<S> {
    pub(super) fn new(endpoint: Endpoint, config: &SubscriberConfig) -> Self {
        Self {
            connection: Connection::new(endpoint),
            session: Session::new(config),
            reconnect: config.reconnect,
        }
    }

    /// The next matching event among those that have arrived. `None`: the call is over, or there
    /// is more to read.
    pub(super) fn take(
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
    pub(super) fn advance(&mut self, now: impl Fn() -> Instant) -> Result<bool, ReceiveError> {
        self.session.advance().map_err(|error| {
            let error = ReceiveError::from_session(&self.connection.endpoint, error.into());
            self.failed(error, now())
        })
    }

    pub(super) fn current(&self) -> Option<EventRef<'_>> {
        self.session.current()
    }

    /// Ends the connection and forgets the pending events; the next call connects at once.
    pub(super) fn close(&mut self) {
        self.connection.socket = None;
        self.session.disconnected();
        self.session.forget_pending();
    }

    /// Drops a connection that a parent process made: two readers of one socket would steal each
    /// other's bytes.
    pub(super) fn leave_to_parent(&mut self) {
        self.connection.forget();
        self.session.disconnected();
    }

    pub(super) const fn socket(&self) -> Option<&S> {
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
        match result {
            Ok(Progress::Bytes(bytes)) => {
                self.session.filled(bytes);
                self.connection.backoff.reset();
                call.has_read = true;
                call.has_arrived = true;
            }
            Ok(Progress::Later) => call.is_over = true,
            Ok(Progress::Over) => {
                self.lost(now);
                if self.reconnect == Reconnect::Never {
                    let endpoint = self.connection.endpoint.clone();
                    return Err(ReceiveError::Closed { endpoint });
                }
            }
            Err(error) => {
                let error = ReceiveError::from_link(&self.connection.endpoint, error);
                return Err(self.failed(error, now));
            }
        }
        Ok(())
    }

    fn endpoint(&self) -> &Endpoint {
        &self.connection.endpoint
    }
}

/// The writing side: an outbox and its connection.
#[derive(Debug)]
pub(super) struct Writer<S> {
    connection: Connection<S>,
    outbox: Outbox,
}

impl<S> Writer<S> {
    pub(super) fn new(endpoint: Endpoint, config: &PublisherConfig) -> Self {
        Self {
            connection: Connection::new(endpoint),
            outbox: Outbox::new(config.framing),
        }
    }

    pub(super) fn push(&mut self, event: &[u8]) {
        self.outbox.push(event);
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.outbox.unwritten().len()
    }

    /// The connection is over, or is to be.
    pub(super) fn disconnect(&mut self, now: Instant) {
        self.connection.lost(now);
        self.outbox.restart();
    }

    /// Takes back the event queued last, which was not sent. A bus discards half an event when its
    /// connection ends.
    pub(super) fn take_back(&mut self, now: Instant) {
        self.disconnect(now);
        self.outbox.take_back();
    }

    /// Drops what is queued, and the connection if that cuts an event in two.
    pub(super) fn discard(&mut self, now: Instant) {
        if !self.outbox.is_empty() {
            self.disconnect(now);
            self.outbox.clear();
        }
    }

    /// Drops a connection that a parent process made, and what was queued before the fork: the
    /// parent sends it.
    pub(super) fn leave_to_parent(&mut self) {
        self.connection.forget();
        self.outbox.clear();
    }

    /// The socket of a TCP connection. Unlike a UNIX socket's, its end is not noticed by the next
    /// write: the event would be lost first.
    pub(super) const fn tcp_socket(&self) -> Option<&S> {
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
        match result {
            Ok(Progress::Bytes(bytes)) => {
                self.outbox.wrote(bytes);
                self.connection.backoff.reset();
                // The time is for a bus that takes nothing: one that takes some gets it anew.
                call.deadline = Some(call.wait.deadline(now));
            }
            Ok(Progress::Later) => {
                let waited = match call.wait {
                    Wait::For(time) => time,
                    _ => Duration::ZERO,
                };
                let endpoint = self.connection.endpoint.clone();
                return Err(PublishError::Stalled { endpoint, waited });
            }
            Ok(Progress::Over) => {
                self.disconnect(now);
                if call.attempts.give_up(self.outbox.unsent()) {
                    let endpoint = self.connection.endpoint.clone();
                    return Err(PublishError::Closed { endpoint });
                }
            }
            Err(error) => {
                let error = PublishError::from_link(&self.connection.endpoint, error);
                if matches!(error, PublishError::System { .. }) {
                    self.disconnect(now);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn endpoint(&self) -> &Endpoint {
        &self.connection.endpoint
    }
}

/// Pauses between attempts to connect: short at first, since a bus that restarts is back at once.
#[derive(Debug, Default)]
struct Backoff(Option<Duration>);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(5);
    const LONGEST: Duration = Duration::from_millis(250);

    fn next(&mut self) -> Duration {
        let pause = self
            .0
            .map_or(Self::FIRST, |last| (last * 2).min(Self::LONGEST));
        self.0 = Some(pause);
        pause
    }

    const fn reset(&mut self) {
        self.0 = None;
    }
}

/// Counts connections that ended before they took an event, to end what would go on for ever.
#[derive(Debug, Default)]
struct Attempts {
    unsent: usize,
    without_progress: u32,
}

impl Attempts {
    const MOST: u32 = 3;

    /// A connection ended with so many events unsent: whether to try no more.
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
mod tests {
    use brine_wire::frame::{Framing, encode_frame};
    use brine_wire::matching::TagMatch;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn endpoint() -> Endpoint {
        Endpoint::Path("bus".into())
    }

    fn refused() -> io::Result<u8> {
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    fn frame(tag: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let event = format!("{tag}\n\n\u{1}");
        encode_frame(Framing::Bare, event.as_bytes(), &mut bytes);
        bytes
    }

    /// A reader with a connection, number 1.
    fn reader(config: &SubscriberConfig, now: Instant) -> Reader<u8> {
        let mut reader = Reader::new(endpoint(), config);
        let call = Call::connect(Wait::Forever);
        reader.handle_connect(Ok(1), &call, now).unwrap();
        reader
    }

    /// Gives the reader bytes when it asks for some.
    fn feed(reader: &mut Reader<u8>, call: &mut Call, now: Instant, bytes: &[u8]) {
        let Step::Read(_, room) = reader.step(call, now) else {
            panic!("expected a step that reads");
        };
        room[..bytes.len()].copy_from_slice(bytes);
        let read = Ok(Progress::Bytes(bytes.len()));
        reader.handle_transfer(read, call, now).unwrap();
    }

    fn writer(now: Instant) -> Writer<u8> {
        let mut writer = Writer::new(endpoint(), &PublisherConfig::default());
        let call = Call::connect(Wait::Forever);
        writer.handle_connect(Ok(1), &call, now).unwrap();
        writer
    }

    #[test]
    fn pauses_between_attempts_grow_until_the_time_is_over() {
        let start = Instant::now();
        let mut now = start;
        let mut reader: Reader<u8> = Reader::new(endpoint(), &SubscriberConfig::default());
        let mut call = Call::connect(Wait::For(SECOND));
        let mut pauses = Vec::new();
        let error = loop {
            match reader.step(&mut call, now) {
                Step::Connect(_) => {
                    if let Err(error) = reader.handle_connect(refused(), &call, now) {
                        break error;
                    }
                }
                Step::WaitUntil(due) => {
                    pauses.push((due - now).as_millis());
                    now = due;
                }
                step => panic!("expected to connect or wait, found {step:?}"),
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(pauses[..7], [5, 10, 20, 40, 80, 160, 250]);
        assert_eq!(now, start + SECOND);
    }

    #[test]
    fn a_call_whose_time_is_over_tries_once() {
        let now = Instant::now();
        let mut reader: Reader<u8> = Reader::new(endpoint(), &SubscriberConfig::default());
        let mut call = Call::connect(Wait::For(Duration::ZERO));
        assert_eq!(reader.step(&mut call, now), Step::Connect(&endpoint()));
        assert!(reader.handle_connect(refused(), &call, now).is_err());
    }

    #[test]
    fn a_refusal_for_lack_of_rights_ends_the_call_at_once() {
        let now = Instant::now();
        let mut writer: Writer<u8> = Writer::new(endpoint(), &PublisherConfig::default());
        let call = Call::connect(Wait::Forever);
        let denied = Err(io::ErrorKind::PermissionDenied.into());
        assert!(writer.handle_connect(denied, &call, now).is_err());
    }

    #[test]
    fn a_reader_looks_at_what_arrived_before_it_reads_more() {
        let now = Instant::now();
        let mut reader = reader(&SubscriberConfig::default(), now);
        let mut call = Call::transfer(Wait::Forever);
        feed(&mut reader, &mut call, now, &frame("a"));
        assert_eq!(reader.step(&mut call, now), Step::Done);
        let event = reader.take(&TagMatch::any(), &mut call, || now).unwrap();
        assert_eq!(event.unwrap().tag(), "a");
        assert!(!call.is_over());
    }

    #[test]
    fn a_stream_that_never_pauses_does_not_outlast_the_deadline() {
        let now = Instant::now();
        let mut reader = reader(&SubscriberConfig::default(), now);
        let mut call = Call::transfer(Wait::For(SECOND));
        feed(&mut reader, &mut call, now, &frame("a"));
        assert_eq!(reader.step(&mut call, now + SECOND), Step::Done);
        assert!(!call.is_over(), "what arrived is still to be looked at");
        assert_eq!(reader.step(&mut call, now + SECOND), Step::Done);
        assert!(call.is_over());
    }

    #[test]
    fn a_reader_connects_again_or_says_that_the_bus_is_gone() {
        let now = Instant::now();
        for reconnect in [Reconnect::Always, Reconnect::Never] {
            let config = SubscriberConfig {
                reconnect,
                ..SubscriberConfig::default()
            };
            let mut reader = reader(&config, now);
            let mut call = Call::transfer(Wait::Forever);
            let handled = reader.handle_transfer(Ok(Progress::Over), &mut call, now);
            let ends = matches!(handled, Err(ReceiveError::Closed { .. }));
            assert_eq!(ends, reconnect == Reconnect::Never);
            let due = now + Backoff::FIRST;
            assert_eq!(reader.step(&mut call, now), Step::WaitUntil(due));
            assert_eq!(reader.step(&mut call, due), Step::Connect(&endpoint()));
        }
    }

    #[test]
    fn a_bus_that_went_away_is_an_error_even_after_events_were_read() {
        let now = Instant::now();
        let mut reader = reader(&SubscriberConfig::default(), now);
        let mut call = Call::transfer(Wait::For(SECOND));
        feed(&mut reader, &mut call, now, &frame("a"));
        assert_eq!(reader.step(&mut call, now), Step::Done);
        reader
            .handle_transfer(Ok(Progress::Over), &mut call, now)
            .unwrap();
        let late = now + SECOND;
        assert_eq!(reader.step(&mut call, late), Step::Connect(&endpoint()));
        assert!(reader.handle_connect(refused(), &call, late).is_err());
    }

    #[test]
    fn an_interrupted_reader_keeps_its_connection() {
        let now = Instant::now();
        let mut reader = reader(&SubscriberConfig::default(), now);
        let mut call = Call::transfer(Wait::Forever);
        let handled = reader.handle_transfer(Err(LinkError::Interrupted), &mut call, now);
        assert!(matches!(handled, Err(ReceiveError::Interrupted)));
        assert!(matches!(reader.step(&mut call, now), Step::Read(1, _)));
    }

    #[test]
    fn a_bus_that_takes_some_bytes_gets_its_time_anew() {
        let now = Instant::now();
        let mut writer = writer(now);
        writer.push(b"tag\n\n\x80");
        let mut call = Call::transfer(Wait::For(SECOND));
        assert!(matches!(writer.step(&mut call, now), Step::Write(1, _)));
        let later = now + SECOND / 2;
        writer
            .handle_transfer(Ok(Progress::Bytes(1)), &mut call, later)
            .unwrap();
        assert_eq!(call.deadline(), Some(later + SECOND));
        let stalled = writer.handle_transfer(Ok(Progress::Later), &mut call, later + SECOND);
        assert!(matches!(stalled, Err(PublishError::Stalled { waited, .. }) if waited == SECOND));
    }

    #[test]
    fn a_writer_gives_up_when_three_connections_took_no_event() {
        let now = Instant::now();
        let mut writer = writer(now);
        writer.push(b"tag\n\n\x80");
        let mut call = Call::transfer(Wait::Forever);
        for last in [false, false, true] {
            let handled = writer.handle_transfer(Ok(Progress::Over), &mut call, now);
            assert_eq!(matches!(handled, Err(PublishError::Closed { .. })), last);
            writer.handle_connect(Ok(2), &call, now).unwrap();
        }
    }

    #[test]
    fn after_a_broken_connection_a_frame_is_written_as_a_whole() {
        let now = Instant::now();
        let mut writer = writer(now);
        writer.push(b"tag\n\n\x80");
        let whole = writer.queued_bytes();
        let mut call = Call::transfer(Wait::Forever);
        let some = Ok(Progress::Bytes(whole - 1));
        writer.handle_transfer(some, &mut call, now).unwrap();
        assert_eq!(writer.queued_bytes(), 1);
        writer
            .handle_transfer(Ok(Progress::Over), &mut call, now)
            .unwrap();
        assert_eq!(writer.queued_bytes(), whole);
    }
}

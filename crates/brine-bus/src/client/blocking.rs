//! The client for programs without a runtime: plain sockets and `poll`, no threads.
//!
//! Each call gets a time limit. A caller that must check something while it waits (Python checks for signals) passes
//! in a function for that. After a fork, the child drops the connections that it inherited and makes new ones when it
//! needs them, since two readers of one socket would steal each other's bytes. Facts: `docs/protocol/ipc.md` §8, §10.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use brine_wire::Map;
use brine_wire::event::{FIRE_MASTER, fire_master_data};
use brine_wire::matching::TagMatch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, getpid};

use super::driver::{Call, Driver, Reader, Step, Writer};
use super::error::{ConnectError, LinkError, PublishError, ReceiveError};
use super::event::{Event, EventRef};
use super::session::Counters;
use super::socket::{self, Progress};
use super::{PublisherConfig, SubscriberConfig, Wait};
use crate::address::{Address, Endpoint};

/// Listens on a bus.
#[derive(Debug)]
pub struct Subscriber {
    reader: Reader<OwnedFd>,
    waiter: Waiter,
}

impl Subscriber {
    /// A listener that is not connected: the first call that needs to connects, and events before
    /// that are not seen. See [`Subscriber::connect`].
    #[must_use]
    pub fn new(address: &Address, config: SubscriberConfig) -> Self {
        Self {
            reader: Reader::new(address.publish().clone(), &config),
            waiter: Waiter::new(),
        }
    }

    /// Calls `check` whenever a wait is interrupted by a signal, and every 50 ms of waiting;
    /// [`ControlFlow::Break`] ends the waiting call with [`ReceiveError::Interrupted`].
    pub fn check_while_waiting(&mut self, check: impl FnMut() -> ControlFlow<()> + Send + 'static) {
        self.waiter.check_while_waiting(check);
    }

    /// Connects within this time, unless there is a connection. Events fired after this are seen.
    ///
    /// # Errors
    /// [`ReceiveError::Connect`] when there is no bus; [`ReceiveError::Interrupted`].
    pub fn connect(&mut self, timeout: Duration) -> Result<(), ReceiveError> {
        self.leave_inherited();
        self.drive(&mut Call::connect(Wait::For(timeout)))
    }

    /// The next event with a matching tag: the first of the pending ones, or else of those that arrive within `wait`.
    /// Others that arrive meanwhile are kept if a subscription matches them, and lost if not. `None` after `wait`; see
    /// [`Wait`].
    ///
    /// The data may still be malformed in ways that only decoding finds (a map as a key, an impossible date). Salt
    /// skips such events, so callers should continue with what is left of their time.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn get_event(
        &mut self,
        wanted: &TagMatch,
        wait: Wait,
    ) -> Result<Option<Event>, ReceiveError> {
        self.leave_inherited();
        if let Some(event) = self.reader.session.take_pending(wanted) {
            return Ok(Some(event));
        }
        let mut call = Call::transfer(wait);
        loop {
            if let Some(event) = self.reader.take(wanted, &mut call, Instant::now)? {
                return Ok(Some(event));
            }
            self.drive(&mut call)?;
            if call.is_over() {
                return Ok(None);
            }
        }
    }

    /// The next event of the stream whatever its tag, borrowed until the next call: no matching, no
    /// look at the pending events, no copy. Its data are unchecked. `None` when the time is over.
    /// After a fork, parent and child both still get what was read before it.
    ///
    /// # Errors
    /// [`ReceiveError`].
    #[inline]
    pub fn next_ref(&mut self, wait: Wait) -> Result<Option<EventRef<'_>>, ReceiveError> {
        let mut call = Call::transfer(wait);
        while !self.reader.advance(Instant::now)? {
            self.drive(&mut call)?;
            if call.is_over() {
                return Ok(None);
            }
        }
        Ok(self.reader.current())
    }

    /// Matching events for ever; it reconnects between two of them without reporting it.
    pub fn events(
        &mut self,
        wanted: &TagMatch,
    ) -> impl Iterator<Item = Result<Event, ReceiveError>> {
        std::iter::from_fn(move || self.get_event(wanted, Wait::Forever).transpose())
    }

    /// From now on keeps matching events that a call passes over for later calls.
    pub fn subscribe(&mut self, wanted: TagMatch) {
        self.reader.session.subscribe(wanted);
    }

    /// Takes back one such subscription, if there is one, and drops pending events that no
    /// subscription covers any more.
    pub fn unsubscribe(&mut self, wanted: &TagMatch) {
        self.reader.session.unsubscribe(wanted);
    }

    /// The events that a subscription wanted and no call has got yet, oldest first.
    pub fn pending_events(&self) -> impl Iterator<Item = &Event> {
        self.reader.session.pending_events()
    }

    /// Forgets them.
    pub fn forget_pending(&mut self) {
        self.reader.session.forget_pending();
    }

    /// Closes the connection and forgets the pending events, as Salt does. Subscriptions stay; the
    /// next call connects.
    pub fn close(&mut self) {
        self.reader.close();
    }

    /// The connection's socket, for programs that wait for several at once: when it is readable, a
    /// call with `Wait::For(Duration::ZERO)` reads what has come. Not the same after a reconnect.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.reader.socket().map(AsFd::as_fd)
    }

    /// What has been seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.reader.session.counters()
    }

    /// Where the bus is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.reader.endpoint()
    }

    fn drive(&mut self, call: &mut Call) -> Result<(), ReceiveError> {
        self.leave_inherited();
        drive(&mut self.reader, &mut self.waiter, call)
    }

    fn leave_inherited(&mut self) {
        if self.waiter.has_forked() {
            self.reader.leave_to_parent();
        }
    }
}

/// Fires events on a bus.
#[derive(Debug)]
pub struct Publisher {
    writer: Writer<OwnedFd>,
    waiter: Waiter,
    config: PublisherConfig,
}

impl Publisher {
    /// A publisher that is not connected; the first event connects.
    #[must_use]
    pub fn new(address: &Address, config: PublisherConfig) -> Self {
        Self {
            writer: Writer::new(address.pull().clone(), &config),
            waiter: Waiter::new(),
            config,
        }
    }

    /// Calls `check` whenever a wait is interrupted by a signal, and every 50 ms of waiting;
    /// [`ControlFlow::Break`] ends the waiting call with [`PublishError::Interrupted`].
    pub fn check_while_waiting(&mut self, check: impl FnMut() -> ControlFlow<()> + Send + 'static) {
        self.waiter.check_while_waiting(check);
    }

    /// Connects within this time (`None`: waits for ever), unless there is a connection.
    ///
    /// # Errors
    /// [`PublishError::Connect`] when there is no bus; [`PublishError::Interrupted`].
    pub fn connect(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        self.leave_inherited();
        self.drive(&mut Call::connect(Wait::from_timeout(timeout)))
    }

    /// Fires one event, setting `_stamp` in `data`. `Ok` means that its bytes are in the socket, not
    /// that anything has read them: a bus sends no answer. `timeout` (Salt's default: 1 s; `None`: for
    /// ever) is for finding the bus, and again whenever it takes no bytes.
    ///
    /// A bus that restarted since the last call is reconnected to silently, as in 3008.
    ///
    /// # Errors
    /// [`PublishError`]; the event is then not sent, nor will it be. [`PublishError::Connect`] is
    /// where Salt's `fire_event` answers `False`.
    pub fn fire_event(
        &mut self,
        tag: &str,
        data: &mut Map,
        timeout: Option<Duration>,
    ) -> Result<(), PublishError> {
        self.queue_event(tag, data)?;
        self.flush_last(timeout)
    }

    /// Fires `fire_master` on a minion's bus: the minion sends the event on to its master, if it
    /// is connected to it at that moment.
    ///
    /// # Errors
    /// As [`Publisher::fire_event`].
    pub fn fire_master(
        &mut self,
        tag: &str,
        data: Map,
        timeout: Option<Duration>,
    ) -> Result<(), PublishError> {
        let mut load = fire_master_data(tag, data);
        self.fire_event(FIRE_MASTER, &mut load, timeout)
    }

    /// Fires an event that is encoded already: tag, tag end and one map, as
    /// [`brine_wire::event::encode_event`] makes them. Nothing is checked: a bus may close the
    /// connection over anything else.
    ///
    /// # Errors
    /// As [`Publisher::fire_event`].
    pub fn fire_raw(
        &mut self,
        event: &[u8],
        timeout: Option<Duration>,
    ) -> Result<(), PublishError> {
        self.queue_raw(event);
        self.flush_last(timeout)
    }

    /// Encodes an event and sets `_stamp` in `data`, and leaves the sending to
    /// [`Publisher::flush`]: many events in one write are several times as fast. 64 KiB are enough
    /// for that.
    ///
    /// # Errors
    /// [`PublishError::Event`].
    pub fn queue_event(&mut self, tag: &str, data: &mut Map) -> Result<(), PublishError> {
        let event = self.config.encode(tag, data)?;
        self.queue_raw(&event);
        Ok(())
    }

    /// Queues an event that is encoded already. See [`Publisher::fire_raw`].
    pub fn queue_raw(&mut self, event: &[u8]) {
        self.leave_inherited();
        self.writer.push(event);
    }

    /// How many bytes are queued.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.writer.queued_bytes()
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`PublishError`]; what was not sent stays queued, so that another call can continue. If the bus ends meanwhile,
    /// events that it had not read are lost, as in Salt.
    pub fn flush(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        self.leave_inherited();
        if self.writer.tcp_socket().is_some_and(socket::is_over) {
            self.writer.disconnect(Instant::now());
        }
        let mut call = Call::transfer(Wait::from_timeout(timeout));
        drive(&mut self.writer, &mut self.waiter, &mut call)
    }

    /// Drops what is queued.
    pub fn discard_queued(&mut self) {
        self.writer.discard(Instant::now());
    }

    /// Closes the connection; the next event connects.
    pub fn close(&mut self) {
        self.writer.disconnect(Instant::now());
    }

    /// Where the bus is.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        self.writer.endpoint()
    }

    /// Sends what is queued; on failure the event queued last is taken back.
    fn flush_last(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        let sent = self.flush(timeout);
        sent.inspect_err(|_| self.writer.take_back(Instant::now()))
    }

    fn drive(&mut self, call: &mut Call) -> Result<(), PublishError> {
        drive(&mut self.writer, &mut self.waiter, call)
    }

    fn leave_inherited(&mut self) {
        if self.waiter.has_forked() {
            self.writer.leave_to_parent();
        }
    }
}

/// Carries out one call, step by step.
pub(super) fn drive<D: Driver<OwnedFd>>(
    driver: &mut D,
    waiter: &mut Waiter,
    call: &mut Call,
) -> Result<(), D::Error> {
    let mut now = Instant::now();
    loop {
        let result = match driver.step(call, now) {
            Step::Done => return Ok(()),
            Step::WaitUntil(due) => waiter.sleep_until(due).err().map(Err),
            Step::Connect(endpoint) => {
                let attempt = connect(endpoint, call.deadline());
                let handled = driver.handle_connect(attempt, call, Instant::now());
                handled.map_err(|error| ConnectError::diagnose(driver.endpoint(), error))?;
                None
            }
            Step::Read(socket, room) => Some(waiter.read(socket, room, call.deadline())),
            Step::Write(socket, bytes) => Some(waiter.write(socket, bytes, call.deadline())),
            Step::Exchange(socket, room, bytes) => {
                match waiter.exchange(socket, room, bytes, call.deadline()) {
                    Exchanged::Read(read) => {
                        driver.handle_read(read, call, Instant::now())?;
                        None
                    }
                    Exchanged::Wrote(written) => Some(written),
                }
            }
        };
        now = Instant::now();
        if let Some(result) = result {
            driver.handle_transfer(result, call, now)?;
        }
    }
}

fn connect(endpoint: &Endpoint, deadline: Option<Instant>) -> io::Result<OwnedFd> {
    match endpoint {
        Endpoint::Path(path) => socket::connect_path(path),
        Endpoint::Tcp(address) => {
            const LONG: Duration = Duration::from_secs(5);
            let left = deadline.map_or(LONG, |at| at.saturating_duration_since(Instant::now()));
            socket::connect_tcp(address, left.min(LONG))
        }
    }
}

/// What came first.
enum Exchanged {
    Read(Result<Progress, LinkError>),
    Wrote(Result<Progress, LinkError>),
}

/// How a program without a runtime waits: with `poll`, looking up now and then.
#[derive(Debug)]
pub(super) struct Waiter {
    /// The process that the connection belongs to.
    pid: Pid,
    check: Option<Check>,
}

struct Check(Box<dyn FnMut() -> ControlFlow<()> + Send>);

impl fmt::Debug for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Check")
    }
}

impl Waiter {
    const CHECK_EVERY: Duration = Duration::from_millis(50);

    pub(super) fn new() -> Self {
        Self {
            pid: getpid(),
            check: None,
        }
    }

    /// Calls `check` whenever a wait is interrupted, and every 50 ms of waiting.
    pub(super) fn check_while_waiting(
        &mut self,
        check: impl FnMut() -> ControlFlow<()> + Send + 'static,
    ) {
        self.check = Some(Check(Box::new(check)));
    }

    /// Whether this is another process than at the last call.
    pub(super) fn has_forked(&mut self) -> bool {
        let pid = getpid();
        std::mem::replace(&mut self.pid, pid) != pid
    }

    /// Reads within the time; [`Progress::Later`] when it is over.
    fn read(
        &mut self,
        socket: &OwnedFd,
        room: &mut [u8],
        deadline: Option<Instant>,
    ) -> Result<Progress, LinkError> {
        self.transfer(socket, PollFlags::IN, deadline, || {
            socket::read(socket, &mut *room)
        })
    }

    /// Writes within the time; [`Progress::Later`] when it is over.
    fn write(
        &mut self,
        socket: &OwnedFd,
        bytes: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Progress, LinkError> {
        self.transfer(socket, PollFlags::OUT, deadline, || {
            socket::write(socket, bytes)
        })
    }

    /// Reads or writes within the time.
    fn exchange(
        &mut self,
        socket: &OwnedFd,
        room: &mut [u8],
        bytes: &[u8],
        deadline: Option<Instant>,
    ) -> Exchanged {
        loop {
            match socket::read(socket, &mut *room).map_err(LinkError::System) {
                Ok(Progress::Later) => {}
                progress => return Exchanged::Read(progress),
            }
            match socket::write(socket, bytes).map_err(LinkError::System) {
                Ok(Progress::Later) => {}
                progress => return Exchanged::Wrote(progress),
            }
            let either = PollFd::new(socket, PollFlags::IN | PollFlags::OUT);
            match self.wait(Some(either), deadline) {
                Ok(true) => {}
                Ok(false) => return Exchanged::Read(Ok(Progress::Later)),
                Err(error) => return Exchanged::Read(Err(error)),
            }
        }
    }

    fn transfer(
        &mut self,
        socket: &OwnedFd,
        ready: PollFlags,
        deadline: Option<Instant>,
        mut attempt: impl FnMut() -> io::Result<Progress>,
    ) -> Result<Progress, LinkError> {
        loop {
            match attempt().map_err(LinkError::System)? {
                Progress::Later if self.wait(Some(PollFd::new(socket, ready)), deadline)? => {}
                progress => return Ok(progress),
            }
        }
    }

    fn sleep_until(&mut self, due: Instant) -> Result<(), LinkError> {
        self.wait(None, Some(due)).map(|_| ())
    }

    /// Waits for a socket, or with none for the time; `false` when the time is over.
    fn wait(
        &mut self,
        mut socket: Option<PollFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<bool, LinkError> {
        loop {
            let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                return Ok(false);
            }
            let slice = match (&self.check, left) {
                (Some(_), None) => Some(Self::CHECK_EVERY),
                (Some(_), Some(left)) => Some(left.min(Self::CHECK_EVERY)),
                (None, left) => left,
            };
            match poll(socket.as_mut_slice(), slice.map(timespec).as_ref()) {
                Ok(0) | Err(Errno::INTR) => self.check()?,
                Ok(_) => return Ok(true),
                Err(error) => return Err(LinkError::System(error.into())),
            }
        }
    }

    fn check(&mut self) -> Result<(), LinkError> {
        match self.check.as_mut().map(|Check(check)| check()) {
            Some(ControlFlow::Break(())) => Err(LinkError::Interrupted),
            _ => Ok(()),
        }
    }
}

fn timespec(time: Duration) -> Timespec {
    // A wait of centuries is cut short.
    let seconds = i32::try_from(time.as_secs()).unwrap_or(i32::MAX);
    Timespec {
        tv_sec: seconds.into(),
        tv_nsec: time.subsec_nanos().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;

    use brine_wire::frame::{Framing, encode_frame};
    use tempfile::TempDir;

    use super::*;
    use crate::address::Node;

    const LONG: Duration = Duration::from_secs(20);

    fn listen(dir: &TempDir, name: &str) -> (Address, UnixListener) {
        let address = Address::ipc(dir.path(), &Node::Master).unwrap();
        (address, UnixListener::bind(dir.path().join(name)).unwrap())
    }

    fn frame(tag: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode_frame(
            Framing::Bare,
            format!("{tag}\n\n\u{1}").as_bytes(),
            &mut bytes,
        );
        bytes
    }

    /// A child differs from its parent in the id of its process.
    fn fork(waiter: &mut Waiter) {
        waiter.pid = Pid::INIT;
    }

    #[test]
    fn a_forked_listener_leaves_its_parents_events_alone() {
        let dir = TempDir::new().unwrap();
        let (address, bus) = listen(&dir, "master_event_pub.ipc");
        let mut subscriber = Subscriber::new(&address, SubscriberConfig::default());
        subscriber.subscribe(TagMatch::any());
        subscriber.connect(LONG).unwrap();
        let mut parents = bus.accept().unwrap().0;
        parents.write_all(&frame("read before the fork")).unwrap();
        parents.write_all(&frame("for the parent")).unwrap();
        assert!(
            subscriber
                .get_event(&TagMatch::any(), Wait::For(LONG))
                .unwrap()
                .is_some()
        );

        fork(&mut subscriber.waiter);
        subscriber.connect(LONG).unwrap();
        let mut own = bus.accept().unwrap().0;
        own.write_all(&frame("for the child")).unwrap();
        let event = subscriber
            .get_event(&TagMatch::any(), Wait::For(LONG))
            .unwrap();
        assert_eq!(event.unwrap().tag(), "for the child");
    }

    #[test]
    fn a_forked_publisher_does_not_send_what_its_parent_queued() {
        let dir = TempDir::new().unwrap();
        let (address, bus) = listen(&dir, "master_event_pull.ipc");
        let mut publisher = Publisher::new(&address, PublisherConfig::default());
        publisher.connect(Some(LONG)).unwrap();
        publisher.queue_raw(b"parent\n\n\x80");
        fork(&mut publisher.waiter);
        publisher.fire_raw(b"child\n\n\x80", Some(LONG)).unwrap();
        drop(publisher);
        let mut bytes = Vec::new();
        bus.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"");
        bus.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"child\n\n\x80") && !bytes.windows(6).any(|six| six == b"parent"));
    }
}

//! The client for programs without a runtime: plain sockets and `poll`, no threads.
//!
//! What a call may take is a budget given with it; a caller that must look at something meanwhile
//! (Python's signals) hangs a check in. A process that has forked finds its inherited connections
//! dropped and new ones made when they are needed, since two readers of one socket would steal each
//! other's bytes. Facts: `docs/protocol/ipc.md` §8, §10.

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

use super::error::{ConnectError, LinkError, PublishError, ReceiveError};
use super::event::{Event, EventRef};
use super::outbox::Outbox;
use super::session::{Counters, Session, Taken};
use super::socket::{self, Progress};
use super::{
    Backoff, PublisherConfig, Reconnect, SubscriberConfig, Tries, Wait, deadline_after, is_over,
};
use crate::address::{Address, Endpoint};

/// Listens on a bus.
#[derive(Debug)]
pub struct Subscriber {
    link: Link,
    session: Session,
    reconnect: Reconnect,
}

impl Subscriber {
    /// A listener that is not connected: the first call that needs to connects, and events before
    /// that are not seen. See [`Subscriber::connect`].
    #[must_use]
    pub fn new(address: &Address, config: SubscriberConfig) -> Self {
        Self {
            link: Link::new(address.publish().clone()),
            session: Session::new(&config),
            reconnect: config.reconnect,
        }
    }

    /// Calls `check` whenever a wait is interrupted by a signal, and every 50 ms of waiting;
    /// [`ControlFlow::Break`] ends the waiting call with [`ReceiveError::Interrupted`].
    pub fn check_while_waiting(&mut self, check: impl FnMut() -> ControlFlow<()> + Send + 'static) {
        self.link.check = Some(Check(Box::new(check)));
    }

    /// Connects, trying for so long, unless there is a connection. Events fired after this are
    /// seen.
    ///
    /// # Errors
    /// [`ReceiveError::Connect`] when there is no bus; [`ReceiveError::Interrupted`].
    pub fn connect(&mut self, timeout: Duration) -> Result<(), ReceiveError> {
        self.leave_inherited();
        self.connect_until(Wait::For(timeout).deadline())
    }

    /// The next event with a matching tag: the first of the pending ones, or else of those that
    /// come within `wait`. Others that come meanwhile are kept if a subscription matches them, and
    /// lost if not. `None` when the time is over; see [`Wait`].
    ///
    /// The data may still be malformed in ways only decoding tells (a map as a key, a date that is
    /// none); Salt skips such events, so callers go on with what is left of their time.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn get_event(
        &mut self,
        wanted: &TagMatch,
        wait: Wait,
    ) -> Result<Option<Event>, ReceiveError> {
        self.leave_inherited();
        if let Some(event) = self.session.take_pending(wanted) {
            return Ok(Some(event));
        }
        let deadline = wait.deadline();
        let mut has_read = false;
        loop {
            match self.session.take_one(wanted) {
                Ok(Taken::Event(event)) => return Ok(Some(event)),
                Ok(Taken::Other) if matches!(wait, Wait::Once(_)) => return Ok(None),
                Ok(Taken::Other) => {}
                // A stream that never pauses must not outlast the deadline.
                Ok(Taken::Nothing) if has_read && is_over(deadline) => return Ok(None),
                Ok(Taken::Nothing) => {
                    if !self.receive(deadline)? {
                        return Ok(None);
                    }
                    has_read = true;
                }
                Err(error) => {
                    let error = ReceiveError::from_session(&self.link.endpoint, error);
                    return Err(self.failed(error));
                }
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
        let mut deadline = None;
        let mut has_read = false;
        loop {
            match self.session.advance() {
                Ok(true) => return Ok(self.session.current()),
                Ok(false) if has_read && is_over(deadline) => return Ok(None),
                Ok(false) => {
                    if !has_read {
                        deadline = wait.deadline();
                    }
                    if !self.receive(deadline)? {
                        return Ok(None);
                    }
                    has_read = true;
                }
                Err(error) => {
                    let error = ReceiveError::from_session(&self.link.endpoint, error.into());
                    return Err(self.failed(error));
                }
            }
        }
    }

    /// Matching events for ever; between two of them, connections come and go unnoticed.
    pub fn events(
        &mut self,
        wanted: &TagMatch,
    ) -> impl Iterator<Item = Result<Event, ReceiveError>> {
        std::iter::from_fn(move || self.get_event(wanted, Wait::Forever).transpose())
    }

    /// From now on keeps matching events that a call passes over for later calls.
    pub fn subscribe(&mut self, wanted: TagMatch) {
        self.session.subscribe(wanted);
    }

    /// Takes back one such subscription, if there is one, and drops pending events that no
    /// subscription covers any more.
    pub fn unsubscribe(&mut self, wanted: &TagMatch) {
        self.session.unsubscribe(wanted);
    }

    /// Closes the connection and forgets the pending events, as Salt does. Subscriptions stay; the
    /// next call connects.
    pub fn close(&mut self) {
        self.link.socket = None;
        self.session.disconnected();
        self.session.forget_pending();
    }

    /// The connection's socket, for programs that wait for several at once: when it is readable, a
    /// call with `Wait::For(Duration::ZERO)` reads what has come. Not the same after a reconnect.
    #[must_use]
    pub fn socket(&self) -> Option<BorrowedFd<'_>> {
        self.link.socket.as_ref().map(AsFd::as_fd)
    }

    /// What has been seen so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.session.counters()
    }

    /// Where the bus is.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.link.endpoint
    }

    /// Reads once, connecting and waiting if need be; `false` when the time is over.
    fn receive(&mut self, deadline: Option<Instant>) -> Result<bool, ReceiveError> {
        self.leave_inherited();
        loop {
            self.connect_until(deadline)?;
            let Some(socket) = &self.link.socket else {
                return Ok(false);
            };
            match socket::read(socket, self.session.room()) {
                Ok(Progress::Bytes(bytes)) => {
                    self.session.filled(bytes);
                    self.link.backoff.reset();
                    return Ok(true);
                }
                Ok(Progress::Later) => match self.link.wait(PollFlags::IN, deadline) {
                    Ok(true) => {}
                    Ok(false) => return Ok(false),
                    Err(error) => return Err(ReceiveError::from_link(&self.link.endpoint, error)),
                },
                Ok(Progress::Over) => {
                    self.link.lost();
                    self.session.disconnected();
                    if self.reconnect == Reconnect::Never {
                        let endpoint = self.link.endpoint.clone();
                        return Err(ReceiveError::Closed { endpoint });
                    }
                }
                Err(source) => {
                    let endpoint = self.link.endpoint.clone();
                    return Err(self.failed(ReceiveError::System { endpoint, source }));
                }
            }
        }
    }

    fn connect_until(&mut self, deadline: Option<Instant>) -> Result<(), ReceiveError> {
        if self.link.socket.is_none() {
            self.link
                .connect(deadline)
                .map_err(|error| ReceiveError::from_link(&self.link.endpoint, error))?;
            self.session.connected();
        }
        Ok(())
    }

    /// Gives the connection up if the error says that it is of no more use.
    fn failed(&mut self, error: ReceiveError) -> ReceiveError {
        if matches!(
            error,
            ReceiveError::NotABus { .. } | ReceiveError::System { .. }
        ) {
            self.link.lost();
            self.session.disconnected();
        }
        error
    }

    fn leave_inherited(&mut self) {
        if self.link.leave_inherited() {
            self.session.disconnected();
        }
    }
}

/// Fires events on a bus.
#[derive(Debug)]
pub struct Publisher {
    link: Link,
    outbox: Outbox,
    config: PublisherConfig,
}

impl Publisher {
    /// A publisher that is not connected; the first event connects.
    #[must_use]
    pub fn new(address: &Address, config: PublisherConfig) -> Self {
        Self {
            link: Link::new(address.pull().clone()),
            outbox: Outbox::new(config.framing),
            config,
        }
    }

    /// Calls `check` whenever a wait is interrupted by a signal, and every 50 ms of waiting;
    /// [`ControlFlow::Break`] ends the waiting call with [`PublishError::Interrupted`].
    pub fn check_while_waiting(&mut self, check: impl FnMut() -> ControlFlow<()> + Send + 'static) {
        self.link.check = Some(Check(Box::new(check)));
    }

    /// Connects, trying for so long (`None`: for ever), unless there is a connection.
    ///
    /// # Errors
    /// [`PublishError::Connect`] when there is no bus; [`PublishError::Interrupted`].
    pub fn connect(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        self.leave_inherited();
        self.connect_until(deadline_after(timeout))
    }

    /// Fires one event, setting `_stamp` in `data`. `Ok` says that its bytes are in the socket, not
    /// that anybody has read them: a bus has no answer. `timeout` (Salt's default: 1 s; `None`: for
    /// ever) is for finding the bus, and again whenever it takes no bytes.
    ///
    /// A bus that restarted since the last call is connected to again without a word, as 3008 does.
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
        self.outbox.push(event);
    }

    /// How many bytes are queued.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.unwritten().len()
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// [`PublishError`]; what was not sent stays queued, so that another call goes on with it. If
    /// the bus goes away meanwhile, events it had not read are lost, as they are in Salt.
    pub fn flush(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        self.leave_inherited();
        if self.link.is_dead_tcp() {
            self.disconnect();
        }
        let mut deadline = deadline_after(timeout);
        let mut tries = Tries::default();
        while !self.outbox.is_empty() {
            self.connect_until(deadline)?;
            let Some(socket) = &self.link.socket else {
                break;
            };
            match socket::write(socket, self.outbox.unwritten()) {
                Ok(Progress::Bytes(bytes)) => {
                    self.outbox.wrote(bytes);
                    self.link.backoff.reset();
                    if !self.outbox.is_empty() {
                        deadline = deadline_after(timeout);
                    }
                }
                Ok(Progress::Later) => match self.link.wait(PollFlags::OUT, deadline) {
                    Ok(true) => {}
                    Ok(false) => return Err(self.stalled(timeout)),
                    Err(error) => return Err(PublishError::from_link(&self.link.endpoint, error)),
                },
                Ok(Progress::Over) => {
                    self.disconnect();
                    if tries.give_up(self.outbox.unsent()) {
                        let endpoint = self.link.endpoint.clone();
                        return Err(PublishError::Closed { endpoint });
                    }
                }
                Err(source) => {
                    self.disconnect();
                    let endpoint = self.link.endpoint.clone();
                    return Err(PublishError::System { endpoint, source });
                }
            }
        }
        Ok(())
    }

    /// Drops what is queued.
    pub fn discard_queued(&mut self) {
        if !self.outbox.is_empty() {
            self.disconnect();
            self.outbox.clear();
        }
    }

    /// Closes the connection; the next event connects.
    pub fn close(&mut self) {
        self.disconnect();
    }

    /// Where the bus is.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.link.endpoint
    }

    /// Sends what is queued; on failure the event queued last is taken back.
    fn flush_last(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        self.flush(timeout).inspect_err(|_| {
            // A bus discards half an event when its connection ends.
            self.disconnect();
            self.outbox.take_back();
        })
    }

    fn connect_until(&mut self, deadline: Option<Instant>) -> Result<(), PublishError> {
        self.link
            .connect(deadline)
            .map_err(|error| PublishError::from_link(&self.link.endpoint, error))
    }

    fn disconnect(&mut self) {
        self.link.lost();
        self.outbox.restart();
    }

    fn stalled(&self, timeout: Option<Duration>) -> PublishError {
        PublishError::Stalled {
            endpoint: self.link.endpoint.clone(),
            waited: timeout.unwrap_or_default(),
        }
    }

    fn leave_inherited(&mut self) {
        if self.link.leave_inherited() {
            // The parent sends what was queued before the fork.
            self.outbox.clear();
        }
    }
}

/// One side's connection and how to wait for it.
#[derive(Debug)]
struct Link {
    endpoint: Endpoint,
    socket: Option<OwnedFd>,
    /// The process the socket belongs to.
    pid: Pid,
    backoff: Backoff,
    /// When the next attempt to connect is due.
    not_before: Option<Instant>,
    check: Option<Check>,
}

struct Check(Box<dyn FnMut() -> ControlFlow<()> + Send>);

impl fmt::Debug for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Check")
    }
}

impl Link {
    const CHECK_EVERY: Duration = Duration::from_millis(50);

    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            socket: None,
            pid: getpid(),
            backoff: Backoff::default(),
            not_before: None,
            check: None,
        }
    }

    /// Makes sure that there is a connection; tries at least once.
    fn connect(&mut self, deadline: Option<Instant>) -> Result<(), LinkError> {
        while self.socket.is_none() {
            if let Some(due) = self.not_before {
                self.wait(PollFlags::empty(), Some(earlier(due, deadline)))?;
            }
            match self.try_connect(deadline) {
                Ok(socket) => self.socket = Some(socket),
                Err(error)
                    if error.kind() == io::ErrorKind::PermissionDenied || is_over(deadline) =>
                {
                    let error = ConnectError::diagnose(&self.endpoint, error);
                    return Err(LinkError::Connect(error));
                }
                Err(_) => self.not_before = Some(Instant::now() + self.backoff.next()),
            }
        }
        Ok(())
    }

    fn try_connect(&self, deadline: Option<Instant>) -> io::Result<OwnedFd> {
        match &self.endpoint {
            Endpoint::Path(path) => socket::connect_path(path),
            Endpoint::Tcp(address) => {
                const LONG: Duration = Duration::from_secs(5);
                let left = deadline.map_or(LONG, |at| at.saturating_duration_since(Instant::now()));
                socket::connect_tcp(address, left.min(LONG))
            }
        }
    }

    /// Waits for the socket, or with no flags for the time; `false` when the time is over.
    fn wait(&mut self, flags: PollFlags, deadline: Option<Instant>) -> Result<bool, LinkError> {
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
            let mut watched = self
                .socket
                .as_ref()
                .filter(|_| !flags.is_empty())
                .map(|socket| PollFd::new(socket, flags));
            match poll(watched.as_mut_slice(), slice.map(timespec).as_ref()) {
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

    /// The connection is over; the next attempt waits a little.
    fn lost(&mut self) {
        if self.socket.take().is_some() {
            self.not_before = Some(Instant::now() + self.backoff.next());
        }
    }

    /// Whether there is a connection that is over without a write noticing.
    fn is_dead_tcp(&self) -> bool {
        matches!(self.endpoint, Endpoint::Tcp(_))
            && self.socket.as_ref().is_some_and(socket::is_over)
    }

    /// Drops a connection made by a parent process; whether this is another process.
    fn leave_inherited(&mut self) -> bool {
        let pid = getpid();
        let inherited = pid != self.pid;
        if inherited {
            self.pid = pid;
            self.socket = None;
            self.not_before = None;
        }
        inherited
    }
}

fn earlier(due: Instant, deadline: Option<Instant>) -> Instant {
    deadline.map_or(due, |at| at.min(due))
}

fn timespec(time: Duration) -> Timespec {
    // A wait of centuries is cut short, which nobody will notice.
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
    fn fork(link: &mut Link) {
        link.pid = Pid::INIT;
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

        fork(&mut subscriber.link);
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
        fork(&mut publisher.link);
        publisher.fire_raw(b"child\n\n\x80", Some(LONG)).unwrap();
        drop(publisher);
        let mut bytes = Vec::new();
        bus.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, b"");
        bus.accept().unwrap().0.read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"child\n\n\x80") && !bytes.windows(6).any(|six| six == b"parent"));
    }
}

//! The client for programs on tokio.
//!
//! The same as [`super::blocking`], with `await` where that one waits, and safe to drop at any such
//! point: what was read stays in the session, what was not written stays queued. Without the
//! blocking one's guard against `fork`, which no runtime survives anyway.
//! Facts: `docs/protocol/ipc.md` §8, §10.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ::tokio::io::Interest;
use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::time::{sleep_until, timeout_at};
use brine_wire::Map;
use brine_wire::event::{FIRE_MASTER, fire_master_data};
use brine_wire::matching::TagMatch;

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

    /// Connects, trying for so long, unless there is a connection. Events fired after this are
    /// seen. Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// [`ReceiveError::Connect`] when there is no bus.
    pub async fn connect(&mut self, timeout: Duration) -> Result<(), ReceiveError> {
        self.connect_until(Wait::For(timeout).deadline()).await
    }

    /// The next event with a matching tag: the first of the pending ones, or else of those that
    /// come within `wait`. Others that come meanwhile are kept if a subscription matches them, and
    /// lost if not. `None` when the time is over; see [`Wait`].
    ///
    /// Dropping the future loses no event that matches: it is taken when it is returned and not
    /// before.
    ///
    /// The data may still be malformed in ways only decoding tells (a map as a key, a date that is
    /// none); Salt skips such events, so callers go on with what is left of their time.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub async fn get_event(
        &mut self,
        wanted: &TagMatch,
        wait: Wait,
    ) -> Result<Option<Event>, ReceiveError> {
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
                    if !self.receive(deadline).await? {
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
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub async fn next_ref(&mut self, wait: Wait) -> Result<Option<EventRef<'_>>, ReceiveError> {
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
                    if !self.receive(deadline).await? {
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
    async fn receive(&mut self, deadline: Option<Instant>) -> Result<bool, ReceiveError> {
        loop {
            self.connect_until(deadline).await?;
            let Some(socket) = &self.link.socket else {
                return Ok(false);
            };
            // Through readiness even when bytes are there, since that is what makes a busy reader
            // give way to other tasks; but the last look is at the socket itself.
            let room = self.session.room();
            let (read, in_time) = match within(deadline, socket.readable()).await {
                Some(ready) => (ready.and_then(|()| socket.read(room)), true),
                None => (socket::read(socket, room), false),
            };
            match read {
                Ok(Progress::Bytes(bytes)) => {
                    self.session.filled(bytes);
                    self.link.backoff.reset();
                    return Ok(true);
                }
                Ok(Progress::Later) if in_time => {}
                Ok(Progress::Later) => return Ok(false),
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

    async fn connect_until(&mut self, deadline: Option<Instant>) -> Result<(), ReceiveError> {
        if self.link.socket.is_none() {
            if let Err(error) = self.link.connect(deadline).await {
                return Err(ReceiveError::from_link(&self.link.endpoint, error));
            }
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

    /// Connects, trying for so long (`None`: for ever), unless there is a connection. Dropping the
    /// future gives the attempt up.
    ///
    /// # Errors
    /// [`PublishError::Connect`] when there is no bus.
    pub async fn connect(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        self.connect_until(deadline_after(timeout)).await
    }

    /// Fires one event, setting `_stamp` in `data`. `Ok` says that its bytes are in the socket, not
    /// that anybody has read them: a bus has no answer. `timeout` (Salt's default: 1 s; `None`: for
    /// ever) is for finding the bus, and again whenever it takes no bytes.
    ///
    /// A bus that restarted since the last call is connected to again without a word, as 3008 does.
    /// Dropping the future leaves the event queued; the next call sends it.
    ///
    /// # Errors
    /// [`PublishError`]; the event is then not sent, nor will it be. [`PublishError::Connect`] is
    /// where Salt's `fire_event` answers `False`.
    pub async fn fire_event(
        &mut self,
        tag: &str,
        data: &mut Map,
        timeout: Option<Duration>,
    ) -> Result<(), PublishError> {
        self.queue_event(tag, data)?;
        self.flush_last(timeout).await
    }

    /// Fires `fire_master` on a minion's bus: the minion sends the event on to its master, if it
    /// is connected to it at that moment.
    ///
    /// # Errors
    /// As [`Publisher::fire_event`], and as that when it is dropped.
    pub async fn fire_master(
        &mut self,
        tag: &str,
        data: Map,
        timeout: Option<Duration>,
    ) -> Result<(), PublishError> {
        let mut load = fire_master_data(tag, data);
        self.fire_event(FIRE_MASTER, &mut load, timeout).await
    }

    /// Fires an event that is encoded already: tag, tag end and one map, as
    /// [`brine_wire::event::encode_event`] makes them. Nothing is checked: a bus may close the
    /// connection over anything else.
    ///
    /// # Errors
    /// As [`Publisher::fire_event`], and as that when it is dropped.
    pub async fn fire_raw(
        &mut self,
        event: &[u8],
        timeout: Option<Duration>,
    ) -> Result<(), PublishError> {
        self.queue_raw(event);
        self.flush_last(timeout).await
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
        self.outbox.push(event);
    }

    /// How many bytes are queued.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.unwritten().len()
    }

    /// Sends what is queued. Dropping the future leaves queued what is not sent.
    ///
    /// # Errors
    /// [`PublishError`]; what was not sent stays queued, so that another call goes on with it. If
    /// the bus goes away meanwhile, events it had not read are lost, as they are in Salt.
    pub async fn flush(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        if self.link.is_dead_tcp() {
            self.disconnect();
        }
        let mut deadline = deadline_after(timeout);
        let mut tries = Tries::default();
        while !self.outbox.is_empty() {
            self.connect_until(deadline).await?;
            let Some(socket) = &self.link.socket else {
                break;
            };
            let Some(ready) = within(deadline, socket.writable()).await else {
                return Err(self.stalled(timeout));
            };
            match ready.and_then(|()| socket.write(self.outbox.unwritten())) {
                Ok(Progress::Bytes(bytes)) => {
                    self.outbox.wrote(bytes);
                    self.link.backoff.reset();
                    deadline = deadline_after(timeout);
                }
                Ok(Progress::Later) => {}
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
    async fn flush_last(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        self.flush(timeout).await.inspect_err(|_| {
            // A bus discards half an event when its connection ends.
            self.disconnect();
            self.outbox.take_back();
        })
    }

    async fn connect_until(&mut self, deadline: Option<Instant>) -> Result<(), PublishError> {
        match self.link.connect(deadline).await {
            Ok(()) => Ok(()),
            Err(error) => Err(PublishError::from_link(&self.link.endpoint, error)),
        }
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
}

/// One side's connection.
#[derive(Debug)]
struct Link {
    endpoint: Endpoint,
    socket: Option<Stream>,
    backoff: Backoff,
    /// When the next attempt to connect is due.
    not_before: Option<Instant>,
}

impl Link {
    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            socket: None,
            backoff: Backoff::default(),
            not_before: None,
        }
    }

    /// Makes sure that there is a connection; tries at least once.
    async fn connect(&mut self, deadline: Option<Instant>) -> Result<(), LinkError> {
        while self.socket.is_none() {
            if let Some(due) = self.not_before {
                let due = deadline.map_or(due, |at| at.min(due));
                sleep_until(due.into()).await;
            }
            match self.try_connect(deadline).await {
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

    async fn try_connect(&self, deadline: Option<Instant>) -> io::Result<Stream> {
        Ok(match &self.endpoint {
            Endpoint::Path(path) => {
                Stream::Unix(UnixStream::from_std(socket::connect_path(path)?.into())?)
            }
            Endpoint::Tcp(address) => {
                let stream = within(deadline, TcpStream::connect(address))
                    .await
                    .ok_or(io::ErrorKind::TimedOut)??;
                stream.set_nodelay(true)?;
                Stream::Tcp(stream)
            }
        })
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
}

/// A socket and its place in the runtime.
#[derive(Debug)]
enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Stream {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.readable().await,
            Self::Tcp(stream) => stream.readable().await,
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Unix(stream) => stream.writable().await,
            Self::Tcp(stream) => stream.writable().await,
        }
    }

    fn read(&self, room: &mut [u8]) -> io::Result<Progress> {
        self.attempt(Interest::READABLE, || socket::read(self, room))
    }

    fn write(&self, bytes: &[u8]) -> io::Result<Progress> {
        self.attempt(Interest::WRITABLE, || socket::write(self, bytes))
    }

    /// Tells the runtime when there is nothing more to do, so that it waits for news.
    fn attempt(
        &self,
        interest: Interest,
        io: impl FnOnce() -> io::Result<Progress>,
    ) -> io::Result<Progress> {
        let io = || match io() {
            Ok(Progress::Later) => Err(io::ErrorKind::WouldBlock.into()),
            progress => progress,
        };
        let progress = match self {
            Self::Unix(stream) => stream.try_io(interest, io),
            Self::Tcp(stream) => stream.try_io(interest, io),
        };
        match progress {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Progress::Later),
            progress => progress,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

/// What a future comes to, or `None` when the time is over before.
async fn within<T>(deadline: Option<Instant>, future: impl Future<Output = T>) -> Option<T> {
    match deadline {
        Some(at) => timeout_at(at.into(), future).await.ok(),
        None => Some(future.await),
    }
}

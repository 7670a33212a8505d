//! The client for programs on tokio.
//!
//! Like [`super::blocking`], but it awaits where that one waits, and its futures can be dropped at any such point:
//! what was read stays in the session, and what was not written yet stays queued. It has no guard against `fork`,
//! which no runtime survives anyway. Facts: `docs/protocol/ipc.md` §8, §10.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use ::tokio::io::{Interest, Ready};
use ::tokio::net::{TcpStream, UnixStream};
use ::tokio::time::{sleep_until, timeout_at};
use brine_wire::Map;
use brine_wire::event::{FIRE_MASTER, fire_master_data};
use brine_wire::matching::TagMatch;

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
    reader: Reader<Stream>,
}

impl Subscriber {
    /// A listener that is not connected: the first call that needs to connects, and events before
    /// that are not seen. See [`Subscriber::connect`].
    #[must_use]
    pub fn new(address: &Address, config: SubscriberConfig) -> Self {
        Self {
            reader: Reader::new(address.publish().clone(), &config),
        }
    }

    /// Connects within this time, unless there is a connection. Events fired after this are seen. Dropping the future
    /// gives up the attempt.
    ///
    /// # Errors
    /// [`ReceiveError::Connect`] when there is no bus.
    pub async fn connect(&mut self, timeout: Duration) -> Result<(), ReceiveError> {
        drive(&mut self.reader, &mut Call::connect(Wait::For(timeout))).await
    }

    /// The next event with a matching tag: the first of the pending ones, or else of those that arrive within `wait`.
    /// Others that arrive meanwhile are kept if a subscription matches them, and lost if not. `None` after `wait`; see
    /// [`Wait`].
    ///
    /// Dropping the future loses no event that matches: an event is removed only when it is returned.
    ///
    /// The data may still be malformed in ways that only decoding finds (a map as a key, an impossible date). Salt
    /// skips such events, so callers should continue with what is left of their time.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub async fn get_event(
        &mut self,
        wanted: &TagMatch,
        wait: Wait,
    ) -> Result<Option<Event>, ReceiveError> {
        if let Some(event) = self.reader.session.take_pending(wanted) {
            return Ok(Some(event));
        }
        let mut call = Call::transfer(wait);
        loop {
            if let Some(event) = self.reader.take(wanted, &mut call, Instant::now)? {
                return Ok(Some(event));
            }
            drive(&mut self.reader, &mut call).await?;
            if call.is_over() {
                return Ok(None);
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
        let mut call = Call::transfer(wait);
        while !self.reader.advance(Instant::now)? {
            drive(&mut self.reader, &mut call).await?;
            if call.is_over() {
                return Ok(None);
            }
        }
        Ok(self.reader.current())
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

    /// Closes the connection and forgets the pending events, as Salt does. Subscriptions stay; the
    /// next call connects.
    pub fn close(&mut self) {
        self.reader.close();
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
}

/// Fires events on a bus.
#[derive(Debug)]
pub struct Publisher {
    writer: Writer<Stream>,
    config: PublisherConfig,
}

impl Publisher {
    /// A publisher that is not connected; the first event connects.
    #[must_use]
    pub fn new(address: &Address, config: PublisherConfig) -> Self {
        Self {
            writer: Writer::new(address.pull().clone(), &config),
            config,
        }
    }

    /// Connects within this time (`None`: waits for ever), unless there is a connection. Dropping the future gives up
    /// the attempt.
    ///
    /// # Errors
    /// [`PublishError::Connect`] when there is no bus.
    pub async fn connect(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        let mut call = Call::connect(Wait::from_timeout(timeout));
        drive(&mut self.writer, &mut call).await
    }

    /// Fires one event, setting `_stamp` in `data`. `Ok` means that its bytes are in the socket, not
    /// that anything has read them: a bus sends no answer. `timeout` (Salt's default: 1 s; `None`: for
    /// ever) is for finding the bus, and again whenever it takes no bytes.
    ///
    /// A bus that restarted since the last call is reconnected to silently, as in 3008.
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
        self.writer.push(event);
    }

    /// How many bytes are queued.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.writer.queued_bytes()
    }

    /// Sends what is queued. If the future is dropped, what was not sent stays queued.
    ///
    /// # Errors
    /// [`PublishError`]; what was not sent stays queued, so that another call can continue. If the bus ends meanwhile,
    /// events that it had not read are lost, as in Salt.
    pub async fn flush(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        if self.writer.tcp_socket().is_some_and(socket::is_over) {
            self.writer.disconnect(Instant::now());
        }
        let mut call = Call::transfer(Wait::from_timeout(timeout));
        drive(&mut self.writer, &mut call).await
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
    async fn flush_last(&mut self, timeout: Option<Duration>) -> Result<(), PublishError> {
        let sent = self.flush(timeout).await;
        sent.inspect_err(|_| self.writer.take_back(Instant::now()))
    }
}

/// Carries out one call, step by step. Nothing is lost when it is dropped at an `await`: bytes that
/// were read or written are reported before the next one.
pub(super) async fn drive<D: Driver<Stream>>(
    driver: &mut D,
    call: &mut Call,
) -> Result<(), D::Error> {
    let mut now = Instant::now();
    loop {
        let result = match driver.step(call, now) {
            Step::Done => return Ok(()),
            Step::WaitUntil(due) => {
                sleep_until(due.into()).await;
                None
            }
            Step::Connect(endpoint) => {
                let attempt = connect(endpoint, call.deadline()).await;
                let handled = driver.handle_connect(attempt, call, Instant::now());
                handled.map_err(|error| ConnectError::diagnose(driver.endpoint(), error))?;
                None
            }
            Step::Read(socket, room) => Some(socket.read(room, call.deadline()).await),
            Step::Write(socket, bytes) => Some(socket.write(bytes, call.deadline()).await),
            Step::Exchange(socket, room, bytes) => {
                match socket.exchange(room, bytes, call.deadline()).await {
                    Exchanged::Read(read) => {
                        let read = read.map_err(LinkError::System);
                        driver.handle_read(read, call, Instant::now())?;
                        None
                    }
                    Exchanged::Wrote(written) => Some(written),
                }
            }
        };
        now = Instant::now();
        if let Some(result) = result {
            driver.handle_transfer(result.map_err(LinkError::System), call, now)?;
        }
    }
}

pub(crate) async fn connect(endpoint: &Endpoint, deadline: Option<Instant>) -> io::Result<Stream> {
    Ok(match endpoint {
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

/// What came first.
enum Exchanged {
    Read(io::Result<Progress>),
    Wrote(io::Result<Progress>),
}

/// A socket that is registered with the runtime.
#[derive(Debug)]
pub(crate) enum Stream {
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

    /// Reads within the time. Through readiness even when bytes are there, since that is what
    /// makes a busy reader give way to other tasks; but the last look is at the socket itself.
    pub(crate) async fn read(
        &self,
        room: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<Progress> {
        loop {
            let Some(ready) = within(deadline, self.readable()).await else {
                return socket::read(self, room);
            };
            ready?;
            match self.attempt(Interest::READABLE, || socket::read(self, &mut *room))? {
                Progress::Later => {}
                progress => return Ok(progress),
            }
        }
    }

    /// Writes within the time.
    async fn write(&self, bytes: &[u8], deadline: Option<Instant>) -> io::Result<Progress> {
        loop {
            let Some(ready) = within(deadline, self.writable()).await else {
                return Ok(Progress::Later);
            };
            ready?;
            match self.attempt(Interest::WRITABLE, || socket::write(self, bytes))? {
                Progress::Later => {}
                progress => return Ok(progress),
            }
        }
    }

    /// Reads or writes within the time.
    async fn exchange(
        &self,
        room: &mut [u8],
        bytes: &[u8],
        deadline: Option<Instant>,
    ) -> Exchanged {
        loop {
            let either = Interest::READABLE | Interest::WRITABLE;
            let ready = match within(deadline, self.ready(either)).await {
                None => return Exchanged::Read(Ok(Progress::Later)),
                Some(Err(error)) => return Exchanged::Read(Err(error)),
                Some(Ok(ready)) => ready,
            };
            if ready.is_readable() {
                match self.attempt(Interest::READABLE, || socket::read(self, &mut *room)) {
                    Ok(Progress::Later) => {}
                    progress => return Exchanged::Read(progress),
                }
            }
            if ready.is_writable() {
                match self.attempt(Interest::WRITABLE, || socket::write(self, bytes)) {
                    Ok(Progress::Later) => {}
                    progress => return Exchanged::Wrote(progress),
                }
            }
        }
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        match self {
            Self::Unix(stream) => stream.ready(interest).await,
            Self::Tcp(stream) => stream.ready(interest).await,
        }
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

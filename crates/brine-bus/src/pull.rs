//! The way in: reads what a publisher has sent, cuts and checks its events, appends them.
//!
//! Everything that is ready goes into the log as one batch. A malformed event in a good frame is left out. A malformed
//! frame ends its connection, since it does not show where the next one begins. This module knows nothing of subscribers.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use brine_log::{Incoming, Log};
use brine_wire::envelope::{Envelope, EnvelopeError};
use brine_wire::frame::{Decoder, FrameError};

use crate::audit::Audit;
use crate::clock;
use crate::handle::Registry;
use crate::quota::{OverQuota, Share};
use crate::relay::Relay;
use crate::stream::{Peer, Stream};

/// Why we closed a publisher's connection.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PullError {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    OverQuota(#[from] OverQuota),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Where published events go.
#[derive(Clone)]
pub(crate) enum Inlet {
    /// Into the log.
    Log(Arc<Log>),
    /// To another bus, whose events fill the log.
    Relay(Relay),
}

impl Inlet {
    fn append<'a>(&self, events: impl Iterator<Item = Incoming<'a>>) {
        match self {
            Self::Log(log) => drop(log.append(events, clock::now())),
            Self::Relay(relay) => events.for_each(|event| relay.push(event.event.to_vec())),
        }
    }

    /// Waits while it takes no more.
    async fn has_room(&self) {
        match self {
            Self::Log(log) => wait_for_disk(log).await,
            Self::Relay(relay) => relay.has_room().await,
        }
    }
}

/// Waits while more goes to the log's overflow than its disk accepts, so that slow subscribers miss nothing. If the
/// disk makes no progress for that long, the overflow is given up, so that it delays nobody for longer.
pub(crate) async fn wait_for_disk(log: &Log) {
    while log.is_backed_up() {
        let progress = log.overflow_progress();
        if tokio::time::timeout(DISK_STALL, progress).await.is_err() {
            log.give_up_overflow();
        }
    }
}

/// One publisher's connection.
pub(crate) struct PullConn {
    stream: Stream,
    inlet: Inlet,
    decoder: Decoder,
    /// The beginning of a frame whose rest has not come yet.
    unfinished: Vec<u8>,
    quota: Share,
    /// The bus's counters and audit, and whom this connection belongs to.
    registry: Arc<Registry>,
    peer: Peer,
    /// Whether it has sent a malformed event.
    has_sent_malformed: bool,
}

/// What one read takes at most, in bytes: as much as the kernel holds for a sender by default.
const READ_BYTES: usize = 256 << 10;

/// A disk that takes nothing for so long is given up.
const DISK_STALL: Duration = Duration::from_secs(2);

/// What a silent publisher may keep for an unfinished frame without being asked, in bytes.
const IDLE_BYTES: usize = 1024;

thread_local! {
    /// Memory for one read, used by one connection at a time; nothing stays in it between turns.
    static SCRATCH: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
}

impl PullConn {
    pub(crate) fn new(
        stream: Stream,
        inlet: Inlet,
        max_frame_bytes: usize,
        quota: Share,
        registry: Arc<Registry>,
    ) -> Self {
        let peer = stream.peer();
        let decoder = Decoder::new(max_frame_bytes);
        Self {
            stream,
            inlet,
            decoder,
            unfinished: Vec::new(),
            quota,
            registry,
            peer,
            has_sent_malformed: false,
        }
    }

    /// Reads until the publisher has gone. Dropping the future loses the unread bytes in the socket, and an unfinished
    /// frame.
    pub(crate) async fn run(&mut self) -> Result<(), PullError> {
        while poll_fn(|context| self.poll_turn(context)).await? {
            self.inlet.has_room().await;
            // Subscribers have their turn before more is read; without this a fast publisher fills
            // the log faster than it is written out, and everything is read from cold memory.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// One read of all that is ready; `false` at the end of the stream.
    fn poll_turn(&mut self, context: &mut Context<'_>) -> Poll<Result<bool, PullError>> {
        SCRATCH.with_borrow_mut(|scratch| {
            // A frame that fits is completed in the scratch buffer, a larger one in its own memory.
            let fits = self.decoder.wanted() <= scratch.len();
            let carried = if fits { self.unfinished.len() } else { 0 };
            let Poll::Ready(read) = self.stream.poll_read(context, &mut scratch[carried..]) else {
                self.release_memory();
                return Poll::Pending;
            };
            let read = read?;
            if read == 0 {
                return Poll::Ready(Ok(false));
            }
            if fits {
                scratch[..carried].copy_from_slice(&self.unfinished);
                self.unfinished.clear();
                self.take_in(&scratch[..carried + read])?;
            } else {
                self.unfinished.extend_from_slice(&scratch[..read]);
                if self.unfinished.len() >= self.decoder.wanted() {
                    let bytes = std::mem::take(&mut self.unfinished);
                    self.take_in(&bytes)?;
                }
            }
            self.quota.charge(self.unfinished.capacity())?;
            Poll::Ready(Ok(true))
        })
    }

    /// Appends the whole events in `bytes` and keeps the rest. What comes before a malformed frame is published.
    fn take_in(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        let mut events = Events {
            decoder: &mut self.decoder,
            rest: bytes,
            audit: &self.registry.audit,
            peer: self.peer,
            malformed: 0,
            first_fault: None,
            error: None,
        };
        self.inlet.append(&mut events);
        let Events {
            rest,
            malformed,
            first_fault,
            error,
            ..
        } = events;
        self.unfinished.extend_from_slice(rest);
        if let Some(fault) = first_fault {
            self.registry.malformed_events(malformed);
            if !std::mem::replace(&mut self.has_sent_malformed, true) {
                tracing::warn!(peer = %self.peer, err = %fault,
                    "left out a malformed event; others of this connection are only counted");
            }
        }
        error.map_or(Ok(()), Err)
    }

    /// A publisher that is silent keeps no memory for what it once sent.
    fn release_memory(&mut self) {
        if self.unfinished.capacity() > IDLE_BYTES && self.unfinished.len() <= IDLE_BYTES {
            self.unfinished.shrink_to_fit();
        }
    }
}

/// The well-formed events at the front of `rest`; ends at the first malformed frame.
struct Events<'a> {
    decoder: &'a mut Decoder,
    rest: &'a [u8],
    audit: &'a Audit,
    peer: Peer,
    /// How many events were left out, and what is wrong with the first.
    malformed: u64,
    first_fault: Option<EnvelopeError>,
    error: Option<FrameError>,
}

impl<'a> Iterator for Events<'a> {
    type Item = Incoming<'a>;

    fn next(&mut self) -> Option<Incoming<'a>> {
        loop {
            let frame = match self.decoder.next(self.rest) {
                Ok(frame) => frame?,
                Err(error) => {
                    self.error = Some(error);
                    return None;
                }
            };
            self.rest = &self.rest[frame.length..];
            match Envelope::parse(frame.event) {
                Ok(envelope) => {
                    self.audit.fired(self.peer, envelope.tag());
                    return Some(Incoming {
                        event: frame.event,
                        tag_bytes: envelope.tag().len(),
                    });
                }
                Err(fault) => {
                    self.malformed += 1;
                    self.first_fault.get_or_insert(fault);
                }
            }
        }
    }
}

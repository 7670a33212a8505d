//! The log: appends batches, wakes cursors, opens new ones.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use brine_wire::frame::Framing;

use crate::config::{Lag, LogConfig, OverrunCause, Stats};
use crate::cursor::{EventCursor, FrameCursor, wait_for};
use crate::gap::GapReason;
use crate::memory::Memory;
use crate::overflow::{OverflowConfig, Threads};
use crate::position::{LogId, Millis, Position, Seq, Start};
use crate::shared::Shared;
use crate::source::Source;
use crate::stored::StoredSegments;
use crate::unused::Unused;

/// An event on its way into the log: checked, but not decoded.
#[derive(Debug, Clone, Copy)]
pub struct Incoming<'a> {
    /// Tag, tag end and data.
    pub event: &'a [u8],
    /// How many bytes of it the tag takes.
    pub tag_bytes: usize,
}

/// A log, shared by its writers and cursors.
pub struct Log {
    shared: Arc<Shared>,
    id: LogId,
}

impl Log {
    /// An empty log.
    #[must_use]
    pub fn new(config: LogConfig) -> Arc<Self> {
        Self::open(config, None, Unused::default())
    }

    /// A log that continues where its history ends: with its identity and its next number. Event cursors read from the
    /// history what is no longer in memory.
    #[cfg(feature = "history")]
    #[must_use]
    pub fn with_history(config: LogConfig, history: &crate::history::PreparedHistory) -> Arc<Self> {
        let config = LogConfig {
            id: history.log_id(),
            first: history.next(),
            ..config
        };
        Self::open(config, Some(history.segments()), history.unused())
    }

    /// A log that repeats another one, with its identity and its numbers ([`Log::append_at`]). Event cursors read from
    /// that one's history what is no longer in memory.
    #[cfg(feature = "history")]
    #[must_use]
    pub fn repeating(config: LogConfig, history: &crate::history::ForeignHistory) -> Arc<Self> {
        let config = LogConfig {
            id: history.log_id(),
            ..config
        };
        Self::open(config, Some(history.segments()), history.unused())
    }

    fn open(config: LogConfig, stored: Option<Arc<StoredSegments>>, unused: Unused) -> Arc<Self> {
        let id = config.id;
        let overflow = config.overflow.clone();
        let shared = Arc::new(Shared::new(Memory::new(config, unused), stored));
        if let Some(overflow) = overflow {
            start_overflow(&shared, &overflow);
        }
        Arc::new(Self { shared, id })
    }

    /// Appends a batch under one lock and wakes every waiting cursor once. Gives the numbers the
    /// events got.
    pub fn append<'a>(
        &self,
        events: impl IntoIterator<Item = Incoming<'a>>,
        at: Millis,
    ) -> Range<Seq> {
        self.append_from(None, events, at)
    }

    /// As `append`, for events of one authenticated sender.
    pub fn append_from<'a>(
        &self,
        sender: Option<&str>,
        events: impl IntoIterator<Item = Incoming<'a>>,
        at: Millis,
    ) -> Range<Seq> {
        let source = Source {
            sender,
            origin: None,
        };
        self.append_sourced(events.into_iter().map(|event| (source, event)), at)
    }

    /// As `append_from`, and wakes nobody: [`Log::wake_cursors`] must follow soon. For many batches that come at about the
    /// same time.
    pub fn append_quietly<'a>(
        &self,
        sender: Option<&str>,
        events: impl IntoIterator<Item = Incoming<'a>>,
        at: Millis,
    ) -> Range<Seq> {
        let source = Source {
            sender,
            origin: None,
        };
        let (appended, overrun) = self.add(events.into_iter().map(|event| (source, event)), at);
        if overrun {
            self.wake(overrun);
        }
        appended
    }

    /// Wakes every waiting cursor.
    pub fn wake_cursors(&self) {
        self.wake(false);
    }

    /// The same for events of which each says how it came: those of other masters.
    pub fn append_sourced<'a, 's>(
        &self,
        events: impl IntoIterator<Item = (Source<'s>, Incoming<'a>)>,
        at: Millis,
    ) -> Range<Seq> {
        let (appended, overrun) = self.add(events, at);
        self.wake(overrun);
        appended
    }

    /// Adds events under the lock; their numbers, and whether a cursor was overrun.
    fn add<'a, 's>(
        &self,
        events: impl IntoIterator<Item = (Source<'s>, Incoming<'a>)>,
        at: Millis,
    ) -> (Range<Seq>, bool) {
        let mut overrun = false;
        let appended = {
            let mut memory = self.shared.lock();
            let first = memory.next();
            for (source, Incoming { event, tag_bytes }) in events {
                overrun |= memory.append(event, tag_bytes, at, &source);
            }
            memory.publish(at);
            self.shared.note_pressure(&memory);
            first..memory.next()
        };
        (appended, overrun)
    }

    /// Appends an event that has its number already, in the log that this one repeats. The numbers before it that were
    /// not appended have no event for its readers. One that is here already is left out.
    pub fn append_at(&self, seq: Seq, sender: Option<&str>, event: Incoming<'_>, at: Millis) {
        let Incoming { event, tag_bytes } = event;
        let source = Source {
            sender,
            origin: None,
        };
        let mut overrun = false;
        {
            let mut memory = self.shared.lock();
            if seq < memory.next() {
                return;
            }
            while memory.next() < seq {
                overrun |= memory.append(&[], 0, at, &Source::default());
            }
            overrun |= memory.append(event, tag_bytes, at, &source);
            memory.publish(at);
            self.shared.note_pressure(&memory);
            self.shared.repeated(&memory);
        }
        self.wake(overrun);
    }

    /// Goes on with a later number: readers receive a gap.
    pub fn skip_to(&self, next: Seq, reason: Option<GapReason>) {
        let overrun = {
            let mut memory = self.shared.lock();
            if next <= memory.next() {
                return;
            }
            let overrun = memory.skip_to(next, reason);
            self.shared.repeated(&memory);
            overrun
        };
        self.wake(overrun);
    }

    fn wake(&self, overrun: bool) {
        self.shared.appended.notify_waiters();
        if overrun {
            self.shared.overrun.notify_waiters();
        }
    }

    /// Whether so much waits to be written to the overflow that callers should wait for [`Log::overflow_progress`]
    /// before they append, so that lagging cursors miss nothing.
    #[inline]
    #[must_use]
    pub fn is_backed_up(&self) -> bool {
        self.shared.is_backed_up()
    }

    /// Waits until the overflow has written something, or no longer delays anybody. Dropping the future loses nothing.
    pub async fn overflow_progress(&self) {
        let before = self.shared.progress();
        wait_for(&self.shared.progressed, || {
            self.shared.progress() != before || !self.shared.is_backed_up()
        })
        .await;
    }

    /// Gives up an overflow whose disk no longer accepts writes; it is tried again in a minute.
    pub fn give_up_overflow(&self) {
        self.shared.fail_overflow(&io::ErrorKind::TimedOut.into());
    }

    /// Why a cursor was overrun last.
    #[must_use]
    pub fn overrun_cause(&self) -> OverrunCause {
        self.shared.lock().overrun_cause()
    }

    /// A cursor over frames, for a reader that writes them to a socket.
    #[must_use]
    pub fn frames(&self, framing: Framing, start: Start) -> FrameCursor {
        FrameCursor::new(&self.shared, framing, start)
    }

    /// A cursor over events, for a reader that looks at each.
    #[must_use]
    pub fn events(&self, start: Start) -> EventCursor {
        EventCursor::new(&self.shared, start)
    }

    /// Which log this is.
    #[must_use]
    pub const fn id(&self) -> LogId {
        self.id
    }

    /// The position of a reader that has read everything up to now.
    #[must_use]
    pub fn position(&self) -> Position {
        let next = self.shared.lock().next();
        Position {
            log: self.id,
            seq: Seq(next.0.saturating_sub(1)),
        }
    }

    /// The oldest event an [`EventCursor`] can have, history included.
    #[must_use]
    pub fn oldest(&self) -> Seq {
        let memory = self.shared.lock();
        self.shared.oldest(&memory)
    }

    /// How far a reader is behind whose next event is `seq`.
    #[must_use]
    pub fn lag(&self, seq: Seq) -> Lag {
        self.shared.lock().lag(seq)
    }

    /// The most events that these numbers can have: those that killed processes left unused are not counted.
    #[must_use]
    pub fn count(&self, seqs: Range<Seq>) -> u64 {
        self.shared.lock().count(seqs)
    }

    /// The number this many events before this one; the first number, if there are fewer.
    #[must_use]
    pub fn before(&self, seq: Seq, events: u64) -> Seq {
        self.shared.lock().before(seq, events)
    }

    /// The number this many events after this one.
    #[must_use]
    pub fn after(&self, seq: Seq, events: u64) -> Seq {
        self.shared.lock().after_events(seq, events)
    }

    /// What the log holds now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().stats()
    }
}

/// Without a directory that can be written to, a log does without overflow.
fn start_overflow(shared: &Arc<Shared>, config: &OverflowConfig) {
    match Threads::start(config, &Arc::downgrade(shared)) {
        Ok(threads) => shared.lock().set_overflow(threads, config.max_bytes),
        Err(error) => tracing::warn!(
            directory = %config.directory.display(), err = %error,
            "no overflow: subscribers that lag further than log_bytes are closed; make the directory writable for the bus's user"
        ),
    }
}

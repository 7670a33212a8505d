//! Changing a store whose bus is not running: removing events, importing them, moving consumers.

use std::cell::Cell;
use std::path::Path;

use brine_wire::matching::TagMatch;

use crate::gap::GapReason;
use crate::history::block::{BlockEvent, Effort};
use crate::history::open::{OpenError, PreparedHistory, coders, in_directory, no_memory};
use crate::history::redact::{Redactor, Stored};
use crate::history::retention::{Fate, Retention, prune};
use crate::history::saved::{Consumer, ConsumerName};
use crate::history::store::{Batch, BlockStore, RecordedGap, State, StoreError};
use crate::history::wait::now;
use crate::history::{HistoryConfig, directory::OwnDirectory};
use crate::position::{LogId, Millis, Seq};

/// A store that this process alone has open.
pub struct Maintenance {
    store: Box<dyn BlockStore>,
    state: State,
    next: Seq,
    until: Millis,
    is_closed: bool,
    _directory: Option<OwnDirectory>,
}

/// What [`Maintenance::purge_before`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// How many events were removed.
    pub events: u64,
    /// The oldest that is left.
    pub oldest: Option<Seq>,
}

/// Events of one imported block, in bytes: as many as a segment holds.
const IMPORT_BYTES: u64 = 256 << 10;

impl Maintenance {
    /// Opens the history in a directory. A bus that is running is the only one that may change its
    /// store.
    ///
    /// # Errors
    /// [`OpenError`]; [`OpenError::InUse`] names the bus's process.
    pub fn open(directory: &Path) -> Result<Self, OpenError> {
        PreparedHistory::open(HistoryConfig::new(directory)).map(Self::from)
    }

    pub(crate) fn on_parts(
        store: Box<dyn BlockStore>,
        state: State,
        next: Seq,
        until: Millis,
        directory: Option<OwnDirectory>,
    ) -> Self {
        Self {
            store,
            state,
            next,
            until,
            is_closed: false,
            _directory: directory,
        }
    }

    /// The log whose events these are.
    #[must_use]
    pub const fn log_id(&self) -> LogId {
        self.state.log
    }

    /// The number of the next event.
    #[must_use]
    pub const fn next(&self) -> Seq {
        self.next
    }

    /// Removes every event before this one; whole blocks, so that some before it may stay.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn purge_before(&mut self, seq: Seq) -> Result<Purged, StoreError> {
        let mut events = 0;
        loop {
            let heads = self.store.reading().oldest(64)?;
            let old = heads.iter().filter(|head| head.last < seq);
            let removed: Vec<Seq> = old.clone().map(|head| head.first).collect();
            if removed.is_empty() {
                let oldest = heads.first().map(|head| head.first);
                return Ok(Purged { events, oldest });
            }
            let old: u64 = old.map(|head| head.events).sum();
            self.store.commit(&Batch {
                forget_gaps: Some(seq),
                removed,
                ..Batch::default()
            })?;
            events += old;
        }
    }

    /// Removes every event whose tag matches; returns how many that were. Only their numbers and times stay: readers pass
    /// over them in silence. So it is with the matching tags that retention has left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn purge_tags(&mut self, tags: &TagMatch) -> Result<u64, StoreError> {
        let (mut encoder, mut decoder) = coders()?;
        let mut removed = 0;
        let mut at = Seq(0);
        while let Some(block) = self.store.reading().block(at)? {
            at = Seq(block.head.last.0 + 1);
            let coders = (&mut encoder, &mut decoder);
            let has_matches = Cell::new(false);
            let pruned = prune(&block, block.head.pruned, coders, |tag, _| {
                if tag.is_empty() || !tags.matches(tag) {
                    return Fate::Stays;
                }
                has_matches.set(true);
                Fate::IsForgotten
            })?;
            if has_matches.get() {
                removed += block.head.events - pruned.head.events;
                self.store.commit(&Batch {
                    blocks: vec![pruned],
                    ..Batch::default()
                })?;
            }
        }
        Ok(removed)
    }

    /// Applies rules of retention at once, and gives free space back to the system.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn vacuum(&mut self, retention: &Retention) -> Result<(), StoreError> {
        let (mut encoder, mut decoder) = coders()?;
        let coders = (&mut encoder, &mut decoder);
        retention.apply(&mut *self.store, coders, now(), &|| false)?;
        self.store.shrink()
    }

    /// Appends events, as exported from another history; they get this log's next numbers. Returns
    /// how many are stored: of those that never are, only the numbers are taken.
    ///
    /// # Errors
    /// [`StoreError`]; then the events of earlier blocks are there.
    pub fn import<'a>(
        &mut self,
        events: impl IntoIterator<Item = BlockEvent<'a>>,
        redact: &[String],
    ) -> Result<u64, StoreError> {
        let (mut encoder, _) = coders()?;
        let mut redactor = Redactor::new(redact.iter().map(String::as_str));
        let mut stored = 0;
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            encoder.begin(self.next, self.until);
            let (mut count, mut withheld) = (0, 0);
            while encoder.event_bytes() < IMPORT_BYTES
                && let Some(mut event) = events.next()
            {
                match redactor.apply(event.event, event.tag_bytes) {
                    Stored::AsItIs => encoder.push(&event),
                    Stored::Redacted(redacted) => encoder.push(&BlockEvent {
                        event: redacted,
                        ..event
                    }),
                    Stored::Withheld => {
                        withheld += 1;
                        (event.event, event.tag_bytes) = (&[], 0);
                        encoder.push(&event);
                    }
                }
                count += 1;
            }
            let mut block = encoder.finish(Effort::Ordinary).map_err(no_memory)?;
            block.head.sealed = true;
            let (until, next) = (block.head.until, Seq(self.next.0 + count));
            let state = State {
                ceiling: self.state.ceiling.max(next),
                ..self.state
            };
            self.store.commit(&Batch {
                blocks: vec![block],
                state: Some(state),
                ..Batch::default()
            })?;
            (self.until, self.next, self.state) = (until, next, state);
            stored += count - withheld;
        }
        Ok(stored)
    }

    /// Records that these events were removed on purpose.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn record_gap(&mut self, first: Seq, last: Seq) -> Result<(), StoreError> {
        self.store.commit(&Batch {
            gaps: vec![RecordedGap {
                first,
                last,
                at: now(),
                reason: GapReason::Purged,
            }],
            ..Batch::default()
        })
    }

    /// The consumers, by name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError> {
        self.store.reading().consumers()
    }

    /// Stores a consumer, or changes the one of that name.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn save(&mut self, consumer: Consumer) -> Result<(), StoreError> {
        self.store.commit(&Batch {
            consumers: vec![consumer],
            ..Batch::default()
        })
    }

    /// Removes a consumer.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove(&mut self, name: &ConsumerName) -> Result<(), StoreError> {
        self.store.commit(&Batch {
            removed_consumers: vec![name.to_string()],
            ..Batch::default()
        })
    }

    /// Closes the store, so that the next start finds nothing to recover.
    ///
    /// # Errors
    /// [`OpenError::Store`].
    pub fn close(mut self, directory: &Path) -> Result<(), OpenError> {
        self.write_closed()
            .map_err(|error| in_directory(directory, error))
    }

    fn write_closed(&mut self) -> Result<(), StoreError> {
        self.is_closed = true;
        let closed = State {
            ceiling: self.next,
            is_closed: true,
            ..self.state
        };
        let batch = Batch {
            state: Some(closed),
            ..Batch::default()
        };
        self.store.commit(&batch)?;
        if let Err(error) = self.store.finish() {
            tracing::debug!(%error, "history closed; its last events are still in events.db-wal");
        }
        Ok(())
    }
}

impl Drop for Maintenance {
    /// What failed was not written: the store is as whole as before, and nothing has to be recovered.
    fn drop(&mut self) {
        if !self.is_closed
            && let Err(error) = self.write_closed()
        {
            tracing::debug!(%error, "history could not be closed; the next start recovers it");
        }
    }
}

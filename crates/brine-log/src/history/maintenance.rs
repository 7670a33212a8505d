//! Changing a store whose bus is not running: removing events, importing them, moving consumers.

use std::path::Path;

use brine_wire::matching::TagMatch;

use crate::gap::GapReason;
use crate::history::block::{BlockEvent, Effort};
use crate::history::open::{OpenError, PreparedHistory, coders, in_directory, no_memory};
use crate::history::redact::{Redactor, Stored};
use crate::history::retention::{Retention, prune};
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
    _directory: Option<OwnDirectory>,
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

    /// Removes every event before this one; whole blocks, so that some before it may stay. Returns
    /// the oldest that is left.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn purge_before(&mut self, seq: Seq) -> Result<Option<Seq>, StoreError> {
        loop {
            let heads = self.store.reading().oldest(64)?;
            let old = heads.iter().filter(|head| head.last < seq);
            let removed: Vec<Seq> = old.map(|head| head.first).collect();
            if removed.is_empty() {
                return Ok(heads.first().map(|head| head.first));
            }
            self.store.commit(&Batch {
                forget_gaps: Some(seq),
                removed,
                ..Batch::default()
            })?;
        }
    }

    /// Removes every event whose tag matches; returns how many that were. They keep their numbers.
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
            let pruned = prune(&block, block.head.pruned, coders, |tag, _| {
                !tags.matches(tag)
            })?;
            if pruned.head.events < block.head.events {
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
    /// how many.
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
        let first = self.next;
        let mut events = events.into_iter().peekable();
        while events.peek().is_some() {
            encoder.begin(self.next, self.until);
            let mut count = 0;
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
                        (event.event, event.tag_bytes) = (&[], 0);
                        encoder.push(&event);
                    }
                }
                count += 1;
            }
            let mut block = encoder.finish(Effort::Ordinary).map_err(no_memory)?;
            block.head.sealed = true;
            self.until = block.head.until;
            self.next.0 += count;
            self.state.ceiling = self.state.ceiling.max(self.next);
            self.store.commit(&Batch {
                blocks: vec![block],
                state: Some(self.state),
                ..Batch::default()
            })?;
        }
        Ok(self.next.0 - first.0)
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
        let closed = State {
            ceiling: self.next,
            is_closed: true,
            ..self.state
        };
        let batch = Batch {
            state: Some(closed),
            ..Batch::default()
        };
        self.store
            .commit(&batch)
            .map_err(|error| in_directory(directory, error))
    }
}

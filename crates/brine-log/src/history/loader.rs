//! Loads segments from a store: reads and decodes blocks, and says what is known of the numbers between them.
//!
//! For the cursors of a running log, a separate thread with its own connection loads them, so that waiting for the
//! disk does not delay the bus. All cursors that read a segment at the same time share the decoded one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};
use std::thread;

use tokio::sync::mpsc;

use crate::gap::GapReason;
use crate::history::block::{Decoder, ORDINARY_BYTES, ReadSegment};
use crate::history::open::no_memory;
use crate::history::store::{BlockReader, StoreError};
use crate::position::{Millis, Seq};
use crate::segment::{Framings, Segment};
use crate::stored::{Loaded, Request, StoredSegments};
use crate::tags::TagQuery;

/// How many segments are remembered before those that nobody holds are forgotten.
const HELD_SEGMENTS: usize = 64;
/// Segments that stay for cursors that have not read all of them, or read the same, in bytes.
const RECENT_BYTES: usize = 4 << 20;
/// How many blocks' tags are examined for one request, so that a search does not delay the others.
const TAGS_AT_ONCE: usize = 2048;

/// Starts the thread that reads a store for the cursors of its log. It ends when nobody can ask
/// any more.
pub(crate) fn start(mut reader: Box<dyn BlockReader>) -> Result<Arc<StoredSegments>, StoreError> {
    let newest = reader.block_before(Seq(u64::MAX))?;
    let next = newest.map_or(Seq(0), |block| Seq(block.head.last.0 + 1));
    let oldest = reader.first_after(Seq(0))?.unwrap_or(next);
    let loader = Loader::new(reader, RECENT_BYTES)?;
    let (stored, arriving) = StoredSegments::new(oldest, next);
    thread::Builder::new()
        .name("history-reader".to_owned())
        .spawn(move || serve(loader, arriving))
        .map_err(no_memory)?;
    Ok(stored)
}

fn serve(mut loader: Loader, mut arriving: mpsc::Receiver<Request>) {
    // The caller may have left: then nobody misses the answer.
    while let Some(request) = arriving.blocking_recv() {
        match request {
            Request::Load(at, tags, answer) => {
                let is_in_order = loader.has_just_read(at);
                let loaded = loader.load_matching(at, &tags);
                let loaded = loaded.unwrap_or_else(|error| {
                    loader.report_failure(error);
                    (at, Loaded::Unreadable)
                });
                let end = match &loaded.1 {
                    Loaded::Segment(segment) => Some(segment.end()),
                    _ => None,
                };
                let _ = answer.send(loaded);
                // A caller that reads one segment after the other finds the next one ready.
                if let Some(end) = end.filter(|_| is_in_order && arriving.is_empty()) {
                    let _ = loader.load(end); // what fails is reported to whoever asks for it
                }
            }
            Request::Find(time, answer) => {
                let found = loader.find(time).unwrap_or_else(|error| {
                    loader.report_failure(error);
                    // The next reader from here gets the error.
                    Some(Seq(0))
                });
                let _ = answer.send(found);
            }
        }
    }
}

/// Reads segments and keeps in mind what others still hold.
pub(crate) struct Loader {
    pub(crate) reader: Box<dyn BlockReader>,
    decoder: Decoder,
    /// By first event.
    held: HashMap<u64, Weak<Segment>>,
    /// The latest ones, whose memory is used again when others have taken their places.
    recent: VecDeque<ReadSegment>,
    recent_bytes: usize,
    max_recent_bytes: usize,
    /// Blocks that were reported as damaged.
    damaged: Vec<Seq>,
    /// What failed last, so that it is reported once.
    failure: Option<StoreError>,
}

impl Loader {
    /// A loader that keeps segments of this many bytes, at least one, for later readers.
    pub(crate) fn new(
        reader: Box<dyn BlockReader>,
        max_recent_bytes: usize,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            reader,
            decoder: Decoder::new().map_err(no_memory)?,
            held: HashMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            max_recent_bytes,
            damaged: Vec::new(),
            failure: None,
        })
    }

    /// What there is at the first number from `from` on that may have these tags, and which number
    /// that is.
    fn load_matching(&mut self, from: Seq, tags: &TagQuery) -> Result<(Seq, Loaded), StoreError> {
        let at = self.candidate(from, tags, TAGS_AT_ONCE)?;
        let is_worth_it = tags.is_any() || at == from;
        let loaded = match is_worth_it {
            true => self.load(at)?,
            false => Loaded::PassedOver,
        };
        let loaded = match loaded {
            Loaded::NotStored => self.behind_all(at)?,
            loaded => loaded,
        };
        Ok((at, loaded))
    }

    /// What is known of a number behind everything that is stored: a process may have been killed there.
    fn behind_all(&mut self, at: Seq) -> Result<Loaded, StoreError> {
        let gaps = self.reader.gaps()?;
        let next = gaps.iter().find(|gap| gap.last >= at);
        Ok(next.map_or(Loaded::NotStored, |gap| match gap.first > at {
            true => Loaded::Gap(gap.first, None),
            false => Loaded::Gap(Seq(gap.last.0 + 1), Some(gap.reason)),
        }))
    }

    /// What there is at a number.
    pub(crate) fn load(&mut self, at: Seq) -> Result<Loaded, StoreError> {
        if let Some(segment) = self.held_at(at) {
            return Ok(Loaded::Segment(segment));
        }
        let block = match self.reader.block(at) {
            Ok(block) => block,
            Err(StoreError::Damaged { reason }) => return self.after_damage(at, &reason),
            Err(error) => return Err(error),
        };
        let Some(block) = block else {
            return Ok(Loaded::NotStored);
        };
        let head = block.head;
        if head.first > at {
            return self.gap(at, head.first);
        }
        self.make_room();
        match self.decoder.segment(&head, &block.data, Framings::Bare) {
            Ok(read) => {
                let segment = Arc::clone(&read.segment);
                self.hold(head.first, read);
                Ok(Loaded::Segment(segment))
            }
            Err(error) => {
                self.report_damage(head.first, &error.to_string());
                self.gap(at, Seq(head.last.0 + 1))
            }
        }
    }

    /// Nothing is stored between these; returns why, if that is recorded. Ranges that are missing for different
    /// reasons are reported one after the other.
    fn gap(&mut self, from: Seq, to: Seq) -> Result<Loaded, StoreError> {
        let gaps = self.reader.gaps()?;
        let recorded = gaps.iter().find(|gap| gap.first < to && gap.last >= from);
        if let Some(gap) = recorded.filter(|gap| gap.first <= from) {
            return Ok(Loaded::Gap(to.min(Seq(gap.last.0 + 1)), Some(gap.reason)));
        }
        let to = recorded.map_or(to, |gap| gap.first);
        let is_damaged = self.damaged.iter().any(|first| (from..to).contains(first));
        Ok(Loaded::Gap(to, is_damaged.then_some(GapReason::Damaged)))
    }

    /// The engine cannot read a block: continues with the next one that begins later.
    fn after_damage(&mut self, at: Seq, reason: &str) -> Result<Loaded, StoreError> {
        self.report_damage(at, reason);
        match self.reader.first_after(at)? {
            Some(next) => self.gap(at, next),
            None => Ok(Loaded::NotStored),
        }
    }

    fn report_damage(&mut self, first: Seq, reason: &str) {
        if !self.damaged.contains(&first) {
            self.damaged.push(first);
            tracing::error!(
                seq = first.0,
                reason,
                "history: a block is damaged; readers receive a gap instead of its events"
            );
        }
    }

    fn report_failure(&mut self, error: StoreError) {
        if self.failure.as_ref() != Some(&error) {
            tracing::error!(%error, "history cannot be read; readers receive a gap");
            self.failure = Some(error);
        }
    }

    /// Whether the segment before this number was read recently.
    fn has_just_read(&self, at: Seq) -> bool {
        self.recent.iter().any(|read| read.segment.end() == at)
    }

    fn held_at(&self, at: Seq) -> Option<Arc<Segment>> {
        let mut held = self.held.values().filter_map(Weak::upgrade);
        held.find(|segment| (segment.first..segment.end()).contains(&at))
    }

    fn hold(&mut self, first: Seq, read: ReadSegment) {
        if self.held.len() >= HELD_SEGMENTS {
            self.held.retain(|_, held| held.strong_count() > 0);
        }
        self.held.insert(first.0, Arc::downgrade(&read.segment));
        self.recent_bytes += read.segment.capacity_bytes();
        self.recent.push_back(read);
    }

    /// Frees the memory of segments for which there is no room beside the next one.
    fn make_room(&mut self) {
        while self.recent_bytes + ORDINARY_BYTES > self.max_recent_bytes
            && let Some(oldest) = self.recent.pop_front()
        {
            self.recent_bytes -= oldest.segment.capacity_bytes();
            self.decoder.give_back(oldest);
        }
    }

    /// The first event received at this time or later.
    pub(crate) fn find(&mut self, time: Millis) -> Result<Option<Seq>, StoreError> {
        let Some(head) = self.reader.find(time)? else {
            return Ok(None);
        };
        // Within the block; one that cannot be read is a gap from its beginning.
        Ok(match self.load(head.first)? {
            Loaded::Segment(segment) => Some(segment.since(time).unwrap_or(head.first)),
            _ => Some(head.first),
        })
    }

    /// The first event from `from` on that may match or is missing, or the position after `limit` blocks without one;
    /// the end of the sealed blocks if there is none before.
    pub(crate) fn candidate(
        &mut self,
        from: Seq,
        query: &TagQuery,
        limit: usize,
    ) -> Result<Seq, StoreError> {
        let mut at = from;
        if query.is_any() {
            return Ok(at);
        }
        let mut left = limit;
        self.reader.tags(from, &mut |first, last, filter| {
            if left == 0 || first > at || query.may_match(filter) {
                return false;
            }
            left -= 1;
            at = Seq(last.0 + 1);
            true
        })?;
        Ok(at)
    }
}

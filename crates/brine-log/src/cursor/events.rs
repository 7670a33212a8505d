//! Cursors over events, for readers that look at each event.
//!
//! They read from memory, then from the overflow, then from the history; a reader that is far behind passes from one
//! to the next without noticing. The history's reading thread fetches stored events: only the cursor that needs them
//! waits, in [`EventCursor::load`].

use std::ops::Range;
use std::sync::{Arc, Weak};

use super::{Further, Location, Next, gap_at, wait_for};
use crate::gap::{Gap, GapReason};
use crate::memory::{Look, Memory};
use crate::position::{Millis, Position, Seq, Start};
use crate::removed::{Expected, Found, Removed};
use crate::segment::{Segment, StoredEvent, nth};
use crate::shared::Shared;
use crate::stored::{Loaded, StoredSegments};
use crate::tags::TagQuery;

/// A reader that goes event by event and looks at tags before anything else.
pub struct EventCursor {
    shared: Arc<Shared>,
    home: Home,
    seq: Seq,
    gap: Option<Gap>,
    /// What stored events must have to be worth fetching.
    tags: Arc<TagQuery>,
    removed: Removed,
}

/// Where a cursor reads.
enum Home {
    /// From the log: memory, or the overflow.
    Log(Location),
    /// From the store, everything before the oldest event in the log.
    Stored(Fetched),
    /// From the first event of this time on, which must be looked for in the store.
    Since(Millis),
}

/// A segment from the store. Between two calls of `next` it is the store's to keep or to drop.
#[derive(Default)]
struct Fetched {
    /// Until it is looked at.
    fresh: Option<Arc<Segment>>,
    known: Weak<Segment>,
}

/// A run of events of one segment, beginning where the cursor is.
pub struct Events {
    segment: Arc<Segment>,
    range: Range<usize>,
    /// Whether the segment gets no more events.
    #[cfg_attr(not(feature = "history"), allow(dead_code))]
    sealed: bool,
}

impl EventCursor {
    pub(crate) fn new(shared: &Arc<Shared>, start: Start) -> Self {
        let mut memory = shared.lock();
        let in_log = memory.oldest();
        let oldest = shared.oldest(&memory);
        let (mut seq, gap) = memory.find(start, oldest);
        let home = match start {
            // If the match is the log's oldest event, the store may hold earlier matches.
            Start::Since(time) if seq == in_log && oldest < in_log => {
                seq = oldest;
                Home::Since(time)
            }
            _ => Home::at(&mut memory, seq),
        };
        drop(memory);
        Self {
            shared: Arc::clone(shared),
            home,
            seq,
            gap,
            tags: Arc::default(),
            removed: Removed::default(),
        }
    }

    /// From now on stored events are fetched only where an event with such a tag may be among
    /// them; numbers without one are passed over in silence. Events still have to be looked at one
    /// by one.
    pub fn select(&mut self, tags: TagQuery) {
        self.tags = Arc::new(tags);
    }

    /// From now on it gives a gap for stored events that are expected and that retention has removed by their tags.
    /// Otherwise those are passed over in silence.
    pub fn expect(&mut self, expected: Expected) {
        self.removed.expect(expected);
    }

    #[allow(clippy::should_implement_trait)] // a cursor at the tail goes on later; an iterator ends
    /// What is at the cursor. Does not move it: [`EventCursor::advance`] and [`EventCursor::skip`]
    /// do.
    pub fn next(&mut self) -> Next<Events> {
        if let Some(gap) = self.gap {
            return Next::Gap(gap);
        }
        let shared = Arc::clone(&self.shared);
        let location = match &mut self.home {
            Home::Since(_) => return Next::Stored,
            Home::Stored(fetched) => {
                let at = self.removed.next(self.seq);
                if let Some(segment) = fetched.segment(at) {
                    return match self.removed.look(&segment, at) {
                        Found::Events(range) => Next::Ready(Events::in_stored(segment, range)),
                        Found::Complete => self.tell_of_removed(),
                        Found::GoesOn => self.next(),
                    };
                }
                let mut memory = shared.lock();
                if at < memory.oldest() {
                    return Next::Stored;
                }
                if at > self.seq {
                    drop(memory);
                    return self.tell_of_removed();
                }
                self.home = Home::at(&mut memory, self.seq);
                drop(memory);
                return self.next();
            }
            Home::Log(location) => location,
        };
        let mut memory = shared.lock();
        loop {
            if let Some(gap) = memory.gap_before(location.segment, self.seq) {
                return Next::Gap(gap);
            }
            let sealed = location.segment != memory.newest();
            let events = match memory.look(location.segment) {
                Look::Here(segment) => Events::at(segment, self.seq, sealed),
                _ => match location.look_further(&mut memory, self.seq) {
                    Further::Loaded(segment) => Events::at(&segment, self.seq, sealed),
                    Further::Stored => return Next::Stored,
                    Further::Gap(gap) => {
                        // What the log has dropped may be stored.
                        if !shared.is_stored(self.seq) || self.seq >= memory.oldest() {
                            return Next::Gap(gap);
                        }
                        memory.leave(location.segment);
                        self.home = Home::Stored(Fetched::default());
                        return Next::Stored;
                    }
                    Further::Moved => continue,
                },
            };
            if let Some(events) = events {
                return Next::Ready(events);
            }
            if !location.step(&mut memory) {
                return Next::Tail;
            }
        }
    }

    /// Gives the gap of the removed events that it has passed.
    fn tell_of_removed(&mut self) -> Next<Events> {
        let Some(run) = self.removed.take() else {
            return self.next();
        };
        let gap = self
            .shared
            .lock()
            .gap(run.from, run.to, Some(GapReason::Expired));
        let gap = Gap {
            unused: (run.to.0 - run.from.0).saturating_sub(run.events),
            ..gap
        };
        self.seq = run.from;
        self.gap = Some(gap);
        Next::Gap(gap)
    }

    /// Moves past the first `count` events of a run that [`EventCursor::next`] gave.
    pub fn advance(&mut self, events: &Events, count: usize) {
        let count = count.min(events.len());
        self.seq = Seq(events.segment.first.0 + (events.range.start + count) as u64);
    }

    /// Moves past a gap that [`EventCursor::next`] gave.
    pub fn skip(&mut self, gap: Gap) {
        self.gap = None;
        self.move_to(gap.to.seq);
    }

    /// Goes on with another event.
    pub(crate) fn move_to(&mut self, seq: Seq) {
        self.removed.forget();
        let shared = Arc::clone(&self.shared);
        let mut memory = shared.lock();
        // The log may have moved on since.
        if !shared.is_stored(seq) {
            self.gap = gap_at(&memory, seq);
        }
        self.seq = self.gap.map_or(seq, |gap| gap.to.seq);
        match &mut self.home {
            Home::Log(location) if self.seq >= memory.oldest() => {
                location.move_to(&mut memory, self.seq);
            }
            // It may go on in the same segment.
            Home::Stored(_) if self.seq < memory.oldest() => {}
            home => {
                let before = std::mem::replace(home, Home::at(&mut memory, self.seq));
                before.leave(&mut memory);
            }
        }
    }

    /// The next event that it will return. For a cursor that starts at a time, until that is resolved: the first event
    /// that it might return.
    #[must_use]
    pub const fn seq(&self) -> Seq {
        self.seq
    }

    /// Whether [`EventCursor::next`] gives a gap that lies before [`EventCursor::seq`]: the start was beyond the tail, in
    /// another log, or older than what is kept.
    #[must_use]
    pub fn is_behind_gap(&self) -> bool {
        self.gap.is_some_and(|gap| gap.to.seq <= self.seq)
    }

    /// Where the reader is: past every event before [`EventCursor::seq`].
    #[must_use]
    pub fn position(&self) -> Position {
        let read = Seq(self.seq.0.saturating_sub(1));
        self.shared.lock().position(read)
    }

    /// Fetches what [`Next::Stored`] is about. Dropping the future loses nothing.
    pub async fn load(&mut self) {
        let stored = self.shared.stored.clone();
        match (&mut self.home, stored) {
            (Home::Log(location), _) => location.load(&self.shared).await,
            (Home::Stored(_), Some(stored)) => self.fetch(&stored).await,
            (Home::Since(time), Some(stored)) => {
                let time = *time;
                self.find(&stored, time).await;
            }
            // Only what is stored is ever looked for there.
            (Home::Stored(_) | Home::Since(_), None) => {}
        }
    }

    /// Fetches the segment at the cursor from the store, or the next one that is worth it.
    async fn fetch(&mut self, stored: &StoredSegments) {
        // Everything before this is stored, or missing for good; the rest is in the log.
        let in_log = self.shared.lock().oldest();
        let next = self.removed.next(self.seq);
        let (at, loaded) = stored.load(next, &self.tags).await;
        if !self.removed.pass(at) {
            self.seq = at;
        }
        let missing = match loaded {
            Loaded::Segment(segment) => {
                self.home = Home::Stored(Fetched {
                    known: Arc::downgrade(&segment),
                    fresh: Some(segment),
                });
                return;
            }
            Loaded::PassedOver => return,
            Loaded::Gap(to, reason) => (to.min(in_log), reason),
            Loaded::NotStored => (in_log, None),
            Loaded::Unreadable => (in_log, Some(GapReason::Unreadable)),
        };
        let (to, reason) = missing;
        if at > self.seq {
            self.tell_of_removed(); // first; what is missing here is found once more
        } else if at < to {
            self.gap = Some(self.shared.lock().gap(at, to, reason));
        }
    }

    /// Goes to the first event of a time.
    async fn find(&mut self, stored: &StoredSegments, time: Millis) {
        loop {
            let in_log = self.shared.lock().oldest();
            let found = stored.find(time).await;
            let mut memory = self.shared.lock();
            self.seq = match found {
                Some(seq) if seq < memory.oldest() => seq,
                // Meanwhile, events that were in the log may have been stored, and may be of that time.
                None if memory.oldest() > in_log => continue,
                _ => memory.since(time),
            };
            self.home = Home::at(&mut memory, self.seq);
            return;
        }
    }

    /// Waits until something is at the cursor that is not the tail. Dropping the future loses
    /// nothing.
    pub async fn readable(&mut self) {
        let shared = Arc::clone(&self.shared);
        wait_for(&shared.appended, || !matches!(self.next(), Next::Tail)).await;
    }

    /// Waits for events, wherever they are. Does not move the cursor. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The gap, where events are missing: [`EventCursor::skip`] continues after it.
    pub async fn ready(&mut self) -> Result<Events, Gap> {
        loop {
            match self.next() {
                Next::Ready(events) => return Ok(events),
                Next::Gap(gap) => return Err(gap),
                Next::Stored => self.load().await,
                Next::Tail => self.readable().await,
            }
        }
    }
}

impl Drop for EventCursor {
    fn drop(&mut self) {
        if let Home::Log(location) = &self.home {
            self.shared.lock().depart(location.segment);
        }
    }
}

impl Home {
    /// Where an event is, or will be.
    fn at(memory: &mut Memory, seq: Seq) -> Self {
        match seq < memory.oldest() {
            true => Self::Stored(Fetched::default()),
            false => Self::Log(Location::enter(memory, seq)),
        }
    }

    fn leave(self, memory: &mut Memory) {
        if let Self::Log(location) = self {
            memory.leave(location.segment);
        }
    }
}

impl Fetched {
    /// The segment, if it holds this event and is still there.
    fn segment(&mut self, seq: Seq) -> Option<Arc<Segment>> {
        let segment = self.fresh.take().or_else(|| self.known.upgrade())?;
        let range = segment.first..segment.end();
        range.contains(&seq).then_some(segment)
    }
}

impl Events {
    /// What a segment has from one event on, if anything.
    fn at(segment: &Arc<Segment>, from: Seq, sealed: bool) -> Option<Self> {
        let range = nth(segment.first, from)..segment.events();
        (!range.is_empty()).then(|| Self {
            segment: Arc::clone(segment),
            range,
            sealed,
        })
    }

    /// Some of the events of a stored segment.
    pub(crate) const fn in_stored(segment: Arc<Segment>, range: Range<usize>) -> Self {
        Self {
            segment,
            range,
            sealed: true,
        }
    }

    /// The events, in order. In a segment from the store there may be numbers without an event:
    /// those that are never stored, or that retention has removed.
    pub fn iter(&self) -> impl Iterator<Item = StoredEvent<'_>> {
        let events = self.range.clone().filter_map(|nth| self.segment.event(nth));
        events.filter(|event| !event.event.is_empty())
    }

    /// How many numbers they take; never none.
    #[allow(clippy::len_without_is_empty)] // a run is never empty
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }
}

#[cfg(feature = "history")]
impl Events {
    /// The events of a stored segment before `end`; it holds at least one of them.
    pub(crate) fn before(segment: Arc<Segment>, end: Seq) -> Self {
        let range = 0..nth(segment.first, end).min(segment.events());
        Self {
            segment,
            range,
            sealed: true,
        }
    }

    pub(crate) const fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Which of the segment's events these are.
    pub(crate) fn range(&self) -> Range<usize> {
        self.range.clone()
    }

    pub(crate) const fn is_sealed(&self) -> bool {
        self.sealed
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Events")
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

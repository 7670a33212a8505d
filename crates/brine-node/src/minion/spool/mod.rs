//! The events and returns that wait for a master, in order, on disk until the master has acknowledged them.
//!
//! Records are appended to segments, files of [`SEGMENT_BYTES`]; a segment is removed when all its records are
//! acknowledged, and a small file says how far that is. Every start of the minion is a *boot*, with a random number
//! and its own segments, so that boot and number identify a record for ever, whatever a crash has removed from the
//! end of earlier segments. A record is with the operating system when [`Spool::push`] returns, and on disk soon
//! after ([`Spool::unsynced`]).
//!
//! The spool is limited. When it is full it refuses records, and records that have waited too long are dropped; a
//! record in their place says how many are missing. While the disk accepts nothing, records wait in memory. This
//! module knows bytes, numbers and times, and files only as a [`Store`]; `forward` knows what the bytes mean.

mod backlog;
mod record;
mod store;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

pub use self::backlog::Backlog;
pub(super) use self::record::{Body, Dropped, Reason};
pub(super) use self::store::{Directory, Memory, Store};

use self::record::Position;
use self::store::SyncJob;

/// A segment of this many bytes gets no more records; in a small spool, one of an eighth of the spool's size.
const SEGMENT_BYTES: u64 = 256 << 10;
/// What waits in memory while the disk takes nothing, in bytes.
const MEMORY_BYTES: u64 = 4 << 20;
/// The file that says how far a master has acknowledged.
const POSITION: &str = "acknowledged";

/// How much a spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// All files, in bytes.
    pub max_bytes: u64,
    /// How long a record waits at most; `None` for ever.
    pub max_age: Option<Duration>,
}

impl Default for SpoolLimits {
    /// 256 MiB, a week.
    fn default() -> Self {
        Self {
            max_bytes: 256 << 20,
            max_age: Some(Duration::from_secs(7 * 24 * 3600)),
        }
    }
}

/// Which record of which start of the minion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) boot: u64,
    /// From 1, in order, with holes where records were dropped.
    pub(super) number: u64,
}

/// A record that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waiting {
    pub(super) id: Id,
    /// When it was pushed, since the epoch.
    pub(super) at: Duration,
    pub(super) body: Body,
}

/// The spool takes no more for now; the record was not taken, and is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Full {
    /// It holds what it may.
    #[error(
        "{max_bytes} bytes wait for the master already; raise brine: {{spool: {{max_bytes: …}}}}"
    )]
    Limit {
        /// The limit.
        max_bytes: u64,
    },
    /// The disk takes nothing, and memory holds what it may.
    #[error(
        "the disk takes nothing, and {MEMORY_BYTES} bytes wait in memory already; make room on the disk"
    )]
    Disk,
}

/// Records for one master.
#[derive(Debug)]
pub(super) struct Spool<S> {
    store: S,
    limits: SpoolLimits,
    boot: u64,
    /// The number of the next record of this boot.
    next: u64,
    /// Oldest first. Those of this boot come last.
    segments: VecDeque<Segment>,
    /// The number of the next segment among all that there ever were.
    order: u64,
    /// What the disk did not take; behind the segments.
    held: VecDeque<Waiting>,
    held_bytes: u64,
    position: Position,
    /// What was not taken and has no record yet; behind everything.
    refused: Option<Dropped>,
    /// When this many are refused in a row, a record says so, in case nothing follows: 1, 16, 256 …
    tell_at: u64,
    in_flight: InFlight,
}

/// Records that were returned and are not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum InFlight {
    Nothing,
    /// From the segments, or what was dropped before them.
    Stored,
    Held,
}

#[derive(Debug)]
struct Segment {
    name: String,
    bytes: u64,
    /// How many of its records wait.
    count: usize,
    is_own: bool,
    /// Those, unless it is one between the first and the last.
    waiting: Option<VecDeque<Waiting>>,
}

fn name(order: u64) -> String {
    format!("{order:016}.spool")
}

fn order(name: &str) -> Option<u64> {
    name.strip_suffix(".spool")?.parse().ok()
}

impl<S: Store> Spool<S> {
    /// Opens what earlier starts have left, and begins a new boot, whose number must be random.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn open(mut store: S, limits: SpoolLimits, boot: u64) -> io::Result<Self> {
        let mut names = store.list()?;
        names.retain(|name| order(name).is_some());
        names.sort();
        // Without it, or with one that was torn, what was acknowledged is sent again.
        let position = store.read(POSITION).ok();
        let position = position.and_then(|bytes| Position::read(&bytes));
        let last_order = names.last().and_then(|name| order(name)).unwrap_or(0);
        let mut spool = Self {
            store,
            limits,
            boot,
            next: 1,
            segments: VecDeque::new(),
            order: last_order + 1,
            held: VecDeque::new(),
            held_bytes: 0,
            position: position.unwrap_or_default(),
            refused: None,
            tell_at: 1,
            in_flight: InFlight::Nothing,
        };
        for name in names {
            spool.find(name)?;
        }
        Ok(spool)
    }

    /// Takes in a segment of an earlier boot. What came before the acknowledged record is done.
    fn find(&mut self, name: String) -> io::Result<()> {
        let bytes = self.store.read(&name)?;
        let (records, has_done) = self.waiting_in(&bytes);
        if has_done {
            for done in std::mem::take(&mut self.segments) {
                self.store.remove(&done.name)?;
            }
        }
        self.segments.push_back(Segment {
            name,
            bytes: bytes.len() as u64,
            count: records.len(),
            is_own: false,
            waiting: None,
        });
        Ok(())
    }

    /// The records in a segment that wait, and whether the last acknowledged one is among the others.
    fn waiting_in(&self, bytes: &[u8]) -> (VecDeque<Waiting>, bool) {
        let mut records: VecDeque<_> = record::read_all(bytes).into();
        let is_done = |record: &Waiting| Some(record.id) == self.position.done;
        let done = records.iter().rposition(is_done);
        if let Some(at) = done {
            records.drain(..=at);
        }
        // The caller has ended with the boot.
        records
            .retain(|record| record.id.boot == self.boot || !matches!(record.body, Body::Asked(_)));
        (records, done.is_some())
    }

    /// Whether a record is of this boot.
    pub(super) const fn is_own(&self, id: Id) -> bool {
        id.boot == self.boot
    }

    /// The number of the last record of this boot; 0 before the first.
    pub(super) const fn last(&self) -> u64 {
        self.next - 1
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        let stored: usize = self.segments.iter().map(|segment| segment.count).sum();
        stored + self.held.len()
    }

    fn bytes(&self) -> u64 {
        let stored: u64 = self.segments.iter().map(|segment| segment.bytes).sum();
        stored + self.held_bytes
    }

    /// Appends a record.
    ///
    /// # Errors
    /// [`Full`]: it is counted, and a record in its place will say so.
    pub(super) fn push(&mut self, body: Body, now: Duration) -> Result<Id, Full> {
        let bytes = body.bytes() as u64;
        let max_bytes = self.limits.max_bytes;
        if self.bytes() + bytes > max_bytes && self.in_flight == InFlight::Nothing {
            self.expire(now);
            self.release();
        }
        if self.bytes() + bytes > max_bytes {
            self.refuse(Reason::Full, now);
            return Err(Full::Limit { max_bytes });
        }
        self.write_held();
        if !self.held.is_empty() && self.held_bytes + bytes > MEMORY_BYTES {
            self.refuse(Reason::Disk, now);
            return Err(Full::Disk);
        }
        self.put_refused();
        self.tell_at = 1;
        let id = self.take_id();
        self.put(Waiting { id, at: now, body });
        Ok(id)
    }

    /// Removes the last segment if nothing in it waits any more.
    fn release(&mut self) {
        if self.segments.back().is_some_and(|last| last.count == 0)
            && let Some(last) = self.segments.pop_back()
            && let Err(error) = self.store.remove(&last.name)
        {
            tracing::warn!(%error, "cannot remove what the master has acknowledged");
        }
    }

    const fn segment_bytes(&self) -> u64 {
        let eighth = self.limits.max_bytes / 8;
        if eighth < SEGMENT_BYTES {
            eighth
        } else {
            SEGMENT_BYTES
        }
    }

    /// Counts a record that is not taken. It has a number all the same.
    fn refuse(&mut self, reason: Reason, now: Duration) {
        let id = self.take_id();
        match &mut self.refused {
            Some(refused) => refused.add(id, now),
            refused => *refused = Some(Dropped::one(reason, id, now)),
        }
        if self
            .refused
            .is_some_and(|refused| refused.count >= self.tell_at)
        {
            self.put_refused();
            self.tell_at = self.tell_at.saturating_mul(16);
        }
    }

    /// Puts a record where others are missing. It is small, and may exceed the limits.
    fn put_refused(&mut self) {
        if let Some(dropped) = self.refused.take() {
            self.put(Waiting {
                id: dropped.last,
                at: dropped.to,
                body: Body::Dropped(dropped),
            });
        }
    }

    const fn take_id(&mut self) -> Id {
        let number = self.next;
        self.next += 1;
        Id {
            boot: self.boot,
            number,
        }
    }

    /// To the disk if that takes it, else behind what waits in memory.
    fn put(&mut self, waiting: Waiting) {
        if self.held.is_empty() {
            match self.write(&waiting) {
                Ok(()) => return self.keep(waiting),
                Err(error) => {
                    tracing::error!(%error, "what waits for the master is kept in memory until the disk takes it");
                }
            }
        }
        self.held_bytes += waiting.body.bytes() as u64;
        self.held.push_back(waiting);
    }

    /// Writes what the disk did not take before, as far as it does now.
    fn write_held(&mut self) {
        // The first of them may be on its way to the master.
        while self.in_flight != InFlight::Held
            && let Some(waiting) = self.held.pop_front()
        {
            if self.write(&waiting).is_err() {
                return self.held.push_front(waiting);
            }
            self.held_bytes -= waiting.body.bytes() as u64;
            self.keep(waiting);
        }
    }

    fn write(&mut self, waiting: &Waiting) -> io::Result<()> {
        let bytes = record::to_bytes(waiting);
        let length = bytes.len() as u64;
        let full = self.segment_bytes();
        match self.segments.back_mut() {
            Some(last) if last.is_own && last.bytes < full => {
                // Over whatever a write that failed has left there.
                self.store.write(&last.name, last.bytes, &bytes)?;
                last.bytes += length;
            }
            _ => {
                let name = name(self.order);
                self.store.write(&name, 0, &bytes)?;
                self.order += 1;
                if self.segments.len() > 1
                    && let Some(before) = self.segments.back_mut()
                {
                    before.waiting = None;
                }
                self.segments.push_back(Segment {
                    name,
                    bytes: length,
                    count: 0,
                    is_own: true,
                    waiting: Some(VecDeque::new()),
                });
            }
        }
        Ok(())
    }

    fn keep(&mut self, waiting: Waiting) {
        if let Some(last) = self.segments.back_mut() {
            last.count += 1;
            if let Some(kept) = &mut last.waiting {
                kept.push_back(waiting);
            }
        }
    }

    /// The records at the front that may be sent together: at most this many, and this many bytes, but at least one. A
    /// record about missing ones comes alone. Until they are acknowledged, or requested again, nothing is dropped
    /// because of its age.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(super) fn first(
        &mut self,
        most: usize,
        most_bytes: usize,
        now: Duration,
    ) -> io::Result<Vec<Waiting>> {
        self.in_flight = InFlight::Nothing;
        self.expire(now);
        self.write_held();
        if let Some(aged) = self.position.aged {
            self.in_flight = InFlight::Stored;
            return Ok(vec![Waiting {
                id: aged.last,
                at: aged.to,
                body: Body::Dropped(aged),
            }]);
        }
        if self.load()?.is_none() && self.held.is_empty() {
            // Nothing follows that would put it down.
            self.put_refused();
        }
        let held = &self.held;
        let first = self.segments.front();
        let stored = first.and_then(|first| first.waiting.as_ref());
        let stored = stored.filter(|stored| !stored.is_empty());
        let waiting = stored.unwrap_or(held);
        let in_flight = match (stored, held.is_empty()) {
            (Some(_), _) => InFlight::Stored,
            (None, false) => InFlight::Held,
            (None, true) => InFlight::Nothing,
        };
        let mut bytes = 0;
        let mut together: Vec<Waiting> = Vec::new();
        for next in waiting.iter().take(most.max(1)) {
            bytes += next.body.bytes();
            let follows = |last: &Waiting| {
                let is_next = next.id.boot == last.id.boot && next.id.number == last.id.number + 1;
                let are_requests = [last, next].map(|it| matches!(it.body, Body::Request(_)));
                is_next && bytes <= most_bytes && are_requests == [true, true]
            };
            if !together.last().is_none_or(follows) {
                break;
            }
            together.push(next.clone());
        }
        self.in_flight = in_flight;
        Ok(together)
    }

    /// Reads the first segment that has records that wait; those before it are removed. `None` if there is none.
    fn load(&mut self) -> io::Result<Option<()>> {
        loop {
            let (count, full) = (self.segments.len(), self.segment_bytes());
            let Some(first) = self.segments.front_mut() else {
                return Ok(None);
            };
            if first.count > 0 {
                if first.waiting.is_none() {
                    let name = first.name.clone();
                    let bytes = self.store.read(&name)?;
                    let (records, _) = self.waiting_in(&bytes);
                    if let Some(first) = self.segments.front_mut() {
                        first.count = records.len();
                        first.waiting = Some(records);
                    }
                    continue;
                }
                return Ok(Some(()));
            }
            let is_written_to = count == 1 && first.is_own && first.bytes < full;
            if is_written_to {
                return Ok(None);
            }
            let name = first.name.clone();
            self.segments.pop_front();
            self.store.remove(&name)?;
        }
    }

    /// The master has taken everything up to this record.
    pub(super) fn acknowledge(&mut self, through: Id) {
        let in_flight = std::mem::replace(&mut self.in_flight, InFlight::Nothing);
        if self.position.aged.is_some_and(|aged| aged.last == through) {
            self.position.aged = None;
            return self.save();
        }
        if in_flight == InFlight::Held {
            while let Some(done) = self.held.pop_front() {
                self.held_bytes -= done.body.bytes() as u64;
                if done.id == through {
                    break;
                }
            }
        } else if let Some(first) = self.segments.front_mut() {
            let waiting = first.waiting.get_or_insert_default();
            if let Some(at) = waiting.iter().position(|record| record.id == through) {
                waiting.drain(..=at);
                first.count = waiting.len();
            }
            self.position.done = Some(through);
            self.save();
        }
    }

    /// Drops what has waited too long.
    fn expire(&mut self, now: Duration) {
        let Some(oldest) = self.limits.max_age.and_then(|age| now.checked_sub(age)) else {
            return;
        };
        let mut dropped = self.position.aged;
        let mut has_dropped = false;
        // A record that cannot be read cannot be dropped; that is reported when it is to be sent.
        while let Ok(Some(())) = self.load() {
            let Some(first) = self.segments.front_mut() else {
                break;
            };
            let Some(waiting) = &mut first.waiting else {
                break;
            };
            while let Some(record) = waiting.front().filter(|record| record.at < oldest) {
                has_dropped = true;
                self.position.done = Some(record.id);
                match &mut dropped {
                    Some(dropped) => dropped.add(record.id, record.at),
                    dropped => {
                        *dropped = Some(Dropped::one(Reason::Age, record.id, record.at));
                    }
                }
                waiting.pop_front();
            }
            first.count = waiting.len();
            if first.count > 0 {
                break;
            }
        }
        if has_dropped {
            self.position.aged = dropped;
            self.save();
        }
    }

    /// Writes down how far the master has acknowledged. If that fails, more is sent again after a restart.
    fn save(&mut self) {
        if let Err(error) = self.store.write(POSITION, 0, &self.position.to_bytes()) {
            tracing::warn!(%error, "cannot write down what the master has acknowledged; it may come twice");
        }
    }

    /// What is to be done so that everything pushed until now survives a crash of the machine.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn unsynced(&mut self) -> io::Result<SyncJob> {
        self.store.unsynced()
    }
}

//! Moves segments to disk, and back for cursors that lag.
//!
//! The overflow's threads do all I/O ([`Threads`]); this file only tracks where each segment is.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::{Kept, Memory};
use crate::config::OverrunCause;
use crate::overflow::{OnDisk, Threads, Written};
use crate::position::Millis;
use crate::segment::Segment;

/// Segments read back from the overflow that stay for other readers at the same place, in bytes.
const LOADED_BYTES: usize = 4 << 20;
/// How long to wait before using a failed overflow again, in milliseconds.
const RETRY_AFTER: u64 = 60_000;

/// What is known of the overflow.
pub(super) struct Overflow {
    threads: Threads,
    max_bytes: u64,
    /// The present limit: `max_bytes`, or half of the free space.
    limit: u64,
    /// Segments on disk and on their way to it, in bytes.
    pub(super) bytes: u64,
    /// The memory of segments on their way to disk.
    waiting_bytes: usize,
    /// Set when it has failed: when to try again.
    retry_at: Option<Millis>,
    /// Segments read back, the latest last.
    loaded: Vec<(u64, Arc<Segment>)>,
    /// Segments being read back, and who waits for them.
    loading: HashMap<u64, Vec<oneshot::Sender<Arc<Segment>>>>,
}

/// Where a segment is. In order of age: on disk, waiting, in memory.
pub(super) enum Home {
    Memory(Arc<Segment>),
    /// In memory until it is written.
    Waiting(Arc<Segment>),
    Disk(OnDisk),
    /// It could not be read back.
    Lost,
}

impl Memory {
    /// From now on segments go to disk when half of the memory is full.
    pub(crate) fn set_overflow(&mut self, threads: Threads, max_bytes: u64) {
        self.overflow = Some(Overflow {
            threads,
            max_bytes,
            limit: max_bytes,
            bytes: 0,
            waiting_bytes: 0,
            retry_at: None,
            loaded: Vec::new(),
            loading: HashMap::new(),
        });
    }

    /// Why a cursor was overrun last.
    pub(crate) const fn overrun_cause(&self) -> OverrunCause {
        self.overrun_cause
    }

    /// Whether writers to the log should wait for the disk: a quarter of the memory waits for it.
    #[inline]
    pub(crate) fn is_backed_up(&self) -> bool {
        self.waiting_bytes() > self.config.max_bytes / 4
    }

    #[inline]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.overflow
            .as_ref()
            .map_or(0, |overflow| overflow.waiting_bytes)
    }

    /// Queues old segments that cursors still need for writing, until with `bytes` more at most half of the memory
    /// holds segments that are not queued. Tells whether the overflow's limit overran a cursor.
    pub(super) fn spill(&mut self, bytes: usize) -> bool {
        let mut overrun = false;
        // Cursors that do not lag are in one of the newest two, however little memory there is.
        let half = (self.config.max_bytes / 2).max(2 * self.ordinary_bytes);
        while self.overflow_is_usable()
            && self.bytes - self.waiting_bytes() + bytes > half
            && let Some(oldest) = self.segments.front()
        {
            if oldest.cursors == 0 {
                self.drop_oldest();
                continue;
            }
            let written = |kept: &Kept| !matches!(kept.home, Home::Memory(_));
            let at = self.segments.partition_point(written);
            let (Some(kept), Some(overflow)) = (self.segments.get_mut(at), &mut self.overflow)
            else {
                break;
            };
            let Home::Memory(segment) = &kept.home else {
                break;
            };
            let segment = Arc::clone(segment);
            let stored = segment.sizes().stored_bytes() as u64;
            if overflow.bytes + stored <= overflow.limit {
                overflow.bytes += stored;
                overflow.waiting_bytes += segment.capacity_bytes();
                kept.home = Home::Waiting(Arc::clone(&segment));
                overflow
                    .threads
                    .write(self.first_segment + at as u64, segment);
            } else if at > 0 {
                self.overrun_cause = OverrunCause::OverflowFull;
                overrun |= self.drop_oldest();
            } else {
                break; // it alone is over the limit
            }
        }
        overrun
    }

    fn overflow_is_usable(&mut self) -> bool {
        let now = self.now;
        self.overflow.as_mut().is_some_and(|overflow| {
            overflow.retry_at = overflow.retry_at.filter(|retry_at| now < *retry_at);
            overflow.retry_at.is_none()
        })
    }

    /// Notes that a segment is on disk. Returns it if nobody needs it any more.
    pub(crate) fn written(&mut self, number: u64, written: Written) -> Option<OnDisk> {
        let at = number.checked_sub(self.first_segment);
        let at = at.and_then(|at| usize::try_from(at).ok());
        let kept = at.and_then(|at| self.segments.get_mut(at));
        let (Some(kept), Some(overflow)) = (kept, &mut self.overflow) else {
            return Some(written.on_disk);
        };
        if let Some(free) = written.free_bytes {
            let used = overflow.bytes;
            overflow.limit = overflow.max_bytes.min((used + free) / 2);
        }
        // One that the log took back when the overflow failed stays in memory.
        let Home::Waiting(segment) = &kept.home else {
            return Some(written.on_disk);
        };
        let segment = Arc::clone(segment);
        kept.home = Home::Disk(written.on_disk);
        overflow.waiting_bytes -= segment.capacity_bytes();
        self.leave_memory(segment);
        None
    }

    /// Takes back what waits for a disk that has failed, and does not use it for a while. `false`
    /// if that was so already.
    pub(crate) fn fail_overflow(&mut self) -> bool {
        let Some(overflow) = &mut self.overflow else {
            return false;
        };
        for kept in &mut self.segments {
            if let Home::Waiting(segment) = &kept.home {
                overflow.bytes -= segment.sizes().stored_bytes() as u64;
                kept.home = Home::Memory(Arc::clone(segment));
            }
        }
        overflow.waiting_bytes = 0;
        let retry_at = Millis(self.now.0.saturating_add(RETRY_AFTER));
        overflow.retry_at.replace(retry_at).is_none()
    }

    /// Requests a segment that is on disk; `None` if it is no longer there.
    pub(crate) fn request(&mut self, number: u64) -> Option<oneshot::Receiver<Arc<Segment>>> {
        let at = usize::try_from(number.checked_sub(self.first_segment)?).ok()?;
        let Home::Disk(on_disk) = &self.segments.get(at)?.home else {
            return None;
        };
        let overflow = self.overflow.as_mut()?;
        let (sender, receiver) = oneshot::channel();
        let waiting = overflow.loading.entry(number).or_default();
        if waiting.is_empty() {
            overflow.threads.read(number, on_disk.clone());
        }
        waiting.push(sender);
        Some(receiver)
    }

    /// Hands a segment to all who wait for it. One that cannot be read is lost.
    pub(crate) fn loaded(&mut self, number: u64, result: io::Result<Segment>) {
        let Some(overflow) = &mut self.overflow else {
            return;
        };
        let waiting = overflow.loading.remove(&number).unwrap_or_default();
        if let Ok(segment) = result {
            let segment = Arc::new(segment);
            for sender in waiting {
                let _ = sender.send(Arc::clone(&segment)); // whoever has gone needs none
            }
            overflow.keep_loaded(number, segment);
        } else if let Some(at) = number.checked_sub(self.first_segment)
            && let Some(kept) = usize::try_from(at)
                .ok()
                .and_then(|at| self.segments.get_mut(at))
        {
            overflow.drop_segment(&kept.home, 0);
            kept.home = Home::Lost;
        }
    }

    pub(super) fn loaded_segment(&self, number: u64) -> Option<&Arc<Segment>> {
        let loaded = &self.overflow.as_ref()?.loaded;
        let found = loaded.iter().find(|(found, _)| *found == number);
        found.map(|(_, segment)| segment)
    }
}

impl Overflow {
    /// Forgets a segment that the log drops; those before `oldest` are gone.
    pub(super) fn drop_segment(&mut self, home: &Home, oldest: u64) {
        match home {
            Home::Memory(_) | Home::Lost => {}
            Home::Waiting(segment) => {
                self.bytes -= segment.sizes().stored_bytes() as u64;
                self.waiting_bytes -= segment.capacity_bytes();
            }
            Home::Disk(on_disk) => {
                self.bytes -= on_disk.stored_bytes();
                self.threads.free(on_disk.clone());
            }
        }
        self.loaded.retain(|(number, _)| *number >= oldest);
    }

    /// Keeps a segment for readers at the same place, and others only as far as they fit beside it.
    fn keep_loaded(&mut self, number: u64, segment: Arc<Segment>) {
        self.loaded.retain(|(found, _)| *found != number);
        self.loaded.push((number, segment));
        let bytes = |loaded: &Vec<(u64, Arc<Segment>)>| -> usize {
            loaded
                .iter()
                .map(|(_, segment)| segment.capacity_bytes())
                .sum()
        };
        while self.loaded.len() > 1 && bytes(&self.loaded) > LOADED_BYTES {
            self.loaded.remove(0);
        }
    }
}

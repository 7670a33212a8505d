//! The configuration of a log, and its statistics.

use crate::overflow::OverflowConfig;
use crate::position::{LogId, Seq};
use crate::segment::Framings;

/// Which log this is, and how it uses memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// The log's identity: a number drawn at random for each new log.
    pub id: LogId,
    /// The most memory its segments take, in bytes, whatever cursors lag. The newest event is kept
    /// even where it alone is larger.
    pub max_bytes: usize,
    /// The newest events, in bytes, that stay when no cursor lags: for readers that start earlier
    /// than now. Up to a segment more is kept; never more than `max_bytes` of memory.
    pub keep_bytes: usize,
    /// Where segments go that lagging cursors need when memory is full.
    pub overflow: Option<OverflowConfig>,
    /// The framings events are kept in.
    pub framings: Framings,
    /// The number of the first event.
    pub first: Seq,
}

impl LogConfig {
    /// The defaults, for a log of this identity.
    #[must_use]
    pub const fn new(id: LogId) -> Self {
        Self {
            id,
            max_bytes: 64 << 20,
            keep_bytes: 1 << 20,
            overflow: None,
            framings: Framings::Bare,
            first: Seq(1),
        }
    }
}

/// What the log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// The oldest event still in the log; equal to `next` when there is none.
    pub oldest: Seq,
    /// The number the next event will get.
    pub next: Seq,
    /// How many events these are.
    pub events: u64,
    /// The memory of all segments, in bytes.
    pub bytes: usize,
    /// Segments in the overflow, or on their way to it, in bytes.
    pub overflow_bytes: u64,
    /// Events appended since the log was made.
    pub appended_events: u64,
    /// Their bytes, without frames.
    pub appended_bytes: u64,
}

/// How far a reader is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Events it has not read; those that are gone count, too.
    pub events: u64,
    /// Their bytes with their frames, as far as they are still there.
    pub bytes: u64,
    /// Where the next event it reads is.
    pub reads_from: ReadsFrom,
}

/// Where a reader's next event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadsFrom {
    /// In memory.
    Memory,
    /// On disk.
    Disk,
}

/// Why a segment was dropped while a cursor was still in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OverrunCause {
    /// There is no overflow, or its disk has failed.
    #[error("the log in memory was full (log_bytes)")]
    MemoryFull,
    /// The overflow has reached its limit.
    #[error("the overflow on disk was full (overflow_bytes, or half of the free space)")]
    OverflowFull,
    /// The overflow's disk takes segments more slowly than they come.
    #[error("the disk of the overflow was too slow")]
    DiskTooSlow,
}

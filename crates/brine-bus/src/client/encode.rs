//! What both publishers do to an event before it is bytes.

use std::time::SystemTime;

use brine_wire::event::{FireError, encode_event};
use brine_wire::{Map, stamp};

use super::PublisherConfig;

/// The bytes of an event fired now; `data` get their `_stamp`.
pub(super) fn event(
    config: &PublisherConfig,
    now: SystemTime,
    tag: &str,
    data: &mut Map,
) -> Result<Vec<u8>, FireError> {
    let since_epoch = now
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let stamp = stamp::format(since_epoch, config.stamp_style);
    encode_event(tag, data, &stamp, config.max_event_size)
}

/// Counts connections that ended before they took an event, to end what would go on for ever.
#[derive(Debug, Default)]
pub(super) struct Tries {
    unsent: usize,
    without_progress: u32,
}

impl Tries {
    const MOST: u32 = 3;

    /// A connection ended with so many events unsent: whether to try no more.
    pub(super) const fn give_up(&mut self, unsent: usize) -> bool {
        self.without_progress = if unsent == self.unsent {
            self.without_progress + 1
        } else {
            1
        };
        self.unsent = unsent;
        self.without_progress >= Self::MOST
    }
}

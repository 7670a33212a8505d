//! The time at which the bus receives events.

use std::time::{SystemTime, UNIX_EPOCH};

use brine_log::Millis;

/// Now; the epoch on a clock set before it.
pub(crate) fn now() -> Millis {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

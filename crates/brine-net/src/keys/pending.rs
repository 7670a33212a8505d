//! Limits the number of pending keys: strangers add them, and each is a file.
//!
//! Counting many files takes milliseconds, so they are counted only from time to time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::store::{Changing, KeyState};

/// How long a count is used, with those added since.
const COUNT_AGAIN: Duration = Duration::from_secs(2);

/// Admits new keys up to a limit.
#[derive(Debug)]
pub(crate) struct PendingKeys {
    limit: usize,
    /// The time of the last count, and the number then plus those admitted since.
    counted: Mutex<Option<(Instant, usize)>>,
}

impl PendingKeys {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            counted: Mutex::new(None),
        }
    }

    /// Whether one more key may be added, which the caller then does.
    pub(crate) fn admit(&self, keys: &Changing<'_>) -> Result<bool, StoreError> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match *counted {
            Some((at, count)) if at.elapsed() < COUNT_AGAIN => count,
            _ => {
                let count = keys.store().list(KeyState::Pending)?.len();
                *counted = Some((Instant::now(), count));
                count
            }
        };
        if count >= self.limit {
            return Ok(false);
        }
        if let Some((_, count)) = counted.as_mut() {
            *count += 1;
        }
        Ok(true)
    }
}

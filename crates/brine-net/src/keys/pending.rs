//! How many keys are pending: strangers add them, and each is a file.
//!
//! Counting files takes milliseconds when there are many, so they are counted now and then.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::store::{Changing, KeyState};

/// How long a count is good for, with those added since.
const COUNT_AGAIN: Duration = Duration::from_secs(2);

/// Admits new keys up to a number.
#[derive(Debug)]
pub(crate) struct PendingKeys {
    limit: usize,
    /// When they were counted, and how many there were, with those admitted since.
    counted: Mutex<Option<(Instant, usize)>>,
}

impl PendingKeys {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            counted: Mutex::new(None),
        }
    }

    /// Whether there may be one more, which is then put among the pending keys.
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

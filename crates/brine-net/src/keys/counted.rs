//! Limits the number of keys that strangers add: pending ones, and those that `autoreject_file` rejects. Each is a file.
//!
//! Counting many files takes milliseconds, so they are counted only from time to time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::StoreError;
use super::store::{Changing, KeyState};

/// How long a count is used, with those added since.
const COUNT_AGAIN: Duration = Duration::from_secs(2);

/// How often the log says that there are too many.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Admits new keys of one state up to a limit.
#[derive(Debug)]
pub(crate) struct CountedKeys {
    state: KeyState,
    limit: usize,
    counted: Mutex<Counted>,
}

#[derive(Debug)]
struct Counted {
    /// The time of the last count, and the number then plus those admitted since.
    last: Option<(Instant, usize)>,
    /// When the log last said that there are too many.
    said: Option<Instant>,
}

impl CountedKeys {
    pub(crate) const fn new(state: KeyState, limit: usize) -> Self {
        Self {
            state,
            limit,
            counted: Mutex::new(Counted {
                last: None,
                said: None,
            }),
        }
    }

    /// Whether one more key may be added, which the caller then does.
    pub(crate) fn admit(&self, keys: &Changing<'_>) -> Result<bool, StoreError> {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, count) = match counted.last {
            Some((at, count)) if at.elapsed() < COUNT_AGAIN => (at, count),
            _ => (Instant::now(), keys.store().list(self.state)?.len()),
        };
        let admitted = count < self.limit;
        counted.last = Some((at, count + usize::from(admitted)));
        if !admitted && counted.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            counted.said = Some(Instant::now());
            tracing::warn!(
                limit = self.limit,
                "too many keys are in {}: new ones are not kept (salt-key -d removes keys)",
                self.state.folder()
            );
        }
        Ok(admitted)
    }
}

//! What the module of a call logs, for the caller that waits for it.
//!
//! The minion's log has it as well. The size is limited: if a module logs without end, the rest is dropped here, and
//! a line says so.

use std::sync::{Arc, Mutex, PoisonError};

use brine_wire::{Map, Value, python_text};

/// Python's number of that level.
const ERROR: i64 = 40;

/// A record of Python's logging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// The level as Python numbers it: 10 is `DEBUG`, 20 `INFO`, 30 `WARNING`, 40 `ERROR`, 50 `CRITICAL`.
    pub level: i64,
    /// The message.
    pub text: String,
}

/// Where the records of a call are gathered.
#[derive(Debug, Clone)]
pub struct CallLog {
    level: i64,
    records: Arc<Mutex<Vec<LogRecord>>>,
}

impl CallLog {
    /// For records of this level and above, as Python numbers levels.
    #[must_use]
    pub fn from_level(level: i64) -> Self {
        Self {
            level,
            records: Arc::default(),
        }
    }

    /// The lowest level that is gathered.
    #[must_use]
    pub const fn level(&self) -> i64 {
        self.level
    }

    /// The records so far, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<LogRecord> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut records)
    }

    /// Adds an error.
    pub(crate) fn error(&self, text: String) {
        let mut all = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(LogRecord { level: ERROR, text });
    }

    /// Adds what a process that ran the function answers: pairs of level and text.
    pub(crate) fn extend(&self, records: Option<&Value>) {
        let added = LogRecord::read_all(records);
        let mut all = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        all.extend(added);
    }
}

/// Where records go is not part of a call.
impl PartialEq for CallLog {
    fn eq(&self, other: &Self) -> bool {
        self.level == other.level
    }
}

impl LogRecord {
    /// Records from pairs of level and text; anything else is left out.
    #[must_use]
    pub fn read_all(pairs: Option<&Value>) -> Vec<Self> {
        let read = |pair: &Value| match pair.as_array()? {
            [level, text] => Some(Self {
                level: i64::try_from(level.as_int()?).ok()?,
                text: python_text::str(text),
            }),
            _ => None,
        };
        let pairs = pairs.and_then(Value::as_array).unwrap_or_default();
        pairs.iter().filter_map(read).collect()
    }

    /// The same as such a pair.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Array(vec![self.level.into(), self.text.as_str().into()])
    }
}

/// What a request for a call says of its log.
pub(crate) fn wanted(load: &Map) -> Option<CallLog> {
    let level = load.get("log_level")?.as_int()?;
    Some(CallLog::from_level(i64::try_from(level).ok()?))
}

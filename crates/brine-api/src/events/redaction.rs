//! Redacts events for readers who may not see everything: the fields that the history never stores. Filters see the
//! redacted event, or they would reveal the values.
//!
//! The same fields are redacted wherever an event comes from, so it does not matter whether it is still in memory.

use brine_log::StoredEvent;
use brine_log::history::{Redactor, Stored};

/// What one reader, or all readers of one kind, are not shown.
pub(crate) struct Redaction(Option<Redactor>);

impl Redaction {
    /// For readers that may do everything: events as they were fired, as Salt's own listeners see them.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// For everybody else: fields of these names (`brine: {redact: …}`), and those that are always blanked.
    pub(crate) fn of(fields: &[String]) -> Self {
        Self(Some(Redactor::new(fields.iter().map(String::as_str))))
    }

    /// The event as it may be shown; `None` if it may not be.
    pub(crate) fn apply<'e>(&'e mut self, event: &StoredEvent<'e>) -> Option<StoredEvent<'e>> {
        let Some(redactor) = &mut self.0 else {
            return Some(*event);
        };
        match redactor.apply(event.event, event.tag_bytes) {
            Stored::AsItIs => Some(*event),
            Stored::Redacted(redacted) => Some(StoredEvent {
                event: redacted,
                ..*event
            }),
            Stored::Withheld => None,
        }
    }
}

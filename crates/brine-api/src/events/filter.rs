//! Which events a reader gets, and which removed events are a gap for it.
//!
//! Knows nothing of HTTP or of how a query is written: `read` builds a filter, streams of every kind apply it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_bus::join::GAP;
use brine_log::{EventCursor, Expected, Log, Millis, Start, StoredEvent, TagQuery};
use brine_wire::envelope::TAG_END;
use brine_wire::field_filter::{FieldFilter, Known};
use brine_wire::matching::TagFilter;

use super::redaction::Redaction;
use crate::acl::Permitted;

/// What a reader counts on when it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expects {
    /// All events from a certain one on.
    All,
    /// Whatever is still there, and all that comes later.
    WhatIsThere,
}

/// Which events a reader gets; what is cheapest to compare comes first. An event `brine/gap` passes whatever the reader asks
/// for, unless the reader excludes it: events that the log has missed might have matched.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Filter {
    pub(super) permitted: Permitted,
    pub(super) tags: TagFilter,
    pub(super) fields: FieldFilter,
    /// Which stored events are worth fetching.
    pub(super) stored: TagQuery,
}

impl Filter {
    /// A cursor over what may pass.
    pub(crate) fn cursor(&self, log: &Log, start: Start) -> EventCursor {
        let mut cursor = log.events(start);
        cursor.select(self.stored.clone());
        cursor
    }

    /// Which removed events are a gap for a reader with this filter. Their data are gone, so every filter on fields counts
    /// as passed.
    pub(crate) fn expected(&self, expects: Expects) -> Expected {
        let (tags, permitted) = (self.tags.clone(), self.permitted.clone());
        let mut expected = Expected::tags(move |tag| {
            !brine_log::is_withheld(tag.as_bytes()) && tags.matches(tag) && permitted.contains(tag)
        });
        if expects == Expects::WhatIsThere {
            expected.since = millis(now());
        }
        expected
    }

    /// The event as its reader may see it, if it passes.
    pub(crate) fn shown<'e>(
        &self,
        event: &StoredEvent<'e>,
        redaction: &'e mut Redaction,
    ) -> Option<StoredEvent<'e>> {
        if !self.wants(event) {
            return None;
        }
        let event = redaction.apply(event)?;
        self.holds(&event).then_some(event)
    }

    /// Whether an event with this tag is wanted, and may be read.
    pub(crate) fn wants(&self, event: &StoredEvent<'_>) -> bool {
        let Some(tag) = event.event.get(..event.tag_bytes) else {
            return false;
        };
        let Ok(tag) = std::str::from_utf8(tag) else {
            return false;
        };
        if is_gap(event) {
            return !self.tags.excludes(tag);
        }
        !brine_log::is_withheld(tag.as_bytes())
            && self.tags.matches(tag)
            && self.permitted.contains(tag)
    }

    /// Whether the fields of an event that is wanted, as its reader may see them, are those that are looked for.
    pub(crate) fn holds(&self, event: &StoredEvent<'_>) -> bool {
        if self.fields.is_any() || is_gap(event) {
            return true;
        }
        let Some((tag, data)) = event.event.split_at_checked(event.tag_bytes) else {
            return false;
        };
        let known = Known {
            sender: event.sender,
            origin: event.origin.map(|origin| origin.master()),
        };
        let tag = std::str::from_utf8(tag).unwrap_or_default();
        let data = data.get(TAG_END.len()..).unwrap_or_default();
        self.fields.matches_known(&known, tag, data)
    }
}

/// Whether an event reports that the log may have missed others.
pub(crate) fn is_gap(event: &StoredEvent<'_>) -> bool {
    event.event.get(..event.tag_bytes) == Some(GAP.as_bytes())
}

/// The time now, since 1970.
pub(crate) fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// As the log counts time.
pub(crate) fn millis(time: Duration) -> Millis {
    Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

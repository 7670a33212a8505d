//! Which events a sink takes: by tag, then by fields of the data. The rules are `brine-wire`'s.

use brine_log::{Expected, StoredEvent, TagQuery, is_withheld};
use brine_wire::envelope::TAG_END;
use brine_wire::field_filter::{FieldFilter, FilterError, Known};
use brine_wire::matching::{MatchError, MatchType, TagFilter, TagMatch};

/// Which events a sink takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    tags: TagFilter,
    fields: FieldFilter,
    /// Events of other masters pass, too.
    takes_others: bool,
    /// Which stored events are worth fetching.
    pub(crate) stored: TagQuery,
}

/// An invalid filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// A tag pattern.
    #[error("tags: {0}")]
    Tag(MatchError),
    /// A pattern of tags that do not pass.
    #[error("exclude: {0}")]
    Excluded(MatchError),
    /// The fields.
    #[error("filter: {0}")]
    Fields(FilterError),
}

impl Filter {
    /// Events whose tag matches any of these shell patterns (none: every tag), none of the excluded ones, and whose
    /// fields are as the terms say (`minion:web* ok:false`).
    ///
    /// # Errors
    /// [`BadFilter`] for a pattern or term that is none.
    pub fn new<T: AsRef<str>>(tags: &[T], excluded: &[T], fields: &str) -> Result<Self, BadFilter> {
        let patterns = tags.iter().map(AsRef::as_ref);
        let patterns = patterns.map(|tag| TagMatch::new(MatchType::Fnmatch, tag));
        let patterns = patterns.collect::<Result<Vec<_>, _>>();
        let patterns = patterns.map_err(BadFilter::Tag)?;
        Ok(Self {
            stored: TagQuery::new(&patterns),
            tags: TagFilter::new(MatchType::Fnmatch, tags, excluded)
                .map_err(BadFilter::Excluded)?,
            fields: FieldFilter::parse(fields).map_err(BadFilter::Fields)?,
            takes_others: false,
        })
    }

    /// The same for events of other masters too, where several are one bus. Without this only those fired here pass,
    /// so that each event of a site is delivered once and not once by each master.
    #[must_use]
    pub fn of_all_masters(self) -> Self {
        Self {
            takes_others: true,
            ..self
        }
    }

    /// Which removed events are a gap for this sink. Only their tags are known.
    pub(crate) fn expected(&self) -> Expected {
        let tags = self.tags.clone();
        Expected::tags(move |tag| !is_withheld(tag.as_bytes()) && tags.matches(tag))
    }

    /// Whether an event passes. What stays between the processes it was fired for never does.
    pub(crate) fn passes(&self, event: &StoredEvent<'_>) -> bool {
        let Some(tag) = event.event.get(..event.tag_bytes) else {
            return false;
        };
        let text = String::from_utf8_lossy(tag);
        let known = Known {
            sender: event.sender,
            origin: event.origin.map(|origin| origin.master()),
        };
        (self.takes_others || known.origin.is_none())
            && !is_withheld(tag)
            && self.tags.matches(&text)
            && (self.fields.is_any() || {
                let data = event.event.get(event.tag_bytes + TAG_END.len()..);
                self.fields
                    .matches_known(&known, &text, data.unwrap_or_default())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{LogId, Millis, Origin, Position, Seq};

    #[test]
    fn tags_and_fields_decide() {
        let passes = |filter: &Filter, event: &[u8], tag_bytes| {
            filter.passes(&StoredEvent {
                seq: Seq(1),
                at: Millis(0),
                event,
                tag_bytes,
                sender: None,
                origin: None,
            })
        };
        let filter = Filter::new(&["salt/*"], &["salt/auth"], "data.n:1").unwrap();
        assert!(passes(&filter, b"salt/x\n\n\x81\xa1n\x01", 6));
        assert!(!passes(&filter, b"salt/x\n\n\x81\xa1n\x02", 6));
        assert!(!passes(&filter, b"salt/auth\n\n\x81\xa1n\x01", 9));
        let all = Filter::default();
        assert!(passes(&all, b"any\n\n\x80", 3) && passes(&all, b"\xff\n\n\x80", 1));
        assert!(!passes(&all, b"salt/auth/creds\n\n\x80", 15));
        assert!(Filter::new(&["a"], &[], "nonsense").is_err());
    }

    #[test]
    fn an_event_of_another_master_is_that_masters_to_deliver() {
        let position = Position {
            log: LogId(1),
            seq: Seq(1),
        };
        let event = StoredEvent {
            seq: Seq(1),
            at: Millis(0),
            event: b"t\n\n\x80",
            tag_bytes: 1,
            sender: None,
            origin: Origin::new("m2", position),
        };
        assert!(!Filter::default().passes(&event));
        assert!(Filter::default().of_all_masters().passes(&event));
        let other = Filter::new::<&str>(&[], &[], "origin:m3").unwrap();
        assert!(!other.of_all_masters().passes(&event));
    }
}

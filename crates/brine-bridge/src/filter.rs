//! Which events a sink takes: by tag, then by fields of the data. The rules are `brine-wire`'s.

use brine_log::{StoredEvent, TagQuery, is_withheld};
use brine_wire::envelope::TAG_END;
use brine_wire::field_filter::{FieldFilter, FilterError};
use brine_wire::matching::{MatchError, MatchType, TagFilter, TagMatch};

/// Which events a sink takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    tags: TagFilter,
    fields: FieldFilter,
    /// Which stored events are worth fetching.
    pub(crate) stored: TagQuery,
}

/// A filter that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadFilter {
    /// A tag pattern.
    #[error(transparent)]
    Tag(#[from] MatchError),
    /// The fields.
    #[error(transparent)]
    Fields(#[from] FilterError),
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
        let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            stored: TagQuery::new(&patterns),
            tags: TagFilter::new(MatchType::Fnmatch, tags, excluded)?,
            fields: FieldFilter::parse(fields)?,
        })
    }

    /// Whether an event passes. What stays between the processes it was fired for never does.
    pub(crate) fn passes(&self, event: &StoredEvent<'_>) -> bool {
        let Some(tag) = event.event.get(..event.tag_bytes) else {
            return false;
        };
        let text = String::from_utf8_lossy(tag);
        !is_withheld(tag)
            && self.tags.matches(&text)
            && (self.fields.is_any() || {
                let data = event.event.get(event.tag_bytes + TAG_END.len()..);
                self.fields
                    .matches_from(event.sender, &text, data.unwrap_or_default())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_log::{Millis, Seq};

    #[test]
    fn tags_and_fields_decide() {
        let passes = |filter: &Filter, event: &[u8], tag_bytes| {
            filter.passes(&StoredEvent {
                seq: Seq(1),
                at: Millis(0),
                event,
                tag_bytes,
                sender: None,
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
}

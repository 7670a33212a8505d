//! Making an event: a tag and a map become the bytes that a publisher sends.
//!
//! It makes Salt's checks, and writes nothing for an event that fails one. Facts: `docs/protocol/ipc.md` §4, §6.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::envelope::TAG_END;
use crate::msgpack;
use crate::trim::{self, TooLarge};
use crate::value::{Map, Value};

/// Salt's default of `max_event_size`, in bytes of the packed data.
pub const MAX_EVENT_SIZE: usize = 1_048_576;

/// The key of an event's stamp.
pub const STAMP: &str = "_stamp";

/// Why an event cannot be fired.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FireError {
    /// There is no tag.
    #[error("the tag is empty")]
    EmptyTag,
    /// The tag would end somewhere else for its readers.
    #[error("invalid tag {tag:?}: it contains a blank line or ends in a line feed")]
    TagBreaksEnvelope {
        /// The tag.
        tag: String,
    },
    /// Values would be lost, which the caller does not allow.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
}

/// The event of a tag and its data: sets `_stamp` in the caller's map as Salt does, packs, and
/// trims what is over `max_event_size` bytes.
///
/// # Errors
/// [`FireError`] when readers could not make out the tag; the map is unchanged then.
pub fn encode_event(
    tag: &str,
    data: &mut Map,
    stamp: &str,
    max_event_size: usize,
) -> Result<Vec<u8>, FireError> {
    let packed = pack_stamped(tag, data, stamp)?;
    Ok(join(tag, &trim::trim_to(packed, max_event_size)))
}

/// As [`encode_event`], and fails where that trims.
///
/// # Errors
/// [`FireError`].
pub fn encode_whole_event(
    tag: &str,
    data: &mut Map,
    stamp: &str,
    max_event_size: usize,
) -> Result<Vec<u8>, FireError> {
    let packed = pack_stamped(tag, data, stamp)?;
    Ok(join(tag, &trim::refuse_to_trim(packed, max_event_size)?))
}

/// Checks the tag, sets `_stamp` and packs the data.
fn pack_stamped(tag: &str, data: &mut Map, stamp: &str) -> Result<Vec<u8>, FireError> {
    check_tag(tag)?;
    data.insert(STAMP, stamp);
    let mut packed = Vec::with_capacity(256);
    msgpack::encode_map(data, &mut packed);
    Ok(packed)
}

/// Whether readers can tell the tag from the data.
///
/// # Errors
/// [`FireError`] names the rule the tag breaks.
pub fn check_tag(tag: &str) -> Result<(), FireError> {
    if tag.is_empty() {
        return Err(FireError::EmptyTag);
    }
    if !is_readable(tag) {
        return Err(FireError::TagBreaksEnvelope {
            tag: tag.to_string(),
        });
    }
    Ok(())
}

/// As [`check_tag`], without a reason.
#[must_use]
pub fn is_readable(tag: &str) -> bool {
    !tag.is_empty() && !tag.ends_with('\n') && !tag.contains("\n\n")
}

/// Tag, tag end and packed data in one.
#[must_use]
pub fn join(tag: &str, packed: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(tag.len() + TAG_END.len() + packed.len());
    event.extend_from_slice(tag.as_bytes());
    event.extend_from_slice(TAG_END);
    event.extend_from_slice(packed);
    event
}

/// The tag under which a program asks its minion to send an event to the master.
pub const FIRE_MASTER: &str = "fire_master";

/// The data of [`FIRE_MASTER`]: Salt's `fire_master(data, tag)`.
#[must_use]
pub fn fire_master_data(tag: &str, data: Map) -> Map {
    [
        ("tag", tag.into()),
        ("data", data.into()),
        ("events", Value::Nil),
        ("pretag", Value::Nil),
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn the_stamp_takes_its_old_place() {
        let mut data: Map = [(STAMP, Value::from("old")), ("a", Value::Int(1))]
            .into_iter()
            .collect();
        let event = encode_event("t", &mut data, "new", MAX_EVENT_SIZE).unwrap();
        assert_eq!(event, b"t\n\n\x82\xa6_stamp\xa3new\xa1a\x01");
        assert_eq!(data.get(STAMP), Some(&Value::from("new")));
    }

    #[test]
    fn a_tag_that_readers_cannot_make_out_is_refused_and_the_data_untouched() {
        for tag in ["", "a\n", "a\n\nb", "\n\n"] {
            let mut data = Map::new();
            assert!(
                encode_event(tag, &mut data, "s", MAX_EVENT_SIZE).is_err(),
                "{tag:?}"
            );
            assert!(data.is_empty());
        }
        assert!(check_tag("a\nb").is_ok());
    }

    #[test]
    fn fire_master_has_salts_keys_in_salts_order() {
        let keys: Vec<_> = fire_master_data("t", Map::new())
            .into_iter()
            .map(|(k, _)| k)
            .collect();
        assert_eq!(
            keys,
            vec![
                "tag".into(),
                "data".into(),
                "events".into(),
                Value::from("pretag")
            ]
        );
    }
}

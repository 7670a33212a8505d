//! What must not reach the disk: events that are never stored, and fields that are redacted.
//!
//! A redacted value is replaced by asterisks of the same encoded length, so that every event keeps its size. This
//! module works on msgpack in place and knows nothing of blocks.

use brine_wire::scan;
use memchr::memmem::find;

use crate::withheld::is_withheld;

/// Where webhooks' events begin, and the headers in them that are as good as a password. A login
/// token of salt-api comes in any of them.
const HOOKS: &[u8] = b"salt/netapi/hook";
const HOOK_FIELDS: [&[u8]; 3] = [b"X-Auth-Token", b"Authorization", b"Cookie"];

/// How deep values are searched, as deep as Python's msgpack reads them.
const MAX_DEPTH: usize = scan::MAX_DEPTH;

/// Which fields are blanked.
pub struct Redactor {
    fields: Vec<String>,
    buffer: Vec<u8>,
}

/// What is to be stored of an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Stored<'a> {
    /// All of it.
    AsItIs,
    /// This, of the same length.
    Redacted(&'a [u8]),
    /// Nothing.
    Withheld,
}

impl Redactor {
    /// Blanks fields of these names wherever they are in an event's data, besides those that are
    /// always blanked.
    #[must_use]
    pub fn new<'n>(fields: impl IntoIterator<Item = &'n str>) -> Self {
        Self {
            fields: fields.into_iter().map(str::to_owned).collect(),
            buffer: Vec::new(),
        }
    }

    /// What is to be stored of an event: tag, tag end and data.
    pub fn apply(&mut self, event: &[u8], tag_bytes: usize) -> Stored<'_> {
        let (Some(tag), Some(data)) = (event.get(..tag_bytes), event.get(tag_bytes + 2..)) else {
            return Stored::AsItIs;
        };
        if is_withheld(tag) {
            return Stored::Withheld;
        }
        let is_hook = tag.starts_with(HOOKS);
        let is_field = |name: &[u8]| {
            is_hook
                && HOOK_FIELDS
                    .iter()
                    .any(|hook| hook.eq_ignore_ascii_case(name))
                || self.fields.iter().any(|field| field.as_bytes() == name)
        };
        if !is_hook
            && self
                .fields
                .iter()
                .all(|field| find(data, field.as_bytes()).is_none())
        {
            return Stored::AsItIs;
        }
        self.buffer.clear();
        self.buffer.extend_from_slice(event);
        let data = &mut self.buffer[tag_bytes + 2..];
        match blank_fields(data, 0, MAX_DEPTH, &is_field) {
            Some(_) => Stored::Redacted(&self.buffer),
            // It names the field, and nobody can say where the value is.
            None => Stored::Withheld,
        }
    }
}

/// Blanks fields in the value at `at`; returns where it ends, `None` if the bytes are not msgpack.
fn blank_fields(
    bytes: &mut [u8],
    at: usize,
    depth: usize,
    is_field: &impl Fn(&[u8]) -> bool,
) -> Option<usize> {
    let depth = depth.checked_sub(1)?;
    let (mut next, items, is_map) = match *bytes.get(at)? {
        marker @ 0x80..=0x8f => (at + 1, usize::from(marker & 15), true),
        marker @ 0x90..=0x9f => (at + 1, usize::from(marker & 15), false),
        marker @ 0xdc..=0xdf => {
            let width = if marker & 1 == 0 { 2 } else { 4 };
            let count = bytes.get(at + 1..at + 1 + width)?;
            let count = count
                .iter()
                .fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            (at + 1 + width, count, marker >= 0xde)
        }
        _ => return skip(bytes, at),
    };
    for _ in 0..items {
        if !is_map {
            next = blank_fields(bytes, next, depth, is_field)?;
            continue;
        }
        let key_end = skip(bytes, next)?;
        let blanked = text(&bytes[next..key_end]).is_some_and(is_field);
        next = match blanked {
            true => {
                let end = skip(bytes, key_end)?;
                blank(&mut bytes[key_end..end]);
                end
            }
            false => blank_fields(bytes, key_end, depth, is_field)?,
        };
    }
    Some(next)
}

/// Where the value at `at` ends.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let length = scan::skip_value(bytes.get(at..)?).ok()??;
    Some(at + length).filter(|end| *end <= bytes.len())
}

/// The text or bytes that an encoded value is.
fn text(value: &[u8]) -> Option<&[u8]> {
    let header = match value.first()? {
        0xa0..=0xbf => 1,
        0xc4 | 0xd9 => 2,
        0xc5 | 0xda => 3,
        0xc6 | 0xdb => 5,
        _ => return None,
    };
    value.get(header..)
}

/// Replaces an encoded value by a text of asterisks that takes as many bytes; one of a single byte
/// by nil.
fn blank(value: &mut [u8]) {
    let length = value.len();
    value.fill(b'*');
    let header: &[u8] = match length {
        0 => return,
        1 => &[0xc0],
        2..=32 => &[0xa0 | (length - 1) as u8],
        33..=257 => &[0xd9, (length - 2) as u8],
        258..=65_538 => &[0xda, ((length - 3) >> 8) as u8, (length - 3) as u8],
        _ => {
            let inner = u32::try_from(length - 5).unwrap_or(u32::MAX).to_be_bytes();
            value[..5].copy_from_slice(&[0xdb, inner[0], inner[1], inner[2], inner[3]]);
            return;
        }
    };
    value[..header.len()].copy_from_slice(header);
}

#[cfg(test)]
mod tests {
    use brine_wire::{Map, Value, msgpack};
    use proptest::prelude::*;

    use super::*;

    fn event(tag: &str, data: &Value) -> (Vec<u8>, usize) {
        let mut event = [tag.as_bytes(), b"\n\n"].concat();
        msgpack::encode(data, &mut event);
        (event, tag.len())
    }

    fn map(pairs: &[(&str, Value)]) -> Value {
        let pairs = pairs
            .iter()
            .map(|(key, value)| (Value::from(*key), value.clone()));
        Value::Map(pairs.collect::<Map>())
    }

    fn hook(name: &str, value: Value) -> Value {
        let headers = map(&[("Host", Value::from("example")), (name, value)]);
        map(&[
            ("headers", headers),
            ("post", map(&[("a", Value::from("b"))])),
        ])
    }

    #[test]
    fn tokens_of_webhooks_are_blanked() {
        let mut redactor = Redactor::new([]);
        for name in ["X-Auth-Token", "x-auth-token", "Authorization", "Cookie"] {
            let (event, tag) = event(
                "salt/netapi/hook/x",
                &hook(name, Value::from("s3cret-token")),
            );
            let Stored::Redacted(stored) = redactor.apply(&event, tag) else {
                panic!("{name} was not blanked");
            };
            assert_eq!(stored.len(), event.len());
            let read = msgpack::decode(&stored[tag + 2..]).unwrap();
            assert_eq!(read, hook(name, Value::from("************")));
        }
    }

    #[test]
    fn ordinary_events_are_stored_as_they_are() {
        let mut redactor = Redactor::new(["password"]);
        let (event, tag) = event("salt/job/1/ret/m", &hook("X-Auth-Token", Value::from("x")));
        assert_eq!(redactor.apply(&event, tag), Stored::AsItIs);
    }

    #[test]
    fn session_keys_are_never_stored() {
        let mut redactor = Redactor::new([]);
        for tag in ["salt/auth/creds", "syndic/a/salt/auth/creds"] {
            let (event, tag) = event(tag, &map(&[("creds", Value::from("key"))]));
            assert_eq!(redactor.apply(&event, tag), Stored::Withheld);
        }
        assert!(!is_withheld(b"salt/auth"));
    }

    #[test]
    fn an_event_that_names_a_field_and_cannot_be_read_is_not_stored() {
        let mut redactor = Redactor::new(["password"]);
        let event = b"a\n\n\x81\xa8password\xda\x01";
        assert_eq!(redactor.apply(event, 1), Stored::Withheld);
    }

    proptest! {
        #[test]
        fn a_named_field_is_blanked_wherever_it_is(
            depth in 0usize..20,
            secret in proptest::collection::vec("[a-z]{0,9}", 0..40),
        ) {
            let secret = Value::Array(secret.into_iter().map(|text| Value::from(text.as_str())).collect());
            let mut data = map(&[("other", Value::from(7)), ("password", secret.clone())]);
            for level in 0..depth {
                data = if level % 2 == 0 { map(&[("in", data)]) } else { Value::Array(vec![data]) };
            }
            let data = map(&[("data", data), ("after", Value::from("kept"))]);
            let (event, tag) = event("a/b", &data);
            let mut redactor = Redactor::new(["password"]);
            let Stored::Redacted(stored) = redactor.apply(&event, tag) else {
                return Err(TestCaseError::fail("not blanked"));
            };
            prop_assert_eq!(stored.len(), event.len());
            let read = msgpack::decode(&stored[tag + 2..]);
            prop_assert!(read.is_ok());
            let mut encoded = Vec::new();
            msgpack::encode(&secret, &mut encoded);
            if encoded.len() > 12 {
                prop_assert!(!stored.windows(encoded.len()).any(|part| part == encoded));
            }
            prop_assert!(stored.ends_with(b"\xa5after\xa4kept"));
        }
    }
}

//! What must not reach the disk: events that are never stored, and fields that are redacted.
//!
//! A redacted value is replaced by asterisks, always the same number: the length of a secret must not show either. This
//! module works on msgpack and knows nothing of blocks.

use brine_wire::frame::MAX_FRAME_BYTES;
use brine_wire::scan;
use memchr::memmem::find;

use crate::withheld::is_withheld;

/// How webhooks' events begin, and the headers in them that are as secret as a password. Each of them can carry a
/// login token of salt-api.
const HOOKS: &[u8] = b"salt/netapi/hook";
const HOOK_FIELDS: [&[u8]; 4] = [
    b"X-Auth-Token",
    b"Authorization",
    b"Proxy-Authorization",
    b"Cookie",
];
/// A webhook's body as it came, and as it was read: the same as the first if it is a text.
const HOOK_BODY: &[u8] = b"body";
const HOOK_POST: &[u8] = b"post";

/// How the events of wheel and runner functions begin, and the private key in returns of `key.gen` and
/// `key.gen_accept`: runner functions of jobs return them once more.
const CALLS: [&[u8]; 2] = [b"salt/wheel/", b"salt/run/"];
const PRIVATE_KEY: &[u8] = b"priv";

/// How the tags of jobs that a master of Salt refuses begin and end. Their data are the request as the client sent it,
/// with the key of the master's user, and the client's token or password in `kwargs`.
const REFUSED: (&[u8], &[u8]) = (b"salt/job/", b"/error");
const KEY: &[u8] = b"key";
const PROOFS: &[u8] = b"kwargs";
const PROOF_FIELDS: [&[u8]; 3] = [b"token", b"password", KEY];

/// What stands in place of a value: a text.
const BLANK: &[u8] = b"\xa8********";

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
    /// This.
    Redacted(&'a [u8]),
    /// Nothing.
    Withheld,
}

impl Redactor {
    /// Redacts fields of these names wherever they are in an event's data, in addition to those that are always
    /// redacted.
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
        let names = |field: &[u8]| find(data, field).is_some();
        let is_named = self.fields.iter().any(|field| names(field.as_bytes()));
        let tag = without_syndics(tag);
        let is_hook = tag.starts_with(HOOKS);
        let is_call = CALLS.iter().any(|begin| tag.starts_with(begin)) && names(PRIVATE_KEY);
        let is_refused = tag.starts_with(REFUSED.0) && tag.ends_with(REFUSED.1);
        if !is_named && !is_hook && !is_call && !is_refused {
            return Stored::AsItIs;
        }
        let is_secret = |field: &Field<'_>| {
            let Field {
                name, outermost, ..
            } = *field;
            let is_header = || HOOK_FIELDS.iter().any(|own| own.eq_ignore_ascii_case(name));
            // Nobody can say where in a body of any form the value is.
            let is_body = || name == HOOK_BODY || name == HOOK_POST && field.has_text;
            is_hook && (is_header() || is_named && outermost.is_none() && is_body())
                || is_call && name == PRIVATE_KEY
                || is_refused && outermost.is_none() && name == KEY
                || is_refused && outermost == Some(PROOFS) && PROOF_FIELDS.contains(&name)
                || self.fields.iter().any(|own| own.as_bytes() == name)
        };
        self.buffer.clear();
        self.buffer.extend_from_slice(&event[..tag_bytes + 2]);
        let mut blanking = Blanking {
            bytes: data,
            out: &mut self.buffer,
            copied: 0,
        };
        let walked = blanking.walk(0, MAX_DEPTH, None, &is_secret);
        let copied = blanking.copied;
        self.buffer.extend_from_slice(&data[copied..]);
        match walked {
            Some(_) if copied == 0 => Stored::AsItIs,
            // Asterisks for very many short values: more than a block takes.
            Some(_) if self.buffer.len() > MAX_FRAME_BYTES => Stored::Withheld,
            Some(_) => Stored::Redacted(&self.buffer),
            // It contains the field's name, and nobody can say where the value is.
            None => Stored::Withheld,
        }
    }
}

/// The tag that an event has where it was fired; syndics put their names before it.
fn without_syndics(mut tag: &[u8]) -> &[u8] {
    while let Some(rest) = tag.strip_prefix(b"syndic/") {
        let Some(end) = memchr::memchr(b'/', rest) else {
            break;
        };
        tag = &rest[end + 1..];
    }
    tag
}

/// A field of a mapping.
struct Field<'e> {
    name: &'e [u8],
    /// The field of the event's data in which this one is; `None` for those fields themselves.
    outermost: Option<&'e [u8]>,
    /// Whether the value is a text.
    has_text: bool,
}

/// A copy of encoded data in the making, with fields blanked.
struct Blanking<'e> {
    bytes: &'e [u8],
    out: &'e mut Vec<u8>,
    /// What lies before this is in `out`, or is blanked.
    copied: usize,
}

impl<'e> Blanking<'e> {
    /// Blanks fields in the value at `at`; returns where it ends, `None` if the bytes are not msgpack.
    fn walk(
        &mut self,
        at: usize,
        depth: usize,
        outermost: Option<&'e [u8]>,
        is_secret: &impl Fn(&Field<'_>) -> bool,
    ) -> Option<usize> {
        let bytes = self.bytes;
        let inner = depth.checked_sub(1)?;
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
                next = self.walk(next, inner, outermost, is_secret)?;
                continue;
            }
            let key_end = skip(bytes, next)?;
            let name = text(&bytes[next..key_end]);
            let is_blanked = name.is_some_and(|name| {
                is_secret(&Field {
                    name,
                    outermost,
                    has_text: bytes.get(key_end).is_some_and(|marker| is_text(*marker)),
                })
            });
            next = match is_blanked {
                true => {
                    let end = skip(bytes, key_end)?;
                    self.out.extend_from_slice(&bytes[self.copied..key_end]);
                    self.out.extend_from_slice(BLANK);
                    self.copied = end;
                    end
                }
                false => self.walk(key_end, inner, outermost.or(name).or(Some(b"")), is_secret)?,
            };
        }
        Some(next)
    }
}

/// Where the value at `at` ends.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let length = scan::skip_value(bytes.get(at..)?).ok()??;
    Some(at + length).filter(|end| *end <= bytes.len())
}

/// Whether a value that begins so is a text or bytes.
const fn is_text(marker: u8) -> bool {
    matches!(marker, 0xa0..=0xbf | 0xc4..=0xc6 | 0xd9..=0xdb)
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

    /// What is stored of an event's data.
    fn stored(redactor: &mut Redactor, tag: &str, data: &Value) -> Value {
        let (event, tag_bytes) = event(tag, data);
        let stored = match redactor.apply(&event, tag_bytes) {
            Stored::AsItIs => event.clone(),
            Stored::Redacted(stored) => stored.to_vec(),
            Stored::Withheld => panic!("{data:?} is withheld"),
        };
        assert_eq!(stored[..tag_bytes + 2], event[..tag_bytes + 2]);
        msgpack::decode(&stored[tag_bytes + 2..]).unwrap()
    }

    #[test]
    fn tokens_of_webhooks_are_blanked_and_their_lengths_do_not_show() {
        let mut redactor = Redactor::new([]);
        let secrets = [
            Value::Nil,
            7.into(),
            "s".into(),
            "s".repeat(300).as_str().into(),
        ];
        for name in [
            "X-Auth-Token",
            "x-auth-token",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
        ] {
            for secret in &secrets {
                let read = stored(
                    &mut redactor,
                    "salt/netapi/hook/x",
                    &hook(name, secret.clone()),
                );
                assert_eq!(read, hook(name, Value::from("********")));
            }
        }
    }

    #[test]
    fn a_field_that_a_webhooks_body_names_is_not_left_in_the_body_itself() {
        let mut redactor = Redactor::new(["password"]);
        let blank = || Value::from("********");
        let data = |body: &str, post: Value| {
            map(&[
                ("body", body.into()),
                ("post", post),
                ("headers", map(&[("Host", "x".into())])),
            ])
        };
        let fields = |password: Value| map(&[("user", "a".into()), ("password", password)]);
        let tag = "salt/netapi/hook/x";
        for (body, post, body_then, post_then) in [
            (
                r#"{"user": "a", "password": "s3"}"#,
                fields("s3".into()),
                blank(),
                fields(blank()),
            ),
            // The name is only in what was read.
            (
                r#"{"user": "a", "p\u0061ssword": "s3"}"#,
                fields("s3".into()),
                blank(),
                fields(blank()),
            ),
            (
                "user=a&pass%77ord=s3",
                fields("s3".into()),
                blank(),
                fields(blank()),
            ),
            ("password is s3", "password is s3".into(), blank(), blank()),
            (
                "user=a",
                map(&[("user", "a".into())]),
                "user=a".into(),
                map(&[("user", "a".into())]),
            ),
        ] {
            let read = stored(&mut redactor, tag, &data(body, post));
            let Value::Map(read) = read else {
                panic!("{read:?}")
            };
            assert_eq!(read.get("body"), Some(&body_then), "{body}");
            assert_eq!(read.get("post"), Some(&post_then), "{body}");
        }
        // A body inside of what was sent is a field like any other.
        let post = map(&[("password", "s3".into()), ("body", "kept".into())]);
        let then = map(&[("password", blank()), ("body", "kept".into())]);
        let read = stored(&mut redactor, tag, &data("x", post));
        assert_eq!(read.as_map().unwrap().get("post"), Some(&then));
    }

    #[test]
    fn private_keys_of_minions_are_blanked() {
        let mut redactor = Redactor::new([]);
        let data = |private: &str| {
            let keys = map(&[("priv", private.into()), ("pub", "public".into())]);
            let job = map(&[("return", map(&[("return", keys)]))]);
            let returned = map(&[("20261129145430682182", job)]);
            map(&[("fun", "jobs.lookup_jid".into()), ("return", returned)])
        };
        for tag in [
            "salt/wheel/20261129145430682182/ret",
            "salt/run/20261129145430682182/ret",
            "syndic/s1/salt/run/20261129145430682182/ret",
        ] {
            let read = stored(&mut redactor, tag, &data("s3cret"));
            assert_eq!(read, data("********"), "{tag}");
        }
        let read = stored(&mut redactor, "my/tag", &data("s3cret"));
        assert_eq!(read, data("s3cret"));
    }

    #[test]
    fn what_proves_who_asks_is_blanked_in_events_of_refused_jobs() {
        let mut redactor = Redactor::new([]);
        let data = |secret: &str| {
            let proofs = [
                ("token", secret.into()),
                ("username", "ann".into()),
                ("password", secret.into()),
                ("in", map(&[("key", secret.into())])),
            ];
            map(&[
                ("fun", "test.arg".into()),
                (
                    "arg",
                    map(&[("key", "kept".into()), ("token", "kept".into())]),
                ),
                ("key", secret.into()),
                ("kwargs", map(&proofs)),
            ])
        };
        for tag in [
            "salt/job/error",
            "salt/job/20261129145430682182/error",
            "syndic/s1/salt/job/error",
            "syndic/top/syndic/s1/salt/job/20261129145430682182/error",
        ] {
            let read = stored(&mut redactor, tag, &data("s3cret"));
            assert_eq!(read, data("********"), "{tag}");
        }
        let tag = "salt/job/20261129145430682182/new";
        assert_eq!(stored(&mut redactor, tag, &data("s3cret")), data("s3cret"));
    }

    #[test]
    fn more_asterisks_than_an_event_may_have_are_not_stored() {
        let mut redactor = Redactor::new(["p"]);
        let mut event = b"a\n\n".to_vec();
        let count = u32::try_from(MAX_FRAME_BYTES / 10).unwrap();
        event.push(0xdd);
        event.extend_from_slice(&count.to_be_bytes());
        for _ in 0..count {
            event.extend_from_slice(b"\x81\xa1p\xc0");
        }
        assert!(event.len() < MAX_FRAME_BYTES);
        assert_eq!(redactor.apply(&event, 1), Stored::Withheld);
    }

    #[test]
    fn ordinary_events_are_stored_as_they_are() {
        let mut redactor = Redactor::new(["password"]);
        for tag in ["salt/job/1/ret/m", "salt/wheel/1/ret"] {
            let (event, tag) = event(tag, &hook("X-Auth-Token", Value::from("x")));
            assert_eq!(redactor.apply(&event, tag), Stored::AsItIs);
        }
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
            let Ok(Value::Map(read)) = msgpack::decode(&stored[tag + 2..]) else {
                return Err(TestCaseError::fail("not a map"));
            };
            let mut inner = read.get("data").unwrap();
            loop {
                inner = match inner {
                    Value::Array(items) => &items[0],
                    Value::Map(map) => match map.get("in") {
                        Some(inner) => inner,
                        None => {
                            prop_assert_eq!(map.get("password"), Some(&"********".into()));
                            break;
                        }
                    },
                    other => return Err(TestCaseError::fail(format!("{other:?}"))),
                };
            }
            prop_assert!(stored.ends_with(b"\xa5after\xa4kept"));
        }
    }
}

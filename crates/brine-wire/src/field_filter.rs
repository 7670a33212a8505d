//! Which events a reader wants, by their data: `minion:web* ok:false data.x:5`.
//!
//! Applied after the tags, it looks only at the data that its terms name: it finds values by walking over the bytes,
//! and decodes only what it compares. Patterns are shell patterns.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::json;
use crate::matching::{MatchType, TagMatch};
use crate::msgpack;
use crate::scan::{self, MapEntries};
use crate::value::Value;

/// Terms that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldFilter {
    terms: Vec<Term>,
}

/// The text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected terms FIELD:PATTERN, such as minion:web* ok:false data.x:5, found {found:?}{fault}"
)]
pub struct FilterError {
    /// The term.
    pub found: String,
    /// What is wrong with it.
    pub fault: FilterFault,
}

/// What is wrong with a term of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FilterFault {
    /// There is no colon, or nothing before it.
    #[error("")]
    Form,
    /// No such field.
    #[error(": fields are sender, origin, minion, fun, jid, user, ok and data.PATH")]
    UnknownField,
    /// `ok` is compared with something else than `true` and `false`.
    #[error(": ok is true or false")]
    NotABoolean,
    /// A quotation mark is not closed.
    #[error(": a quotation mark is missing")]
    Unclosed,
    /// More terms, or longer ones, than anybody needs.
    #[error(": a filter has at most {MAX_TERMS} terms and {MAX_BYTES} bytes")]
    TooLong,
}

/// The most terms of one filter: each costs a walk over the data of each event.
pub const MAX_TERMS: usize = 16;
/// The longest filter, in bytes.
pub const MAX_BYTES: usize = 4096;

/// What is known of how an event came, whatever its tag and data say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known<'a> {
    /// The minion that fired it.
    pub sender: Option<&'a str>,
    /// The other master on whose bus it was fired; `None` if that was this one. To a filter that is an empty name:
    /// `origin:` selects this master's events, `origin:?*` those of others.
    pub origin: Option<&'a str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Term {
    field: Field,
    pattern: TagMatch,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Field {
    /// Who fired it, as authenticated.
    Sender,
    /// The other master on whose bus it was fired.
    Origin,
    Minion,
    Fun,
    Jid,
    User,
    Ok,
    /// Keys from the outermost map inwards; a number also counts into a list.
    Data(Vec<String>),
}

impl FieldFilter {
    /// Parses a filter. Terms are separated by spaces; a pattern with spaces is quoted.
    ///
    /// # Errors
    /// [`FilterError`] names the first term that is none.
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        let refused = |found: &str, fault| FilterError {
            found: found.chars().take(100).collect(),
            fault,
        };
        if text.len() > MAX_BYTES {
            return Err(refused(text, FilterFault::TooLong));
        }
        let mut terms = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() {
            let (term, after) = split_term(rest).map_err(|fault| refused(rest, fault))?;
            if terms.len() == MAX_TERMS {
                return Err(refused(term, FilterFault::TooLong));
            }
            terms.push(Term::parse(term).map_err(|fault| refused(term, fault))?);
            rest = after.trim_start();
        }
        Ok(Self { terms })
    }

    /// Whether every event passes.
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an event passes. `data` is the msgpack map of the event; what is malformed in it does
    /// not pass.
    #[must_use]
    pub fn matches(&self, tag: &str, data: &[u8]) -> bool {
        self.matches_from(None, tag, data)
    }

    /// The same where it is known who fired the event: what `sender` is compared with. Unlike
    /// `minion`, that is not the event's own word.
    #[must_use]
    pub fn matches_from(&self, sender: Option<&str>, tag: &str, data: &[u8]) -> bool {
        let origin = None;
        self.matches_known(&Known { sender, origin }, tag, data)
    }

    /// The same with all that is known of how the event came.
    #[must_use]
    pub fn matches_known(&self, known: &Known<'_>, tag: &str, data: &[u8]) -> bool {
        let holds = |term: &Term| match term.field {
            Field::Sender => known
                .sender
                .is_some_and(|sender| term.pattern.matches(sender)),
            Field::Origin => term.pattern.matches(known.origin.unwrap_or_default()),
            _ => term.holds(tag, data),
        };
        self.terms.iter().all(holds)
    }
}

/// The first term of a text and what follows it.
fn split_term(text: &str) -> Result<(&str, &str), FilterFault> {
    let mut is_quoted = false;
    for (at, character) in text.char_indices() {
        match character {
            '"' => is_quoted = !is_quoted,
            ' ' if !is_quoted => return Ok(text.split_at(at)),
            _ => {}
        }
    }
    if is_quoted {
        return Err(FilterFault::Unclosed);
    }
    Ok((text, ""))
}

impl Term {
    fn parse(term: &str) -> Result<Self, FilterFault> {
        let (field, pattern) = term.split_once(':').ok_or(FilterFault::Form)?;
        let pattern = pattern.replace('"', "");
        let field = match field {
            "" => return Err(FilterFault::Form),
            "sender" => Field::Sender,
            "origin" => Field::Origin,
            "minion" => Field::Minion,
            "fun" => Field::Fun,
            "jid" => Field::Jid,
            "user" => Field::User,
            "ok" if !matches!(pattern.as_str(), "true" | "false") => {
                return Err(FilterFault::NotABoolean);
            }
            "ok" => Field::Ok,
            other => match other.strip_prefix("data.") {
                Some(path) if path.split('.').all(|key| !key.is_empty()) => {
                    Field::Data(path.split('.').map(ToString::to_string).collect())
                }
                _ => return Err(FilterFault::UnknownField),
            },
        };
        // A shell pattern is never malformed.
        let pattern = TagMatch::new(MatchType::Fnmatch, pattern).map_err(|_| FilterFault::Form)?;
        Ok(Self { field, pattern })
    }

    fn holds(&self, tag: &str, data: &[u8]) -> bool {
        match &self.field {
            Field::Sender | Field::Origin => false,
            Field::Minion => {
                tag_minion(tag).is_some_and(|minion| self.pattern.matches(minion))
                    || self.is_at(data, &["id"])
                    || self.is_at(data, &["minions"])
            }
            Field::Fun => self.is_at(data, &["fun"]),
            Field::Jid => {
                tag_jid(tag).is_some_and(|jid| self.pattern.matches(jid))
                    || self.is_at(data, &["jid"])
            }
            Field::User => self.is_at(data, &["user"]),
            Field::Ok => is_ok(data)
                .is_some_and(|ok| self.pattern.matches(if ok { "true" } else { "false" })),
            Field::Data(path) => self.is_at(data, path),
        }
    }

    /// Whether the value at a path matches; of a list, whether one of its members does.
    fn is_at(&self, data: &[u8], path: &[impl AsRef<str>]) -> bool {
        match find(data, path) {
            Some(Value::Array(items)) => items.iter().any(|item| self.is(item)),
            Some(value) => self.is(&value),
            None => false,
        }
    }

    fn is(&self, value: &Value) -> bool {
        json::scalar(value).is_some_and(|text| self.pattern.matches(&text))
    }
}

/// The minion that an event's tag names.
fn tag_minion(tag: &str) -> Option<&str> {
    let mut parts = tag.strip_prefix("salt/")?.split('/');
    match parts.next()? {
        "minion" => parts.next(),
        "job" => {
            let kind = parts.nth(1)?;
            (kind == "ret" || kind == "prog").then(|| parts.next())?
        }
        _ => None,
    }
}

/// The job that an event's tag names.
fn tag_jid(tag: &str) -> Option<&str> {
    let mut parts = tag.strip_prefix("salt/")?.split('/');
    matches!(parts.next()?, "job" | "run" | "wheel").then(|| parts.next())?
}

/// Whether a return reports success; `None` for an event that is no return.
fn is_ok(data: &[u8]) -> Option<bool> {
    let success = find(data, &["success"]).map(|value| value.is_true());
    let retcode = find(data, &["retcode"]).map(|value| !value.is_true());
    match (success, retcode) {
        (None, None) => None,
        (success, retcode) => Some(success.unwrap_or(true) && retcode.unwrap_or(true)),
    }
}

/// The value at a path, decoded; a map is given back as an empty one, since nothing compares maps.
fn find(data: &[u8], path: &[impl AsRef<str>]) -> Option<Value> {
    let mut at = data;
    for key in path {
        at = member(at, key.as_ref())?;
    }
    match at.first()? {
        0x80..=0x8f | 0xde | 0xdf => Some(Value::Map(crate::Map::new())),
        _ => msgpack::decode(at).ok(),
    }
}

/// The bytes of a map's member, or of a list's by number.
fn member<'a>(bytes: &'a [u8], key: &str) -> Option<&'a [u8]> {
    match MapEntries::open(bytes) {
        Some(entries) => entries
            .filter(|(own, _)| scan::text(own) == Some(key.as_bytes()))
            .map(|(_, value)| value)
            .last(),
        None => scan::ArrayItems::open(bytes)?.nth(key.parse().ok()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Map;
    use alloc::{format, vec};

    fn data() -> Vec<u8> {
        let inner: Map = [("x", Value::Int(5)), ("name", "a b".into())]
            .into_iter()
            .collect();
        let map: Map = [
            ("id", Value::from("web1")),
            ("fun", "state.apply".into()),
            ("jid", "20261129080100000000".into()),
            ("retcode", 2.into()),
            ("success", false.into()),
            ("inner", inner.into()),
            ("list", vec![Value::from("one"), "two".into()].into()),
            ("nothing", Value::Nil),
            ("bytes", Value::Bin(b"raw".to_vec())),
        ]
        .into_iter()
        .collect();
        let mut out = Vec::new();
        msgpack::encode_map(&map, &mut out);
        out
    }

    fn passes(filter: &str) -> bool {
        let filter = FieldFilter::parse(filter).unwrap();
        filter.matches("salt/job/20261129080100000000/ret/web1", &data())
    }

    #[test]
    fn all_terms_must_hold() {
        for (filter, expected) in [
            ("", true),
            ("minion:web*", true),
            ("minion:db*", false),
            ("minion:web* ok:false data.inner.x:5", true),
            ("minion:web* ok:true", false),
            ("fun:state.*", true),
            ("jid:20261129*", true),
            ("user:root", false),
            ("data.inner.name:\"a b\"", true),
            ("data.inner.name:a", false),
            ("data.list:two", true),
            ("data.list.1:two", true),
            ("data.list.0:two", false),
            ("data.list.9:two", false),
            ("data.list:three", false),
            ("data.inner:*", false),
            ("data.nothing:null", true),
            ("data.bytes:raw", true),
            ("data.retcode:[1-9]", true),
            ("data.missing:*", false),
            ("data.id.deeper:*", false),
            ("  fun:*  ", true),
        ] {
            assert_eq!(passes(filter), expected, "{filter}");
        }
    }

    #[test]
    fn a_sender_is_what_is_known_and_not_what_the_event_says() {
        let filter = FieldFilter::parse("sender:web*").unwrap();
        let tag = "salt/job/1/ret/web1";
        assert!(filter.matches_from(Some("web2"), tag, &data()));
        assert!(!filter.matches_from(Some("db1"), tag, &data()));
        assert!(!filter.matches(tag, &data()));
    }

    #[test]
    fn an_origin_is_another_master_or_none() {
        let passes = |filter: &str, origin| {
            let known = Known {
                sender: None,
                origin,
            };
            let filter = FieldFilter::parse(filter).unwrap();
            filter.matches_known(&known, "my/tag", &data())
        };
        for (filter, of_m2, own) in [
            ("origin:m*", true, false),
            ("origin:x*", false, false),
            ("origin:", false, true),
            ("origin:?*", true, false),
        ] {
            assert_eq!(passes(filter, Some("m2")), of_m2, "{filter}");
            assert_eq!(passes(filter, None), own, "{filter}");
        }
    }

    #[test]
    fn fields_are_found_in_tag_and_data() {
        let empty = [0x80];
        let holds = |filter, tag| FieldFilter::parse(filter).unwrap().matches(tag, &empty);
        assert!(holds("minion:m1", "salt/job/1/ret/m1"));
        assert!(holds("minion:m1", "salt/minion/m1/start"));
        assert!(holds("jid:1", "salt/job/1/new"));
        assert!(holds("jid:1", "salt/run/1/ret"));
        assert!(!holds("minion:new", "salt/job/1/new"));
        assert!(!holds("ok:true", "salt/job/1/new") && !holds("ok:false", "my/tag"));
        let mut new = Vec::new();
        let minions: Map = [("minions", Value::from(vec!["m1".into(), "m2".into()]))]
            .into_iter()
            .collect();
        msgpack::encode_map(&minions, &mut new);
        let filter = FieldFilter::parse("minion:m2").unwrap();
        assert!(filter.matches("salt/job/1/new", &new));
    }

    #[test]
    fn malformed_data_pass_no_filter_but_the_empty_one() {
        let whole = data();
        let filter = FieldFilter::parse("data.bytes:raw").unwrap();
        for cut in 0..whole.len() {
            let _ = filter.matches("t", &whole[..cut]);
            assert!(!filter.matches("t", &whole[..cut.min(4)]));
        }
        assert!(FieldFilter::default().matches("t", b"\xc1"));
    }

    #[test]
    fn what_is_no_term_is_named() {
        for (filter, fault) in [
            ("minion", FilterFault::Form),
            (":x", FilterFault::Form),
            ("fun:a colour:red", FilterFault::UnknownField),
            ("data.:x", FilterFault::UnknownField),
            ("data.a..b:x", FilterFault::UnknownField),
            ("ok:yes", FilterFault::NotABoolean),
            ("fun:\"a b", FilterFault::Unclosed),
        ] {
            assert_eq!(
                FieldFilter::parse(filter).unwrap_err().fault,
                fault,
                "{filter}"
            );
        }
        assert!(FieldFilter::parse(&"fun:a ".repeat(17)).is_err());
        assert!(FieldFilter::parse(&format!("fun:{}", "a".repeat(5000))).is_err());
        assert_eq!(
            FieldFilter::parse("colour:red").unwrap_err().to_string(),
            "expected terms FIELD:PATTERN, such as minion:web* ok:false data.x:5, found \
             \"colour:red\": fields are sender, origin, minion, fun, jid, user, ok and data.PATH"
        );
    }
}

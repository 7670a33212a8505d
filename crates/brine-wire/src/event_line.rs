//! An event as a line of JSON, `{"tag": …, "data": {…}}`: what `brine send --stdin` and `POST /events` take.
//!
//! What `GET /events` and `brine history --seq` write in addition to tag and data is ignored, and so are their lines
//! about gaps and heartbeats, so that one can be piped into the other. The server decides who the sender is: somebody
//! who fires an event again is its sender.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::envelope::TAG_END;
use crate::event::{FireError, STAMP, check_tag, encode_whole_event};
use crate::json::{self, JsonError, Packer};
use crate::msgpack;
use crate::trim;
use crate::value::{Map, Value};

/// Why a line is not an event.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LineError {
    /// It is no JSON.
    #[error("invalid JSON: {} at byte {}", .0.fault, .0.at)]
    NotJson(JsonError),
    /// It is some other JSON.
    #[error("expected {{\"tag\": …, \"data\": {{…}}}}")]
    NotAnObject,
    /// There is no tag.
    #[error("\"tag\" is required, and must be text")]
    NoTag,
    /// The data are something else.
    #[error("\"data\" must be an object")]
    DataNotAnObject,
    /// There is something beside tag and data; misspelt, it would be lost.
    #[error("unknown key {0:?}; \"tag\" and \"data\" are known")]
    UnknownKey(String),
    /// It is a line of a stream that is about no event: a gap, or a heartbeat. There is nothing to fire, and no mistake.
    #[error("a gap or a heartbeat, not an event")]
    NoEvent,
    /// The event itself cannot be fired.
    #[error(transparent)]
    Event(#[from] FireError),
}

/// Tag and data of a line.
///
/// # Errors
/// [`LineError`].
pub fn parse(line: &[u8]) -> Result<(String, Map), LineError> {
    let Value::Map(mut fields) = json::parse(line).map_err(LineError::NotJson)? else {
        return Err(LineError::NotAnObject);
    };
    if is_about_no_event(&fields) {
        return Err(LineError::NoEvent);
    }
    let Some(Value::Str(tag)) = fields.remove("tag") else {
        return Err(LineError::NoTag);
    };
    let data = match fields.remove("data") {
        Some(Value::Map(data)) => data,
        None => Map::new(),
        Some(_) => return Err(LineError::DataNotAnObject),
    };
    let is_known =
        |key: &Value| matches!(key, Value::Str(key) if PASSED_OVER.contains(&key.as_str()));
    match fields.iter().find(|(key, _)| !is_known(key)) {
        Some((key, _)) => Err(LineError::UnknownKey(
            key.as_str().unwrap_or_default().to_string(),
        )),
        None => Ok((tag, data)),
    }
}

/// What a stream says of an event besides.
const PASSED_OVER: [&str; 6] = [
    "seq",
    "position",
    "time",
    "sender",
    "origin",
    "origin_position",
];

/// `{"gap": {…}}` and `{"heartbeat": {…}}`, with nothing else in them.
fn is_about_no_event(fields: &Map) -> bool {
    let is_object = |key: &str| matches!(fields.get(key), Some(Value::Map(_)));
    fields.len() == 1 && (is_object("gap") || is_object("heartbeat"))
}

/// Appends the event of a line to `out`, as [`encode_whole_event`] makes it of what [`parse`] reads;
/// gives how many bytes of it are the tag.
///
/// # Errors
/// [`LineError`]; nothing is appended then.
pub fn encode(
    line: &[u8],
    stamp: &str,
    max_event_size: usize,
    out: &mut Vec<u8>,
) -> Result<usize, LineError> {
    let start = out.len();
    if let Some(tag_bytes) = quickly(line, stamp, max_event_size, out) {
        return Ok(tag_bytes);
    }
    out.truncate(start);
    let (tag, mut data) = parse(line)?;
    let event = encode_whole_event(&tag, &mut data, stamp, max_event_size)?;
    out.extend_from_slice(&event);
    Ok(tag.len())
}

/// [`encode`] for a line as programs write it: the tag, then data of few keys. `None` for any other.
fn quickly(line: &[u8], stamp: &str, max_event_size: usize, out: &mut Vec<u8>) -> Option<usize> {
    let mut packer = Packer::new(line, out)?;
    let opens = packer.take(b"{") && packer.take(b"\"tag\"") && packer.take(b":");
    let tag = opens.then(|| packer.plain_text())??;
    check_tag(tag).ok()?;
    packer.out.extend_from_slice(tag.as_bytes());
    packer.out.extend_from_slice(TAG_END);
    let data = packer.out.len();
    let (mut key, mut value) = (Vec::new(), Vec::new());
    msgpack::encode_str(STAMP, &mut key);
    msgpack::encode_str(stamp, &mut value);
    if packer.take(b",") {
        let has_data = packer.take(b"\"data\"") && packer.take(b":");
        has_data.then(|| packer.object(0, Some((&key, &value))))??;
    } else {
        packer.out.push(0x81);
        packer.out.extend([key, value].concat());
    }
    let is_whole = packer.take(b"}") && packer.is_done();
    let fits = trim::fits(packer.out.len() - data, max_event_size);
    (is_whole && fits).then_some(tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    fn read(line: &str) -> Result<(String, Map), String> {
        parse(line.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_is_tag_and_data() {
        let (tag, data) = read(
            r#"{"data": {"a": [1, -2, 1.5, null, true, "\u2603"], "a2": {}, "a": 1}, "tag": "t"}"#,
        )
        .unwrap();
        assert_eq!(tag, "t");
        assert_eq!(data.get("a"), Some(&Value::Int(1)));
        assert_eq!(data.len(), 2);
        let plain = ("t".to_string(), Map::new());
        assert_eq!(read(r#"{"tag": "t"}"#).unwrap(), plain);
        assert_eq!(
            read(r#"{"seq": 4, "position": "1-4", "time": "x", "tag": "t"}"#).unwrap(),
            plain
        );
        assert_eq!(
            read(r#"{"tag": "t", "sender": "m", "origin": "b", "origin_position": "1-2"}"#)
                .unwrap(),
            plain
        );
    }

    #[test]
    fn a_line_that_is_no_event_says_why() {
        for (line, reason) in [
            ("{", "invalid JSON: the text ends too early at byte 1"),
            ("[]", "expected {\"tag\": …, \"data\": {…}}"),
            (
                r#"{"gap": {"from": "1-2", "to": "1-4", "missed": 2, "reason": null}}"#,
                "a gap or a heartbeat, not an event",
            ),
            (
                r#"{"gap": {}, "data": {}}"#,
                "\"tag\" is required, and must be text",
            ),
            (r#"{"gap": 1}"#, "\"tag\" is required, and must be text"),
            (r#"{"tag": 1}"#, "\"tag\" is required, and must be text"),
            (r#"{"tag": "t", "data": []}"#, "\"data\" must be an object"),
            (
                r#"{"tag": "t", "dat": {}}"#,
                "unknown key \"dat\"; \"tag\" and \"data\" are known",
            ),
        ] {
            assert_eq!(read(line), Err(reason.to_string()));
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    /// Lines of every shape, with each of these as the data.
    #[test]
    fn the_quick_way_gives_the_same_bytes() {
        let many = (0..20)
            .map(|n| format!("\"k{n}\": {n}"))
            .collect::<Vec<_>>()
            .join(", ");
        let deep = format!("{{\"a\": {}1{}}}", "[".repeat(40), "]".repeat(40));
        let data = [
            "{}",
            r#"{"a": 1, "b": [1, -200, 70000, 1.5, 1e3, true, false, null, "x", [], {}]}"#,
            r#"{"_stamp": {"old": 1}, "a": "é\n\u00e9\"\\"}"#,
            r#"{"a": 1, "a": 2}"#,
            r#"{"a": {"$bytes": "/w=="}}"#,
            r#"{"a": {"$bytes": 1, "b": 2}}"#,
            r#"{"a": [1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16]}"#,
            r#"{"n": 123456789012345678901234567890, "f": NaN}"#,
            r#" { "a" : { "b" : { } } , "c" : [ 1 , 2 ] } "#,
            &format!("{{{many}}}"),
            &deep,
            &format!("{{\"a\": \"{}\"}}", "x".repeat(300)),
        ];
        let mut quick = 0;
        for data in data {
            for line in [
                format!(r#"{{"tag": "my/tag", "data": {data}}}"#),
                format!(r#" {{"data": {data}, "tag": "my\ttag"}} "#),
            ] {
                let (tag, mut map) = parse(line.as_bytes()).unwrap();
                let whole = encode_whole_event(&tag, &mut map, "now", 1000).unwrap();
                let mut out = b"before".to_vec();
                quick +=
                    usize::from(quickly(line.as_bytes(), "now", 1000, &mut Vec::new()).is_some());
                assert_eq!(
                    encode(line.as_bytes(), "now", 1000, &mut out),
                    Ok(tag.len())
                );
                assert_eq!(out[6..], whole, "{line}");
            }
        }
        assert_eq!(quick, 6, "what is usual goes the quick way");
    }

    #[test]
    fn nothing_is_appended_for_a_line_that_is_no_event() {
        let large = format!(r#"{{"tag": "a", "data": {{"x": "{}"}}}}"#, "y".repeat(2000));
        for line in [
            r#"{"tag": "t", "data": {"a": 1}} x"#,
            r#"{"tag": "t", "data": {"a": }}"#,
            r#"{"tag": "", "data": {}}"#,
            &large,
        ] {
            let mut out = Vec::new();
            assert!(
                encode(line.as_bytes(), "s", 1000, &mut out).is_err(),
                "{line}"
            );
            assert!(out.is_empty());
        }
    }
}

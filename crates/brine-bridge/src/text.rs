//! An event's data as JSON that databases accept, and the odd values that they do not.
//!
//! Most data goes straight from packed bytes to text. Values that JSON or PostgreSQL cannot represent (numbers that
//! are not finite, NUL characters, bytes that are not text) are replaced by the closest possible value, and counted;
//! an event is never left out because of one odd value. Where Salt's returners lose a whole batch: `docs/sinks.md`.

use brine_wire::{Map, Value, json, msgpack};

/// Data as one JSON object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The object, on one line.
    pub json: String,
    /// Whether a value had to be replaced.
    pub is_altered: bool,
}

/// What takes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taker {
    /// Anything that reads JSON.
    Json,
    /// PostgreSQL, whose texts hold no NUL.
    Postgres,
}

/// Packed data as text.
#[must_use]
pub fn of_data(data: &[u8], taker: Taker) -> Text {
    let mut out = Vec::with_capacity(data.len() * 2);
    if json::packed_to_exact_line(data, &mut out).is_ok()
        && !may_be_odd(&out)
        && let Ok(json) = String::from_utf8(out)
    {
        let is_altered = false;
        return Text { json, is_altered };
    }
    match msgpack::decode(data) {
        Ok(value) => of_value(&value, taker),
        // The bus checks only the first values of large data.
        Err(_) => Text {
            is_altered: true,
            ..of_value(&Value::Bin(data.to_vec()), taker)
        },
    }
}

/// A value as text.
#[must_use]
pub fn of_value(value: &Value, taker: Taker) -> Text {
    let mut is_altered = false;
    let plain = plain(value, &mut is_altered);
    let mut json = String::new();
    json::to_exact_line(&plain, &mut json);
    if taker == Taker::Postgres
        && let Some(without) = without_nul(&json)
    {
        (json, is_altered) = (without, true);
    }
    Text { json, is_altered }
}

/// A text without what the taker has no place for.
#[must_use]
pub fn clean(text: &str, taker: Taker) -> String {
    match taker {
        Taker::Postgres => text.replace('\0', "\u{fffd}"),
        Taker::Json => text.to_owned(),
    }
}

/// The first characters, this many.
#[must_use]
pub fn cut(text: &str, characters: usize) -> &str {
    let end = text.char_indices().nth(characters);
    end.map_or(text, |(at, _)| &text[..at])
}

/// An error with what to do, if it is one of a certificate: libraries only name what is wrong with it.
pub(crate) fn with_hint(error: String) -> String {
    let hint = [
        (
            "UnknownIssuer",
            "none that is trusted has signed it; option ca names who may",
        ),
        (
            "NotValidForName",
            "it is for other names than the one that is connected to",
        ),
        ("Expired", "its time is over"),
        ("NotValidYet", "its time has not come; look at the clocks"),
        (
            "UnhandledCriticalExtension",
            "it demands what is not known here",
        ),
        (
            "CertificateRequired",
            "the server wants one from us; options cert and key",
        ),
    ];
    let hint = hint.iter().find(|(name, _)| error.contains(name));
    match hint {
        Some((_, hint)) => format!("{error} ({hint})"),
        None => error,
    }
}

/// An error and its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        // Some say their cause themselves.
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = error.source();
    }
    text
}

/// Whether the text may hold a value that must be replaced: a cheap look that is sometimes wrong, as where a text says
/// `NaN`.
fn may_be_odd(json: &[u8]) -> bool {
    [&b"NaN"[..], b"Infinity", b"\\u0000", b"$bytes"]
        .iter()
        .any(|odd| memchr::memmem::find(json, odd).is_some())
}

/// JSON with U+FFFD for each NUL, wherever it came from: a text, a key, or the bytes of an extension. `None` if there is
/// none.
fn without_nul(json: &str) -> Option<String> {
    const NUL: &str = "u0000";
    if !json.contains(NUL) {
        return None;
    }
    let (mut out, mut rest, mut is_altered) = (String::with_capacity(json.len()), json, false);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let length = match escape[1..].starts_with(NUL) {
            true => {
                is_altered = true;
                out.push('\u{fffd}');
                1 + NUL.len()
            }
            // The second of two backslashes begins nothing.
            false => {
                let length = escape.chars().take(2).map(char::len_utf8).sum();
                out.push_str(&escape[..length]);
                length
            }
        };
        rest = &escape[length..];
    }
    out.push_str(rest);
    is_altered.then_some(out)
}

fn plain(value: &Value, is_altered: &mut bool) -> Value {
    match value {
        Value::Float(number) if !number.is_finite() => {
            *is_altered = true;
            let name = match (number.is_nan(), *number > 0.0) {
                (true, _) => "NaN",
                (false, true) => "Infinity",
                (false, false) => "-Infinity",
            };
            name.into()
        }
        // As Salt makes text of bytes; what is none stays bytes, in base64.
        Value::Bin(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => value.clone(),
        },
        Value::Array(items) => {
            let items = items.iter().map(|item| plain(item, is_altered));
            Value::Array(items.collect())
        }
        Value::Map(map) => {
            let pairs = map.iter().map(|(key, value)| {
                let key = plain(key, is_altered);
                (key, plain(value, is_altered))
            });
            Map::from_pairs(pairs.collect()).into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(value: Value) -> Vec<u8> {
        let mut out = Vec::new();
        let map: Map = [("v", value)].into_iter().collect();
        msgpack::encode_map(&map, &mut out);
        out
    }

    fn text(value: impl Into<Value>) -> (String, bool) {
        let text = of_data(&packed(value.into()), Taker::Postgres);
        (text.json, text.is_altered)
    }

    #[test]
    fn odd_values_become_what_is_nearest() {
        let is = |json: &str, altered| (format!("{{\"v\": {json}}}"), altered);
        assert_eq!(text(1), is("1", false));
        assert_eq!(text("NaN"), is("\"NaN\"", false));
        assert_eq!(text(f64::NAN), is("\"NaN\"", true));
        assert_eq!(text(f64::NEG_INFINITY), is("\"-Infinity\"", true));
        assert_eq!(text("a\0b"), is("\"a\u{fffd}b\"", true));
        assert_eq!(text(Value::Bin(b"text".to_vec())), is("\"text\"", false));
        assert_eq!(
            text(Value::Bin(b"\xff\xfe".to_vec())),
            is("{\"$bytes\": \"//4=\"}", false)
        );
        assert_eq!(
            text(Value::Int(i128::from(u64::MAX))),
            is("18446744073709551615", false)
        );
        assert_eq!(
            of_data(&packed("a\0".into()), Taker::Json).json,
            "{\"v\": \"a\\u0000\"}"
        );
    }

    #[test]
    fn a_nul_is_replaced_wherever_it_comes_from() {
        // {"x": an extension of the type 5 with one byte, "_stamp": {"x": …}}, as a stranger may send it.
        let data = b"\x82\xa1x\xd4\x05\x00\xa6_stamp\xa1x";
        let is = |data: &[u8], json: &str| {
            let text = of_data(data, Taker::Postgres);
            assert_eq!((text.json.as_str(), text.is_altered), (json, true));
        };
        is(data, "{\"x\": \"\u{fffd}\", \"_stamp\": \"x\"}");
        is(b"\x81\xd4\x05\x00\x01", "{\"\u{fffd}\": 1}");
        is(b"\x81\xa2a\x00\x01", "{\"a\u{fffd}\": 1}");
        // What only looks like one stays.
        assert_eq!(
            text("\\u0000"),
            ("{\"v\": \"\\\\u0000\"}".to_owned(), false)
        );
        assert_eq!(
            text("\\\0\\u0000"),
            ("{\"v\": \"\\\\\u{fffd}\\\\u0000\"}".to_owned(), true)
        );
    }

    #[test]
    fn what_is_no_data_is_shown_as_bytes() {
        let text = of_data(b"\x81\xa1a", Taker::Postgres);
        assert_eq!(text.json, "{\"$bytes\": \"gaFh\"}");
        assert!(text.is_altered);
    }

    #[test]
    fn errors_of_certificates_say_what_to_do() {
        let hint = |error: &str| with_hint(error.to_owned());
        assert_eq!(
            hint("invalid peer certificate: UnknownIssuer"),
            "invalid peer certificate: UnknownIssuer (none that is trusted has signed it; option ca names who may)"
        );
        assert_eq!(hint("connection refused"), "connection refused");
    }

    #[test]
    fn characters_are_counted_not_bytes() {
        assert_eq!(cut("äöü", 2), "äö");
        assert_eq!(cut("ab", 3), "ab");
    }
}

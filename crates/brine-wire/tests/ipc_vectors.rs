//! The golden vectors of the local bus, byte for byte: what three real releases wrote, published
//! and read (`tests/vectors/ipc.json`, made as `docs/protocol/ipc.md` §11 and §12 say).
//!
//! Every row of every table is used, and the tables' lengths are asserted, so that none is lost.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use brine_wire::compat::{Compat, StampStyle};
use brine_wire::envelope::Envelope;
use brine_wire::event::{
    self, FIRE_MASTER, FireError, MAX_EVENT_SIZE, STAMP, encode_event, fire_master_data,
};
use brine_wire::frame::{Decoder, Framing, encode_frame};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::msgpack;
use brine_wire::ret_load::fire_ret_load;
use brine_wire::tag::{SALT, tagify};
use brine_wire::{Map, Value, trim};
use serde_json::Value as Json;
use sha2::{Digest, Sha256};

#[test]
fn every_event_is_encoded_framed_and_read_as_salt_does() {
    let vectors = vectors();
    let rows = vectors["vectors"].as_array().unwrap();
    let (mut sent, mut refused) = (0, 0);
    for row in rows {
        if row["raised"].is_null() {
            check_sent(row);
            sent += 1;
        } else {
            check_refused(row);
            refused += 1;
        }
    }
    assert_eq!((sent, refused), (126, 12));
}

fn check_sent(row: &Json) {
    let name = format!("{} {}", row["salt_version"], row["name"]);
    let compat: Compat = text(&row["salt_version"]).parse().unwrap();

    let event = encoded(row);
    assert_bytes(row, "event", &event, &name);

    let mut pulled = Vec::new();
    encode_frame(compat.pull_framing(), &event, &mut pulled);
    assert_bytes(row, "pull", &pulled, &name);
    assert_eq!(
        framing(&row["pull_framing"]),
        Some(compat.pull_framing()),
        "{name}"
    );
    assert_one_frame(&pulled, &event, &name);

    match framing(&row["pub_framing"]) {
        Some(publish) => {
            let mut published = Vec::new();
            encode_frame(publish, &event, &mut published);
            assert_bytes(row, "pub", &published, &name);
            assert_eq!(publish, compat.publish_framing(), "{name}");
            assert_one_frame(&published, &event, &name);
        }
        // The one thing a real bus refused: what its readers could not have read.
        None => assert!(Envelope::parse(&event).is_err(), "{name}"),
    }
    check_read_back(row, &event, &name);
}

/// The event of a row, by the encoder where it takes the tag.
fn encoded(row: &Json) -> Vec<u8> {
    let (mut tag, mut data) = (row_tag(row), map(&row["data"]));
    if row["call"] == "fire_master" {
        data = fire_master_data(&tag, data);
        tag = FIRE_MASTER.to_string();
    }
    let limit = match row["max_event_size"].as_u64() {
        Some(limit) => usize::try_from(limit).unwrap(),
        None => MAX_EVENT_SIZE,
    };
    let stamp = row_stamp(row);
    match encode_event(&tag, &mut data.clone(), &stamp, limit) {
        Ok(event) => event,
        // Salt sends what no reader can make out; ours says so at once. The bytes are compared.
        Err(FireError::TagBreaksEnvelope { .. }) => {
            assert_eq!(row["reads_back"], "SaltDeserializationError");
            let mut packed = Vec::new();
            data.insert(STAMP, stamp);
            msgpack::encode_map(&data, &mut packed);
            event::join(&tag, &trim::trim_to(packed, limit))
        }
        Err(error) => panic!("{}: {error}", row["name"]),
    }
}

fn row_tag(row: &Json) -> String {
    match value(&row["tag"]) {
        Value::Str(tag) => tag,
        Value::Bin(tag) => String::from_utf8(tag).unwrap(),
        other => panic!("expected a tag, found {other:?}"),
    }
}

/// The stamp the row was sent with. Rows whose event no reader could make out do not name it.
fn row_stamp(row: &Json) -> String {
    let compat: Compat = text(&row["salt_version"]).parse().unwrap();
    let stamp = match row["stamp"].as_str() {
        Some(stamp) => stamp.to_string(),
        None => stamp_in_bytes(row),
    };
    let has_offset = stamp.ends_with("+00:00");
    assert_eq!(has_offset, compat.stamp_style() == StampStyle::Utc);
    stamp
}

/// The last text in the event's bytes: Salt adds `_stamp` last.
fn stamp_in_bytes(row: &Json) -> String {
    let hex = row["event_hex"]
        .as_str()
        .or(row["event_tail_hex"].as_str())
        .unwrap();
    let bytes = from_hex(hex);
    let key = b"\xa6_stamp";
    let at = bytes
        .windows(key.len())
        .rposition(|part| part == key)
        .unwrap()
        + key.len();
    match msgpack::decode(&bytes[at..]).unwrap() {
        Value::Str(stamp) => stamp,
        other => panic!("expected a stamp, found {other:?}"),
    }
}

fn check_read_back(row: &Json, event: &[u8], name: &str) {
    let expected = &row["reads_back"];
    if expected == "SaltDeserializationError" {
        assert!(Envelope::parse(event).is_err(), "{name}");
        return;
    }
    let envelope = Envelope::parse(event).unwrap();
    let read = msgpack::decode(envelope.data()).unwrap();
    if expected.is_null() {
        let mut data = map(&row["data"]);
        data.insert(STAMP, row_stamp(row));
        assert_eq!(envelope.tag(), row_tag(row), "{name}");
        assert_eq!(read, Value::Map(read_form(&data)), "{name}");
    } else {
        assert_eq!(
            Value::from(envelope.tag()),
            value(&expected["tag"]),
            "{name}"
        );
        assert_eq!(read, value(&expected["data"]), "{name}");
    }
}

/// Integers beyond 64 bits are read back as text.
fn read_form(data: &Map) -> Map {
    let mut packed = Vec::new();
    msgpack::encode_map(data, &mut packed);
    match msgpack::decode(&packed).unwrap() {
        Value::Map(map) => map,
        other => panic!("expected a map, found {other:?}"),
    }
}

fn check_refused(row: &Json) {
    let (name, raised) = (text(&row["name"]), text(&row["raised"]));
    match (name, raised.split(':').next().unwrap()) {
        ("refused: empty tag", "ValueError") => {
            let tag = text(&row["tag"]);
            let refused = encode_event(tag, &mut map(&row["data"]), "s", MAX_EVENT_SIZE);
            assert_eq!(refused, Err(FireError::EmptyTag));
        }
        // These two cannot be said in Rust's types: data are a map, and every value has a form.
        ("refused: data not a mapping" | "refused: data None", "ValueError") => {
            assert!(value(&row["data"]).as_map().is_none());
        }
        ("refused: value msgpack cannot carry", "TypeError") => {
            assert_eq!(raised, "TypeError: can not serialize 'complex' object");
        }
        other => panic!("a row without a rule: {other:?}"),
    }
}

#[test]
fn the_framing_of_every_release_is_known() {
    let vectors = vectors();
    let rows = vectors["framing_by_release"].as_array().unwrap();
    let mut releases = 0;
    for row in rows {
        let lists = [&row["run"], &row["source"]];
        for release in lists.iter().flat_map(|list| list.as_array().unwrap()) {
            let compat: Compat = text(release).parse().unwrap();
            assert_eq!(
                Some(compat.pull_framing()),
                framing(&row["pull"]),
                "{release}"
            );
            assert_eq!(
                Some(compat.publish_framing()),
                framing(&row["pub"]),
                "{release}"
            );
            releases += 1;
        }
    }
    assert_eq!((rows.len(), releases), (6, 18));
}

#[test]
fn every_match_is_salts() {
    let vectors = vectors();
    let rows = vectors["match"]["rows"].as_array().unwrap();
    for row in rows {
        let kind: MatchType = text(&row[0]).parse().unwrap();
        match (TagMatch::new(kind, text(&row[1])), &row[3]) {
            (Ok(pattern), Json::Bool(expected)) => {
                assert_eq!(pattern.matches(text(&row[2])), *expected, "{row}");
            }
            (Err(_), expected) => assert_eq!(expected, "raises error", "{row}"),
            // Salt on CPython 3.10 takes flags in front, and so do we.
            (Ok(_), _) if text(&row[1]).starts_with("(?i)") => {}
            (Ok(_), _) => panic!("{row}: expected an error"),
        }
    }
    assert_eq!(rows.len(), 71);
}

#[test]
fn every_tag_is_built_as_salt_builds_it() {
    let vectors = vectors();
    let rows = vectors["tagify"]["rows"].as_array().unwrap();
    for row in rows {
        for release in ["3006.28", "3007.14", "3008.3"] {
            let spreads_all = release == "3008.3";
            let (suffix, prefix, base) = tagify_arguments(text(&row["args"]), spreads_all);
            assert_eq!(tagify(suffix, prefix, base), text(&row[release]), "{row}");
        }
    }
    assert_eq!(rows.len(), 15);
}

/// A row's Python arguments as parts, prefix and base. What a release takes for a list is its
/// caller's to know; 3008 takes everything that can be iterated over.
fn tagify_arguments(
    python: &str,
    spreads_all: bool,
) -> (&'static [&'static str], &'static str, &'static str) {
    let either = |spread: &'static [&'static str], whole: &'static [&'static str]| {
        if spreads_all { spread } else { whole }
    };
    match python {
        "()" => (&[""], "", SALT),
        "('x',)" => (&["x"], "", SALT),
        "('x', 'job')" => (&["x"], "job", SALT),
        "('x', 'refresh', 'minion')" => (&["x"], "refresh", "minion"),
        "(['1', 'ret', 'm1'], 'job')" => (&["1", "ret", "m1"], "job", SALT),
        "([1, 'new'], 'run')" => (&["1", "new"], "run", SALT),
        "(('a', 'b'), 'auth')" => (either(&["a", "b"], &["('a', 'b')"]), "auth", SALT),
        "('', 'auth')" => (&[""], "auth", SALT),
        "(['a', '', None, 'b'], 'job')" => (&["a", "", "None", "b"], "job", SALT),
        "(b'by', 'job')" => (either(&["98", "121"], &["by"]), "job", SALT),
        "(5, 'job')" => (&["5"], "job", SALT),
        "('x', 'unknown')" => (&["x"], "unknown", SALT),
        "('x', 'job', '')" => (&["x"], "job", ""),
        "({'k': 1}, 'job')" => (either(&["k"], &["{'k': 1}"]), "job", SALT),
        // 3006 and 3007 put the iterator's address into the tag: nothing to compare.
        "(iter(['p','q']), 'job')" if spreads_all => (&["p", "q"], "job", SALT),
        "(iter(['p','q']), 'job')" => (&["(the repr of the iterator)"], "", ""),
        other => panic!("a row without a rule: {other}"),
    }
}

#[test]
fn every_failed_state_is_fired() {
    let vectors = vectors();
    let rows = vectors["fire_ret_load"]["rows"].as_array().unwrap();
    for row in rows {
        let fired: Vec<_> = (fire_ret_load(&map(&row["load"])).into_iter())
            .map(|(tag, mut data)| {
                // The table leaves stamps out.
                data.remove(STAMP);
                Value::Array(vec![tag.into(), data.into()])
            })
            .collect();
        assert_eq!(Value::Array(fired), value(&row["fired"]), "{row}");
    }
    assert_eq!(rows.len(), 6);
}

fn vectors() -> Json {
    serde_json::from_str(include_str!("vectors/ipc.json")).unwrap()
}

fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

fn framing(json: &Json) -> Option<Framing> {
    match text(json) {
        "bare" => Some(Framing::Bare),
        "length-prefixed" | "prefixed" => Some(Framing::Prefixed),
        "none" => None,
        other => panic!("a framing without a rule: {other}"),
    }
}

/// Bytes as the row has them: whole, or for long ones their digest, length and both ends.
fn assert_bytes(row: &Json, field: &str, bytes: &[u8], name: &str) {
    if let Some(expected) = row[format!("{field}_hex")].as_str() {
        assert_eq!(hex(bytes), expected, "{name}: {field}");
        return;
    }
    let part = |part: &str| row[format!("{field}_{part}")].clone();
    let (head, tail) = (
        text(&part("head_hex")).to_owned(),
        text(&part("tail_hex")).to_owned(),
    );
    assert_eq!(
        part("len").as_u64(),
        Some(bytes.len() as u64),
        "{name}: {field}"
    );
    assert!(
        hex(bytes).starts_with(&head) && hex(bytes).ends_with(&tail),
        "{name}: {field}"
    );
    assert_eq!(
        hex(&Sha256::digest(bytes)),
        part("sha256"),
        "{name}: {field}"
    );
}

fn assert_one_frame(bytes: &[u8], event: &[u8], name: &str) {
    let mut decoder = Decoder::new(bytes.len());
    let frame = decoder.next(bytes).unwrap().unwrap();
    assert_eq!((frame.event, frame.length), (event, bytes.len()), "{name}");
}

fn map(json: &Json) -> Map {
    match value(json) {
        Value::Map(map) => map,
        other => panic!("expected a map, found {other:?}"),
    }
}

/// A value in the table's notation, which the table explains.
fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => Value::Bool(*flag),
        Json::Number(number) => Value::Int(number.as_i64().unwrap().into()),
        Json::String(text) => Value::Str(text.clone()),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(pairs) => match pairs.iter().next() {
            Some((kind, content)) if kind.starts_with('$') => noted(kind, content),
            _ => Value::Map(pairs.iter().map(|(k, v)| (k.as_str(), value(v))).collect()),
        },
    }
}

fn noted(kind: &str, content: &Json) -> Value {
    let count = || usize::try_from(content[1].as_u64().unwrap()).unwrap();
    match kind {
        "$int" => Value::Int(text(content).parse().unwrap()),
        "$float" => Value::Float(text(content).parse().unwrap()),
        "$bytes" => Value::Bin(from_hex(text(content))),
        "$datetime" => date(&text(content)[..19], text(content)),
        "$date" => date(&format!("{}T00:00:00", text(content)), ""),
        "$set" | "$tuple" => value(content),
        "$map" => {
            let pairs = content.as_array().unwrap().iter();
            Value::Map(
                pairs
                    .map(|pair| (value(&pair[0]), value(&pair[1])))
                    .collect(),
            )
        }
        "$repeat" => Value::Str(text(&content[0]).repeat(count())),
        "$repeat_byte" => Value::Bin(from_hex(text(&content[0])).repeat(count())),
        "$repeat_list" => Value::Array(vec![value(&content[0]); count()]),
        "$range" => Value::Array((0..content.as_i64().unwrap()).map(Value::from).collect()),
        other => panic!("a notation without a rule: {other}"),
    }
}

/// ISO text as Salt's extension of a date; a time zone is dropped, the fraction always written.
fn date(seconds: &str, whole: &str) -> Value {
    let fraction = match whole.get(19..) {
        Some(rest) if rest.starts_with('.') => &rest[..7],
        _ => ".000000",
    };
    let (day, time) = seconds.split_once('T').unwrap();
    let text = format!("{}T{time}{fraction}", day.replace('-', ""));
    Value::Ext(msgpack::DATE, text.into_bytes())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

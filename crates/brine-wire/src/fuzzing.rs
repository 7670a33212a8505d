//! What must hold for any bytes from outside: the bodies of the fuzz targets, which tests replay.
//!
//! Each takes what a stranger may send, and panics if a rule of this crate is broken. Not part of
//! the crate's interface.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::build::{Build, BuildError, Date, build};
use crate::envelope::{Envelope, TAG_END};
use crate::event::{STAMP, encode_event, encode_whole_event};
use crate::field_filter::FieldFilter;
use crate::frame::{Decoder, FrameError, Framing, encode_frame};
use crate::matching::{MatchType, TagFilter, TagMatch};
use crate::msgpack::{DATE, DecodeError};
use crate::ret_load::fire_ret_load;
use crate::time::{self, Bound, Clock};
use crate::value::{Map, Value};
use crate::{event_line, json, msgpack, scan};

/// Frames are the same however the stream is cut, and their events survive encoding. The first
/// byte is how many bytes come at a time.
pub fn fuzz_frames(bytes: &[u8]) {
    let Some((&step, stream)) = bytes.split_first() else {
        return;
    };
    let (whole, at_once) = cut(stream, stream.len().max(1));
    let (pieces, piecewise) = cut(stream, usize::from(step).max(1));
    assert_eq!(whole, pieces);
    assert_eq!(at_once, piecewise);
    for event in whole {
        for framing in [Framing::Bare, Framing::Prefixed] {
            let mut frame = Vec::new();
            encode_frame(framing, event, &mut frame);
            let mut decoder = Decoder::new(LIMIT + event.len());
            let decoded = decoder.next(&frame);
            assert_eq!(
                decoded.map(|frame| frame.map(|frame| (frame.event, frame.length))),
                Ok(Some((event, frame.len())))
            );
        }
    }
}

/// The largest frame the fuzzed decoder takes, in bytes: small, so that the limit is met.
const LIMIT: usize = 4096;

/// The events of a stream that comes `step` bytes at a time, and how it ends.
fn cut(stream: &[u8], step: usize) -> (Vec<&[u8]>, Option<FrameError>) {
    let mut decoder = Decoder::new(LIMIT);
    let (mut events, mut start, mut end) = (Vec::new(), 0, 0);
    while end < stream.len() {
        end = (end + step).min(stream.len());
        loop {
            match decoder.next(&stream[start..end]) {
                Ok(Some(frame)) => {
                    assert!(frame.length > frame.event.len());
                    events.push(frame.event);
                    start += frame.length;
                }
                Ok(None) => {
                    assert!(decoder.wanted() > end - start);
                    assert!(decoder.wanted() <= LIMIT + 4);
                    break;
                }
                Err(error) => return (events, Some(error)),
            }
        }
    }
    (events, None)
}

/// An envelope's parts make up the event, and its data is exactly one map.
pub fn fuzz_envelope(event: &[u8]) {
    let Ok(envelope) = Envelope::parse(event) else {
        return;
    };
    let parts = [envelope.tag().as_bytes(), TAG_END, envelope.data()];
    assert_eq!(parts.concat(), event);
    assert!(!envelope.tag().is_empty() && !envelope.tag().contains("\n\n"));
    assert_eq!(scan::is_one_map(envelope.data()), Ok(true));
}

/// A value's length needs all of its bytes and no byte more.
pub fn fuzz_scan(bytes: &[u8]) {
    let Ok(Some(length)) = scan::skip_value(bytes) else {
        return;
    };
    assert!(length > 0);
    if length > bytes.len() {
        return; // the last scalar's length has arrived before the scalar
    }
    let value = &bytes[..length];
    assert_eq!(scan::skip_value(value), Ok(Some(length)));
    // Every prefix would take time in proportion to the square of the length.
    for cut in (0..length).step_by(length / 64 + 1) {
        let needs_more = match scan::skip_value(&value[..cut]) {
            Ok(found) => found.is_none_or(|found| found > cut),
            Err(_) => false,
        };
        assert!(needs_more, "{cut} of {length} bytes pass for the value");
    }
}

/// A value that is read is written, read again and written the same; it can be printed.
pub fn fuzz_values(bytes: &[u8]) {
    if let Ok(value) = msgpack::decode(bytes) {
        assert_eq!(scan::skip_value(bytes), Ok(Some(bytes.len())));
        let once = written(&value);
        let again = msgpack::decode(&once).map(|value| written(&value));
        assert_eq!(again.as_ref(), Ok(&once));
        for print in [json::to_line, json::to_pretty] {
            let mut printed = String::new();
            print(&value, &mut printed);
            assert!(!printed.is_empty());
        }
        if let Value::Map(load) = &value {
            let _ = fire_ret_load(load);
        }
    }
    if let Ok(value) = msgpack::decode_network(bytes) {
        let mut once = Vec::new();
        msgpack::encode_network(&value, &mut once);
        assert!(msgpack::decode_network(&once).is_ok());
    }
}

/// What is built as it is read, as the Python package's objects are, is what the decoder of values reads.
pub fn fuzz_build(bytes: &[u8]) {
    let built = build(bytes, &mut Values);
    match msgpack::decode(bytes) {
        Ok(value) => {
            let built = built.map_err(|error| format!("{error:?}"));
            // A NaN is not equal to itself.
            assert_eq!(
                format!("{built:?}"),
                format!("{:?}", Ok::<_, String>(value))
            );
        }
        // Whether the fields of a date are one is the builder's to say.
        Err(DecodeError::NotADate) => {}
        Err(error) => assert!(built.is_err(), "{error}"),
    }
}

/// Builds [`Value`]s.
struct Values;

/// Why there is no value.
#[derive(Debug)]
enum NotBuilt {
    #[expect(dead_code, reason = "shown by a test that fails")]
    Read(BuildError),
    Key,
}

impl From<BuildError> for NotBuilt {
    fn from(error: BuildError) -> Self {
        Self::Read(error)
    }
}

impl Build for Values {
    type Value = Value;
    type List = Vec<Value>;
    type Map = Vec<(Value, Value)>;
    type Error = NotBuilt;

    fn nil(&mut self) -> Value {
        Value::Nil
    }

    fn boolean(&mut self, boolean: bool) -> Value {
        Value::Bool(boolean)
    }

    fn signed(&mut self, number: i64) -> Result<Value, NotBuilt> {
        Ok(Value::Int(number.into()))
    }

    fn unsigned(&mut self, number: u64) -> Result<Value, NotBuilt> {
        Ok(Value::Int(number.into()))
    }

    fn float(&mut self, number: f64) -> Value {
        Value::Float(number)
    }

    fn text(&mut self, text: &str) -> Value {
        text.into()
    }

    fn bytes(&mut self, bytes: &[u8]) -> Value {
        Value::Bin(bytes.to_vec())
    }

    fn extension(&mut self, kind: i8, payload: &[u8]) -> Value {
        Value::Ext(kind, payload.to_vec())
    }

    fn date(&mut self, date: Date) -> Result<Value, NotBuilt> {
        let text = format!(
            "{:04}{:02}{:02}T{:02}:{:02}:{:02}.{:06}",
            date.year, date.month, date.day, date.hour, date.minute, date.second, date.microsecond
        );
        Ok(Value::Ext(DATE, text.into_bytes()))
    }

    fn list(&mut self) -> Vec<Value> {
        Vec::new()
    }

    fn push(&mut self, list: &mut Vec<Value>, item: Value) -> Result<(), NotBuilt> {
        list.push(item);
        Ok(())
    }

    fn whole_list(&mut self, list: Vec<Value>) -> Value {
        Value::Array(list)
    }

    fn map(&mut self) -> Self::Map {
        Vec::new()
    }

    fn set(&mut self, map: &mut Self::Map, key: Value, value: Value) -> Result<(), NotBuilt> {
        if matches!(key, Value::Array(_) | Value::Map(_)) {
            return Err(NotBuilt::Key);
        }
        map.push((key, value));
        Ok(())
    }

    fn whole_map(&mut self, map: Self::Map) -> Value {
        Value::Map(Map::from_pairs(map))
    }
}

fn written(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    msgpack::encode(value, &mut out);
    out
}

/// An event that was read can be fired again, stamped and trimmed. The first byte says how little
/// it is trimmed to, in shares of its size.
pub fn fuzz_events(bytes: &[u8]) {
    let Some((&share, event)) = bytes.split_first() else {
        return;
    };
    let Ok(envelope) = Envelope::parse(event) else {
        return;
    };
    let Ok(Value::Map(data)) = msgpack::decode(envelope.data()) else {
        return;
    };
    let whole = fired(envelope.tag(), &data, usize::MAX);
    let limit = whole.len() * usize::from(share) / 255;
    let trimmed = fired(envelope.tag(), &data, limit);
    let (whole, trimmed) = (parts(&whole), parts(&trimmed));
    assert_eq!(whole.0, envelope.tag());
    assert_eq!(trimmed.0, envelope.tag());
    let keys = |map: Map| -> Vec<_> { map.into_iter().map(|(key, _)| written(&key)).collect() };
    assert_eq!(whole.1.get(STAMP), Some(&Value::from("now")));
    assert_eq!(keys(whole.1), keys(trimmed.1));
}

fn fired(tag: &str, data: &Map, limit: usize) -> Vec<u8> {
    match encode_event(tag, &mut data.clone(), "now", limit) {
        Ok(event) => event,
        Err(error) => panic!("a tag that was read is refused: {error}"),
    }
}

fn parts(event: &[u8]) -> (&str, Map) {
    let envelope = Envelope::parse(event);
    match envelope.map(|envelope| (envelope.tag(), msgpack::decode(envelope.data()))) {
        Ok((tag, Ok(Value::Map(data)))) => (tag, data),
        other => panic!("an event of ours is not read: {other:?}"),
    }
}

/// Any text is a pattern or is refused, and any tag can be compared with it. Pattern and tag stand
/// on a line each.
pub fn fuzz_patterns(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let (pattern, tag) = text.split_once('\n').unwrap_or((&text, ""));
    for kind in [
        MatchType::StartsWith,
        MatchType::EndsWith,
        MatchType::Find,
        MatchType::Regex,
        MatchType::Fnmatch,
    ] {
        match TagMatch::new(kind, pattern) {
            Ok(pattern) => {
                let filter = TagFilter::of(alloc::vec![pattern], Vec::new());
                if let (true, Some(prefixes)) = (filter.matches(tag), filter.prefixes()) {
                    assert!(
                        prefixes
                            .iter()
                            .any(|prefix| tag.starts_with(prefix.as_str()))
                    );
                }
            }
            Err(error) => assert_eq!((kind, error.pattern.as_str()), (MatchType::Regex, pattern)),
        }
    }
}

/// Any text is a time and a start, or is refused; a start that is a time is the same time.
pub fn fuzz_times(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let clock = Clock {
        now: Duration::from_secs(1_795_939_260),
        zone: &|at| if at % 7 < 3 { 3600 } else { -7200 },
    };
    let since = time::parse_time(&text, Bound::Since, clock);
    let until = time::parse_time(&text, Bound::Until, clock);
    if let Ok(since) = since {
        assert_eq!(until.as_ref(), Ok(&since));
    }
    if let Ok(time::StartText::Time(start)) = time::parse_start(&text, clock) {
        assert_eq!(since.as_ref(), Ok(&start));
    }
}

/// What is read as JSON is written and read again as the same.
pub fn fuzz_json(bytes: &[u8]) {
    event_line_is_the_same_either_way(bytes);
    let Ok(value) = json::parse(bytes) else {
        return;
    };
    let mut once = String::new();
    json::to_exact_line(&value, &mut once);
    let mut again = String::new();
    match json::parse(once.as_bytes()) {
        Ok(value) => json::to_exact_line(&value, &mut again),
        Err(error) => panic!("{once:?} is not read: {error}"),
    }
    assert_eq!(once, again);
}

/// A line is packed as it is read and encoded, or refused by both.
fn event_line_is_the_same_either_way(line: &[u8]) {
    let mut packed = Vec::new();
    let outcome = event_line::encode(line, "now", LIMIT, &mut packed);
    let read = event_line::parse(line).and_then(|(tag, mut data)| {
        let event = encode_whole_event(&tag, &mut data, "now", LIMIT)?;
        Ok((tag.len(), event))
    });
    assert_eq!(outcome.map(|tag_bytes| (tag_bytes, packed)), read);
}

/// Any text is a filter or is refused, and any bytes can be filtered. The filter is the first line.
pub fn fuzz_field_filter(bytes: &[u8]) {
    let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
    let (text, data) = bytes.split_at(end);
    let Ok(filter) = FieldFilter::parse(&String::from_utf8_lossy(text)) else {
        return;
    };
    let passes = filter.matches("salt/job/1/ret/m1", data.get(1..).unwrap_or_default());
    assert!(passes || !filter.is_any());
}

/// What must hold for any bytes. As a tag: the way back leads to it. As a subject: it is refused, or is the subject of
/// what it says.
pub fn fuzz_nats_subject(data: &[u8]) {
    use crate::nats_subject::{MAX_SUBJECT, Named, named, subject, tag, words};
    assert_eq!(tag(&words(data)).as_deref(), Some(data));
    let made = subject("salt.event", "m1", data);
    assert!(made.text.len() <= MAX_SUBJECT + 3);
    let is_safe = |word: &str| !word.is_empty() && !word.contains(['*', '>', ' ']);
    assert!(made.text.is_ascii() && made.text.split('.').all(is_safe));
    let back = named("salt.event", &made.text).expect("a subject that was just made");
    assert_eq!(back.master, "m1");
    assert_eq!(back.tag.as_deref(), Some(data).filter(|_| !made.is_cut));
    let Ok(text) = core::str::from_utf8(data) else {
        return;
    };
    if let Some(Named {
        master,
        tag: Some(tag),
    }) = named("salt.event", text)
        && text.len() <= MAX_SUBJECT
    {
        assert_eq!(subject("salt.event", &master, &tag).text, text);
    }
}

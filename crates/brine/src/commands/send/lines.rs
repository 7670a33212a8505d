//! `brine send --stdin`: events as JSON lines.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::process::ExitCode;

use anyhow::Context;
use brine_bus::client::PublishError;
use brine_bus::client::blocking::Publisher;
use brine_wire::event::{FIRE_MASTER, fire_master_data};
use brine_wire::{Map, Value};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use super::Arguments;
use crate::show;

/// This much is written at once, in bytes.
const BATCH_BYTES: usize = 64 * 1024;
/// The longest line that is read, in bytes. Longer than any event that survives trimming is likely
/// to be.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Fires the events of all lines.
pub(super) fn fire(arguments: &Arguments, bus: &mut Publisher) -> anyhow::Result<ExitCode> {
    let timeout = Some(arguments.timeout);
    // Whoever feeds us learns at once that nobody listens.
    bus.connect(timeout)?;
    let mut input = BufReader::with_capacity(BATCH_BYTES, io::stdin().lock());
    let mut line = Vec::new();
    let (mut number, mut refused) = (0_u64, 0_u64);
    loop {
        if !input.buffer().contains(&b'\n') || bus.queued_bytes() >= BATCH_BYTES {
            bus.flush(timeout)
                .with_context(|| format!("stopped after line {number}"))?;
        }
        line.clear();
        let read = input
            .by_ref()
            .take(MAX_LINE_BYTES)
            .read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(_) => number += 1,
            Err(error) => return Err(error).context("stdin"),
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Err(fault) = queue(arguments, bus, &line) {
            show::complain(&format_args!("line {number}: {fault}"));
            refused += 1;
            if arguments.strict {
                break;
            }
        }
    }
    bus.flush(timeout)
        .with_context(|| format!("stopped after line {number}"))?;
    Ok(if refused == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Queues the event of one line.
fn queue(arguments: &Arguments, bus: &mut Publisher, line: &[u8]) -> Result<(), LineFault> {
    let Json(value) = serde_json::from_slice(line).map_err(LineFault::NotJson)?;
    let (tag, data) = event(value)?;
    let queued = if arguments.to_master {
        bus.queue_event(FIRE_MASTER, &mut fire_master_data(&tag, data))
    } else {
        let mut data = data;
        bus.queue_event(&tag, &mut data)
    };
    queued.map_err(LineFault::Event)
}

/// Tag and data of what a line says.
fn event(value: Value) -> Result<(String, Map), LineFault> {
    let Value::Map(mut line) = value else {
        return Err(LineFault::NotAnEvent);
    };
    let Some(Value::Str(tag)) = line.remove("tag") else {
        return Err(LineFault::NotAnEvent);
    };
    let data = match line.remove("data") {
        Some(Value::Map(data)) => data,
        None => Map::new(),
        Some(_) => return Err(LineFault::DataNotAMap),
    };
    match line.iter().next() {
        None => Ok((tag, data)),
        Some((key, _)) => Err(LineFault::UnknownKey(
            key.as_str().unwrap_or_default().to_owned(),
        )),
    }
}

/// Why a line is no event.
#[derive(Debug)]
enum LineFault {
    NotJson(serde_json::Error),
    NotAnEvent,
    DataNotAMap,
    UnknownKey(String),
    Event(PublishError),
}

impl fmt::Display for LineFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let expected = "expected {\"tag\": …, \"data\": …}";
        match self {
            // Its "at line 1" is the line's own line.
            Self::NotJson(error) => {
                let error = error.to_string();
                let reason = error.split(" at line ").next().unwrap_or_default();
                write!(out, "{expected}, found no JSON: {reason}")
            }
            Self::NotAnEvent => write!(out, "{expected}, found no tag"),
            Self::DataNotAMap => write!(out, "{expected}, found data that are no object"),
            Self::UnknownKey(key) => write!(out, "{expected}, found {key:?} beside them"),
            Self::Event(error) => error.fmt(out),
        }
    }
}

/// A value as JSON has it, read without a step between.
struct Json(Value);

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        input.deserialize_any(JsonVisitor).map(Self)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Nil)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value, E> {
        Ok(flag.into())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(Json(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(array.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut pairs = Vec::new();
        while let Some((key, Json(value))) = members.next_entry::<String, Json>()? {
            pairs.push((key.into(), value));
        }
        Ok(Map::from_pairs(pairs).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(String, Map), String> {
        serde_json::from_slice(line.as_bytes())
            .map_err(LineFault::NotJson)
            .and_then(|Json(value)| event(value))
            .map_err(|fault| fault.to_string())
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
        assert_eq!(
            read(r#"{"tag": "t"}"#).unwrap(),
            ("t".to_owned(), Map::new())
        );
    }

    #[test]
    fn a_line_that_is_no_event_says_why() {
        for (line, reason) in [
            ("{", "found no JSON: EOF while parsing an object"),
            ("[]", "found no tag"),
            (r#"{"tag": 1}"#, "found no tag"),
            (
                r#"{"tag": "t", "data": []}"#,
                "found data that are no object",
            ),
            (r#"{"tag": "t", "dat": {}}"#, r#"found "dat" beside them"#),
        ] {
            assert_eq!(
                read(line),
                Err(format!("expected {{\"tag\": …, \"data\": …}}, {reason}"))
            );
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }
}

//! `brine send --stdin`: events as JSON lines.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read};
use std::process::ExitCode;

use anyhow::Context;
use brine_bus::client::PublishError;
use brine_bus::client::blocking::Publisher;
use brine_wire::event::{FIRE_MASTER, fire_master_data};
use brine_wire::json::{self, JsonError};
use brine_wire::{Map, Value};

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
    // Fails before input is read, so that whoever pipes into us learns at once.
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
        let Some(fits) = read_line(&mut input, &mut line).context("stdin")? else {
            break;
        };
        number += 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let queued = match fits {
            true => queue(arguments, bus, &line),
            false => Err(LineFault::TooLong),
        };
        if let Err(fault) = queued {
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

/// Reads a line; whether it fits the limit. Of one that does not, the rest is passed over, so that
/// the next line is the next line. `None` at the end.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Option<bool>> {
    let read = input
        .by_ref()
        .take(MAX_LINE_BYTES)
        .read_until(b'\n', line)?;
    if read == 0 {
        return Ok(None);
    }
    let fits = line.ends_with(b"\n") || (read as u64) < MAX_LINE_BYTES;
    if !fits {
        input.skip_until(b'\n')?;
    }
    Ok(Some(fits))
}

/// Queues the event of one line.
fn queue(arguments: &Arguments, bus: &mut Publisher, line: &[u8]) -> Result<(), LineFault> {
    let value = json::parse(line).map_err(LineFault::NotJson)?;
    let (tag, data) = event(value)?;
    let queued = if arguments.to_master {
        bus.queue_event(FIRE_MASTER, &mut fire_master_data(&tag, data))
    } else {
        let mut data = data;
        bus.queue_event(&tag, &mut data)
    };
    queued.map_err(LineFault::Event)
}

/// The tag and the data of a line.
fn event(value: Value) -> Result<(String, Map), LineFault> {
    let Value::Map(mut line) = value else {
        return Err(LineFault::NotAnObject);
    };
    let Some(Value::Str(tag)) = line.remove("tag") else {
        return Err(LineFault::NoTag);
    };
    // What `brine history --seq` writes beside them.
    for key in ["seq", "position", "time"] {
        line.remove(key);
    }
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

/// Why a line is not an event.
#[derive(Debug)]
enum LineFault {
    NotJson(JsonError),
    NotAnObject,
    NoTag,
    DataNotAMap,
    UnknownKey(String),
    TooLong,
    Event(PublishError),
}

impl fmt::Display for LineFault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(error) => {
                write!(out, "invalid JSON: {} at byte {}", error.fault, error.at)
            }
            Self::NotAnObject => out.write_str("expected {\"tag\": …, \"data\": {…}}"),
            Self::NoTag => out.write_str("\"tag\" must be there, and text"),
            Self::DataNotAMap => out.write_str("\"data\" must be an object"),
            Self::UnknownKey(key) => {
                write!(out, "unknown key {key:?}; \"tag\" and \"data\" are known")
            }
            Self::TooLong => write!(out, "over {} MiB", MAX_LINE_BYTES >> 20),
            Self::Event(error) => error.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(String, Map), String> {
        json::parse(line.as_bytes())
            .map_err(LineFault::NotJson)
            .and_then(event)
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
        let plain = ("t".to_owned(), Map::new());
        assert_eq!(read(r#"{"tag": "t"}"#).unwrap(), plain);
        assert_eq!(
            read(r#"{"seq": 4, "position": "1-4", "time": "x", "tag": "t"}"#).unwrap(),
            plain
        );
    }

    #[test]
    fn a_line_that_is_no_event_says_why() {
        for (line, reason) in [
            ("{", "invalid JSON: the text ends too early at byte 1"),
            ("[]", "expected {\"tag\": …, \"data\": {…}}"),
            (r#"{"tag": 1}"#, "\"tag\" must be there, and text"),
            (r#"{"tag": "t", "data": []}"#, "\"data\" must be an object"),
            (
                r#"{"tag": "t", "dat": {}}"#,
                "unknown key \"dat\"; \"tag\" and \"data\" are known",
            ),
        ] {
            assert_eq!(read(line), Err(reason.to_owned()));
        }
        assert!(read(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn the_rest_of_a_line_too_long_is_not_a_line_of_its_own() {
        let long = vec![b'x'; MAX_LINE_BYTES as usize + 10];
        let mut input = &[&long[..], b"\n{}\n"].concat()[..];
        let mut line = Vec::new();
        assert_eq!(read_line(&mut input, &mut line).unwrap(), Some(false));
        line.clear();
        assert_eq!(read_line(&mut input, &mut line).unwrap(), Some(true));
        assert_eq!(line, b"{}\n");
        assert_eq!(read_line(&mut input, &mut line).unwrap(), None);
    }
}

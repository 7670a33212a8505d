//! Events of a file: JSON lines as `brine watch --json --seq`, `brine log export` and `GET /events` write them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context;
use brine_wire::{Map, Value, event_line, json, msgpack};

use super::{Item, Link, Out, Over};
use crate::clock;

/// The longest line, in bytes.
const MAX_LINE: u64 = 64 << 20;

pub(super) fn open(path: &Path) -> anyhow::Result<BufReader<File>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    Ok(BufReader::new(file))
}

/// Reads it to its end.
pub(super) fn read(mut file: BufReader<File>, out: &mut Out) {
    let _ = read_lines(&mut file, out);
}

fn read_lines(file: &mut BufReader<File>, out: &mut Out) -> Result<(), Over> {
    use std::io::Read as _;
    let (mut line, mut number, mut seq) = (Vec::new(), 0u64, 0);
    loop {
        line.clear();
        number += 1;
        match file.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) => return out.link(Link::Complete),
            Ok(_) => {}
            Err(error) => return out.link(Link::Lost(error.to_string())),
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        match event(&line, &mut seq) {
            Some(item) => out.push(item)?,
            None => out.push(Item::Message(format!("line {number} is no event")))?,
        }
    }
}

/// An event of a line; `seq` is the number of the one before it.
pub(super) fn event(line: &[u8], seq: &mut u64) -> Option<Item> {
    let Ok(Value::Map(fields)) = json::parse(line) else {
        return None;
    };
    let (tag, data) = event_line::parse(line).ok()?;
    *seq = match fields.get("seq") {
        Some(Value::Int(own)) => u64::try_from(*own).ok()?,
        _ => *seq + 1,
    };
    let mut packed = Vec::new();
    msgpack::encode_map(&data, &mut packed);
    Some(Item::Event {
        tag,
        data: packed,
        at: time(&fields, &data),
        seq: *seq,
    })
}

/// When it arrived, or was fired, in milliseconds since 1970.
fn time(fields: &Map, data: &Map) -> u64 {
    let texts = [fields.get("time"), data.get("_stamp")];
    let times = texts.into_iter().flatten().filter_map(Value::as_str);
    times.into_iter().find_map(clock::stamp).map_or(0, |time| {
        u64::try_from(time.as_millisecond()).unwrap_or_default()
    })
}

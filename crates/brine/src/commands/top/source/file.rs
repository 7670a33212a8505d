//! Events of a file: JSON lines as `brine watch --json --seq`, `brine log export` and `GET /events` write them.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::Path;

use anyhow::Context;
use brine_view::site::Gap;
use brine_wire::msgpack;

use super::{Item, Link, Out, Over};
use crate::event_lines::{self, Line};

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
    let (mut line, mut number, mut last) = (Vec::new(), 0u64, Last::default());
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
        match last.item(&line) {
            Some(Some(item)) => out.push(item)?,
            Some(None) => {}
            None => out.push(Item::Message(format!("line {number} is not an event")))?,
        }
    }
}

/// Number and time of the event before: what a line without them goes by.
#[derive(Debug, Default)]
pub(super) struct Last {
    seq: u64,
    at: u64,
}

impl Last {
    /// What a line is to the list; `Some(None)` for one that says nothing new.
    pub(super) fn item(&mut self, line: &[u8]) -> Option<Option<Item>> {
        let item = match event_lines::parse(line)? {
            Line::Event {
                tag, data, seq, at, ..
            } => {
                self.seq = seq.unwrap_or(self.seq + 1);
                self.at = at.map_or(self.at, |at| at.0);
                let mut packed = Vec::new();
                msgpack::encode_map(&data, &mut packed);
                Item::Event {
                    tag,
                    data: packed,
                    at: self.at,
                    seq: self.seq,
                }
            }
            Line::Gap {
                to, missed, reason, ..
            } => {
                self.seq = to.seq.0;
                Item::Gap(Gap {
                    at: self.at,
                    before: to.seq.0 + 1,
                    missed,
                    reason: reason.unwrap_or_else(|| "no longer kept".to_owned()),
                })
            }
            Line::Heartbeat(_) => return Some(None),
        };
        Some(Some(item))
    }
}

//! How `brine watch` writes an event.

use std::io::{self, BufWriter, Stdout, Write};

use brine_bus::client::EventRef;
use brine_wire::{Value, json};

use crate::show;

/// The forms an event can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `{"tag": …, "data": …}`, one per line, valid JSON.
    JsonLines,
    /// The tag, then indented data: what `salt-run state.event pretty=True` prints.
    Pretty,
    /// Time, tag and data in one line.
    Columns,
}

/// Writes events to stdout, buffered.
#[derive(Debug)]
pub(super) struct Printer {
    form: Form,
    colour: bool,
    stdout: BufWriter<Stdout>,
    /// The line in the making, kept for its memory.
    line: String,
}

/// Output is written when this much has come together, in bytes, if not before.
const BUFFER_BYTES: usize = 64 * 1024;

impl Printer {
    pub(super) fn new(form: Form, colour: bool) -> Self {
        Self {
            form,
            colour,
            stdout: BufWriter::with_capacity(BUFFER_BYTES, io::stdout()),
            line: String::new(),
        }
    }

    /// Writes an event; `false` if its data are malformed, which Salt's readers skip too.
    pub(super) fn event(&mut self, event: EventRef<'_>) -> io::Result<bool> {
        let data = match event.decode() {
            Ok(data) => data,
            Err(error) => {
                tracing::warn!(tag = event.tag(), err = %error, "skipped a malformed event");
                return Ok(false);
            }
        };
        self.line.clear();
        match self.form {
            Form::JsonLines => self.json_line(event.tag(), data),
            Form::Pretty => self.pretty(event.tag(), &data),
            Form::Columns => self.columns(event.tag(), data),
        }
        self.line.push('\n');
        self.stdout.write_all(self.line.as_bytes())?;
        Ok(true)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }

    fn json_line(&mut self, tag: &str, mut data: Value) {
        without_what_json_lacks(&mut data);
        self.line.push_str("{\"tag\": ");
        self.data(&Value::from(tag), json::to_line);
        self.line.push_str(", \"data\": ");
        self.data(&data, json::to_line);
        self.line.push('}');
    }

    fn pretty(&mut self, tag: &str, data: &Value) {
        self.tag(tag);
        self.line.push('\t');
        self.data(data, json::to_pretty);
    }

    fn columns(&mut self, tag: &str, mut data: Value) {
        let stamp = match &mut data {
            Value::Map(map) => map.remove("_stamp"),
            _ => None,
        };
        let time = stamp.as_ref().and_then(Value::as_str).and_then(time_of_day);
        self.paint("2", time.unwrap_or("            "));
        self.line.push(' ');
        self.tag(tag);
        self.line.push_str("  ");
        self.data(&data, json::to_line);
    }

    /// Appends data, safe for a terminal: JSON leaves DEL and the C1 controls as they are.
    fn data(&mut self, data: &Value, write: fn(&Value, &mut String)) {
        let start = self.line.len();
        write(data, &mut self.line);
        let written = &self.line[start..];
        // In UTF-8, C1 controls begin with C2; so do a few letters, which stay.
        if written.bytes().any(|byte| matches!(byte, 0x7f | 0xc2)) {
            let escaped = show::escaped(written);
            self.line.truncate(start);
            self.line.push_str(&escaped);
        }
    }

    fn tag(&mut self, tag: &str) {
        self.paint("1;36", &show::visible(tag));
    }

    fn paint(&mut self, style: &str, text: &str) {
        if self.colour {
            self.line.extend(["\x1b[", style, "m", text, "\x1b[0m"]);
        } else {
            self.line.push_str(text);
        }
    }
}

/// `21:59:47.223` of a stamp; a stamp on the full second has no fraction.
fn time_of_day(stamp: &str) -> Option<&str> {
    let time = stamp.split_once('T')?.1;
    time.get(..12)
        .filter(|time| time.as_bytes()[8] == b'.')
        .or_else(|| time.get(..8))
}

/// Python's `NaN` and `Infinity` are no JSON; other programs read `null`.
fn without_what_json_lacks(value: &mut Value) {
    match value {
        Value::Float(number) if !number.is_finite() => *value = Value::Nil,
        Value::Array(items) => items.iter_mut().for_each(without_what_json_lacks),
        Value::Map(map) => map.values_mut().for_each(without_what_json_lacks),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use brine_wire::Map;

    use super::*;

    #[test]
    fn the_time_is_cut_from_every_releases_stamp() {
        for (stamp, time) in [
            ("2026-11-23T21:59:47.223006", Some("21:59:47.223")),
            ("2026-11-23T21:59:47.223006+00:00", Some("21:59:47.223")),
            ("2026-11-23T21:59:47+00:00", Some("21:59:47")),
            ("2026-11-23T21:59:47", Some("21:59:47")),
            ("soon", None),
            ("T", None),
        ] {
            assert_eq!(time_of_day(stamp), time, "{stamp}");
        }
    }

    fn columns(tag: &str, data: Map) -> String {
        let mut printer = Printer::new(Form::Columns, false);
        printer.columns(tag, data.into());
        printer.line
    }

    #[test]
    fn the_stamp_becomes_the_time_in_front() {
        let mut data = Map::new();
        data.insert("a", 1);
        assert_eq!(
            columns("my/tag", data.clone()),
            "             my/tag  {\"a\": 1}"
        );
        data.insert("_stamp", "2026-11-23T21:59:47.223006+00:00");
        assert_eq!(columns("my/tag", data), "21:59:47.223 my/tag  {\"a\": 1}");
    }

    #[test]
    fn a_strangers_escape_sequences_are_shown() {
        let line = columns(
            "\u{1b}[2J\u{9b}31m",
            Map::from_iter([("a", "\u{1b}\u{7f}")]),
        );
        assert_eq!(
            line,
            "             \\u{1b}[2J\\u{9b}31m  {\"a\": \"\\u001b\\u007f\"}"
        );
    }
}

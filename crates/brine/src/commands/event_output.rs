//! How commands write an event: `brine watch`, `brine history`, `brine consumer next`.
//!
//! Knows forms, not where events come from.

use std::io::{self, BufWriter, Stdout, Write};
use std::time::Duration;

use brine_bus::client::EventRef;
use brine_log::{Millis, Position};
use brine_wire::stamp::{self, StampStyle};
use brine_wire::{Value, json};

use crate::show;

/// The forms an event can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `{"tag": …, "data": …}`, one per line, valid JSON.
    JsonLines,
    /// As [`Form::JsonLines`], but nothing is lost: `brine log import` reads the same event.
    Exact,
    /// The tag, then indented data: what `salt-run state.event pretty=True` prints.
    Pretty,
    /// Time, tag and data in one line.
    Columns,
}

/// Writes events to stdout, buffered.
#[derive(Debug)]
pub(crate) struct Printer {
    form: Form,
    colour: bool,
    stdout: BufWriter<Stdout>,
    /// The line in the making, kept for its memory.
    line: String,
}

/// Output is written when this much has come together, in bytes, if not before.
const BUFFER_BYTES: usize = 64 * 1024;

impl Printer {
    pub(crate) fn new(form: Form, colour: bool) -> Self {
        Self {
            form,
            colour,
            stdout: BufWriter::with_capacity(BUFFER_BYTES, io::stdout()),
            line: String::new(),
        }
    }

    /// Writes an event; `false` if its data are malformed, which Salt's readers skip too.
    pub(crate) fn event(&mut self, event: EventRef<'_>) -> io::Result<bool> {
        self.event_at(event, None)
    }

    /// Writes an event with its position and its time of arrival in front, if they are to be shown.
    pub(crate) fn event_at(
        &mut self,
        event: EventRef<'_>,
        at: Option<(Position, Millis)>,
    ) -> io::Result<bool> {
        let data = match event.decode() {
            Ok(data) => data,
            Err(error) => {
                tracing::warn!(tag = event.tag(), err = %error, "skipped a malformed event");
                return Ok(false);
            }
        };
        self.line.clear();
        match self.form {
            Form::JsonLines => self.json_line(event.tag(), data, at),
            Form::Exact => self.exact_line(event.tag(), &data, at),
            Form::Pretty => self.pretty(event.tag(), &data, at),
            Form::Columns => self.columns(event.tag(), data, at),
        }
        self.line.push('\n');
        self.stdout.write_all(self.line.as_bytes())?;
        Ok(true)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }

    /// Writes a line that stands for missing events.
    pub(crate) fn gap(&mut self, from: Position, to: Position, reason: &str) -> io::Result<()> {
        writeln!(
            self.stdout,
            "{{\"gap\": {{\"from\": \"{from}\", \"to\": \"{to}\", \"reason\": \"{reason}\"}}}}"
        )
    }

    /// Whether lines are for programs.
    pub(crate) const fn is_json(&self) -> bool {
        matches!(self.form, Form::JsonLines | Form::Exact)
    }

    fn json_line(&mut self, tag: &str, mut data: Value, at: Option<(Position, Millis)>) {
        without_what_json_lacks(&mut data);
        self.begin_object(at);
        self.line.push_str("\"tag\": ");
        self.data(&Value::from(tag), json::to_line);
        self.line.push_str(", \"data\": ");
        self.data(&data, json::to_line);
        self.line.push('}');
    }

    fn exact_line(&mut self, tag: &str, data: &Value, at: Option<(Position, Millis)>) {
        self.begin_object(at);
        self.line.push_str("\"tag\": ");
        self.data(&Value::from(tag), json::to_line);
        self.line.push_str(", \"data\": ");
        json::to_exact_line(data, &mut self.line);
        self.line.push('}');
    }

    fn begin_object(&mut self, at: Option<(Position, Millis)>) {
        self.line.push('{');
        if let Some((position, time)) = at {
            self.line.push_str(&format!(
                "\"seq\": {}, \"position\": \"{position}\", \"time\": \"{}\", ",
                position.seq,
                utc(time)
            ));
        }
    }

    fn pretty(&mut self, tag: &str, data: &Value, at: Option<(Position, Millis)>) {
        if let Some((position, time)) = at {
            self.paint("2", &format!("{position} {} ", utc(time)));
        }
        self.tag(tag);
        self.line.push('\t');
        self.data(data, json::to_pretty);
    }

    fn columns(&mut self, tag: &str, mut data: Value, at: Option<(Position, Millis)>) {
        if let Some((position, time)) = at {
            self.paint("2", &format!("{:>8} {} ", position.seq.0, utc(time)));
            if let Value::Map(map) = &mut data {
                map.remove("_stamp");
            }
            self.tag(tag);
            self.line.push_str("  ");
            return self.data(&data, json::to_line);
        }
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

/// A time of arrival: `2026-11-29T08:01:33.582Z`.
pub(crate) fn utc(time: Millis) -> String {
    let stamp = stamp::format(Duration::from_millis(time.0), StampStyle::Naive);
    let seconds = stamp.get(..19).unwrap_or(&stamp);
    format!("{seconds}.{:03}Z", time.0 % 1000)
}

/// `21:59:47.223` of a stamp; a stamp on the full second has no fraction.
fn time_of_day(stamp: &str) -> Option<&str> {
    let time = stamp.split_once('T')?.1;
    time.get(..12)
        .filter(|time| time.as_bytes()[8] == b'.')
        .or_else(|| time.get(..8))
}

/// Python's `NaN` and `Infinity` are not JSON; other programs write `null`.
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
        printer.columns(tag, data.into(), None);
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

//! `brine watch --summary`: rates per tag prefix.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use brine_bus::client::EventRef;
use brine_wire::{Map, Value, json};

use super::super::event_output::Form;
use crate::show;
use crate::terminal;

/// More prefixes than this are counted as one: tags come from outside and may never repeat.
const MAX_PREFIXES: usize = 1000;

/// People see so many of the busiest prefixes; the last row is the total.
const MAX_ROWS: usize = 15;

/// Events counted since the last print.
#[derive(Debug)]
pub(super) struct Summary {
    every: Duration,
    since: Instant,
    form: Form,
    prefixes: BTreeMap<String, Count>,
    others: Count,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    events: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, bytes: usize) {
        self.events += 1;
        self.bytes += bytes as u64;
    }
}

impl Summary {
    pub(super) fn new(every: Duration, form: Form) -> Self {
        Self {
            every: every.max(Duration::from_millis(10)),
            since: Instant::now(),
            form,
            prefixes: BTreeMap::new(),
            others: Count::default(),
        }
    }

    pub(super) fn event(&mut self, event: EventRef<'_>) {
        let bytes = event.as_bytes().len();
        let prefix = prefix(event.tag());
        if let Some(count) = self.prefixes.get_mut(prefix) {
            count.add(bytes);
        } else if self.prefixes.len() < MAX_PREFIXES {
            self.prefixes
                .entry(prefix.to_owned())
                .or_default()
                .add(bytes);
        } else {
            self.others.add(bytes);
        }
    }

    /// When the next print is due.
    pub(super) fn due(&self) -> Instant {
        self.since + self.every
    }

    /// Prints what was counted and starts anew.
    pub(super) fn print(&mut self) -> io::Result<()> {
        let elapsed = self.since.elapsed();
        self.since = Instant::now();
        let mut rows: Vec<(String, Count)> =
            std::mem::take(&mut self.prefixes).into_iter().collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(count.events));
        let others = std::mem::take(&mut self.others);
        if others.events > 0 {
            rows.push(("…".to_owned(), others));
        }
        let text = match self.form {
            Form::JsonLines | Form::Json | Form::Exact => line(&rows, elapsed),
            _ => table(&rows[..rows.len().min(MAX_ROWS)], total(&rows), elapsed),
        };
        let mut stdout = terminal::stdout();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}

/// The first two parts of a tag: `salt/job`, `salt/auth`, `myco/backup`.
fn prefix(tag: &str) -> &str {
    let mut slashes = tag.match_indices('/').map(|(at, _)| at);
    match slashes.nth(1) {
        Some(at) => &tag[..at],
        None => tag,
    }
}

fn total(rows: &[(String, Count)]) -> Count {
    rows.iter().fold(Count::default(), |sum, (_, count)| Count {
        events: sum.events + count.events,
        bytes: sum.bytes + count.bytes,
    })
}

fn table(rows: &[(String, Count)], total: Count, elapsed: Duration) -> String {
    let mut text = String::new();
    let mut row = |name: &str, count: Count| {
        let (events, bytes) = (
            per_second(count.events, elapsed),
            per_second(count.bytes, elapsed),
        );
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{events:>12.1} events/s {:>10}/s  {name}",
            size(bytes)
        );
    };
    for (prefix, count) in rows {
        row(&show::visible(prefix), *count);
    }
    row("total", total);
    text.push('\n');
    text
}

fn line(rows: &[(String, Count)], elapsed: Duration) -> String {
    let counts = |count: &Count| Map::from_iter([("events", count.events), ("bytes", count.bytes)]);
    let mut report = Map::new();
    report.insert("seconds", (elapsed.as_secs_f64() * 1e3).round() / 1e3);
    let all = total(rows);
    report.insert("events", all.events);
    report.insert("bytes", all.bytes);
    let prefixes: Map = rows
        .iter()
        .map(|(prefix, count)| (prefix.as_str(), Value::from(counts(count))))
        .collect();
    report.insert("prefixes", prefixes);
    let mut text = String::new();
    json::to_line(&Value::from(report), &mut text);
    text.push('\n');
    text
}

#[expect(clippy::cast_precision_loss, reason = "a rate for eyes")]
fn per_second(count: u64, elapsed: Duration) -> f64 {
    count as f64 / elapsed.as_secs_f64().max(1e-9)
}

/// Bytes in a few digits.
fn size(bytes: f64) -> String {
    let units = ["B", "kB", "MB", "GB"];
    let mut scaled = bytes;
    let mut unit = 0;
    while scaled >= 1000.0 && unit + 1 < units.len() {
        scaled /= 1000.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_two_parts() {
        for (tag, expected) in [
            ("salt/job/2026/ret/m1", "salt/job"),
            ("salt/job", "salt/job"),
            ("minion_start", "minion_start"),
            ("", ""),
            ("a//b", "a/"),
        ] {
            assert_eq!(prefix(tag), expected, "{tag}");
        }
    }

    #[test]
    fn tags_that_never_repeat_cost_a_fixed_amount() {
        let mut summary = Summary::new(Duration::from_secs(1), Form::People);
        for n in 0..MAX_PREFIXES + 5 {
            let bytes = format!("{n}\n\n\u{0}");
            let event = EventRef::parse(bytes.as_bytes()).unwrap();
            summary.event(event);
        }
        assert_eq!(summary.prefixes.len(), MAX_PREFIXES);
        assert_eq!(summary.others.events, 5);
    }

    #[test]
    fn sizes_have_few_digits() {
        assert_eq!(size(999.0), "999.0 B");
        assert_eq!(size(1_234_567.0), "1.2 MB");
    }
}

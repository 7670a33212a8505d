//! `brine watch --summary`: rates per tag prefix, and how many events are missing.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use brine_bus::client::EventRef;
use brine_log::{Millis, Position};
use brine_view::text::grouped;
use brine_wire::{Map, Value, json};

use super::super::event_output::{Form, Missing, Output};
use crate::show;
use crate::terminal;

/// More prefixes than this are counted as one: tags come from outside and may never repeat.
const MAX_PREFIXES: usize = 1000;

/// People see this many of the busiest prefixes; the last row is the total.
const MAX_ROWS: usize = 15;

/// Terminals of fewer columns are shown events alone.
const WIDE: usize = 60;

/// Events counted since the last print.
#[derive(Debug)]
pub(super) struct Summary {
    every: Duration,
    since: Instant,
    form: Form,
    prefixes: BTreeMap<String, Count>,
    others: Count,
    missed: Missed,
    /// All events since the beginning.
    so_far: u64,
    /// How many lines the next print takes back.
    drawn: usize,
}

/// What a print says beside the prefixes.
#[derive(Debug, Clone, Copy)]
struct Sums {
    elapsed: Duration,
    total: Count,
    so_far: u64,
    missed: Missed,
}

/// Events that are missing, as far as they can be counted.
#[derive(Debug, Clone, Copy, Default)]
struct Missed {
    events: u64,
    /// Whether more may be missing.
    may_be_more: bool,
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
            missed: Missed::default(),
            so_far: 0,
            drawn: 0,
        }
    }

    fn count(&mut self, event: EventRef<'_>) {
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

    /// Prints the counts and starts again. On a terminal, it replaces what it printed before.
    fn print(&mut self) -> io::Result<()> {
        let mut rows: Vec<(String, Count)> =
            std::mem::take(&mut self.prefixes).into_iter().collect();
        rows.sort_by_key(|(_, count)| std::cmp::Reverse(count.events));
        let others = std::mem::take(&mut self.others);
        if others.events > 0 {
            rows.push(("…".to_owned(), others));
        }
        let total = total(&rows);
        self.so_far += total.events;
        let sums = Sums {
            elapsed: self.since.elapsed(),
            total,
            so_far: self.so_far,
            missed: std::mem::take(&mut self.missed),
        };
        self.since = Instant::now();
        let screen = terminal::size();
        let text = match self.form {
            Form::JsonLines | Form::Json | Form::Exact => line(&rows, &sums),
            _ => {
                // What does not fit cannot be taken back.
                let most = screen.map_or(MAX_ROWS, |(_, lines)| lines.saturating_sub(4).max(1));
                let shown = &rows[..rows.len().min(most).min(MAX_ROWS)];
                table(shown, &sums, screen.map(|(columns, _)| columns))
            }
        };
        if self.drawn > 0 {
            write!(terminal::screen(), "\x1b[{}A\x1b[J", self.drawn)?;
        }
        let can_redraw = self.form == Form::People && terminal::can_move();
        self.drawn = if can_redraw { text.lines().count() } else { 0 };
        let mut stdout = terminal::stdout();
        stdout.write_all(text.as_bytes())?;
        if !can_redraw && self.form == Form::People {
            stdout.write_all(b"\n")?;
        }
        stdout.flush()
    }
}

impl Output for Summary {
    fn event_at(&mut self, event: EventRef<'_>, _: Option<(Position, Millis)>) -> io::Result<bool> {
        self.count(event);
        Ok(true)
    }

    /// Counted here; which they are is said where errors go.
    fn gap(&mut self, missing: &Missing<'_>) -> io::Result<bool> {
        match missing.missed() {
            Some(missed) => self.missed.events += missed,
            None => self.missed.may_be_more = true,
        }
        Ok(false)
    }

    fn cut(&mut self) {
        self.missed.may_be_more = true;
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn make_way(&mut self) -> io::Result<()> {
        self.drawn = 0;
        Ok(())
    }

    fn next_tick(&self) -> Option<Instant> {
        Some(self.since + self.every)
    }

    fn tick(&mut self) -> io::Result<()> {
        match self.next_tick() {
            Some(due) if Instant::now() >= due => self.print(),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.print()
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

/// Rows no wider than the terminal, if there is one.
fn table(rows: &[(String, Count)], sums: &Sums, columns: Option<usize>) -> String {
    let mut text = String::new();
    let mut row = |name: &str, count: Count| {
        let events = per_second(count.events, sums.elapsed);
        let line = match columns.is_some_and(|columns| columns < WIDE) {
            true => format!("{events:>9.1}/s {name}"),
            false => {
                let bytes = size(per_second(count.bytes, sums.elapsed));
                format!("{events:>12.1} events/s {bytes:>10}/s  {name}")
            }
        };
        text.push_str(&brine_view::text::cut(&line, columns.unwrap_or(usize::MAX)));
        text.push('\n');
    };
    for (prefix, count) in rows {
        row(&show::visible(prefix), *count);
    }
    let so_far = grouped(sums.so_far);
    row(&format!("total, {so_far} so far"), sums.total);
    let Missed {
        events,
        may_be_more,
    } = sums.missed;
    let missed = match (events, may_be_more) {
        (0, false) => return text,
        (0, true) => "some may be MISSED".to_owned(),
        (events, true) => format!("{} or more events MISSED", grouped(events)),
        (events, false) => format!("{} MISSED", brine_view::text::counted(events, "event")),
    };
    text.push_str(&brine_view::text::cut(
        &missed,
        columns.unwrap_or(usize::MAX),
    ));
    text.push('\n');
    text
}

fn line(rows: &[(String, Count)], sums: &Sums) -> String {
    let counts = |count: &Count| Map::from_iter([("events", count.events), ("bytes", count.bytes)]);
    let mut report = Map::new();
    report.insert("seconds", (sums.elapsed.as_secs_f64() * 1e3).round() / 1e3);
    report.insert("events", sums.total.events);
    report.insert("bytes", sums.total.bytes);
    let known = (!sums.missed.may_be_more).then_some(sums.missed.events);
    report.insert("missed", known.map_or(Value::Nil, Value::from));
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
            summary.count(event);
        }
        assert_eq!(summary.prefixes.len(), MAX_PREFIXES);
        assert_eq!(summary.others.events, 5);
    }

    #[test]
    fn missing_events_are_counted_as_far_as_that_is_known() {
        let shown = |events, may_be_more| {
            let missed = Missed {
                events,
                may_be_more,
            };
            let sums = sums(missed);
            (table(&[], &sums, None), line(&[], &sums))
        };
        for (events, may_be_more, in_table, in_line) in [
            (0, false, "/s  total, 1,234 so far\n", "\"missed\": 0,"),
            (0, true, "\nsome may be MISSED\n", "\"missed\": null,"),
            (
                170_856,
                false,
                "\n170,856 events MISSED\n",
                "\"missed\": 170856,",
            ),
            (
                57,
                true,
                "\n57 or more events MISSED\n",
                "\"missed\": null,",
            ),
        ] {
            let (table, line) = shown(events, may_be_more);
            assert!(table.contains(in_table), "{table}");
            assert!(line.contains(in_line), "{line}");
        }
    }

    fn sums(missed: Missed) -> Sums {
        Sums {
            elapsed: Duration::from_secs(1),
            total: Count::default(),
            so_far: 1234,
            missed,
        }
    }

    #[test]
    fn rows_fit_a_narrow_terminal() {
        let count = Count {
            events: 5000,
            bytes: 1_000_000,
        };
        let rows = [("a_module_with_a_long/name_below_it".to_owned(), count)];
        let narrow = table(&rows, &sums(Missed::default()), Some(40));
        assert_eq!(
            narrow,
            "   5000.0/s a_module_with_a_long/name_b…\n      0.0/s total, 1,234 so far\n"
        );
        let wide = table(&rows, &sums(Missed::default()), Some(80));
        assert!(
            wide.starts_with(
                "      5000.0 events/s     1.0 MB/s  a_module_with_a_long/name_below_it\n"
            ),
            "{wide}"
        );
    }

    #[test]
    fn sizes_have_few_digits() {
        assert_eq!(size(999.0), "999.0 B");
        assert_eq!(size(1_234_567.0), "1.2 MB");
    }
}

//! The event line: one sentence for each kind of event that Salt and Brine fire.
//!
//! An event with a kind's tag but not its data is shown as plain data, like any other event: nothing is hidden and
//! nothing made up. The modules group kinds by who fires them.

mod brine;
mod job;
mod local;
mod master;
mod minion;
mod run;
mod state;

use std::fmt;

use brine_wire::{Map, Value};

use crate::data;
use crate::text::{self, visible};

/// What a part of a line means; which colour that is, the terminal's side decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Meaning {
    /// Text.
    Plain,
    /// Of little interest: housekeeping.
    Faint,
    /// Who: a minion, a user, the master.
    Who,
    /// What: a function, a tag.
    What,
    /// Something went well.
    Good,
    /// Something failed.
    Bad,
    /// Something needs a look.
    Warning,
}

/// A part of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// What it means.
    pub meaning: Meaning,
    /// What is printed; safe for a terminal.
    pub text: String,
}

/// The sentence of an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    spans: Vec<Span>,
}

/// A line in little memory, for lines that are kept by the hundred thousand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedLine {
    text: Box<str>,
    /// What each part means, and where it ends.
    ends: Box<[(Meaning, u32)]>,
}

impl PackedLine {
    /// The line again.
    #[must_use]
    pub fn line(&self) -> Line {
        let mut start = 0;
        let spans = self.ends.iter().map(|(meaning, end)| {
            let end = *end as usize;
            let text = self.text.get(start..end).unwrap_or_default().to_owned();
            start = end;
            Span {
                meaning: *meaning,
                text,
            }
        });
        Line {
            spans: spans.collect(),
        }
    }
}

impl From<Line> for PackedLine {
    fn from(line: Line) -> Self {
        let mut text = String::new();
        let ends = line.spans.into_iter().map(|span| {
            text.push_str(&span.text);
            (span.meaning, u32::try_from(text.len()).unwrap_or(u32::MAX))
        });
        let ends = ends.collect();
        Self {
            text: text.into(),
            ends,
        }
    }
}

/// The line of an event.
#[must_use]
pub fn describe(tag: &str, data: &Map) -> Line {
    let parts: Vec<&str> = tag.split('/').collect();
    sentence(tag, &parts, data)
        .or_else(|| sent_by_minion(tag, data))
        .unwrap_or_else(|| plain(tag, data))
}

fn sentence(tag: &str, parts: &[&str], data: &Map) -> Option<Line> {
    match parts {
        [
            "salt",
            "auth" | "key" | "minion" | "syndic" | "presence" | "beacon",
            ..,
        ]
        | ["key" | "rotate_cluster_aes_key" | "minion_start" | "syndic_start"]
        | ["minion" | "resource", "refresh", ..] => minion::sentence(parts, data),
        ["salt", "job" | "batch" | "state_result", ..] | ["new_job"] => job::sentence(parts, data),
        [
            "salt",
            "run" | "wheel" | "queue" | "scheduler" | "reactors",
            ..,
        ] => run::sentence(parts, data),
        ["syndic", id, rest @ ..] if !rest.is_empty() => {
            let original = tag.splitn(3, '/').nth(2)?;
            let mut line = Line::default().faint(&format!("syndic {id} "));
            line.spans.extend(describe(original, data).spans);
            Some(line)
        }
        ["salt", ..] | ["_salt_error"] | ["cluster", ..] => master::sentence(parts, data),
        ["brine", ..] => brine::sentence(parts, data),
        [jid] if jid.len() == 20 && jid.bytes().all(|byte| byte.is_ascii_digit()) => {
            job::announced(data)
        }
        [name] if name.contains('.') && data.get("__run_num__").is_some() => {
            state::failed_alone(name, data)
        }
        _ => local::sentence(tag, parts, data),
    }
}

/// An event that a minion's `event.send` or a state sent to the master: its data are wrapped.
fn sent_by_minion(tag: &str, data: &Map) -> Option<Line> {
    let is_wrapped = string(data, "cmd") == Some("_minion_event");
    let id = string(data, "id").filter(|_| is_wrapped)?;
    let line = Line::default().who(id).what(tag);
    Some(match data.get("data")? {
        Value::Map(inner) => line.text(&data::pairs(inner, &[])),
        Value::Nil => line,
        other => line.text(&data::value(other)),
    })
}

/// Tag and data, for everything that has no sentence of its own.
fn plain(tag: &str, data: &Map) -> Line {
    Line::default()
        .what(tag)
        .text(&data::pairs(data, &["_stamp"]))
}

impl Line {
    /// The parts, to be printed one right after the other.
    #[must_use]
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The same in no more columns; what was longer ends in `…`.
    #[must_use]
    pub fn cut(mut self, columns: usize) -> Self {
        let mut left = columns;
        for at in 0..self.spans.len() {
            let width = text::width(&self.spans[at].text);
            let is_last = at + 1 == self.spans.len();
            if width < left || (width == left && is_last) {
                left -= width;
                continue;
            }
            // Room for the mark is kept whether or not this part would just fit: more follows.
            let kept = text::fitting(&self.spans[at].text, left.saturating_sub(1));
            self.spans[at].text = match left {
                0 => String::new(),
                _ => format!("{kept}…"),
            };
            self.spans.truncate(at + 1);
            break;
        }
        self
    }

    /// How many columns it takes.
    #[must_use]
    pub fn width(&self) -> usize {
        self.spans.iter().map(|span| text::width(&span.text)).sum()
    }

    /// The worst that the line tells of.
    #[must_use]
    pub fn severity(&self) -> Meaning {
        let has = |meaning| self.spans.iter().any(|span| span.meaning == meaning);
        let worst = [Meaning::Bad, Meaning::Warning, Meaning::Good];
        worst
            .into_iter()
            .find(|meaning| has(*meaning))
            .unwrap_or(Meaning::Plain)
    }

    /// Adds a part as it is, without a space in front.
    #[must_use]
    pub fn append(mut self, meaning: Meaning, text: &str) -> Self {
        if !text.is_empty() {
            let text = visible(text).into_owned();
            self.spans.push(Span { meaning, text });
        }
        self
    }

    /// Adds a word or more, with a space in front if something is there.
    fn word(self, meaning: Meaning, text: &str) -> Self {
        if text.is_empty() {
            return self;
        }
        let line = if self.spans.is_empty() {
            self
        } else {
            self.append(Meaning::Plain, " ")
        };
        line.append(meaning, text)
    }

    fn who(self, text: &str) -> Self {
        self.word(Meaning::Who, text)
    }

    fn what(self, text: &str) -> Self {
        self.word(Meaning::What, text)
    }

    fn text(self, text: &str) -> Self {
        self.word(Meaning::Plain, text)
    }

    fn faint(self, text: &str) -> Self {
        self.word(Meaning::Faint, text)
    }

    fn good(self, text: &str) -> Self {
        self.word(Meaning::Good, text)
    }

    fn bad(self, text: &str) -> Self {
        self.word(Meaning::Bad, text)
    }

    fn warning(self, text: &str) -> Self {
        self.word(Meaning::Warning, text)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.spans
            .iter()
            .try_for_each(|span| f.write_str(&span.text))
    }
}

/// The text under a key.
fn string<'a>(data: &'a Map, key: &str) -> Option<&'a str> {
    data.get(key).and_then(Value::as_str)
}

/// The list under a key.
fn list<'a>(data: &'a Map, key: &str) -> Option<&'a [Value]> {
    data.get(key).and_then(Value::as_array)
}

/// A number under a key, whole or not.
fn number(data: &Map, key: &str) -> Option<f64> {
    match data.get(key)? {
        #[allow(clippy::cast_precision_loss)] // durations and counts, for people
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

/// A count under a key.
fn count(data: &Map, key: &str) -> Option<u64> {
    match data.get(key)? {
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

/// The function of a job; several stand in a list.
fn function(data: &Map) -> Option<String> {
    match data.get("fun")? {
        Value::Str(fun) => Some(fun.clone()),
        Value::Array(funs) => Some(data::names(funs)),
        _ => None,
    }
}

/// Minions by name if they are few, else how many.
fn minions(ids: &[Value]) -> String {
    const FEW: usize = 3;
    match ids.len() {
        1..=FEW => data::names(ids),
        many => text::counted(many, "minion"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(tag: &str, pairs: &[(&str, Value)]) -> String {
        describe(tag, &pairs.iter().cloned().collect()).to_string()
    }

    #[test]
    fn events_without_a_kind_show_their_data() {
        let data = [
            ("host", "web1".into()),
            ("ok", true.into()),
            ("_stamp", "x".into()),
        ];
        assert_eq!(line("myco/backup", &data), "myco/backup host=web1 ok=true");
        assert_eq!(line("myco/backup", &[]), "myco/backup");
    }

    #[test]
    fn a_kinds_tag_with_other_data_is_plain_data() {
        for tag in [
            "salt/auth",
            "salt/key",
            "salt/job/1/new",
            "salt/job/1/ret/web1",
            "salt/run/1/ret",
            "salt/presence/change",
            "salt/beacon",
            "salt",
            "salt/",
            "syndic/x",
            "__beacons_return",
            "brine/gap",
            "20261129080100000000",
            "",
        ] {
            let shown = line(tag, &[("x", 1.into())]);
            assert_eq!(shown, format!("{tag} x=1").trim_start(), "{tag:?}");
        }
    }

    #[test]
    fn a_minions_own_event_names_it() {
        let inner: Map = [("a", Value::from(1)), ("__pub_fun", "event.send".into())]
            .into_iter()
            .collect();
        let data = [
            ("id", "web1".into()),
            ("cmd", "_minion_event".into()),
            ("data", Value::Map(inner)),
            ("tag", "my/tag".into()),
        ];
        assert_eq!(line("my/tag", &data), "web1 my/tag a=1");
    }

    #[test]
    fn a_packed_line_is_the_same_again() {
        let data: Map = [
            ("id", Value::from("web1")),
            ("fun", "test.ping".into()),
            ("return", "東京".into()),
        ]
        .into_iter()
        .collect();
        let line = describe("salt/job/1/ret/web1", &data);
        assert!(line.spans.len() > 3);
        assert_eq!(PackedLine::from(line.clone()).line(), line);
        assert_eq!(PackedLine::from(Line::default()).line(), Line::default());
    }

    #[test]
    fn a_cut_line_keeps_its_width() {
        let data: Map = [("text", "東京".repeat(50))].into_iter().collect();
        let whole = describe("my/tag", &data);
        for columns in 0..60 {
            let cut = whole.clone().cut(columns);
            assert!(cut.width() <= columns, "{columns}: {cut}");
            assert_eq!(cut.to_string().ends_with('…'), columns > 0);
        }
        let width = whole.width();
        assert_eq!(whole.clone().cut(width), whole);
    }
}

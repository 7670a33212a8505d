//! The record's files: their names, and their lines, written and read.
//!
//! Knows nothing of running reactions: [`super::Journal`] knows what a line means for them.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use brine_log::{Millis, Position};
use brine_wire::{Map, Value, json};

use super::{Counts, Outcome, Run};
use crate::call::Call;

/// The largest call that is kept, so that it can be run again, in KiB of JSON.
pub(crate) const MAX_CALL_KIB: usize = 64;
/// How much of a result is kept, in bytes of JSON.
const MAX_RESULT: usize = 4 << 10;

/// The reactions in the record, oldest first. The reactor may be running, or not.
///
/// # Errors
/// The directory cannot be read.
pub fn read(directory: &Path) -> io::Result<Vec<Run>> {
    let mut runs: BTreeMap<u64, Run> = BTreeMap::new();
    for number in files(directory)? {
        // It may have been removed since.
        for line in lines(&path(directory, number)).unwrap_or_default() {
            match line {
                Line::Start(run) => drop(runs.insert(run.number, *run)),
                Line::End {
                    number,
                    at,
                    outcome,
                } => {
                    if let Some(run) = runs.get_mut(&number) {
                        run.ended = Some(at);
                        run.outcome = outcome;
                    }
                }
                Line::At { .. } => {}
            }
        }
    }
    Ok(runs.into_values().collect())
}

/// If no reactor is running, a reaction without an end is uncertain.
pub fn interrupted(runs: &mut [Run]) {
    let running = runs.iter_mut();
    for run in running.filter(|run| run.outcome == Outcome::Running) {
        run.outcome = Outcome::Uncertain;
    }
}

/// What a line says.
pub(super) enum Line {
    Start(Box<Run>),
    End {
        number: u64,
        at: Millis,
        outcome: Outcome,
    },
    At {
        rule: String,
        position: Position,
        counts: Counts,
    },
}

impl Line {
    /// `None` for a line that a crash cut off.
    fn parse(line: &str) -> Option<Self> {
        let Value::Map(line) = json::parse(line.as_bytes()).ok()? else {
            return None;
        };
        let text = |name: &str| {
            line.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let int = |name: &str| int(&line, name);
        let position = || text("event").parse::<Position>().ok();
        if let Some(number) = int("start") {
            return Some(Self::Start(Box::new(Run {
                number,
                rule: text("rule"),
                position: position()?,
                nth: int("nth").and_then(|nth| usize::try_from(nth).ok()),
                tag: text("tag"),
                from: text("from"),
                call: line
                    .get("call")
                    .and_then(Value::as_map)
                    .and_then(Call::from_map),
                too_large: line.get("fun").and_then(Value::as_str).map(str::to_owned),
                started: Millis(int("at")?),
                ended: None,
                outcome: Outcome::Running,
                repeats: int("repeats"),
            })));
        }
        if let Some(number) = int("end") {
            return Some(Self::End {
                number,
                at: Millis(int("at")?),
                outcome: match &*text("outcome") {
                    "done" => Outcome::Done(text("text")),
                    "failed" => Outcome::Failed(text("text")),
                    _ => Outcome::Uncertain,
                },
            });
        }
        Some(Self::At {
            rule: line.get("read")?.as_str()?.to_owned(),
            position: position()?,
            counts: Counts {
                through: int("through").unwrap_or_default(),
                ..line
                    .get("counts")
                    .and_then(Value::as_map)
                    .map(parse_counts)
                    .unwrap_or_default()
            },
        })
    }
}

fn int(line: &Map, name: &str) -> Option<u64> {
    u64::try_from(line.get(name)?.as_int()?).ok()
}

/// A reaction starts.
pub(super) fn start_line(run: &Run) -> Map {
    let mut line = Map::new();
    line.insert("start", number(run.number));
    line.insert("at", number(run.started.0));
    line.insert("rule", run.rule.as_str());
    line.insert("event", run.position.to_string());
    if let Some(nth) = run.nth {
        line.insert("nth", number(nth as u64));
    }
    line.insert("tag", run.tag.as_str());
    line.insert("from", run.from.as_str());
    if let Some(repeats) = run.repeats {
        line.insert("repeats", number(repeats));
    }
    if let Some(call) = &run.call {
        let mut text = String::new();
        json::to_exact_line(&call.to_map().into(), &mut text);
        match text.len() <= MAX_CALL_KIB << 10 {
            true => line.insert("call", call.to_map()),
            false => line.insert("fun", call.name()),
        }
    } else if let Some(fun) = &run.too_large {
        line.insert("fun", fun.as_str());
    }
    line
}

/// A reaction ended.
pub(super) fn end_line(run: u64, at: Millis, outcome: &Outcome) -> Map {
    let mut line = Map::new();
    line.insert("end", number(run));
    line.insert("at", number(at.0));
    line.insert("outcome", outcome.word());
    if let Outcome::Done(text) | Outcome::Failed(text) = outcome {
        line.insert("text", shortened(text));
    }
    line
}

/// Where a rule is, and what it has done.
pub(super) fn position_line(rule: &str, position: Position, counts: &Counts) -> Map {
    let mut line = Map::new();
    line.insert("read", rule);
    line.insert("event", position.to_string());
    let mut all = Map::new();
    for (name, count) in counts.named() {
        if count > 0 {
            all.insert(name, number(count));
        }
    }
    line.insert("counts", all);
    line.insert("through", number(counts.through));
    line
}

fn parse_counts(map: &Map) -> Counts {
    let count = |name| int(map, name).unwrap_or_default();
    Counts {
        events: count("events"),
        done: count("done"),
        failed: count("failed"),
        uncertain: count("uncertain"),
        throttled: count("throttled"),
        too_old: count("too_old"),
        missed: count("missed"),
        through: 0,
    }
}

pub(super) fn lines(file: &Path) -> io::Result<Vec<Line>> {
    let text = fs::read(file)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(Line::parse).collect())
}

/// The numbers of the files, oldest first.
pub(super) fn files(directory: &Path) -> io::Result<Vec<u64>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl"));
        numbers.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.jsonl"))
}

/// Creates the directory, if it does not exist. Calls may hold secrets: nobody else may read them.
///
/// # Errors
/// It cannot be created.
pub fn make(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

/// A new file, which is there after a power cut, too.
pub(super) fn create(directory: &Path, number: u64) -> io::Result<File> {
    let path = path(directory, number);
    let file = OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(&path)?;
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    if let Err(error) = synced {
        let _ = fs::remove_file(path); // so that it can be tried again
        return Err(error);
    }
    Ok(file)
}

fn number(number: u64) -> Value {
    Value::Int(number.into())
}

fn shortened(text: &str) -> String {
    match text.len() > MAX_RESULT {
        true => {
            let end = (0..=MAX_RESULT).rev().find(|at| text.is_char_boundary(*at));
            format!("{}…", &text[..end.unwrap_or(0)])
        }
        false => text.to_owned(),
    }
}

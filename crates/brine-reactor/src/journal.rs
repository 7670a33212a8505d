//! The reactor's record on disk: what it was about to do, and what became of it.
//!
//! Lines of JSON in files of a directory, appended. `start` is written before a reaction is called, `end` after it. A
//! start without an end is a reaction that a crash interrupted: it may have run. It is listed as uncertain and never run
//! again by itself. With the position of each rule's cursor, which is in the record too, that makes each reaction run
//! at most once, and none is lost that was not started.
//!
//! A record survives the end of this process at once, and a power cut after [`SYNC_EVERY`] at most.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_log::{LogId, Millis, Position, Seq};
use brine_wire::{Map, Value, json};

use crate::call::Call;

/// How often what was written is made safe against a power cut.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The size at which a new file is begun.
const FILE_BYTES: u64 = 8 << 20;
/// How many files are kept, beyond those that are still needed.
const KEEP_FILES: usize = 8;
/// The largest call that is kept, so that it can be run again, in bytes of JSON.
const MAX_CALL: usize = 64 << 10;
/// How much of a result is kept, in bytes of JSON.
const MAX_RESULT: usize = 4 << 10;

/// A reaction in the record.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Its number, by which it can be run again.
    pub number: u64,
    /// The pattern of its rule.
    pub rule: String,
    /// The event.
    pub position: Position,
    /// Which of the reactions to that event it is, from 0; `None` if none could be made of it.
    pub nth: Option<usize>,
    /// The event's tag.
    pub tag: String,
    /// Its file and ID.
    pub from: String,
    /// What it called; `None` if it could not be read, or is too large to be kept.
    pub call: Option<Call>,
    /// When it started.
    pub started: Millis,
    /// When it ended.
    pub ended: Option<Millis>,
    /// How it ended.
    pub outcome: Outcome,
    /// The run that it repeats.
    pub repeats: Option<u64>,
}

/// What became of a reaction.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It is running.
    Running,
    /// It succeeded, with this result.
    Done(String),
    /// It failed, or was not called at all.
    Failed(String),
    /// The reactor ended while it ran.
    Uncertain,
}

impl Outcome {
    /// In one word.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Uncertain => "uncertain",
        }
    }
}

/// What an earlier process left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Where the cursor of each rule was.
    pub(crate) positions: HashMap<String, Position>,
    /// What was started of events behind these positions.
    pub(crate) started: HashMap<String, HashSet<(Seq, usize)>>,
    /// How many reactions are uncertain now.
    pub(crate) uncertain: u64,
}

/// The record, for one process.
#[derive(Debug)]
pub struct Journal {
    directory: PathBuf,
    file: File,
    number: u64,
    bytes: u64,
    next_run: u64,
    is_dirty: bool,
    /// What each older file is still needed for.
    older: BTreeMap<u64, Needed>,
    /// The same of the file that is written.
    own: Needed,
    /// Which file has the start of a run that has not ended.
    running: HashMap<u64, u64>,
    /// Where the cursor of each rule is: repeated in every file, since older ones go.
    positions: HashMap<String, Position>,
    line: String,
}

/// Why a file must stay: reactions that run, and rules whose cursor is not past what it records.
#[derive(Debug, Default)]
struct Needed {
    running: usize,
    through: HashMap<String, Seq>,
}

impl Journal {
    /// Opens the record, and finds out what an earlier process left: what was running is uncertain from now on.
    ///
    /// # Errors
    /// The directory cannot be made, read or written.
    pub(crate) fn open(directory: &Path, log: LogId, now: Millis) -> io::Result<(Self, Left)> {
        make(directory)?;
        let mut left = Left::default();
        let mut open: BTreeMap<u64, Run> = BTreeMap::new();
        let mut next_run = 1;
        let mut older = BTreeMap::new();
        for number in files(directory)? {
            let mut needed = Needed::default();
            for line in lines(&path(directory, number))? {
                match line {
                    Line::Start(run) => {
                        next_run = next_run.max(run.number + 1);
                        if run.position.log == log {
                            needed.through.insert(run.rule.clone(), run.position.seq);
                            if run.repeats.is_none() {
                                let nth = run.nth.unwrap_or(usize::MAX);
                                let started = left.started.entry(run.rule.clone()).or_default();
                                started.insert((run.position.seq, nth));
                            }
                        }
                        open.insert(run.number, *run);
                    }
                    Line::End { number, .. } => drop(open.remove(&number)),
                    Line::At { rule, position } => drop(left.positions.insert(rule, position)),
                }
            }
            older.insert(number, needed);
        }
        left.positions.retain(|_, position| position.log == log);
        for (rule, started) in &mut left.started {
            let read = left
                .positions
                .get(rule)
                .map_or(Seq(0), |position| position.seq);
            started.retain(|(seq, _)| *seq > read);
        }
        let number = older.keys().next_back().map_or(1, |number| number + 1);
        let mut journal = Self {
            directory: directory.to_owned(),
            file: create(&path(directory, number))?,
            number,
            bytes: 0,
            next_run,
            is_dirty: false,
            older,
            own: Needed::default(),
            running: HashMap::new(),
            positions: left.positions.clone(),
            line: String::new(),
        };
        journal.write_positions()?;
        for number in open.into_keys() {
            left.uncertain += 1;
            journal.end(number, now, &Outcome::Uncertain)?;
        }
        Ok((journal, left))
    }

    /// Records that a reaction starts; gives it its number.
    ///
    /// # Errors
    /// It is not recorded, and must not be called.
    pub(crate) fn start(&mut self, run: &mut Run) -> io::Result<()> {
        run.number = self.next_run;
        self.next_run += 1;
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
            match text.len() <= MAX_CALL {
                true => line.insert("call", call.to_map()),
                false => line.insert("fun", call.name()),
            }
        }
        self.write(line)?;
        self.own.running += 1;
        self.own.through.insert(run.rule.clone(), run.position.seq);
        self.running.insert(run.number, self.number);
        Ok(())
    }

    /// Records how a reaction ended.
    ///
    /// # Errors
    /// It is not recorded: after a crash it is uncertain.
    pub(crate) fn end(&mut self, run: u64, at: Millis, outcome: &Outcome) -> io::Result<()> {
        if let Some(file) = self.running.remove(&run) {
            let needed = match file == self.number {
                true => Some(&mut self.own),
                false => self.older.get_mut(&file),
            };
            if let Some(needed) = needed {
                needed.running = needed.running.saturating_sub(1);
            }
        }
        let mut line = Map::new();
        line.insert("end", number(run));
        line.insert("at", number(at.0));
        line.insert("outcome", outcome.word());
        if let Outcome::Done(text) | Outcome::Failed(text) = outcome {
            line.insert("text", shortened(text));
        }
        self.write(line)
    }

    /// Records where the cursor of a rule is: everything up to there was started.
    ///
    /// # Errors
    /// It is not recorded: after a crash the cursor starts earlier, and what was started is not started again.
    pub(crate) fn at(&mut self, rule: &str, position: Position) -> io::Result<()> {
        self.positions.insert(rule.to_owned(), position);
        self.write(position_line(rule, position))?;
        let needed = |needed: &mut Needed| {
            if needed
                .through
                .get(rule)
                .is_some_and(|through| *through <= position.seq)
            {
                needed.through.remove(rule);
            }
        };
        self.older.values_mut().for_each(needed);
        self.remove_old();
        Ok(())
    }

    /// The same, if it has moved.
    pub(crate) fn moved(&mut self, rule: &str, position: Position) -> io::Result<()> {
        match self.positions.get(rule) == Some(&position) {
            true => Ok(()),
            false => self.at(rule, position),
        }
    }

    /// Forgets rules that are not there any more.
    pub(crate) fn keep_only(&mut self, rules: &HashSet<String>) {
        self.positions.retain(|rule, _| rules.contains(rule));
        for needed in self.older.values_mut().chain([&mut self.own]) {
            needed.through.retain(|rule, _| rules.contains(rule));
        }
        self.remove_old();
    }

    fn write_positions(&mut self) -> io::Result<()> {
        for (rule, position) in self.positions.clone() {
            self.append(position_line(&rule, position))?;
        }
        Ok(())
    }

    /// A handle to the file, to make what was written safe with [`File::sync_data`], if there is something.
    pub(crate) fn unsynced(&mut self) -> Option<File> {
        std::mem::take(&mut self.is_dirty).then(|| self.file.try_clone().ok())?
    }

    fn write(&mut self, line: Map) -> io::Result<()> {
        if self.bytes > FILE_BYTES {
            let number = self.number + 1;
            self.file.sync_data()?;
            self.file = create(&path(&self.directory, number))?;
            self.older
                .insert(self.number, std::mem::take(&mut self.own));
            (self.number, self.bytes) = (number, 0);
            self.write_positions()?;
        }
        self.append(line)
    }

    fn append(&mut self, line: Map) -> io::Result<()> {
        self.line.clear();
        json::to_exact_line(&line.into(), &mut self.line);
        self.line.push('\n');
        self.file.write_all(self.line.as_bytes())?;
        self.bytes += self.line.len() as u64;
        self.is_dirty = true;
        Ok(())
    }

    /// Removes the oldest files that nothing needs any more.
    fn remove_old(&mut self) {
        while self.older.len() >= KEEP_FILES
            && let Some(oldest) = self.older.first_entry()
            && oldest.get().running == 0
            && oldest.get().through.is_empty()
        {
            let (number, _) = oldest.remove_entry();
            let file = path(&self.directory, number);
            if let Err(error) = fs::remove_file(&file) {
                tracing::warn!("cannot remove {}: {error}", file.display());
            }
        }
    }
}

/// The reactions in the record, oldest first. The reactor may be running, or not.
///
/// # Errors
/// The directory cannot be read.
pub fn read(directory: &Path) -> io::Result<Vec<Run>> {
    let mut runs: Vec<Run> = Vec::new();
    let mut places: HashMap<u64, usize> = HashMap::new();
    for number in files(directory)? {
        // It may have been removed since.
        for line in lines(&path(directory, number)).unwrap_or_default() {
            match line {
                Line::Start(run) => {
                    places.insert(run.number, runs.len());
                    runs.push(*run);
                }
                Line::End {
                    number,
                    at,
                    outcome,
                } => {
                    if let Some(run) = places.get(&number).and_then(|at| runs.get_mut(*at)) {
                        run.ended = Some(at);
                        run.outcome = outcome;
                    }
                }
                Line::At { .. } => {}
            }
        }
    }
    Ok(runs)
}

enum Line {
    Start(Box<Run>),
    End {
        number: u64,
        at: Millis,
        outcome: Outcome,
    },
    At {
        rule: String,
        position: Position,
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
        let int = |name: &str| u64::try_from(line.get(name)?.as_int()?).ok();
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
        })
    }
}

fn position_line(rule: &str, position: Position) -> Map {
    let mut line = Map::new();
    line.insert("read", rule);
    line.insert("event", position.to_string());
    line
}

fn lines(file: &Path) -> io::Result<Vec<Line>> {
    let text = fs::read(file)?;
    let text = String::from_utf8_lossy(&text);
    Ok(text.lines().filter_map(Line::parse).collect())
}

/// The numbers of the files, oldest first.
fn files(directory: &Path) -> io::Result<Vec<u64>> {
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

fn path(directory: &Path, number: u64) -> PathBuf {
    directory.join(format!("{number:08}.jsonl"))
}

/// Calls may hold secrets: nobody else reads them.
fn make(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
}

fn create(file: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create_new(true)
        .append(true)
        .mode(0o600)
        .open(file)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Function;

    const LOG: LogId = LogId(7);

    fn at(seq: u64) -> Position {
        Position {
            log: LOG,
            seq: Seq(seq),
        }
    }

    fn run(seq: u64, nth: usize) -> Run {
        Run {
            number: 0,
            rule: "a/*".to_owned(),
            position: at(seq),
            nth: Some(nth),
            tag: "a/b".to_owned(),
            from: "/r.sls, ID x".to_owned(),
            call: Some(Call::Runner(Function {
                fun: "event.send".to_owned(),
                arg: vec!["t".into()],
                kwarg: Map::new(),
                is_flat: false,
            })),
            started: Millis(5),
            ended: None,
            outcome: Outcome::Running,
            repeats: None,
        }
    }

    #[test]
    fn what_was_running_is_uncertain_and_what_was_started_is_known() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, left) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
        assert!(left.positions.is_empty());
        journal.at("a/*", at(3)).unwrap();
        let (mut one, mut two) = (run(4, 0), run(4, 1));
        journal.start(&mut one).unwrap();
        journal.start(&mut two).unwrap();
        journal
            .end(one.number, Millis(9), &Outcome::Done("true".to_owned()))
            .unwrap();
        drop(journal);

        let (_journal, left) = Journal::open(directory.path(), LOG, Millis(20)).unwrap();
        assert_eq!(left.positions["a/*"], at(3));
        assert_eq!(left.uncertain, 1);
        assert_eq!(
            left.started["a/*"],
            HashSet::from([(Seq(4), 0), (Seq(4), 1)])
        );
        let runs = read(directory.path()).unwrap();
        assert_eq!(runs[0].outcome, Outcome::Done("true".to_owned()));
        assert_eq!(runs[1].outcome, Outcome::Uncertain);
        assert_eq!(runs[1].call, two.call);
    }

    #[test]
    fn another_log_is_another_story() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
        journal.at("a/*", at(3)).unwrap();
        journal.start(&mut run(4, 0)).unwrap();
        drop(journal);
        let (_, left) = Journal::open(directory.path(), LogId(8), Millis(0)).unwrap();
        assert!(left.positions.is_empty() && left.started.is_empty());
        assert_eq!(left.uncertain, 1);
    }

    #[test]
    fn a_line_that_was_cut_off_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
        journal.start(&mut run(4, 0)).unwrap();
        let file = path(directory.path(), journal.number);
        drop(journal);
        let whole = fs::read(&file).unwrap();
        for end in 0..whole.len() {
            fs::write(&file, &whole[..end]).unwrap();
            assert!(read(directory.path()).unwrap().len() <= 1);
        }
    }

    #[test]
    fn old_files_go_when_nothing_needs_them() {
        let directory = tempfile::tempdir().unwrap();
        let (mut journal, _) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
        let mut kept = run(1, 0);
        journal.start(&mut kept).unwrap();
        for seq in 2..40 {
            journal.bytes = FILE_BYTES + 1; // as if the file were full
            let mut one = run(seq, 0);
            journal.start(&mut one).unwrap();
            journal
                .end(one.number, Millis(9), &Outcome::Done(String::new()))
                .unwrap();
            journal.at("a/*", at(seq)).unwrap();
        }
        // The first reaction still runs.
        assert!(files(directory.path()).unwrap().len() > 30);
        journal
            .end(kept.number, Millis(9), &Outcome::Done(String::new()))
            .unwrap();
        journal.at("a/*", at(40)).unwrap();
        assert!(files(directory.path()).unwrap().len() <= KEEP_FILES);
        let (_, left) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
        assert_eq!(left.uncertain, 0);
        assert_eq!(left.positions["a/*"], at(40));
    }
}

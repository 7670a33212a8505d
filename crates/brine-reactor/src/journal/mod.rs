//! The reactor's record on disk: what it was about to do, and how that ended.
//!
//! Lines of JSON, appended to files of a directory. `start` is written before a reaction is called, `end` after it. A
//! start without an end is a reaction that a crash interrupted: it may have run. It is listed as uncertain and never
//! run again automatically. Together with the position of each rule's cursor, which is in the record too, this means
//! that each reaction runs at most once, and that none is lost that was not started.
//!
//! When there are many files, old ones are removed. What must outlast them is repeated in each new file: the
//! positions of rules, what they have done, and which reactions are uncertain.
//!
//! The record survives the end of this process at once, and a power cut after at most [`SYNC_EVERY`]. So nothing
//! outside the record, and no file of it, is discarded for a position that is not yet safe against a power cut.

mod entry;
mod found;
mod line;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_log::{LogId, Millis, Position, Seq};
use brine_wire::{Map, json};

pub use self::entry::{Counts, Outcome, Run};
use self::found::Found;
pub(crate) use self::line::MAX_CALL_KIB;
use self::line::{create, end_line, files, lines, path, position_line, start_line};
pub use self::line::{interrupted, make, read};

/// How often what was written is made safe against a power cut.
pub const SYNC_EVERY: Duration = Duration::from_secs(1);
/// The size at which a new file is begun.
const FILE_BYTES: u64 = 8 << 20;
/// How many files are kept, beyond those that are still needed.
const KEEP_FILES: usize = 8;
/// How many bytes of uncertain reactions are kept for longer than the others.
const MAX_UNCERTAIN: usize = 1 << 20;

/// What an earlier process left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Where the cursor of each rule was.
    pub(crate) positions: HashMap<String, Position>,
    /// What was started of events behind these positions.
    pub(crate) started: HashMap<String, HashSet<(Seq, usize)>>,
    /// How many reactions this process found unfinished.
    pub(crate) uncertain: u64,
}

/// What is written, to be made safe against a power cut.
#[derive(Debug)]
pub(crate) struct Unsynced {
    file: File,
    /// Where rules were when that was taken.
    positions: Vec<(String, Position)>,
}

impl Unsynced {
    /// Waits for the disk.
    ///
    /// # Errors
    /// It is not known what the disk has.
    pub(crate) fn sync(self) -> io::Result<Synced> {
        self.file.sync_data()?;
        Ok(Synced {
            positions: self.positions,
        })
    }
}

/// What is safe against a power cut.
#[derive(Debug)]
pub(crate) struct Synced {
    positions: Vec<(String, Position)>,
}

/// The record, for one process.
#[derive(Debug)]
pub(crate) struct Journal {
    directory: PathBuf,
    file: File,
    number: u64,
    bytes: u64,
    next_run: u64,
    is_dirty: bool,
    /// Whether the last line may be there in part.
    is_torn: bool,
    /// Whether the file has what every file has.
    is_begun: bool,
    /// What each older file is still needed for.
    older: BTreeMap<u64, Needed>,
    /// The same of the file that is written.
    own: Needed,
    running: HashMap<u64, Started>,
    rules: HashMap<String, Tally>,
    /// The lines of uncertain reactions, until they are run again.
    uncertain: BTreeMap<u64, String>,
    /// The lines that end reactions that this process found unfinished, and that are too many to be kept.
    found_ends: String,
    line: String,
}

/// A run that has not ended.
#[derive(Debug)]
struct Started {
    /// The file that has its start.
    file: u64,
    /// Its rule; `None` if it repeats another run.
    rule: Option<String>,
}

/// What is known of a rule.
#[derive(Debug, Default)]
struct Tally {
    /// Everything up to there was started.
    position: Option<Position>,
    /// The same, if the power fails.
    synced: Option<Position>,
    counts: Counts,
}

impl Tally {
    fn ended(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Done(_) => self.counts.done += 1,
            Outcome::Failed(_) => self.counts.failed += 1,
            Outcome::Uncertain => self.counts.uncertain += 1,
            Outcome::Running => {}
        }
    }
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
        let mut found = Found {
            next_run: 1,
            ..Found::default()
        };
        for number in files(directory)? {
            let mut needed = Needed::default();
            for line in lines(&path(directory, number))? {
                found.take(line, &mut needed, log);
            }
            found.files.insert(number, needed);
        }
        let Found {
            mut left,
            files: older,
            mut rules,
            open,
            uncertain,
            next_run,
        } = found;
        for (rule, tally) in &mut rules {
            // Numbers of another log say nothing about this one.
            tally.position = tally.position.filter(|position| position.log == log);
            if tally.position.is_none() {
                tally.counts.through = 0;
            }
            if let Some(position) = tally.position {
                left.positions.insert(rule.clone(), position);
            }
        }
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
            file: create(directory, number)?,
            number,
            bytes: 0,
            next_run,
            is_dirty: false,
            is_torn: false,
            is_begun: false,
            older,
            own: Needed::default(),
            running: HashMap::new(),
            rules,
            uncertain: BTreeMap::new(),
            found_ends: String::new(),
            line: String::new(),
        };
        for run in uncertain.values() {
            journal.remember(run, now);
        }
        left.uncertain = open.len() as u64;
        for run in open.values() {
            if run.repeats.is_none() {
                let tally = journal.rules.entry(run.rule.clone()).or_default();
                tally.ended(&Outcome::Uncertain);
            }
            journal.remember(run, now);
        }
        journal.forget_oldest();
        // Those that are not kept have ended, too: else each process to come would find them unfinished once more.
        for number in open.keys() {
            if !journal.uncertain.contains_key(number) {
                let end = end_line(*number, now, &Outcome::Uncertain);
                json::to_exact_line(&end.into(), &mut journal.found_ends);
                journal.found_ends.push('\n');
            }
        }
        journal.begin()?;
        Ok((journal, left))
    }

    /// Records that a reaction starts; gives it its number.
    ///
    /// # Errors
    /// It is not recorded, and must not be called.
    pub(crate) fn start(&mut self, run: &mut Run) -> io::Result<()> {
        run.number = self.next_run;
        self.write(start_line(run))?;
        self.next_run += 1;
        if let Some(again) = run.repeats {
            self.uncertain.remove(&again);
        }
        self.own.running += 1;
        self.own.through.insert(run.rule.clone(), run.position.seq);
        let started = Started {
            file: self.number,
            rule: run.repeats.is_none().then(|| run.rule.clone()),
        };
        self.running.insert(run.number, started);
        Ok(())
    }

    /// Records how a reaction ended.
    ///
    /// # Errors
    /// It is not recorded: after a crash it is uncertain.
    pub(crate) fn end(&mut self, run: u64, at: Millis, outcome: &Outcome) -> io::Result<()> {
        self.write(end_line(run, at, outcome))?;
        if let Some(started) = self.running.remove(&run) {
            let needed = match started.file == self.number {
                true => Some(&mut self.own),
                false => self.older.get_mut(&started.file),
            };
            if let Some(needed) = needed {
                needed.running = needed.running.saturating_sub(1);
            }
            if let Some(rule) = started.rule {
                self.rules.entry(rule).or_default().ended(outcome);
            }
        }
        Ok(())
    }

    /// Records where the cursor of a rule is: everything up to there was started. Of `counts`, those of events count;
    /// those of reactions are known here.
    ///
    /// # Errors
    /// It is not recorded: after a crash the cursor starts earlier, and what was started is not started again.
    pub(crate) fn at(&mut self, rule: &str, position: Position, counts: Counts) -> io::Result<()> {
        let tally = self.rules.entry(rule.to_owned()).or_default();
        tally.position = Some(position);
        tally.counts = Counts {
            done: tally.counts.done,
            failed: tally.counts.failed,
            uncertain: tally.counts.uncertain,
            ..counts
        };
        let line = position_line(rule, position, &tally.counts);
        self.write(line)
    }

    /// The same, if it has moved.
    pub(crate) fn moved(
        &mut self,
        rule: &str,
        position: Position,
        counts: Counts,
    ) -> io::Result<()> {
        let known = self.rules.get(rule).and_then(|tally| tally.position);
        match known == Some(position) {
            true => Ok(()),
            false => self.at(rule, position, counts),
        }
    }

    /// What a rule has done; of its events, when its position was last recorded.
    pub(crate) fn counts(&self, rule: &str) -> Counts {
        self.rules
            .get(rule)
            .map(|tally| tally.counts)
            .unwrap_or_default()
    }

    /// Forgets rules that no longer exist.
    pub(crate) fn keep_only(&mut self, rules: &HashSet<String>) {
        self.rules.retain(|rule, _| rules.contains(rule));
        for needed in self.older.values_mut().chain([&mut self.own]) {
            needed.through.retain(|rule, _| rules.contains(rule));
        }
        self.remove_old();
    }

    /// What was written since the last time, if there is something. Older files are safe.
    pub(crate) fn unsynced(&mut self) -> Option<Unsynced> {
        if !self.is_dirty {
            return None;
        }
        let file = self.file.try_clone().ok()?;
        self.is_dirty = false;
        let rules = self.rules.iter();
        let positions = rules.filter_map(|(rule, tally)| Some((rule.clone(), tally.position?)));
        Some(Unsynced {
            file,
            positions: positions.collect(),
        })
    }

    /// Positions that are safe now: nothing needs older files for what is before them.
    pub(crate) fn synced(&mut self, synced: Synced) {
        for (rule, position) in synced.positions {
            for needed in self.older.values_mut() {
                let through = needed.through.get(&rule);
                if through.is_some_and(|through| *through <= position.seq) {
                    needed.through.remove(&rule);
                }
            }
            if let Some(tally) = self.rules.get_mut(&rule) {
                tally.synced = Some(position);
            }
        }
        self.remove_old();
    }

    /// Where a rule continues after a power cut, if that is known.
    pub(crate) fn synced_position(&self, rule: &str) -> Option<Position> {
        self.rules.get(rule)?.synced
    }

    /// Keeps an uncertain reaction when its file goes.
    fn remember(&mut self, run: &Run, at: Millis) {
        let mut text = String::new();
        json::to_exact_line(&start_line(run).into(), &mut text);
        text.push('\n');
        let end = end_line(run.number, run.ended.unwrap_or(at), &Outcome::Uncertain);
        json::to_exact_line(&end.into(), &mut text);
        text.push('\n');
        self.uncertain.insert(run.number, text);
    }

    /// Of too many uncertain reactions the oldest are not kept any longer than others.
    fn forget_oldest(&mut self) {
        let mut bytes: usize = self.uncertain.values().map(String::len).sum();
        while bytes > MAX_UNCERTAIN
            && let Some((_, text)) = self.uncertain.pop_first()
        {
            bytes -= text.len();
        }
    }

    /// Writes what every file has: where rules are, and uncertain reactions.
    fn begin(&mut self) -> io::Result<()> {
        if self.is_begun {
            return Ok(());
        }
        self.line.clear();
        for text in self.uncertain.values() {
            self.line.push_str(text);
        }
        self.line.push_str(&self.found_ends);
        // After the others, so that a reader counts nothing twice.
        for (rule, tally) in &self.rules {
            if let Some(position) = tally.position {
                let line = position_line(rule, position, &tally.counts);
                json::to_exact_line(&line.into(), &mut self.line);
                self.line.push('\n');
            }
        }
        self.append()?;
        self.found_ends = String::new();
        self.is_begun = true;
        Ok(())
    }

    fn write(&mut self, line: Map) -> io::Result<()> {
        if self.bytes > FILE_BYTES {
            let number = self.number + 1;
            self.file.sync_data()?;
            make(&self.directory)?; // somebody may have removed it
            self.file = create(&self.directory, number)?;
            self.older
                .insert(self.number, std::mem::take(&mut self.own));
            (self.number, self.bytes, self.is_begun) = (number, 0, false);
        }
        self.begin()?;
        self.line.clear();
        json::to_exact_line(&line.into(), &mut self.line);
        self.line.push('\n');
        self.append()
    }

    fn append(&mut self) -> io::Result<()> {
        if self.is_torn {
            // What a full disk has cut off must not spoil this line.
            self.line.insert(0, '\n');
        }
        self.is_torn = true;
        self.file.write_all(self.line.as_bytes())?;
        self.is_torn = false;
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

#[cfg(test)]
mod tests;

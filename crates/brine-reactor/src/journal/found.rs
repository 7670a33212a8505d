//! What earlier processes left in the record, read line by line from the oldest file on.

use std::collections::{BTreeMap, HashMap};

use brine_log::LogId;

use super::line::Line;
use super::{Left, Needed, Outcome, Run, Tally};

/// What the files of earlier processes say, read from the oldest on.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) left: Left,
    pub(super) files: BTreeMap<u64, Needed>,
    pub(super) rules: HashMap<String, Tally>,
    pub(super) open: BTreeMap<u64, Run>,
    pub(super) uncertain: BTreeMap<u64, Run>,
    pub(super) next_run: u64,
}

impl Found {
    pub(super) fn take(&mut self, line: Line, file: &mut Needed, log: LogId) {
        match line {
            Line::Start(run) => {
                self.next_run = self.next_run.max(run.number + 1);
                if run.position.log == log && !self.uncertain.contains_key(&run.number) {
                    file.through.insert(run.rule.clone(), run.position.seq);
                    if run.repeats.is_none() {
                        let nth = run.nth.unwrap_or(usize::MAX);
                        let started = self.left.started.entry(run.rule.clone()).or_default();
                        started.insert((run.position.seq, nth));
                    }
                }
                if let Some(again) = run.repeats {
                    self.uncertain.remove(&again);
                }
                self.open.insert(run.number, *run);
            }
            Line::End {
                number, outcome, ..
            } => {
                let Some(run) = self.open.remove(&number) else {
                    return;
                };
                let is_known = self.uncertain.contains_key(&number);
                if run.repeats.is_none() && !is_known {
                    self.rules
                        .entry(run.rule.clone())
                        .or_default()
                        .ended(&outcome);
                }
                if outcome == Outcome::Uncertain {
                    self.uncertain.insert(number, run);
                }
            }
            Line::At {
                rule,
                position,
                counts,
            } => {
                let tally = Tally {
                    position: Some(position),
                    synced: None,
                    counts,
                };
                self.rules.insert(rule, tally);
            }
        }
    }
}

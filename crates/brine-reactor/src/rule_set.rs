//! Which rules run: started, replaced when their file changes, and ended.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use brine_log::{EventCursor, Position, Seq, Start};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::files::NO_FILE;
use crate::lane::Lane;
use crate::problem::Problem;
use crate::react::lock;
use crate::rules::{Names, Rule};
use crate::run::Shared;

/// The rules that run.
#[derive(Default)]
pub(crate) struct Lanes {
    all: Vec<RunningLane>,
    tasks: JoinSet<()>,
    has_ended: bool,
}

struct RunningLane {
    lane: Arc<Lane>,
    stop: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn lanes(&self) -> Vec<Arc<Lane>> {
        let lanes = lock(&self.lanes);
        let all = lanes.all.iter();
        all.map(|running| Arc::clone(&running.lane)).collect()
    }

    fn names(&self) -> HashSet<String> {
        let lanes = self.lanes().into_iter();
        lanes.map(|lane| lane.name.clone()).collect()
    }

    /// Forgets what the record has of rules that do not run.
    pub(crate) fn forget_others(&self) {
        lock(&self.journal).keep_only(&self.names());
    }

    /// Starts rules with the next event.
    pub(crate) fn add(self: &Arc<Self>, rules: Vec<Rule>) {
        for (rule, name) in Names::taken(self.names()).give_all(rules) {
            self.start(rule, name, self.log.position(), HashSet::new());
        }
    }

    /// Ends the first rule of a pattern; returns whether there was one. Running reactions continue.
    pub(crate) fn remove(&self, glob: &str) -> bool {
        let mut lanes = lock(&self.lanes);
        let mut all = lanes.all.iter();
        let Some(at) = all.position(|running| running.lane.rule().glob == glob) else {
            return false;
        };
        lanes.all.remove(at).stop.send_replace(true);
        true
    }

    /// Starts a rule behind a position.
    pub(crate) fn start(
        self: &Arc<Self>,
        rule: Rule,
        name: String,
        at: Position,
        started: HashSet<(Seq, usize)>,
    ) {
        let cursor: EventCursor = self.log.events(Start::After(at));
        let counts = lock(&self.journal).counts(&name);
        let lane = Arc::new(Lane::new(rule, name, Arc::clone(self), at, &counts));
        let (stop, stopped) = watch::channel(false);
        let mut lanes = lock(&self.lanes);
        if lanes.has_ended {
            return;
        }
        while lanes.tasks.try_join_next().is_some() {}
        lanes
            .tasks
            .spawn(Arc::clone(&lane).run(cursor, started, stopped));
        self.record_position(&lane);
        lanes.all.push(RunningLane { lane, stop });
    }

    pub(crate) fn rules_stamp(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(self.config.rules_file.as_ref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    /// Adopts the rules of the file when it has changed; rules that stay continue where they are.
    pub(crate) fn read_rules_again(self: &Arc<Self>, known: &mut Option<(SystemTime, u64)>) {
        let stamp = self.rules_stamp();
        let Some(file) = self.config.rules_file.as_ref().filter(|_| stamp != *known) else {
            return;
        };
        *known = stamp;
        match read_rules(file) {
            Ok(rules) => self.replace(rules),
            Err(problems) => {
                for problem in problems {
                    tracing::error!(
                        "cannot load the new rules; the old ones stay in force: {problem}"
                    );
                }
            }
        }
    }

    /// Rules whose pattern stays continue where they are, with their present files.
    fn replace(self: &Arc<Self>, rules: Vec<Rule>) {
        let mut rules = Names::default().give_all(rules);
        lock(&self.lanes).all.retain(|running| {
            let own = rules
                .iter()
                .position(|(_, name)| *name == running.lane.name);
            match own {
                Some(at) => running.lane.replace(rules.remove(at).0),
                None => drop(running.stop.send_replace(true)),
            }
            own.is_some()
        });
        for (rule, name) in rules {
            self.start(rule, name, self.log.position(), HashSet::new());
        }
        self.forget_others();
    }

    /// Ends all rules, and waits until they have.
    pub(crate) async fn end_rules(&self) {
        let mut tasks = {
            let mut lanes = lock(&self.lanes);
            lanes.has_ended = true;
            for running in &lanes.all {
                running.stop.send_replace(true);
            }
            std::mem::take(&mut lanes.tasks)
        };
        while tasks.join_next().await.is_some() {}
    }
}

/// Reads the rules of a file.
///
/// # Errors
/// [`Problem`]s with their lines.
pub fn read_rules(file: &Path) -> Result<Vec<Rule>, Vec<Problem>> {
    let name = file.to_string_lossy().into_owned();
    let failed = |text: String| vec![Problem::error(&name, None, text)];
    let metadata = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?;
    if !metadata.is_file() {
        return Err(failed(NO_FILE.to_owned()));
    }
    let text = std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?;
    let value = brine_config::yaml::load(text.as_bytes()).map_err(|error| {
        vec![Problem::error(
            &name,
            Some(error.line),
            error.fault.to_string(),
        )]
    })?;
    // The list may be by itself, or below `reactor:` as in a configuration file.
    let value = value
        .as_map()
        .and_then(|map| map.get("reactor"))
        .cloned()
        .unwrap_or(value);
    crate::check::rules(&value, &[(name, text)])
}

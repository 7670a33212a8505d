//! The running reactor: a task for each rule, the record of what they do, and what can be asked of it.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_log::history::{Consumer, ConsumerName, History, Paused};
use brine_log::{EventCursor, Log, Millis, Position, Start};
use brine_wire::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::call::Call;
use crate::files::{Files, FilesConfig};
use crate::journal::{self, Journal, Outcome, Run, SYNC_EVERY};
use crate::lane::Lane;
use crate::problem::Problem;
use crate::react::{Execute, lock};
use crate::rules::{self, Rule};
use crate::throttle::ThrottleConfig as OwnThrottle;

/// How limits by key are configured.
pub use crate::throttle::ThrottleConfig;

/// The user of the reactor's own runner and wheel jobs, to whose events nothing reacts.
pub const REACTOR: &str = "Reactor";
/// The name under which the history keeps where the reactor is.
pub const CONSUMER: &str = "reactor";
/// How often it keeps that.
const SAVE_EVERY: Duration = Duration::from_millis(200);

/// How a reactor works.
pub struct ReactorConfig {
    /// The rules it starts with.
    pub rules: Vec<Rule>,
    /// The file that has the rules instead, which is read again when it changes.
    pub rules_file: Option<PathBuf>,
    /// What files are read with.
    pub files: FilesConfig,
    /// Where it records what it does.
    pub directory: PathBuf,
    /// How many runner and wheel functions of one rule may run at once (`reactor_worker_threads`).
    pub workers: usize,
    /// How long one call may take.
    pub timeout: Duration,
    /// How many reactions each rule may start per second.
    pub rate: u32,
    /// Events older than this are passed over.
    pub max_age: Option<Duration>,
    /// Rules whose reactions run once within a time, by their pattern.
    pub throttle: Vec<(String, OwnThrottle)>,
}

/// What all rules share.
pub(crate) struct Shared {
    pub(crate) config: Limits,
    pub(crate) log: Arc<Log>,
    pub(crate) files: Mutex<Files>,
    pub(crate) execute: Arc<dyn Execute>,
    pub(crate) history: Option<History>,
    journal: Mutex<Journal>,
    directory: PathBuf,
    lanes: Mutex<Lanes>,
    is_leader: AtomicBool,
    warned: Mutex<HashSet<String>>,
    /// Reactions that are run again.
    repeats: Mutex<JoinSet<()>>,
}

/// The part of the configuration that rules look at.
pub(crate) struct Limits {
    pub(crate) workers: usize,
    pub(crate) rate: u32,
    pub(crate) throttle: Vec<(String, OwnThrottle)>,
    timeout: Duration,
    max_age: Option<Duration>,
    rules_file: Option<PathBuf>,
}

#[derive(Default)]
struct Lanes {
    all: Vec<RunningLane>,
    tasks: JoinSet<()>,
    has_ended: bool,
}

struct RunningLane {
    lane: Arc<Lane>,
    stop: watch::Sender<bool>,
}

/// A reactor that runs, from outside.
#[derive(Clone)]
pub struct ReactorHandle {
    shared: Arc<Shared>,
}

/// A reactor that has opened its record and does nothing yet.
pub struct Reactor {
    shared: Arc<Shared>,
    rules: Vec<Rule>,
    left: journal::Left,
    uncertain: u64,
    /// Where the log was: rules that are new begin there, however long it takes until they run.
    opened_at: Position,
}

/// Why the rules cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadRule(pub String);

impl Reactor {
    /// Opens the record. Reactions that an earlier process did not end are uncertain from now on.
    ///
    /// # Errors
    /// The directory cannot be made, read or written.
    pub fn open(
        config: ReactorConfig,
        log: Arc<Log>,
        history: Option<History>,
        execute: Arc<dyn Execute>,
    ) -> io::Result<Self> {
        let (journal, left) = Journal::open(&config.directory, log.id(), now())?;
        let uncertain = left.uncertain;
        let opened_at = log.position();
        let shared = Shared {
            config: Limits {
                workers: config.workers.max(1),
                rate: config.rate,
                throttle: config.throttle,
                timeout: config.timeout,
                max_age: config.max_age,
                rules_file: config.rules_file,
            },
            log,
            files: Mutex::new(Files::new(config.files)),
            execute,
            history,
            journal: Mutex::new(journal),
            directory: config.directory,
            lanes: Mutex::default(),
            is_leader: AtomicBool::new(true),
            warned: Mutex::default(),
            repeats: Mutex::default(),
        };
        Ok(Self {
            shared: Arc::new(shared),
            rules: config.rules,
            left,
            uncertain,
            opened_at,
        })
    }

    /// A handle, which is of use while it runs.
    #[must_use]
    pub fn handle(&self) -> ReactorHandle {
        ReactorHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// How many reactions an earlier process left uncertain.
    #[must_use]
    pub const fn uncertain(&self) -> u64 {
        self.uncertain
    }

    /// Reacts until `shutdown`, to events from where an earlier process was, or that came after this was opened.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            shared,
            rules,
            mut left,
            opened_at,
            ..
        } = self;
        let saved = shared.saved().await;
        for (rule, name) in named(rules, &[]) {
            let started = left.started.remove(&name).unwrap_or_default();
            let own = left.positions.remove(&name);
            let start = own.map(|own| match saved {
                // An administrator may have moved it by hand, forward.
                Some(saved) if saved.log == own.log && saved.seq > own.seq => saved,
                _ => own,
            });
            shared.start(rule, name, start.or(Some(opened_at)), started);
        }
        lock(&shared.journal).keep_only(&shared.names());
        let mut saving = interval(SAVE_EVERY);
        let mut syncing = interval(SYNC_EVERY);
        let mut rules_read = shared.rules_stamp();
        tokio::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                _ = saving.tick() => shared.save(),
                _ = syncing.tick() => {
                    shared.record_positions();
                    shared.sync().await;
                    shared.read_rules_again(&mut rules_read);
                }
            }
        }
        shared.end().await;
    }
}

impl Shared {
    pub(crate) fn is_leader(&self) -> bool {
        self.is_leader.load(Ordering::Relaxed)
    }

    pub(crate) fn is_too_old(&self, at: Millis) -> bool {
        let Some(age) = self.config.max_age else {
            return false;
        };
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        at.0 < now().0.saturating_sub(age)
    }

    /// Makes a call within its time.
    pub(crate) async fn perform(&self, call: &Call) -> Outcome {
        match timeout(self.config.timeout, self.execute.call(call)).await {
            Ok(Ok(value)) => {
                let mut text = String::new();
                json::to_line(&value, &mut text);
                Outcome::Done(text)
            }
            Ok(Err(why)) => Outcome::Failed(why),
            Err(_) => Outcome::Failed(format!(
                "it took longer than {:?} and was given up; raise brine: {{reactor: {{timeout: …}}}} if that is not enough",
                self.config.timeout
            )),
        }
    }

    /// Whether the start of a reaction is in the record. What is not, is not started.
    pub(crate) fn record_start(&self, run: &mut Run) -> bool {
        match lock(&self.journal).start(run) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(rule = %run.rule, tag = %run.tag, "reaction not started, since it cannot be recorded in {}: {error}", self.directory.display());
                false
            }
        }
    }

    pub(crate) fn record_end(&self, run: u64, outcome: &Outcome) {
        if let Err(error) = lock(&self.journal).end(run, now(), outcome) {
            tracing::error!(
                "the end of reaction {run} cannot be recorded in {}: {error}",
                self.directory.display()
            );
        }
    }

    /// Logs a warning about a file once.
    pub(crate) fn warn_once(&self, problem: &Problem) {
        const MAX_KEPT: usize = 10_000;
        let mut warned = lock(&self.warned);
        if warned.len() >= MAX_KEPT {
            warned.clear();
        }
        if warned.insert(problem.to_string()) {
            tracing::warn!("{problem}");
        }
    }

    /// Where the reactor was, by the history; makes its consumer if there is none.
    async fn saved(&self) -> Option<Position> {
        let history = self.history.as_ref()?;
        let name = consumer()?;
        if let Some(consumer) = history.consumer(&name) {
            return Some(consumer.position);
        }
        let consumer = Consumer {
            name,
            position: self.log.position(),
            kind: "reactor".to_owned(),
            filter: String::new(),
            paused: Paused::No,
            saved_at: now(),
        };
        if let Err(error) = history.save(consumer).await {
            tracing::warn!("the reactor's position is not kept: {error}");
        }
        None
    }

    /// Keeps where the slowest rule is.
    fn save(&self) {
        let (Some(history), Some(name)) = (&self.history, consumer()) else {
            return;
        };
        let slowest = self
            .lanes()
            .into_iter()
            .map(|lane| *lock(&lane.read))
            .min_by_key(|position| position.seq);
        let slowest = slowest.unwrap_or_else(|| self.log.position());
        if history
            .consumer(&name)
            .is_none_or(|known| known.position != slowest)
        {
            history.acknowledge(&name, slowest);
        }
    }

    fn record_positions(&self) {
        for lane in self.lanes() {
            let position = *lock(&lane.read);
            if let Err(error) = lock(&self.journal).moved(&lane.name, position) {
                tracing::error!(
                    "the reactor's record in {} cannot be written: {error}",
                    self.directory.display()
                );
            }
        }
    }

    async fn sync(&self) {
        let Some(file) = lock(&self.journal).unsynced() else {
            return;
        };
        let synced = tokio::task::spawn_blocking(move || file.sync_data()).await;
        if let Ok(Err(error)) = synced {
            tracing::error!(
                "the reactor's record in {} cannot be synced: {error}",
                self.directory.display()
            );
        }
    }

    fn lanes(&self) -> Vec<Arc<Lane>> {
        let lanes = lock(&self.lanes);
        lanes
            .all
            .iter()
            .map(|running| Arc::clone(&running.lane))
            .collect()
    }

    fn names(&self) -> HashSet<String> {
        self.lanes()
            .into_iter()
            .map(|lane| lane.name.clone())
            .collect()
    }

    /// Starts a rule, behind a position or with the next event.
    fn start(
        self: &Arc<Self>,
        rule: Rule,
        name: String,
        at: Option<Position>,
        started: HashSet<(brine_log::Seq, usize)>,
    ) {
        let at = at.unwrap_or_else(|| self.log.position());
        let cursor: EventCursor = self.log.events(Start::After(at));
        let lane = Arc::new(Lane::new(rule, name, Arc::clone(self), at));
        let (stop, stopped) = watch::channel(false);
        let mut lanes = lock(&self.lanes);
        if lanes.has_ended {
            return;
        }
        while lanes.tasks.try_join_next().is_some() {}
        lanes
            .tasks
            .spawn(Arc::clone(&lane).run(cursor, started, stopped));
        if let Err(error) = lock(&self.journal).at(&lane.name, at) {
            tracing::error!(
                "the reactor's record in {} cannot be written: {error}",
                self.directory.display()
            );
        }
        lanes.all.push(RunningLane { lane, stop });
    }

    fn rules_stamp(&self) -> Option<(SystemTime, u64)> {
        let metadata = std::fs::metadata(self.config.rules_file.as_ref()?).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    }

    /// Takes over the rules of the file when it has changed; rules that stay go on where they are.
    fn read_rules_again(self: &Arc<Self>, known: &mut Option<(SystemTime, u64)>) {
        let stamp = self.rules_stamp();
        let Some(file) = self.config.rules_file.as_ref().filter(|_| stamp != *known) else {
            return;
        };
        *known = stamp;
        match read_rules(file) {
            Ok(rules) => self.replace(rules),
            Err(problems) => {
                for problem in problems {
                    tracing::error!("the rules stay as they were: {problem}");
                }
            }
        }
    }

    fn replace(self: &Arc<Self>, rules: Vec<Rule>) {
        let rules = named(rules, &[]);
        {
            let mut lanes = lock(&self.lanes);
            lanes.all.retain(|running| {
                let stays = rules
                    .iter()
                    .any(|(rule, name)| *name == running.lane.name && *rule == running.lane.rule);
                if !stays {
                    running.stop.send_replace(true);
                }
                stays
            });
        }
        let names = self.names();
        for (rule, name) in rules {
            if !names.contains(&name) {
                self.start(rule, name, None, HashSet::new());
            }
        }
        lock(&self.journal).keep_only(&self.names());
    }

    async fn end(&self) {
        let mut tasks = {
            let mut lanes = lock(&self.lanes);
            lanes.has_ended = true;
            for running in &lanes.all {
                running.stop.send_replace(true);
            }
            std::mem::take(&mut lanes.tasks)
        };
        while tasks.join_next().await.is_some() {}
        lock(&self.repeats).abort_all();
        self.save();
        self.record_positions();
        self.sync().await;
    }
}

impl ReactorHandle {
    /// The rules.
    #[must_use]
    pub fn list(&self) -> Vec<Value> {
        self.shared
            .lanes()
            .iter()
            .map(|lane| lane.rule.to_value())
            .collect()
    }

    /// Adds a rule, until the reactor ends; tells whether there was none of that pattern.
    ///
    /// # Errors
    /// [`BadRule`].
    pub fn add(&self, glob: &str, files: &Value) -> Result<bool, BadRule> {
        let mut entry = Map::new();
        entry.insert(glob, files.clone());
        let parsed = rules::parse(&Value::from(vec![entry.into()]));
        let parsed = parsed.map_err(|faults| {
            let faults: Vec<_> = faults.into_iter().map(|fault| fault.fault).collect();
            BadRule(faults.join("; "))
        })?;
        let lanes = self.shared.lanes();
        if lanes.iter().any(|lane| lane.rule.glob == glob) {
            return Ok(false);
        }
        for (rule, name) in named(parsed, &lanes) {
            self.shared.start(rule, name, None, HashSet::new());
        }
        Ok(true)
    }

    /// Removes the first rule of a pattern; tells whether there was one. Reactions that run go on.
    #[must_use]
    pub fn delete(&self, glob: &str) -> bool {
        let mut lanes = lock(&self.shared.lanes);
        let Some(at) = lanes
            .all
            .iter()
            .position(|running| running.lane.rule.glob == glob)
        else {
            return false;
        };
        let removed = lanes.all.remove(at);
        removed.stop.send_replace(true);
        true
    }

    /// Whether it reacts.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.shared.is_leader()
    }

    /// Has it react, or pass all events over.
    pub fn set_leader(&self, is_leader: bool) {
        self.shared.is_leader.store(is_leader, Ordering::Relaxed);
    }

    /// Runs a reaction of the record again: the number of the new run.
    ///
    /// # Errors
    /// There is none of that number, it is running, or its call was not kept.
    pub fn rerun(&self, number: u64) -> Result<u64, BadRule> {
        let runs =
            journal::read(&self.shared.directory).map_err(|error| BadRule(error.to_string()))?;
        let found = runs.into_iter().find(|run| run.number == number);
        let found =
            found.ok_or_else(|| BadRule(format!("there is no reaction {number} in the record")))?;
        if found.outcome == Outcome::Running {
            return Err(BadRule(format!("reaction {number} is still running")));
        }
        let call = found.call.clone();
        let call = call.ok_or_else(|| {
            BadRule(format!(
                "reaction {number} has no call that was kept: {}",
                found.from
            ))
        })?;
        let mut run = Run {
            started: now(),
            ended: None,
            outcome: Outcome::Running,
            repeats: Some(number),
            ..found
        };
        if !self.shared.record_start(&mut run) {
            return Err(BadRule("it cannot be recorded".to_owned()));
        }
        let (shared, new) = (Arc::clone(&self.shared), run.number);
        let mut repeats = lock(&self.shared.repeats);
        while repeats.try_join_next().is_some() {}
        repeats.spawn(async move {
            let outcome = shared.perform(&call).await;
            shared.record_end(new, &outcome);
        });
        Ok(new)
    }

    /// What each rule has done since the start.
    #[must_use]
    pub fn status(&self) -> Vec<Map> {
        let lanes = self.shared.lanes();
        lanes
            .iter()
            .map(|lane| self.shared.describe(lane))
            .collect()
    }
}

impl Shared {
    fn describe(&self, lane: &Lane) -> Map {
        let counters = &lane.counters;
        let position = *lock(&lane.read);
        let behind = self.log.position().seq.0.saturating_sub(position.seq.0);
        let mut map = Map::new();
        map.insert("rule", lane.name.as_str());
        map.insert(
            "files",
            lane.rule
                .files
                .iter()
                .map(|file| Value::from(file.as_str()))
                .collect::<Vec<_>>(),
        );
        map.insert("position", position.to_string());
        map.insert("behind", behind);
        for (name, counter) in [
            ("events", &counters.events),
            ("running", &counters.running),
            ("done", &counters.done),
            ("failed", &counters.failed),
            ("throttled", &counters.throttled),
            ("too_old", &counters.too_old),
            ("missed", &counters.missed),
        ] {
            map.insert(name, counter.load(Ordering::Relaxed));
        }
        map
    }
}

/// Reads the rules of a file.
///
/// # Errors
/// [`Problem`]s with their lines.
pub fn read_rules(file: &std::path::Path) -> Result<Vec<Rule>, Vec<Problem>> {
    let name = file.to_string_lossy().into_owned();
    let text = std::fs::read_to_string(file)
        .map_err(|error| vec![Problem::error(&name, None, error.to_string())])?;
    let value = brine_config::yaml::load(text.as_bytes()).map_err(|error| {
        vec![Problem::error(
            &name,
            Some(error.line),
            error.fault.to_string(),
        )]
    })?;
    // The list may stand alone, or below `reactor:` as in a configuration file.
    let value = value
        .as_map()
        .and_then(|map| map.get("reactor"))
        .cloned()
        .unwrap_or(value);
    crate::check::rules(&value, &[(name, text)])
}

/// Gives each rule a name of its own: its pattern, and a number if it is there already.
fn named(rules: Vec<Rule>, known: &[Arc<Lane>]) -> Vec<(Rule, String)> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for lane in known {
        *counts.entry(lane.rule.glob.clone()).or_default() += 1;
    }
    let name = |rule: Rule| {
        let count = counts.entry(rule.glob.clone()).or_default();
        *count += 1;
        let name = match *count {
            1 => rule.glob.clone(),
            count => format!("{}#{count}", rule.glob),
        };
        (rule, name)
    };
    rules.into_iter().map(name).collect()
}

fn consumer() -> Option<ConsumerName> {
    ConsumerName::parse(CONSUMER).ok()
}

/// The time.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

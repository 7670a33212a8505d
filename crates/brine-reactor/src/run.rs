//! The running reactor: a task for each rule, and the record of what they do.

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_log::history::{Consumer, ConsumerName, History, Paused};
use brine_log::{Log, Millis, Position, Seq};
use brine_wire::json;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep, timeout};

use crate::call::Call;
use crate::files::{Files, FilesConfig};
use crate::handle::ReactorHandle;
use crate::journal::{Counts, Journal, Left, Outcome, Run, SYNC_EVERY};
use crate::lane::Lane;
use crate::problem::Problem;
use crate::react::{Execute, lock};
use crate::rule_set::Lanes;
use crate::rules::{Names, Rule};

/// How limits by key are configured.
pub use crate::throttle::ThrottleConfig;

/// The user of the reactor's own runner and wheel jobs, to whose events nothing reacts.
pub const REACTOR: &str = "Reactor";
/// The name under which the history keeps where the reactor is.
pub const CONSUMER: &str = "reactor";
/// How often it keeps that.
const SAVE_EVERY: Duration = Duration::from_millis(200);

/// When to try again to write the record, after that failed.
pub(crate) const RECORD_AGAIN: Duration = Duration::from_secs(1);

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
    /// Events that a restart finds older than this are passed over.
    pub max_age: Option<Duration>,
    /// Rules whose reactions run once within a time, by their pattern.
    pub throttle: Vec<(String, ThrottleConfig)>,
}

/// What all rules share.
pub(crate) struct Shared {
    pub(crate) config: Limits,
    pub(crate) log: Arc<Log>,
    pub(crate) files: Mutex<Files>,
    pub(crate) execute: Arc<dyn Execute>,
    pub(crate) history: Option<History>,
    pub(crate) journal: Mutex<Journal>,
    pub(crate) directory: PathBuf,
    pub(crate) lanes: Mutex<Lanes>,
    pub(crate) is_leader: AtomicBool,
    warned: Mutex<HashSet<String>>,
    /// Reactions that are run again.
    pub(crate) repeats: Mutex<JoinSet<()>>,
    begin: Begin,
}

/// Where the log was when the record was opened.
#[derive(Clone, Copy)]
struct Begin {
    position: Position,
    at: Millis,
}

/// The part of the configuration that rules look at.
pub(crate) struct Limits {
    pub(crate) workers: usize,
    pub(crate) rate: u32,
    pub(crate) throttle: Vec<(String, ThrottleConfig)>,
    pub(crate) timeout: Duration,
    max_age: Option<Duration>,
    pub(crate) rules_file: Option<PathBuf>,
}

impl Limits {
    /// The error of a call that took too long.
    pub(crate) fn given_up(&self) -> String {
        format!(
            "it took longer than {:?} and was given up; raise brine: {{reactor: {{timeout: …}}}} if that is not enough",
            self.timeout
        )
    }
}

/// A reactor whose record is open, and which reacts to every event that comes from then on, once it runs. To be opened
/// before the log has anything of this process: what comes earlier, new rules never see.
pub struct Opened {
    config: ReactorConfig,
    log: Arc<Log>,
    history: Option<History>,
    journal: Journal,
    rules: Vec<(Rule, String)>,
    left: Left,
    begin: Begin,
}

/// A reactor that does nothing yet.
pub struct Reactor {
    shared: Arc<Shared>,
    rules: Vec<(Rule, String)>,
    left: Left,
}

impl Opened {
    /// Opens the record. Reactions that an earlier process did not end are uncertain from now on.
    ///
    /// # Errors
    /// The directory cannot be made, read or written.
    pub fn new(
        mut config: ReactorConfig,
        log: Arc<Log>,
        history: Option<History>,
    ) -> io::Result<Self> {
        let begin = Begin {
            position: log.position(),
            at: now(),
        };
        let (mut journal, mut left) = Journal::open(&config.directory, log.id(), begin.at)?;
        let rules = Names::default().give_all(std::mem::take(&mut config.rules));
        for (_, name) in &rules {
            if !left.positions.contains_key(name) {
                // On record before the first event can come: if this process is killed before the rule runs, the next
                // one begins here, too.
                let counts = journal.counts(name);
                journal.at(name, begin.position, counts)?;
                left.positions.insert(name.clone(), begin.position);
            }
        }
        Ok(Self {
            config,
            log,
            history,
            journal,
            rules,
            left,
            begin,
        })
    }

    /// How many reactions an earlier process left uncertain.
    #[must_use]
    pub const fn uncertain(&self) -> u64 {
        self.left.uncertain
    }

    /// The reactor, with whoever makes its calls.
    #[must_use]
    pub fn with(self, execute: Arc<dyn Execute>) -> Reactor {
        let config = self.config;
        let shared = Shared {
            config: Limits {
                workers: config.workers.max(1),
                rate: config.rate,
                throttle: config.throttle,
                timeout: config.timeout,
                max_age: config.max_age,
                rules_file: config.rules_file,
            },
            log: self.log,
            files: Mutex::new(Files::new(config.files)),
            execute,
            history: self.history,
            journal: Mutex::new(self.journal),
            directory: config.directory,
            lanes: Mutex::default(),
            is_leader: AtomicBool::new(true),
            warned: Mutex::default(),
            repeats: Mutex::default(),
            begin: self.begin,
        };
        Reactor {
            shared: Arc::new(shared),
            rules: self.rules,
            left: self.left,
        }
    }
}

impl Reactor {
    /// A handle, which is of use while it runs.
    #[must_use]
    pub fn handle(&self) -> ReactorHandle {
        ReactorHandle {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Reacts until `shutdown`, to events from where an earlier process was, or that came after the record was opened.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let Self {
            shared,
            rules,
            mut left,
        } = self;
        let saved = shared.saved().await;
        for (rule, name) in rules {
            let started = left.started.remove(&name).unwrap_or_default();
            let own = left.positions.remove(&name);
            let own = own.unwrap_or(shared.begin.position);
            let at = match saved {
                // An administrator may have moved it by hand, forward.
                Some(saved) if saved.log == own.log && saved.seq > own.seq => saved,
                _ => own,
            };
            shared.start(rule, name, at, started);
        }
        shared.forget_others();
        let mut saving = interval(SAVE_EVERY);
        let mut syncing = interval(SYNC_EVERY);
        // Read once more at the first tick: the file may have changed since its rules were read.
        let mut rules_read = None;
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

    /// Whether an event came before this process, and so long before that nothing reacts to it any more. One that
    /// came later may wait as long as it has to.
    pub(crate) fn is_too_old(&self, seq: Seq, at: Millis) -> bool {
        let Some(age) = self.config.max_age else {
            return false;
        };
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        seq <= self.begin.position.seq && at.0 < self.begin.at.0.saturating_sub(age)
    }

    /// Waits until the history has what the log has now, so that a reaction that fired events is done only when they
    /// outlast this process. `false` if the history ended before.
    pub(crate) async fn stored(&self) -> bool {
        match &self.history {
            Some(history) => history.settled(Seq(self.log.position().seq.0 + 1)).await,
            None => true,
        }
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
            Err(_) => Outcome::Failed(self.config.given_up()),
        }
    }

    /// Records that a reaction starts; gives it its number.
    ///
    /// # Errors
    /// It is not in the record, and must not be called.
    pub(crate) fn record_start(&self, run: &mut Run) -> io::Result<()> {
        lock(&self.journal).start(run)
    }

    /// Records how a reaction ended. A success is done once the history has the events that it fired: otherwise a
    /// crash could leave it done, and its events lost.
    pub(crate) async fn record_end(&self, run: u64, outcome: &Outcome) {
        let at = now();
        if matches!(outcome, Outcome::Done(_)) && !self.stored().await {
            return; // the history has ended before, so the reaction is uncertain
        }
        let mut is_told = false;
        loop {
            let recorded = lock(&self.journal).end(run, at, outcome);
            let Err(error) = recorded else { return };
            if !std::mem::replace(&mut is_told, true) {
                tracing::error!(
                    "the end of reaction {run} cannot be recorded in {}: {error}",
                    self.directory.display()
                );
            }
            sleep(RECORD_AGAIN).await;
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
            // What has come since then is not reacted to yet.
            position: self.begin.position,
            kind: "reactor".to_owned(),
            filter: String::new(),
            paused: Paused::No,
            saved_at: now(),
        };
        if let Err(error) = history.save(consumer).await {
            tracing::warn!("cannot save the reactor's position: {error}");
        }
        None
    }

    /// Keeps where the slowest rule is, as far as the record is safe: the history must not be ahead of it after a power
    /// cut, or what was started in between would be neither known nor started again.
    fn save(&self) {
        let (Some(history), Some(name)) = (&self.history, consumer()) else {
            return;
        };
        let lanes = self.lanes();
        let slowest = match lanes.is_empty() {
            true => Some(self.log.position()),
            false => {
                let journal = lock(&self.journal);
                let safe = lanes.iter().map(|lane| journal.synced_position(&lane.name));
                let safe: Option<Vec<_>> = safe.collect();
                safe.into_iter()
                    .flatten()
                    .min_by_key(|position| position.seq)
            }
        };
        let Some(slowest) = slowest else { return };
        if history
            .consumer(&name)
            .is_none_or(|known| known.position != slowest)
        {
            history.acknowledge(&name, slowest);
        }
    }

    fn record_positions(&self) {
        for lane in self.lanes() {
            self.record_position(&lane);
        }
    }

    pub(crate) fn record_position(&self, lane: &Lane) {
        let (position, counts) = {
            let read = lock(&lane.read);
            (*read, lane.counters.with(Counts::default()))
        };
        if let Err(error) = lock(&self.journal).moved(&lane.name, position, counts) {
            tracing::error!(
                "the reactor's record in {} cannot be written: {error}",
                self.directory.display()
            );
        }
    }

    async fn sync(&self) {
        let Some(unsynced) = lock(&self.journal).unsynced() else {
            return;
        };
        match tokio::task::spawn_blocking(move || unsynced.sync()).await {
            Ok(Ok(synced)) => lock(&self.journal).synced(synced),
            Ok(Err(error)) => tracing::error!(
                "the reactor's record in {} cannot be synced: {error}",
                self.directory.display()
            ),
            Err(_) => {} // the runtime is ending
        }
    }

    async fn end(&self) {
        self.end_rules().await;
        lock(&self.repeats).abort_all();
        self.record_positions();
        self.sync().await;
        self.save();
    }
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

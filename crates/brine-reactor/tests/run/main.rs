//! The running reactor over a log, with calls that the tests make up: what is reacted to, how often, and what of it is
//! delayed by what.
//!
//! Time stands still but for what waits for it, so a busy machine changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod store;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brine_log::history::{ConsumerName, History, HistoryConfig, PreparedHistory};
use brine_log::{Incoming, Log, LogConfig, LogId, Millis, Seq};
use brine_reactor::call::Call;
use brine_reactor::files::{Available, FilesConfig};
use brine_reactor::jinja::Surroundings;
use brine_reactor::journal::{self, Outcome, Run};
use brine_reactor::rules::Rule;
use brine_reactor::run::{CONSUMER, Opened, ReactorConfig, ThrottleConfig};
use brine_reactor::{Execute, Future, ReactorHandle, read_rules};
use brine_wire::{Map, Value, msgpack};
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::store::Disk;

/// Notes calls; those of a function `x.hang` wait until they are let go, those of `x.fail` fail, and those of `x.fire`
/// wait likewise and fire an event then.
#[derive(Default)]
struct Calls {
    made: Mutex<Vec<String>>,
    changed: Notify,
    let_go: Notify,
    log: Mutex<Option<Arc<Log>>>,
}

impl Execute for Calls {
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Result<Value, String>> {
        Box::pin(async move {
            let (Call::Local(job), name) = (call, call.name()) else {
                panic!("{call:?}");
            };
            if name.ends_with(".hang") || name.ends_with(".fire") {
                self.let_go.notified().await;
            }
            if let Some(log) = &*self.log.lock().unwrap()
                && name.ends_with(".fire")
            {
                fire(log, "fired", "x");
            }
            let made = format!("{name} {}", job.tgt.as_str().unwrap());
            self.made.lock().unwrap().push(made);
            self.changed.notify_waiters();
            match name.ends_with(".fail") {
                true => Err("it failed".to_owned()),
                false => Ok(Value::Nil),
            }
        })
    }

    fn render<'a>(
        &'a self,
        _file: &'a Path,
        _tag: &'a str,
        _data: &'a Value,
    ) -> Future<'a, Result<Value, String>> {
        Box::pin(std::future::pending()) // Salt never answers
    }
}

impl Calls {
    /// Waits until so many calls have been made.
    async fn wait(&self, count: usize) -> Vec<String> {
        loop {
            let changed = self.changed.notified();
            let made = self.made.lock().unwrap().clone();
            if made.len() >= count {
                return made;
            }
            changed.await;
        }
    }
}

fn fire(log: &Log, tag: &str, id: &str) -> Range<Seq> {
    let mut event = format!("{tag}\n\n").into_bytes();
    msgpack::encode_map(&Map::from_iter([("id", id)]), &mut event);
    let tag_bytes = tag.len();
    let event = &event;
    log.append([Incoming { event, tag_bytes }], Millis(0))
}

/// A log, files, and a place for the record.
struct Bench {
    log: Arc<Log>,
    history: Option<History>,
    root: TempDir,
    calls: Arc<Calls>,
}

/// A reactor that runs.
struct Running {
    handle: ReactorHandle,
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    async fn end(self) {
        drop(self.end);
        self.task.await.unwrap();
    }
}

impl Bench {
    fn new() -> Self {
        Self {
            log: Log::new(LogConfig::new(LogId(7))),
            history: None,
            root: tempfile::tempdir().unwrap(),
            calls: Arc::default(),
        }
    }

    /// A process that finds this disk, where another one may have been before.
    fn on(disk: &Disk, before: Option<Self>) -> Self {
        let mut config = HistoryConfig::new("simulated");
        config.retention.max_age = None;
        config.give_up_after = Duration::from_secs(3600); // a killed process gives nothing up
        let prepared = PreparedHistory::on(Box::new(disk.clone()), config).unwrap();
        let log = Log::with_history(LogConfig::new(LogId(0)), &prepared);
        let history = prepared.start(&log).unwrap();
        let bench = before.unwrap_or_else(Self::new);
        *bench.calls.log.lock().unwrap() = Some(Arc::clone(&log));
        Self {
            log,
            history: Some(history),
            ..bench
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A rule whose file calls a function for the minion that the event names.
    fn rule(&self, glob: &str, fun: &str) -> Rule {
        let file = self.path(&format!("{fun}.sls"));
        fs::write(
            &file,
            format!("x:\n  local.{fun}:\n    - tgt: {{{{ data.id }}}}\n"),
        )
        .unwrap();
        Rule::new(glob, vec![file.display().to_string()]).unwrap()
    }

    fn config(&self, rules: Vec<Rule>) -> ReactorConfig {
        ReactorConfig {
            rules,
            rules_file: None,
            files: FilesConfig {
                around: Arc::new(Surroundings::default()),
                roots: Vec::new(),
                renderer: "jinja|yaml".to_owned(),
                no_salt: Some("there is none".to_owned()),
                functions: Arc::new(|_, _| Available::Here),
            },
            directory: self.path("record"),
            workers: 10,
            timeout: Duration::from_secs(3600),
            rate: 1000,
            max_age: Some(Duration::from_secs(60)),
            throttle: Vec::new(),
        }
    }

    fn open(&self, config: ReactorConfig) -> Opened {
        Opened::new(config, Arc::clone(&self.log), self.history.clone()).unwrap()
    }

    fn start(&self, opened: Opened) -> Running {
        let reactor = opened.with(Arc::clone(&self.calls) as Arc<dyn Execute>);
        let handle = reactor.handle();
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(reactor.run(async { drop(ended.await) }));
        Running { handle, end, task }
    }

    fn fire(&self, tag: &str, id: &str) -> Range<Seq> {
        fire(&self.log, tag, id)
    }

    fn history(&self) -> Vec<Run> {
        journal::read(&self.path("record")).unwrap()
    }
}

/// One of the counts of a rule; 0 of one that does not run yet.
fn count(handle: &ReactorHandle, rule: &str, name: &str) -> i128 {
    let status = handle.status();
    let mut own = status.iter();
    let own = own.find(|map| map.get("rule").and_then(Value::as_str) == Some(rule));
    own.map_or(0, |map| map.get(name).unwrap().as_int().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_comes_before_rules_run_is_reacted_to_even_after_a_kill() {
    let bench = Bench::new();
    let config = || ReactorConfig {
        max_age: None,
        ..bench.config(vec![bench.rule("a", "x.y")])
    };
    // Killed before it ran.
    let opened = bench.open(config());
    bench.fire("a", "first");
    drop(opened);
    let opened = bench.open(config());
    bench.fire("a", "second");
    let running = bench.start(opened);
    bench.fire("a", "third");
    let made = bench.calls.wait(3).await;
    assert_eq!(
        made,
        ["local.x.y first", "local.x.y second", "local.x.y third"]
    );
    running.end().await;
    // Nor twice.
    let running = bench.start(bench.open(config()));
    bench.fire("a", "fourth");
    assert_eq!(bench.calls.wait(4).await.len(), 4);
    assert_eq!(count(&running.handle, "a", "done"), 4);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_holds_up_its_rule_alone_and_is_given_up() {
    let bench = Bench::new();
    let rules = vec![
        bench.rule("a", "x.hang"),
        bench.rule("b", "x.y"),
        bench.rule("c", "x.fail"),
    ];
    let running = bench.start(bench.open(bench.config(rules)));
    for tag in ["a", "a", "b", "c", "b"] {
        bench.fire(tag, "m");
    }
    assert_eq!(bench.calls.wait(3).await.len(), 3);
    assert_eq!(count(&running.handle, "a", "running"), 1);
    // As time goes by without anything else to do.
    while count(&running.handle, "a", "failed") < 2 {
        sleep(Duration::from_secs(600)).await;
    }
    running.end().await;
    let failed: Vec<_> = bench
        .history()
        .into_iter()
        .filter_map(|run| match run.outcome {
            Outcome::Failed(why) => Some((run.rule, why)),
            _ => None,
        })
        .collect();
    assert_eq!(failed.len(), 3, "{failed:?}");
    for (rule, why) in failed {
        let expected = match &*rule {
            "a" => "it took longer than 3600s",
            _ => "it failed",
        };
        assert!(why.starts_with(expected), "{rule}: {why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_never_rendered_holds_up_its_rule_alone_and_is_given_up() {
    let bench = Bench::new();
    let file = bench.path("x.sls");
    fs::write(&file, "#!py\n").unwrap();
    let slow = Rule::new("a", vec![file.display().to_string()]).unwrap();
    let mut config = bench.config(vec![slow, bench.rule("b", "x.y")]);
    config.files.no_salt = None;
    let running = bench.start(bench.open(config));
    bench.fire("a", "m");
    bench.fire("b", "m");
    assert_eq!(bench.calls.wait(1).await, ["local.x.y m"]);
    while count(&running.handle, "a", "failed") == 0 {
        sleep(Duration::from_secs(600)).await;
    }
    running.end().await;
    let runs = bench.history();
    let Outcome::Failed(why) = &runs.iter().find(|run| run.rule == "a").unwrap().outcome else {
        panic!("{runs:?}");
    };
    assert!(why.contains("x.sls: it took longer than 3600s"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn old_events_are_passed_over_after_a_restart_and_never_else() {
    let bench = Bench::new();
    let config = || bench.config(vec![bench.rule("a", "x.y")]);
    drop(bench.open(config()));
    bench.fire("a", "old"); // all events here are of 1970
    let opened = bench.open(config());
    bench.fire("a", "waits");
    let running = bench.start(opened);
    assert_eq!(bench.calls.wait(1).await, ["local.x.y waits"]);
    assert_eq!(count(&running.handle, "a", "too_old"), 1);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_whose_files_change_goes_on_where_it_was() {
    let bench = Bench::new();
    let file = bench.path("rules.yaml");
    let write = |rules: &[&Rule]| {
        let lines = rules.iter();
        let lines = lines.map(|rule| format!("- {}: {}\n", rule.glob, rule.files[0]));
        fs::write(&file, lines.collect::<String>()).unwrap();
    };
    write(&[&bench.rule("a", "x.hang")]);
    let config = ReactorConfig {
        rules_file: Some(file.clone()),
        ..bench.config(read_rules(&file).unwrap())
    };
    let running = bench.start(bench.open(config));
    bench.fire("a", "one");
    bench.fire("a", "two");
    // Asleep, so that the stopped clock goes on to whatever the rule waits for.
    while count(&running.handle, "a", "running") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    write(&[&bench.rule("a", "x.other"), &bench.rule("b", "x.y")]);
    while running.handle.list().len() < 2 {
        sleep(Duration::from_millis(100)).await;
    }
    bench.calls.let_go.notify_one();
    bench.fire("b", "three");
    let mut made = bench.calls.wait(3).await;
    made.sort();
    assert_eq!(
        made,
        ["local.x.hang one", "local.x.other two", "local.x.y three"]
    );
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_last_of_a_time_is_reacted_to_once_over_a_restart() {
    let bench = Bench::new();
    let config = || ReactorConfig {
        throttle: vec![(
            "a".to_owned(),
            ThrottleConfig {
                is_last: true,
                within: Duration::from_secs(1),
                key: Some("data.id".to_owned()),
            },
        )],
        ..bench.config(vec![bench.rule("a", "x.y")])
    };
    let opened = bench.open(config());
    for id in ["m", "n", "m"] {
        bench.fire("a", id);
    }
    let running = bench.start(opened);
    let made = bench.calls.wait(2).await;
    running.end().await;
    let running = bench.start(bench.open(config()));
    bench.fire("a", "o");
    let all = bench.calls.wait(3).await;
    assert_eq!(count(&running.handle, "a", "throttled"), 1);
    assert_eq!((made.len(), all.len()), (2, 3), "{all:?}");
    running.end().await;
}

#[tokio::test]
async fn a_reaction_is_done_when_what_it_fired_is_on_the_disk() {
    let disk = Disk::default();
    let bench = Bench::on(&disk, None);
    let config = |bench: &Bench| ReactorConfig {
        max_age: None,
        ..bench.config(vec![bench.rule("a", "x.fire")])
    };
    let outcomes = |bench: &Bench| -> Vec<_> {
        let runs = bench.history().into_iter();
        runs.map(|run| run.outcome.word()).collect()
    };
    let running = bench.start(bench.open(config(&bench)));
    let event = bench.fire("a", "one");
    let history = bench.history.clone().unwrap();
    history.durable(event.clone()).await.unwrap();
    while count(&running.handle, "a", "running") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // What is fired from now on does not reach the disk.
    disk.hold();
    bench.calls.let_go.notify_one();
    bench.calls.wait(1).await;
    while count(&running.handle, "a", "running") > 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(outcomes(&bench), ["running"]);
    assert_eq!(count(&running.handle, "a", "done"), 0);
    running.task.abort();
    let disk = disk.kill();
    assert_eq!(disk.events(), 1, "what it fired is lost");

    let bench = Bench::on(&disk, Some(bench));
    let opened = bench.open(config(&bench));
    assert_eq!(opened.uncertain(), 1);
    let running = bench.start(opened);
    bench.fire("a", "two");
    bench.calls.let_go.notify_one();
    assert_eq!(
        bench.calls.wait(2).await,
        ["local.x.fire one", "local.x.fire two"]
    );
    while count(&running.handle, "a", "done") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(outcomes(&bench), ["uncertain", "done"]);
    assert_eq!(disk.events(), 3, "with what the second fired");
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_history_is_not_ahead_of_a_record_that_a_power_cut_can_take() {
    let bench = Bench::on(&Disk::default(), None);
    let history = bench.history.clone().unwrap();
    let saved = || {
        let name = ConsumerName::parse(CONSUMER).unwrap();
        history
            .consumer(&name)
            .map(|consumer| consumer.position.seq)
    };
    let running = bench.start(bench.open(bench.config(vec![bench.rule("a", "x.y")])));
    while running.handle.list().is_empty() {
        sleep(Duration::from_millis(1)).await;
    }
    // Between two syncs of the record, and over several saves of the position.
    sleep(Duration::from_millis(300)).await;
    let event = bench.fire("a", "one");
    bench.calls.wait(1).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(saved(), Some(Seq(event.start.0 - 1)));
    while saved() != Some(event.start) {
        sleep(Duration::from_millis(100)).await;
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn who_is_not_the_leader_any_more_starts_nothing_of_what_was_read_before() {
    let bench = Bench::new();
    let running = bench.start(bench.open(bench.config(vec![bench.rule("a", "x.hang")])));
    for id in ["one", "two", "three"] {
        bench.fire("a", id);
    }
    while count(&running.handle, "a", "running") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    running.handle.set_leader(false);
    bench.calls.let_go.notify_one();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(count(&running.handle, "a", "behind"), 0);
    running.handle.set_leader(true);
    bench.fire("a", "four");
    bench.calls.let_go.notify_one();
    let made = bench.calls.wait(2).await;
    assert_eq!(made, ["local.x.hang one", "local.x.hang four"]);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_read_again_after_a_crash_is_counted_once() {
    let bench = Bench::new();
    let config = || ReactorConfig {
        max_age: None,
        throttle: vec![(
            "b".to_owned(),
            ThrottleConfig {
                is_last: true,
                within: Duration::MAX,
                key: None,
            },
        )],
        ..bench.config(vec![bench.rule("a", "x.hang"), bench.rule("b", "x.y")])
    };
    let running = bench.start(bench.open(config()));
    for id in ["one", "two", "three"] {
        bench.fire("a", id);
        bench.fire("b", id);
    }
    while count(&running.handle, "a", "running") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // The record is written each second.
    bench.fire("b", "four");
    sleep(Duration::from_secs(3)).await;
    running.task.abort();
    sleep(Duration::from_secs(1)).await;
    let running = bench.start(bench.open(config()));
    while count(&running.handle, "a", "behind") > 0 || count(&running.handle, "b", "events") == 0 {
        bench.calls.let_go.notify_waiters(); // what the killed process had called hangs in this test, too
        sleep(Duration::from_secs(1)).await;
    }
    for (rule, events) in [("a", 3), ("b", 4)] {
        assert_eq!(count(&running.handle, rule, "events"), events, "{rule}");
    }
    assert_eq!(count(&running.handle, "b", "throttled"), 3);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn numbers_that_a_killed_process_left_unused_are_no_events_to_read() {
    let disk = Disk::default();
    let bench = Bench::on(&disk, None);
    let config = |bench: &Bench| ReactorConfig {
        max_age: None,
        ..bench.config(vec![bench.rule("a", "x.hang")])
    };
    let running = bench.start(bench.open(config(&bench)));
    for id in ["one", "two", "three"] {
        bench.fire("a", id);
    }
    while count(&running.handle, "a", "running") == 0 || disk.events() < 3 {
        sleep(Duration::from_millis(1)).await;
    }
    running.task.abort();
    let disk = disk.kill();
    let bench = Bench::on(&disk, Some(bench));
    let running = bench.start(bench.open(config(&bench)));
    while count(&running.handle, "a", "running") == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    // The first one is uncertain, and passed over.
    bench.fire("a", "four");
    assert_eq!(count(&running.handle, "a", "behind"), 3);
    running.task.abort();
}

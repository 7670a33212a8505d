//! The running reactor over a log, with calls that the tests make up: what is reacted to, how often, and what of it is
//! delayed by what.
//!
//! Time stands still but for what waits for it, so a busy machine changes nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brine_log::{Incoming, Log, LogConfig, LogId, Millis};
use brine_reactor::call::Call;
use brine_reactor::files::{Available, FilesConfig};
use brine_reactor::jinja::Surroundings;
use brine_reactor::journal::{self, Outcome, Run};
use brine_reactor::rules::Rule;
use brine_reactor::run::{Opened, ReactorConfig, ThrottleConfig};
use brine_reactor::{Execute, Future, ReactorHandle, read_rules};
use brine_wire::{Map, Value, msgpack};
use tempfile::TempDir;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

/// Notes calls; those of a function `x.hang` wait until they are let go, those of `x.fail` fail.
#[derive(Default)]
struct Calls {
    made: Mutex<Vec<String>>,
    changed: Notify,
    let_go: Notify,
}

impl Execute for Calls {
    fn call<'a>(&'a self, call: &'a Call) -> Future<'a, Result<Value, String>> {
        Box::pin(async move {
            let (Call::Local(job), name) = (call, call.name()) else {
                panic!("{call:?}");
            };
            if name.ends_with(".hang") {
                self.let_go.notified().await;
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
        Box::pin(async { Err("there is no Salt".to_owned()) })
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

/// A log, files, and a place for the record.
struct Bench {
    log: Arc<Log>,
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
            root: tempfile::tempdir().unwrap(),
            calls: Arc::default(),
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
        Opened::new(config, Arc::clone(&self.log), None).unwrap()
    }

    fn start(&self, opened: Opened) -> Running {
        let reactor = opened.with(Arc::clone(&self.calls) as Arc<dyn Execute>);
        let handle = reactor.handle();
        let (end, ended) = oneshot::channel::<()>();
        let task = tokio::spawn(reactor.run(async { drop(ended.await) }));
        Running { handle, end, task }
    }

    fn fire(&self, tag: &str, id: &str) {
        let mut event = format!("{tag}\n\n").into_bytes();
        msgpack::encode_map(&Map::from_iter([("id", id)]), &mut event);
        let tag_bytes = tag.len();
        let event = &event;
        self.log.append([Incoming { event, tag_bytes }], Millis(0));
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
        tokio::time::sleep(Duration::from_secs(600)).await;
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
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    write(&[&bench.rule("a", "x.other"), &bench.rule("b", "x.y")]);
    while running.handle.list().len() < 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
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

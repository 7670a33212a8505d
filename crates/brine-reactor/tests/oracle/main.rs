//! Reaction files as people write them, rendered by real Salt and by us: the same calls.
//!
//! The files are in `tests/reactions`; the first line of each names its event. What Salt would call is found out by its
//! own reactor with other clients (`reactions.py`). The order is ours, and so is tried elsewhere.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use brine_config::yaml;
use brine_reactor::call::Call;
use brine_reactor::files::{Available, Files, FilesConfig};
use brine_reactor::jinja::Surroundings;
use brine_reactor::rules::Rule;
use brine_reactor::{Execute, Future, react};
use brine_testkit::salt;
use brine_wire::{Map, Value, json};

/// The release that is asked.
const RELEASE: &str = "3008.3";

/// Nothing is called, and no file here needs real Salt.
struct Nobody;

impl Execute for Nobody {
    fn call<'a>(&'a self, _call: &'a Call) -> Future<'a, Result<Value, String>> {
        Box::pin(async { Err("not here".to_owned()) })
    }

    fn render<'a>(
        &'a self,
        file: &'a Path,
        _tag: &'a str,
        _data: &'a Value,
    ) -> Future<'a, Result<Value, String>> {
        Box::pin(async move { panic!("{}: needs real Salt", file.display()) })
    }
}

#[test]
fn reaction_files_make_the_calls_that_real_salt_makes() {
    let files = corpus();
    assert!(files.len() >= 40, "{} files", files.len());
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("srv")).unwrap();
    let theirs = calls_of_salt(directory.path(), &files);
    let mut wrong = Vec::new();
    for file in &files {
        let (ours, problems) = our_calls(file);
        let theirs = &theirs[file];
        if ours != *theirs {
            wrong.push(format!(
                "{}\n  ours   {ours:#?}\n  Salt's {theirs:#?}\n  {problems:?}",
                file.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn corpus() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reactions");
    let entries = fs::read_dir(directory).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// What Salt's reactor would call, by file.
fn calls_of_salt(directory: &Path, files: &[PathBuf]) -> BTreeMap<PathBuf, Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/reactions.py");
    let mut python = salt::python(RELEASE);
    let output = python
        .arg(script)
        .arg(directory)
        .args(files)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines = text.lines().map(|line| {
        let Ok(Value::Map(line)) = json::parse(line.as_bytes()) else {
            panic!("{line}\n{complaint}");
        };
        let file = PathBuf::from(line.get("file").unwrap().as_str().unwrap());
        let calls = line.get("calls").unwrap().as_array().unwrap().iter();
        (
            file,
            sorted(calls.map(|call| call.as_map().unwrap().clone())),
        )
    });
    let all: BTreeMap<_, _> = lines.collect();
    assert_eq!(all.len(), files.len(), "{complaint}");
    all
}

/// What we would call, and why not more.
fn our_calls(file: &Path) -> (Vec<String>, Vec<String>) {
    let text = fs::read_to_string(file).unwrap();
    let event = text.lines().next().unwrap().split_once(' ').unwrap().1;
    let event = json::parse(event.as_bytes()).unwrap();
    let event = event.as_map().unwrap();
    let tag = event.get("tag").unwrap().as_str().unwrap();
    let rule = Rule::new("*", vec![file.display().to_string()]).unwrap();
    let files = Mutex::new(Files::new(config()));
    let reacting = react(&rule, &files, &Nobody, tag, event.get("data").unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let reacted = runtime.block_on(reacting);
    let calls = reacted
        .reactions
        .iter()
        .filter_map(|reaction| reaction.call.as_ref().ok());
    let problems = reacted.problems.iter().map(ToString::to_string).collect();
    (sorted(calls.map(in_salts_words)), problems)
}

fn config() -> FilesConfig {
    let opts = yaml::load(b"{reactor_worker_threads: 10, reactor_worker_hwm: 10000}").unwrap();
    FilesConfig {
        around: Arc::new(Surroundings {
            opts: opts.as_map().unwrap().clone(),
            ..Surroundings::default()
        }),
        roots: Vec::new(),
        renderer: "jinja|yaml".to_owned(),
        no_salt: None,
        functions: Arc::new(|_, _| Available::Here),
    }
}

fn in_salts_words(call: &Call) -> Map {
    let mut map = call.to_map();
    map.remove("more");
    match call {
        Call::Local(job) => map.insert("ret", job.ret.as_str()),
        _ => drop(map.remove("flat")),
    }
    map
}

/// One line for each call, sorted.
fn sorted(calls: impl Iterator<Item = Map>) -> Vec<String> {
    let mut lines: Vec<String> = calls
        .map(|call| {
            let mut line = String::new();
            json::to_sorted_line(&call.into(), &mut line);
            line
        })
        .collect();
    lines.sort();
    lines
}

//! The rules that are Python's or Salt's, asked of real Salt: matching, JSON, msgpack, trimming.
//!
//! Cases come from generators with a fixed seed; one process per test answers them all
//! (`oracle.py`). Where Brine differs on purpose, the generator leaves the case out and says so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generate;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::thread;

use brine_testkit::salt;
use brine_wire::matching::{MatchType, RegexMatch, TagMatch};
use brine_wire::time::WallTime;
use brine_wire::{Value, json, msgpack, trim};
use proptest::strategy::Strategy;
use serde_json::{Value as Json, json};

/// The oldest and the newest series; what they share is taken to hold in 3007 too.
const RELEASES: [&str; 2] = ["3006.28", "3008.3"];

#[test]
fn plain_match_types_are_pythons() {
    check_matches(
        &["startswith", "endswith", "find"],
        &generate::plain_pattern(),
        2_000,
    );
}

#[test]
fn fnmatch_is_pythons() {
    check_matches(&["fnmatch"], &generate::shell_pattern(), 4_000);
}

#[test]
fn regular_expressions_are_pythons() {
    // Flags in front, behind Salt's `^`: CPython raises since 3.11, we do as it did before.
    let flags = |pattern: &String| pattern.trim_start_matches("(?#x)").starts_with("(?i)");
    let patterns = generate::regular_expression().prop_filter("flags", move |it| !flags(it));
    check_matches(&["regex"], &patterns, 4_000);
}

#[test]
fn regular_expressions_of_targets_are_pythons() {
    let cases = generate::samples(&(generate::flagged_expression(), generate::tags()), 1_500);
    let questions: Vec<Json> = (cases.iter())
        .map(|(pattern, texts)| json!([pattern, texts]))
        .collect();
    let answers = ask(RELEASES[1], "re_match", &questions);
    compare(&questions, &answers, |question| {
        match RegexMatch::new(question[0].as_str().unwrap()) {
            Ok(pattern) => (question[1].as_array().unwrap().iter())
                .map(|text| pattern.matches(text.as_str().unwrap()))
                .collect(),
            Err(_) => "error".into(),
        }
    });
}

fn check_matches(kinds: &[&str], patterns: &impl Strategy<Value = String>, count: usize) {
    let cases = generate::samples(&(patterns, generate::tags()), count);
    let questions: Vec<Json> = (kinds.iter())
        .flat_map(|kind| (cases.iter()).map(move |(pattern, tags)| json!([kind, pattern, tags])))
        .collect();
    let answers = ask(RELEASES[1], "match", &questions);
    compare(&questions, &answers, ours_match);
}

fn ours_match(question: &Json) -> Json {
    let kind: MatchType = question[0].as_str().unwrap().parse().unwrap();
    match TagMatch::new(kind, question[1].as_str().unwrap()) {
        Ok(pattern) => (question[2].as_array().unwrap().iter())
            .map(|tag| pattern.matches(tag.as_str().unwrap()))
            .collect(),
        Err(_) => "error".into(),
    }
}

#[test]
fn json_is_what_state_event_prints() {
    let questions: Vec<Json> = (generate::samples(&generate::data(), 2_000).iter())
        .flat_map(|data| [json!([packed(data), false]), json!([packed(data), true])])
        .collect();
    for release in RELEASES {
        let mut answers = ask(release, "json", &questions);
        // What stops Salt with an error is ours to print; see the unit tests of `json.rs`.
        let mut stopped = 0;
        for (answer, question) in answers.iter_mut().zip(&questions) {
            if *answer == "error" {
                *answer = ours_json(question);
                stopped += 1;
            }
        }
        assert!(stopped * 2 < questions.len(), "{stopped} errors");
        compare(&questions, &answers, ours_json);
    }
}

fn ours_json(question: &Json) -> Json {
    let data = msgpack::decode(&from_hex(question[0].as_str().unwrap())).unwrap();
    let mut out = String::new();
    if question[1] == true {
        json::to_pretty(&data, &mut out);
    } else {
        json::to_line(&data, &mut out);
    }
    out.into()
}

#[test]
fn values_are_packed_as_salt_packs_them() {
    let questions: Vec<Json> = (generate::samples(&generate::data(), 3_000).iter())
        .map(|data| packed(data).into())
        .collect();
    for release in RELEASES {
        let answers = ask(release, "repack", &questions);
        compare(&questions, &answers, Json::clone);
    }
}

#[test]
fn any_bytes_are_read_as_salt_reads_them() {
    let questions: Vec<Json> = (generate::samples(&generate::damaged(), 4_000).iter())
        .map(|bytes| hex(bytes).into())
        .collect();
    for release in RELEASES {
        let answers = ask(release, "repack", &questions);
        compare(&questions, &answers, ours_repacked);
    }
}

fn ours_repacked(question: &Json) -> Json {
    match msgpack::decode(&from_hex(question.as_str().unwrap())) {
        Ok(value) => packed(&value).into(),
        Err(_) => "error".into(),
    }
}

#[test]
fn large_events_are_trimmed_as_salt_trims_them() {
    let questions: Vec<Json> = (generate::samples(&generate::over_the_limit(), 3_000).iter())
        .map(|(data, limit)| json!([packed(data), limit]))
        .collect();
    for release in RELEASES {
        let answers = ask(release, "trim", &questions);
        let pairs = answers.iter().zip(&questions);
        let trimmed = pairs
            .filter(|(answer, question)| **answer != question[0])
            .count();
        assert!(
            trimmed * 2 > questions.len(),
            "{trimmed} events were trimmed"
        );
        compare(&questions, &answers, ours_trimmed);
    }
}

fn ours_trimmed(question: &Json) -> Json {
    let limit = usize::try_from(question[1].as_u64().unwrap()).unwrap();
    let packed = from_hex(question[0].as_str().unwrap());
    hex(&trim::trim_to(packed, limit)).into()
}

#[test]
fn times_are_read_as_salts_runners_read_them() {
    let questions: Vec<Json> = (generate::samples(&generate::time(), 6_000).iter())
        .map(|text| text.as_str().into())
        .collect();
    let answers = ask(RELEASES[1], "time", &questions);
    let read = answers.iter().filter(|answer| **answer != "error").count();
    assert!(read * 5 > questions.len(), "{read} times");
    compare(&questions, &answers, ours_time);
}

fn ours_time(question: &Json) -> Json {
    let today = WallTime::of_jid("20261129000000000000").unwrap();
    match WallTime::parse(question.as_str().unwrap(), today) {
        Some(time) => format!(
            "{:04}{:02}{:02}{:02}{:02}{:02}{:06}",
            time.year, time.month, time.day, time.hour, time.minute, time.second, time.microsecond
        )
        .into(),
        None => "error".into(),
    }
}

/// The answers of a release's own functions.
fn ask(release: &str, what: &str, questions: &[Json]) -> Vec<Json> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python_oracle/oracle.py");
    let mut process = salt::python(release)
        .arg(script)
        .arg(what)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    // Both pipes are small: who writes all before reading would wait for ever.
    let answers: Vec<Json> = thread::scope(|scope| {
        scope.spawn(move || {
            for question in questions {
                writeln!(stdin, "{question}").unwrap();
            }
        });
        (stdout.lines())
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    });
    assert!(process.wait().unwrap().success());
    assert_eq!(answers.len(), questions.len());
    answers
}

/// Fails with the first few questions that we answer otherwise.
fn compare(questions: &[Json], answers: &[Json], ours: impl Fn(&Json) -> Json) {
    let faults: Vec<String> = (questions.iter().zip(answers))
        .filter_map(|(question, theirs)| {
            let (theirs, ours) = (theirs.to_string(), ours(question).to_string());
            let (question, same) = (question.to_string(), common(&theirs, &ours)?);
            let from = (0..=same.saturating_sub(60)).rfind(|at| theirs.is_char_boundary(*at))?;
            Some(format!(
                "{:.300}\n  Salt, from byte {from}: {:.200}\n  ours, from byte {from}: {:.200}",
                question,
                &theirs[from..],
                &ours[from..],
            ))
        })
        .collect();
    let shown = faults[..faults.len().min(20)].join("\n");
    assert!(faults.is_empty(), "{} faults:\n{shown}", faults.len());
}

/// How long two texts are the same, if they are not the same throughout.
fn common(a: &str, b: &str) -> Option<usize> {
    (a != b).then(|| a.bytes().zip(b.bytes()).take_while(|(a, b)| a == b).count())
}

fn packed(value: &Value) -> String {
    let mut out = Vec::new();
    msgpack::encode(value, &mut out);
    hex(&out)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

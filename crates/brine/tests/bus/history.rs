//! A bus with history, killed and started again.

use std::path::Path;

use brine_log::history::{GapReason, HistoryReader, Read, TagQuery};
use brine_testkit::wait_until;
use brine_wire::frame::Framing;

use crate::peers::{Publisher, Subscriber};
use crate::process::{Bus, Setup};

/// The tags on disk, and why events are missing.
fn stored(directory: &Path) -> (Vec<String>, Vec<Option<GapReason>>) {
    let (mut tags, mut gaps) = (Vec::new(), Vec::new());
    let Ok(mut reader) = HistoryReader::open(directory) else {
        return (tags, gaps);
    };
    while let Some(read) = reader.next(&TagQuery::default()).unwrap() {
        match read {
            Read::Events(events) => tags.extend(events.iter().map(|event| {
                String::from_utf8_lossy(&event.event[..event.tag_bytes]).into_owned()
            })),
            Read::Gap { reason, .. } => gaps.push(reason),
        }
    }
    (tags, gaps)
}

fn wait_until_stored(directory: &Path, tag: &str) {
    wait_until(&format!("{tag} to be stored"), || {
        stored(directory).0.iter().any(|stored| stored == tag)
    });
}

fn fire(bus: &Bus, tag: &str) {
    let mut subscriber = Subscriber::connect(&bus.socket("pub"), Framing::Bare);
    subscriber.wait_accepted(&bus.socket("pull"));
    let mut publisher = Publisher::connect(&bus.socket("pull"));
    assert!(publisher.fire(tag, 1));
    assert_eq!(subscriber.next_of(tag), Some(1));
}

#[test]
fn a_killed_bus_goes_on_with_its_history() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("history");
    let mut bus = Setup::new("3008")
        .argument("--history")
        .argument(history.to_str().unwrap())
        .start();
    fire(&bus, "first/run");
    wait_until_stored(&history, "first/run");
    bus.kill();
    bus.start_again();
    fire(&bus, "second/run");
    assert!(bus.stop().success());
    // What was fired just before the end is there without waiting.
    let (tags, gaps) = stored(&history);
    let own: Vec<&str> = tags
        .iter()
        .map(String::as_str)
        .filter(|tag| tag.ends_with("/run"))
        .collect();
    assert_eq!(own, ["first/run", "second/run"]);
    assert_eq!(gaps, [Some(GapReason::UncleanShutdown)]);
}

/// What a saved position has not read: tags, and what is said on stderr.
fn after_cursor(bus: &Bus, name: &str) -> (Vec<String>, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_brine"));
    command
        .args(["history", "--cursor", name, "-o", "ndjson", "--sock-dir"])
        .arg(bus.sock_dir());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let tags = String::from_utf8(output.stdout).unwrap();
    let tags = tags.lines().filter_map(|line| {
        let tag = line.split('"').nth(3)?;
        tag.ends_with("/run").then(|| tag.to_owned())
    });
    (tags.collect(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn numbers_that_a_killed_bus_left_unused_are_not_counted_as_missing() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("history");
    let mut bus = Setup::new("3008")
        .argument("--history")
        .argument(history.to_str().unwrap())
        .start();
    fire(&bus, "first/run");
    wait_until_stored(&history, "first/run");
    let names = ["before", "behind"];
    for name in names {
        assert_eq!(
            after_cursor(&bus, name),
            (vec!["first/run".to_owned()], String::new())
        );
    }
    wait_until("the positions to be saved", || {
        let saved = HistoryReader::open(&history).unwrap().consumers().unwrap();
        let saved = saved.iter().filter(|consumer| consumer.position.seq.0 > 0);
        saved.count() == names.len()
    });
    bus.kill();
    bus.start_again();
    let is_told = |name, expected: &[&str]| {
        let (found, said) = after_cursor(&bus, name);
        assert_eq!(found, expected);
        assert!(said.starts_with("brine: events may be missing"), "{said}");
        assert!(said.ends_with(": unclean shutdown\n"), "{said}");
    };
    // Before anything is stored behind them, and after.
    is_told("before", &[]);
    fire(&bus, "second/run");
    wait_until_stored(&history, "second/run");
    is_told("behind", &["second/run"]);
    // Once.
    assert_eq!(
        after_cursor(&bus, "before"),
        (vec!["second/run".to_owned()], String::new())
    );
}

#[test]
fn two_buses_cannot_share_a_history() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("history");
    let with_history = || {
        Setup::new("3008")
            .argument("--history")
            .argument(history.to_str().unwrap())
    };
    let bus = with_history().start();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_brine"))
        .args(["bus", "--sock-dir"])
        .arg(directory.path())
        .arg("--history")
        .arg(&history)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    let expected = format!(
        "in use by process {}; stop that one, or give this one",
        bus.pid()
    );
    assert!(error.contains(&expected), "{error}");
}

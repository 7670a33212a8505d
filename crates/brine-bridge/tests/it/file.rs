//! Files: whole lines, each once, whatever happens to the file or the process.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use brine_bridge::file::{FileOptions, FileSink};
use brine_wire::Value;
use tempfile::tempdir;

use crate::support::{Bus, wait_until};

fn options(path: &Path) -> FileOptions {
    FileOptions {
        path: path.to_owned(),
        rotate_bytes: None,
        rotate_after: None,
        keep: None,
        compress: false,
        sync: false,
    }
}

fn lines(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn numbers(lines: &[String]) -> Vec<i64> {
    let number = |line: &String| {
        let (_, rest) = line.split_once("{\"data\": {\"n\": ")?;
        rest.split_once("}, \"tag\": \"my/tag\"}")?.0.parse().ok()
    };
    lines.iter().map(|line| number(line).expect(line)).collect()
}

#[test]
fn lines_are_those_of_rawfile_json() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let path = directory.path().join("log/events");
    let running = bus.start(directory.path(), "lines", FileSink::new(options(&path)));
    bus.fire(
        "a\"b",
        &[("ä", f64::NAN.into()), ("b", Value::Bin(b"\xff".to_vec()))],
    );
    drop(running);
    assert_eq!(
        lines(&path),
        ["{\"data\": {\"ä\": \"NaN\", \"b\": {\"$bytes\": \"/w==\"}}, \"tag\": \"a\\\"b\"}"]
    );
}

#[test]
fn a_batch_whose_end_nobody_saw_is_not_written_twice() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let path = directory.path().join("events");
    drop({
        let running = bus.start(directory.path(), "lines", FileSink::new(options(&path)));
        bus.fire_numbers(0..10);
        wait_until("written", || lines(&path).len() == 10);
        running
    });
    // What a process leaves that was killed in the middle of the next batch.
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    for number in 10..13 {
        writeln!(
            file,
            "{{\"data\": {{\"n\": {number}}}, \"tag\": \"my/tag\"}}"
        )
        .unwrap();
    }
    write!(file, "{{\"data\": {{\"n\": 1").unwrap();
    bus.fire_numbers(10..20);
    let running = bus.start(directory.path(), "lines", FileSink::new(options(&path)));
    bus.fire_numbers(20..25);
    wait_until("written", || lines(&path).len() >= 25);
    drop(running);
    assert!(numbers(&lines(&path)).into_iter().eq(0..25));
}

#[test]
fn a_file_that_is_moved_away_or_emptied_is_noticed() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let (path, moved) = (
        directory.path().join("events"),
        directory.path().join("old"),
    );
    let running = bus.start(directory.path(), "lines", FileSink::new(options(&path)));
    bus.fire_numbers(0..5);
    wait_until("written", || lines(&path).len() == 5);
    fs::rename(&path, &moved).unwrap();
    bus.fire_numbers(5..10);
    wait_until("written", || lines(&path).len() == 5);
    fs::File::create(&path).unwrap();
    bus.fire_numbers(10..12);
    wait_until("written", || lines(&path).len() == 2);
    drop(running);
    assert!(numbers(&lines(&moved)).into_iter().eq(0..5));
    assert_eq!(numbers(&lines(&path)), [10, 11]);
}

#[test]
fn a_full_disk_is_waited_for_and_no_line_is_torn() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    // Writing to it fails as on a full disk.
    let path = directory.path().join("events");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let running = bus.start(directory.path(), "lines", FileSink::new(options(&path)));
    bus.fire_numbers(0..5);
    wait_until("it waits", || {
        let why = running.handle.figures().waits_for;
        why.is_some_and(|why| why.contains("No space left"))
    });
    fs::remove_file(&path).unwrap();
    wait_until("written", || lines(&path).len() == 5);
    drop(running);
    assert!(numbers(&lines(&path)).into_iter().eq(0..5));
}

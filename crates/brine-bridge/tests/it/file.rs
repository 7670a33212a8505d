//! Files: whole lines, each once, whatever happens to the file or the process.

use std::fs;
use std::io::{Read as _, Write as _};
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
fn a_batch_that_cannot_be_recorded_is_not_written_twice() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let path = directory.path().join("events");
    let running = bus.start(directory.path(), "lines", FileSink::new(options(&path)));
    bus.fire_numbers(0..10);
    wait_until("written", || lines(&path).len() == 10);
    // As a full disk, which still takes the lines and not the record.
    let obstacle = directory.path().join(".events.new");
    fs::create_dir(&obstacle).unwrap();
    bus.fire_numbers(10..20);
    wait_until("failed twice", || running.handle.figures().failures >= 2);
    assert_eq!(lines(&path).len(), 10, "lines that are not on record");
    fs::remove_dir(&obstacle).unwrap();
    wait_until("written", || lines(&path).len() >= 20);
    bus.fire_numbers(20..25);
    drop(running);
    assert!(numbers(&lines(&path)).into_iter().eq(0..25));
    assert!(!obstacle.exists());
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
fn files_are_set_aside_compressed_and_the_oldest_removed() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let folder = directory.path().join("log");
    let path = folder.join("events");
    // Somebody else's, perhaps another sink's.
    let other = folder.join("events.2");
    fs::create_dir(&folder).unwrap();
    fs::write(&other, "mine").unwrap();
    let sink = FileSink::new(FileOptions {
        rotate_bytes: Some(100),
        keep: Some(3),
        compress: true,
        ..options(&path)
    });
    let running = bus.start(directory.path(), "lines", sink);
    let mut fired = 0;
    for _ in 0..8 {
        bus.fire_numbers(fired..fired + 5);
        fired += 5;
        let last = format!("\"n\": {}}}", fired - 1);
        wait_until("written", || {
            lines(&path).last().is_some_and(|line| line.contains(&last))
        });
    }
    drop(running);
    let compressed = || {
        let names = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let mut names: Vec<_> = names
            .filter(|name| name.extension().is_some_and(|end| end == "gz"))
            .collect();
        names.sort();
        names
    };
    wait_until("compressed", || compressed().len() == 3);
    assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
    let mut found = Vec::new();
    for file in compressed() {
        let mut text = String::new();
        let file = fs::File::open(file).unwrap();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        found.extend(text.lines().map(str::to_owned));
    }
    found.extend(lines(&path));
    // What was removed is what is oldest; how much a batch held is the machine's to say.
    let found = numbers(&found);
    assert!(found.iter().copied().eq(found[0]..fired), "{found:?}");
}

#[test]
fn a_file_that_another_process_writes_is_waited_for() {
    let directory = tempdir().unwrap();
    let bus = Bus::open(directory.path());
    let path = directory.path().join("events");
    let first = bus.start(directory.path(), "first", FileSink::new(options(&path)));
    bus.fire_numbers(0..3);
    wait_until("written", || lines(&path).len() == 3);
    let second = bus.start(directory.path(), "second", FileSink::new(options(&path)));
    wait_until("it is said why not", || {
        let why = second.handle.figures().waits_for;
        why.is_some_and(|why| {
            why.ends_with("events: another process writes this file; give each a file of its own")
        })
    });
    drop(first);
    wait_until("it has the file", || {
        second.handle.figures().waits_for.is_none()
    });
    bus.fire_numbers(3..5);
    wait_until("written", || lines(&path).len() == 5);
    drop(second);
    assert!(numbers(&lines(&path)).into_iter().eq(0..5));
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

//! Numbers that killed processes left unused are no events, whoever counts.

use std::fs;
use std::path::Path;

use brine_log::history::{GapReason, HistoryReader, Maintenance};
use brine_log::{Position, Seq, Start};
use tempfile::TempDir;

use crate::support::{Bus, config, read_directory, wait};

/// What a killed process leaves: the files as they are.
fn killed(directory: &Path) -> TempDir {
    let left = tempfile::tempdir().expect("a directory");
    for file in ["events.db", "events.db-wal"] {
        fs::copy(directory.join(file), left.path().join(file)).expect("a test's own files");
    }
    left
}

/// Three events, a crash, two events, a crash, one event; and the numbers of the last three.
fn two_crashes() -> (TempDir, Bus, [Seq; 3]) {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = Bus::open(config(directory.path())).expect("a history");
    for tag in ["a", "b", "c"] {
        bus.fire_durably(tag, "x");
    }
    let left = killed(directory.path());
    bus.history.close();
    let bus = Bus::open(config(left.path())).expect("a history");
    let (fourth, fifth) = (bus.fire_durably("d", "x"), bus.fire_durably("e", "x"));
    let left = killed(left.path());
    bus.history.close();
    let bus = Bus::open(config(left.path())).expect("a history");
    let sixth = bus.fire_durably("f", "x");
    (left, bus, [fourth, fifth, sixth])
}

#[test]
fn the_bus_and_who_reads_its_store_count_the_same() {
    let (directory, bus, [fourth, fifth, sixth]) = two_crashes();
    assert!(fourth.0 > 1 << 31 && sixth.0 > 1 << 32, "{fourth}, {sixth}");
    let next = bus.log.stats().next;
    let reader = HistoryReader::open(directory.path()).expect("a history");
    for (from, to, count) in [
        (Seq(1), next, 6),
        (Seq(1), fourth, 3),
        (Seq(4), fourth, 0),
        (Seq(100), sixth, 2),
        (fifth, next, 2),
        (next, Seq(1), 0),
    ] {
        assert_eq!(bus.log.count(from..to), count, "{from} to {to}");
        assert_eq!(bus.history.count(from..to), count, "{from} to {to}");
        assert_eq!(reader.count(from..to), count, "{from} to {to}");
    }
    assert_eq!(bus.log.lag(Seq(2)).events, 5);
    assert_eq!(bus.log.lag(next).events, 0);
    assert_eq!(bus.log.before(next, 4), Seq(3));
    assert_eq!(reader.before(next, 4), Seq(3));
    assert_eq!(bus.log.after(Seq(3), 1), fourth);
    bus.history.close();
}

#[test]
fn events_that_were_removed_around_them_are_missing_and_they_are_not() {
    let (directory, bus, [_, fifth, sixth]) = two_crashes();
    let log = bus.log.id();
    bus.history.close();
    let mut maintenance = Maintenance::open(directory.path()).expect("a history");
    assert_eq!(
        maintenance.purge_before(sixth).expect("a store").oldest,
        Some(sixth)
    );
    maintenance.close(directory.path()).expect("a store");

    let bus = Bus::open(config(directory.path())).expect("a history");
    let begin = Position { log, seq: Seq(0) };
    let mut cursor = bus.log.events(Start::After(begin));
    let gap = wait(cursor.ready()).expect_err("what was removed");
    assert_eq!((gap.from.seq, gap.to.seq), (Seq(1), sixth));
    assert_eq!(gap.missed(), Some(5));
    let next = bus.log.stats().next;
    assert_eq!(bus.history.count(Seq(1)..next), 6);
    bus.history.close();
    let found = read_directory(directory.path());
    // What is before the second crash is forgotten, but for counting.
    let gap = (fifth.0 + 1..sixth.0, Some(GapReason::UncleanShutdown));
    assert_eq!((found.seqs(), found.gaps), (vec![sixth.0], vec![gap]));
    let mut reader = HistoryReader::open(directory.path()).expect("a history");
    assert_eq!(reader.count(Seq(1)..next), 6);
    assert_eq!(reader.info().expect("a store").gaps.len(), 1);
}

#[test]
fn a_log_whose_first_process_was_killed_with_nothing_in_it_is_no_gap_of_billions() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = Bus::open(config(directory.path())).expect("a history");
    let left = killed(directory.path());
    let begin = bus.log.position();
    bus.history.close();
    let bus = Bus::open(config(left.path())).expect("a history");
    let mut cursor = bus.log.events(Start::After(begin));
    let gap = wait(cursor.ready()).expect_err("what the crash left open");
    assert_eq!(gap.reason, Some(GapReason::UncleanShutdown));
    assert_eq!(gap.missed(), None);
    cursor.skip(gap);
    assert_eq!(bus.log.count(Seq(1)..bus.log.stats().next), 0);
    bus.history.close();
}

#[test]
fn what_is_missing_for_two_reasons_is_told_in_turn() {
    let (directory, bus, [fourth, fifth, sixth]) = two_crashes();
    bus.history.close();
    // The block of the fourth and the fifth event is damaged beyond reading.
    let store = rusqlite::Connection::open(directory.path().join("events.db")).expect("a store");
    let first = fourth.0.cast_signed();
    let removed = store
        .execute("DELETE FROM block WHERE first = ?1", [first])
        .expect("a store");
    assert_eq!(removed, 1);
    drop(store);
    let found = read_directory(directory.path());
    assert_eq!(found.seqs(), [1, 2, 3, sixth.0]);
    let crash = Some(GapReason::UncleanShutdown);
    assert_eq!(
        found.gaps,
        [
            (4..fourth.0, crash),
            (fourth.0..fifth.0 + 1, None),
            (fifth.0 + 1..sixth.0, crash)
        ]
    );
}

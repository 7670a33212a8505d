//! Cursors of a running log that go back: from history through memory to what is fired now.

use std::path::Path;

use brine_log::history::{GapReason, PreparedHistory};
use brine_log::{
    EventCursor, Gap, Incoming, LogConfig, LogId, Millis, Next, Position, Seq, Start, TagQuery,
};
use brine_wire::matching::{MatchType, TagMatch};
use proptest::prelude::*;

use crate::support::{Bus, Found, config, read_to, wait};

/// A bus that has room for four segments in memory.
fn small(directory: &Path) -> Bus {
    with_memory(directory, 1 << 20)
}

/// A bus that keeps little more than a segment in memory when nobody lags.
fn with_memory(directory: &Path, max_bytes: usize) -> Bus {
    let prepared = PreparedHistory::open(config(directory)).expect("a test's own files");
    let memory = LogConfig {
        max_bytes,
        keep_bytes: 0,
        ..LogConfig::new(LogId(0))
    };
    Bus::with_memory(prepared, memory).expect("a thread")
}

/// Fires events until the log has dropped the first of them from memory; returns the next number.
fn fill(bus: &Bus, first: u64) -> Seq {
    let data = "y".repeat(2000);
    let mut nth = first;
    while bus.log.stats().oldest < Seq(first + 200) {
        let seqs = bus.fire(&format!("job/{nth}"), &data, 10_000 + nth);
        assert_eq!(seqs.start, Seq(nth));
        nth += 1;
        if nth.is_multiple_of(50) {
            wait(bus.history.durable(seqs)).expect("a disk that works");
        }
    }
    Seq(nth)
}

/// The tags of a run of numbers as [`fill`] fires them.
fn filled(range: std::ops::Range<u64>) -> Vec<(u64, String)> {
    range.map(|nth| (nth, format!("job/{nth}"))).collect()
}

fn after(bus: &Bus, seq: u64) -> Start {
    Start::After(Position {
        log: bus.log.id(),
        seq: Seq(seq),
    })
}

#[test]
fn a_cursor_goes_from_history_through_memory_to_what_is_fired_now() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = small(directory.path());
    let next = fill(&bus, 1);
    assert_eq!(bus.log.oldest(), Seq(1));
    assert_eq!(bus.history.status().oldest, Seq(1), "before any retention");
    let mut cursor = bus.log.events(Start::Oldest);
    let mut middle = bus.log.events(after(&bus, 99));
    assert!(matches!(cursor.next(), Next::Stored));

    let found = read_to(&mut cursor, next);
    assert_eq!(found.gaps, []);
    assert_eq!(found.events, filled(1..next.0));
    assert!(matches!(cursor.next(), Next::Tail));
    let found = read_to(&mut middle, next);
    assert_eq!((found.events, found.gaps), (filled(100..next.0), vec![]));

    let end = bus.fire("live", "x", 1).end;
    assert_eq!(
        read_to(&mut cursor, end).events,
        [(next.0, "live".to_owned())]
    );
    bus.history.close();
}

#[test]
fn after_a_restart_a_cursor_reads_what_earlier_processes_stored() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let mut position = None;
    for round in 0..3u64 {
        let bus = Bus::open(config(directory.path())).expect("a test's own files");
        bus.fire_durably("round", "x");
        let start = position.map_or(Start::Oldest, Start::After);
        let mut resumed = bus.log.events(start);
        let found = read_to(&mut resumed, Seq(round + 2));
        assert_eq!((found.seqs(), found.gaps), (vec![round + 1], vec![]));
        position = Some(resumed.position());
        let mut all = bus.log.events(Start::Oldest);
        let found = read_to(&mut all, Seq(round + 2));
        assert_eq!(found.seqs(), (1..=round + 1).collect::<Vec<_>>());
        drop((resumed, all));
        bus.history.close();
    }
}

#[test]
fn after_a_crash_a_reader_that_was_ahead_of_the_disk_receives_the_gap_and_its_reason() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let left = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    bus.fire_durably("a", "x");
    for file in ["events.db", "events.db-wal"] {
        let to = left.path().join(file);
        std::fs::copy(directory.path().join(file), to).expect("a test's own files");
    }
    bus.fire("b", "x", 1000);
    let mut ahead = bus.log.events(Start::Oldest);
    read_to(&mut ahead, Seq(3));
    let position = ahead.position();
    bus.history.close();

    let bus = Bus::open(config(left.path())).expect("a test's own files");
    // Before anything is stored behind what the crash left open, and after.
    let next = bus.log.stats().next;
    let mut early = bus.log.events(Start::After(position));
    let gap = wait(early.ready()).expect_err("what the crash left open");
    assert_eq!((gap.from.seq, gap.to.seq), (Seq(3), next));
    assert_eq!(gap.missed(), None, "most of them were never used");
    early.skip(gap);
    assert_eq!(bus.fire_durably("c", "x"), next);
    assert_eq!(read_to(&mut early, Seq(next.0 + 1)).seqs(), [next.0]);
    let mut resumed = bus.log.events(Start::After(position));
    let gap = wait(resumed.ready()).expect_err("what the crash left open");
    assert_eq!((gap.from.seq, gap.to.seq), (Seq(3), next));
    assert_eq!(gap.reason, Some(GapReason::UncleanShutdown));
    assert_eq!(gap.missed(), None, "most of them were never used");
    resumed.skip(gap);
    let found = read_to(&mut resumed, Seq(next.0 + 1));
    assert_eq!((found.seqs(), found.gaps), (vec![next.0], vec![]));
    bus.history.close();
}

#[test]
fn a_position_of_another_log_is_a_gap_before_the_oldest_stored_event() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = small(directory.path());
    let next = fill(&bus, 1);
    let foreign = Position {
        log: LogId(bus.log.id().0 ^ 1),
        seq: Seq(7),
    };
    let mut cursor = bus.log.events(Start::After(foreign));
    let Next::Gap(gap) = cursor.next() else {
        panic!("expected a gap")
    };
    assert_eq!((gap.from.log, gap.to.seq), (foreign.log, Seq(1)));
    assert_eq!(gap.missed(), None);
    cursor.skip(gap);
    assert_eq!(read_to(&mut cursor, next).events, filled(1..next.0));
    bus.history.close();
}

#[test]
fn a_time_is_found_wherever_its_events_are() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = small(directory.path());
    let next = fill(&bus, 1);
    let in_memory = bus.log.stats().oldest.0;
    for first in [
        1,
        2,
        123,
        in_memory - 1,
        in_memory,
        in_memory + 1,
        next.0 - 1,
    ] {
        let mut cursor = bus.log.events(Start::Since(Millis(10_000 + first)));
        let found = read_to(&mut cursor, next);
        assert_eq!((found.events, found.gaps), (filled(first..next.0), vec![]));
    }
    let mut before_all = bus.log.events(Start::Since(Millis(5)));
    assert_eq!(read_to(&mut before_all, next).events, filled(1..next.0));
    let mut future = bus.log.events(Start::Since(Millis(1 << 40)));
    assert!(matches!(future.next(), Next::Tail));
    bus.history.close();
}

#[test]
fn a_cursor_that_the_log_has_left_behind_goes_on_from_history() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = small(directory.path());
    let mut lagging = bus.log.events(Start::Tail);
    let next = fill(&bus, 1);
    assert!(
        bus.log.stats().oldest > lagging.seq(),
        "no overflow keeps it"
    );
    let found = read_to(&mut lagging, next);
    assert_eq!((found.events, found.gaps), (filled(1..next.0), vec![]));
    bus.history.close();
}

#[test]
fn blocks_without_the_wanted_tags_are_passed_over() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = small(directory.path());
    let first = fill(&bus, 1);
    let rare = bus.fire_durably("rare/one", "x");
    let next = fill(&bus, first.0 + 1);
    let pattern = TagMatch::new(MatchType::Fnmatch, "rare/*").expect("a pattern");
    let mut cursor = bus.log.events(Start::Oldest);
    cursor.select(TagQuery::new(&[pattern]));
    let found = read_to(&mut cursor, next);
    assert_eq!(found.gaps, []);
    let seqs = found.seqs();
    assert!(seqs.contains(&rare.0));
    let stored = seqs.iter().filter(|seq| **seq < bus.log.stats().oldest.0);
    // The rest of the block it is in, and what was not sealed yet.
    assert!(stored.count() < 400, "{seqs:?}");
    bus.history.close();
}

/// What is done with a bus and its readers.
#[derive(Debug, Clone)]
enum Step {
    /// Fires so many events of this size, and waits for the disk or not.
    Fire(usize, usize, bool),
    /// Opens a cursor after this thousandth of all events.
    Open(u64),
    /// A cursor reads a run, or takes so many of one.
    Read(usize, usize),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1usize..200, 10usize..5000, any::<bool>())
            .prop_map(|(events, bytes, waits)| Step::Fire(events, bytes, waits)),
        2 => (0u64..1000).prop_map(Step::Open),
        6 => (0usize..4, 1usize..400).prop_map(|(reader, events)| Step::Read(reader, events)),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn every_cursor_reads_every_event_once_wherever_it_lies(steps in steps()) {
        let directory = tempfile::tempdir().expect("a test's own files");
        // The writer must not be overrun: it is not waited for.
        let mut bus = with_memory(directory.path(), 256 << 20);
        let mut cursors: Vec<EventCursor> = Vec::new();
        let mut next = 1;
        for step in steps {
            match step {
                Step::Fire(events, bytes, waits) => {
                    let data = "z".repeat(bytes);
                    for _ in 0..events {
                        let seqs = bus.fire(&format!("job/{next}"), &data, 10_000 + next);
                        next += 1;
                        if waits && next.is_multiple_of(64) {
                            wait(bus.history.durable(seqs)).expect("a disk that works");
                        }
                    }
                }
                Step::Open(share) => {
                    let start = after(&bus, (next - 1) * share / 1000);
                    cursors.push(bus.log.events(start));
                }
                Step::Read(reader, events) => {
                    if let Some(cursor) = cursors.get_mut(reader) {
                        read_some(cursor, events);
                    }
                }
                Step::Restart => {
                    let positions: Vec<Position> =
                        cursors.drain(..).map(|cursor| cursor.position()).collect();
                    bus.history.close();
                    drop(bus);
                    bus = with_memory(directory.path(), 256 << 20);
                    let resumed = positions.into_iter().map(Start::After);
                    cursors = resumed.map(|start| bus.log.events(start)).collect();
                }
            }
        }
        for mut cursor in cursors {
            let first = cursor.seq().0;
            let found: Found = read_to(&mut cursor, Seq(next));
            prop_assert_eq!(found.gaps, vec![]);
            prop_assert_eq!(found.events, filled(first..next));
        }
        bus.history.close();
    }
}

/// Reads at most so many events, and checks them.
fn read_some(cursor: &mut EventCursor, events: usize) {
    match cursor.next() {
        Next::Ready(run) => {
            for (event, seq) in run.iter().zip(cursor.seq().0..) {
                assert_eq!(event.seq.0, seq);
                assert_eq!(
                    &event.event[..event.tag_bytes],
                    format!("job/{seq}").as_bytes()
                );
            }
            cursor.advance(&run, events);
        }
        Next::Stored => wait(cursor.load()),
        Next::Tail => {}
        Next::Gap(gap) => panic!("{gap:?}"),
    }
}

#[test]
fn a_store_that_cannot_be_read_is_a_gap_and_not_the_end() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = small(directory.path());
    let next = fill(&bus, 1);
    bus.history.close();
    drop(bus);
    let broken = rusqlite::Connection::open(directory.path().join("events.db"));
    let broken = broken.expect("a test's own files");
    broken
        .execute(
            "UPDATE body SET data = x'00' WHERE rowid = (SELECT min(rowid) FROM body)",
            [],
        )
        .expect("a test's own files");
    drop(broken);

    let bus = small(directory.path());
    let mut cursor = bus.log.events(Start::Oldest);
    let gap: Gap = wait(cursor.ready()).expect_err("a damaged block");
    assert_eq!(gap.reason, Some(GapReason::Damaged));
    cursor.skip(gap);
    let found = read_to(&mut cursor, next);
    assert_eq!(found.gaps, []);
    assert_eq!(found.events, filled(gap.to.seq.0..next.0));
    bus.history.close();
}

#[test]
fn whose_an_event_is_stays_known_wherever_it_lies() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = small(directory.path());
    let senders = |cursor: &mut EventCursor, end: Seq| {
        let mut found = Vec::new();
        while cursor.seq() < end {
            let events = wait(cursor.ready()).expect("no gap");
            for event in events.iter() {
                found.push((event.seq.0, event.sender.map(str::to_owned)));
            }
            cursor.advance(&events, events.len());
        }
        found
    };
    let event = crate::support::event("a", "x");
    let incoming = Incoming {
        event: &event,
        tag_bytes: 1,
    };
    for sender in [Some("web1"), Some("web1"), None, Some("db1"), Some("")] {
        bus.log.append_from(sender, [incoming], Millis(1));
    }
    let name = |name: &str| Some(name.to_owned());
    let expected = [name("web1"), name("web1"), None, name("db1"), None];
    let expected: Vec<_> = (1..).zip(expected).collect();
    let mut cursor = bus.log.events(Start::Oldest);
    assert_eq!(senders(&mut cursor, Seq(6)), expected);
    // More names than a segment has room for.
    for nth in 6..2006 {
        let sender = format!("a-minion-with-a-long-name-{nth}");
        let seqs = bus.log.append_from(Some(&sender), [incoming], Millis(1));
        if nth % 200 == 0 {
            wait(bus.history.durable(seqs)).expect("a disk that works");
        }
    }
    let next = fill(&bus, 2006);
    let mut stored = bus.log.events(Start::Oldest);
    assert!(matches!(stored.next(), Next::Stored));
    let found = senders(&mut stored, next);
    assert_eq!(found[..5], expected);
    for (seq, sender) in &found[5..2005] {
        assert_eq!(*sender, Some(format!("a-minion-with-a-long-name-{seq}")));
    }
    assert!(found[2005..].iter().all(|(_, sender)| sender.is_none()));
    bus.history.close();
}

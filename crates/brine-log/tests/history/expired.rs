//! Events that the rule of their tag has removed: whoever would have read them gets a gap.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_log::history::{GapReason, HistoryReader, Maintenance, Read, TagAge, TagQuery};
use brine_log::{Expected, Millis, Seq, Start};
use brine_wire::matching::{MatchType, TagMatch};

use crate::support::{Bus, Found, config, read_all, read_to, until};

/// How many of each kind.
const EACH: u64 = 1000;
const HOUR: u64 = 3_600_000;

fn glob(pattern: &str) -> TagMatch {
    TagMatch::new(MatchType::Fnmatch, pattern).expect("a pattern")
}

fn noisy() -> TagAge {
    TagAge {
        tags: glob("noisy/*"),
        max_age: Some(Duration::from_secs(2 * 3600)),
    }
}

/// A store whose old events `noisy/a` and `noisy/b` are gone: first those between events `keep/a`, one to one, then 2,000
/// in a row, in several blocks, among which are events `other/a`; then new ones.
fn pruned(directory: &std::path::Path) -> Bus {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = u64::try_from(now.expect("after 1970").as_millis()).expect("a time");
    let mut options = config(directory);
    let bus = Bus::open(options.clone()).expect("a history");
    let data = "y".repeat(800);
    let old = now - 10 * HOUR;
    for _ in 0..3 {
        bus.fire("keep/a", &data, old);
        bus.fire("noisy/a", &data, old);
    }
    for nth in 0..EACH {
        bus.fire("noisy/b", &data, old);
        bus.fire(
            if nth % 10 == 0 { "other/a" } else { "noisy/b" },
            &data,
            old,
        );
    }
    bus.fire("keep/a", &data, old);
    bus.history.close();
    options.retention.tags = vec![noisy()];
    let bus = Bus::open(options).expect("a history");
    for _ in 0..500 {
        bus.fire("noisy/a", &data, now);
    }
    until("old events are removed", || {
        let mut reader = HistoryReader::open(directory).expect("a history");
        let found = read_all(&mut reader, &TagQuery::default());
        !found
            .events
            .iter()
            .any(|(seq, tag)| *seq < 2000 && tag.starts_with("noisy"))
    });
    bus
}

fn found_by(bus: &Bus, pattern: &'static str, from: u64) -> [Found; 2] {
    let expected = || {
        let wanted = glob(pattern);
        Expected::tags(move |tag| wanted.matches(tag))
    };
    let query = TagQuery::new(&[glob(pattern)]);
    let directory = bus.history.status().directory;
    let mut reader = HistoryReader::open(&directory).expect("a history");
    reader.expect(expected());
    reader.seek(Seq(from));
    let mut by_reader = read_all(&mut reader, &query);
    let start = brine_log::Position {
        log: bus.log.id(),
        seq: Seq(from - 1),
    };
    let mut cursor = bus.log.events(Start::After(start));
    cursor.select(query);
    cursor.expect(expected());
    let end = Seq(bus.log.position().seq.0 + 1);
    let mut by_cursor = read_to(&mut cursor, end);
    for found in [&mut by_reader, &mut by_cursor] {
        let wanted = glob(pattern);
        found.events.retain(|(_, tag)| wanted.matches(tag));
    }
    // A reader of the file sees what has been committed.
    let read = by_reader.events.last().map_or(0, |(seq, _)| *seq);
    by_cursor.events.retain(|(seq, _)| *seq <= read.max(2007));
    [by_reader, by_cursor]
}

#[test]
fn whoever_would_have_read_them_gets_a_gap_for_each_run() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = pruned(directory.path());
    let expired = Some(GapReason::Expired);
    for found in found_by(&bus, "*", 1) {
        let gaps: Vec<_> = found.gaps.iter().take(4).cloned().collect();
        assert_eq!(
            gaps,
            [
                (2..3, expired),
                (4..5, expired),
                (6..8, expired),
                (9..28, expired)
            ]
        );
        // Between any two events `other/a`, and before and behind those.
        assert_eq!(found.gaps.len(), 3 + EACH as usize / 10, "{:?}", found.gaps);
    }
    // What is between them is not wanted: one gap, over all blocks.
    for found in found_by(&bus, "noisy/*", 1) {
        assert_eq!(found.gaps, [(2..2008, expired)]);
        assert_eq!(found.events.first(), Some(&(2008, "noisy/a".to_owned())));
    }
    for found in found_by(&bus, "noisy/*", 1500) {
        assert_eq!(found.gaps.len(), 1);
        assert_eq!(found.gaps[0].0.end, 2008);
    }
    for pattern in ["keep/*", "other/*", "none"] {
        for found in found_by(&bus, pattern, 1) {
            assert_eq!(found.gaps, [], "{pattern}");
        }
    }
    bus.history.close();
}

#[test]
fn what_is_purged_by_tag_leaves_no_gap() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = pruned(directory.path());
    bus.history.close();
    let mut store = Maintenance::open(directory.path()).expect("a history");
    store.purge_tags(&glob("noisy/*")).expect("a store");
    let mut reader = HistoryReader::open(directory.path()).expect("a history");
    reader.expect(Expected::tags(|tag| tag.starts_with("noisy/")));
    reader.seek(Seq(1));
    let found = read_all(&mut reader, &TagQuery::default());
    assert_eq!(found.gaps, []);
}

#[test]
fn a_gap_counts_the_events_that_are_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = pruned(directory.path());
    let wanted = || Expected::tags(|tag| tag == "noisy/b");
    let mut reader = HistoryReader::open(directory.path()).expect("a history");
    let mut missed_after = |expected, from| {
        reader.expect(expected);
        reader.seek(Seq(from));
        let mut all = Vec::new();
        while let Some(read) = reader.next(&TagQuery::default()).expect("a store") {
            if let Read::Gap { missed, .. } = read {
                all.extend(missed);
            }
        }
        all
    };
    assert_eq!(missed_after(wanted(), 1), [EACH * 19 / 10]);
    // A reader that stops earlier, or wants only newer ones.
    let mut end = wanted();
    end.end = Seq(8);
    assert_eq!(missed_after(end, 1), [1]);
    let mut since = wanted();
    since.since = Millis(u64::MAX);
    assert_eq!(missed_after(since, 1), []);
    let mut until = wanted();
    until.until = Millis(1);
    assert_eq!(missed_after(until, 1), []);
    let mut cursor = bus.log.events(Start::Oldest);
    cursor.expect(wanted());
    let gap = loop {
        match crate::support::wait(cursor.ready()) {
            Ok(events) => cursor.advance(&events, events.len()),
            Err(gap) => break gap,
        }
    };
    assert_eq!(gap.missed(), Some(EACH * 19 / 10));
    // Until it is passed, the reader is before it.
    assert_eq!((cursor.seq(), cursor.position().seq), (Seq(7), Seq(6)));
    bus.history.close();
}

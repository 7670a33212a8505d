//! A log that repeats another one: the same numbers, and that one's history behind it.

use std::sync::Arc;

use brine_log::history::{ForeignHistory, GapReason};
use brine_log::{Incoming, Log, LogConfig, LogId, Millis, Position, Seq, Start};

use crate::support::{Bus, config, event, read_to};

fn repeat(log: &Log, seq: u64, tag: &str) {
    let event = event(tag, "");
    let incoming = Incoming {
        event: &event,
        tag_bytes: tag.len(),
    };
    log.append_at(Seq(seq), None, incoming, Millis(1000));
}

fn after(log: &Arc<Log>, seq: u64) -> Start {
    Start::After(Position {
        log: log.id(),
        seq: Seq(seq),
    })
}

#[test]
fn a_repeated_log_has_the_numbers_and_the_history_of_the_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let bus = Bus::open(config(directory.path())).expect("a history");
    for number in 1..=5 {
        bus.fire_durably(&format!("t/{number}"), "");
    }
    let history = ForeignHistory::open(directory.path()).expect("a history");
    let log = Log::repeating(
        LogConfig {
            first: Seq(6),
            ..LogConfig::new(LogId(0))
        },
        &history,
    );
    assert_eq!(log.id(), bus.log.id());
    let mut follower = log.events(Start::Tail);
    repeat(&log, 6, "t/6");
    // Nobody may be shown the seventh; the eighth comes twice.
    repeat(&log, 8, "t/8");
    repeat(&log, 8, "t/8");
    // Then the other process was killed.
    log.skip_to(Seq(100), Some(GapReason::UncleanShutdown));
    repeat(&log, 100, "t/100");

    let gap = || vec![(9..100, Some(GapReason::UncleanShutdown))];
    let followed = read_to(&mut follower, Seq(101));
    assert_eq!((followed.seqs(), followed.gaps), (vec![6, 8, 100], gap()));
    let from_history = read_to(&mut log.events(after(&log, 2)), Seq(101));
    assert_eq!(
        (from_history.seqs(), from_history.gaps),
        (vec![3, 4, 5, 6, 8, 100], gap())
    );
    let inside = read_to(&mut log.events(after(&log, 50)), Seq(101));
    assert_eq!(
        (inside.seqs(), inside.gaps),
        (vec![100], vec![(51..100, Some(GapReason::UncleanShutdown))])
    );
    assert_eq!(log.stats().appended_events, 4);
}

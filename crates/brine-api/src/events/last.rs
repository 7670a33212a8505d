//! Finds the last events that match, by looking back in ranges that grow.
//!
//! A cursor only goes forward, and a filter may match few events. To find a few events in a long history cheaply, the
//! newest thousand events are searched first, then eight times as many, and so on.

use std::collections::VecDeque;

use brine_log::{Log, Millis, Next, Position, Seq, Start};

use super::filter::{Filter, is_gap};
use super::redaction::Redaction;

/// The first stretch, in events.
const FIRST_STRETCH: u64 = 1024;

/// The newest event that is neither `before` nor behind it, nor later than `until`.
pub(crate) async fn end(log: &Log, before: Option<Seq>, until: Option<Millis>) -> Position {
    let newest = log.position();
    let mut end = newest.seq;
    if let Some(before) = before {
        end = end.min(Seq(before.0.saturating_sub(1)));
    }
    if let Some(until) = until {
        let later = first(log, Start::Since(Millis(until.0.saturating_add(1)))).await;
        end = end.min(Seq(later.0.saturating_sub(1)));
    }
    Position { seq: end, ..newest }
}

/// The first event of a start. A time is known once it has been looked for.
pub(crate) async fn first(log: &Log, start: Start) -> Seq {
    let mut cursor = log.events(start);
    while matches!(cursor.next(), Next::Stored) {
        cursor.load().await;
    }
    cursor.seq()
}

/// Where to start in order to get the last `count` events that pass, at or after `start` and not after `end`; `None`
/// if none does: then the start is the tail.
pub(crate) async fn find(
    log: &Log,
    start: Start,
    end: Position,
    (filter, redaction): (&Filter, &mut Redaction),
    count: usize,
) -> Option<Start> {
    let lower = match start {
        // Without another start, as far back as events are kept.
        Start::Tail => Start::Oldest,
        start => start,
    };
    let lowest = first(log, lower).await;
    let mut stretch = FIRST_STRETCH;
    loop {
        let next = Seq(end.seq.0.saturating_add(1));
        let from = log.before(next, stretch).max(lowest);
        let found = scan(log, from, end, (filter, redaction), count).await;
        if found.len() >= count || from <= lowest {
            return found.front().map(|first| before(end, *first));
        }
        stretch = stretch.saturating_mul(8);
    }
}

/// The last `count` sequences that pass, from `from` to the end, without those that only report a gap.
async fn scan(
    log: &Log,
    from: Seq,
    end: Position,
    (filter, redaction): (&Filter, &mut Redaction),
    count: usize,
) -> VecDeque<Seq> {
    let mut found = VecDeque::new();
    let mut cursor = filter.cursor(log, before(end, from));
    while cursor.seq() <= end.seq {
        match cursor.next() {
            Next::Ready(events) => {
                for event in events.iter().filter(|event| event.seq <= end.seq) {
                    if !is_gap(&event) && filter.shown(&event, redaction).is_some() {
                        if found.len() == count {
                            found.pop_front();
                        }
                        found.push_back(event.seq);
                    }
                }
                cursor.advance(&events, events.len());
            }
            Next::Stored => cursor.load().await,
            Next::Gap(gap) => cursor.skip(gap),
            // No stored event is left that might pass. New events are not waited for.
            Next::Tail => break,
        }
        tokio::task::yield_now().await;
    }
    found
}

/// A start whose first event is `seq`.
fn before(end: Position, seq: Seq) -> Start {
    Start::After(Position {
        log: end.log,
        seq: Seq(seq.0.saturating_sub(1)),
    })
}

//! Each master's events once and in order, whatever the stream does.
//!
//! A stream has events in the order in which servers accepted them. Occasionally that is not a master's own order: a
//! server refuses one message and accepts the next, or a message is published again because nobody knew that it was
//! there. So each message names the one before it. A message that arrives too early is held until its predecessor has
//! arrived; a repeated one is dropped. Pure: the time is an argument, and nothing here knows NATS.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use brine_log::{LogId, Position, Seq};

use super::message::Received;

/// Logs of one master that are known: it has a new one if its history was removed.
const LOGS: usize = 8;
/// How long an event is held for one that does not come.
const PATIENCE: Duration = Duration::from_secs(30);
/// What is held at most, in bytes: several windows of a publisher.
const HELD_BYTES: usize = 64 << 20;

/// How far each master's events have come.
#[derive(Debug, Default)]
pub(crate) struct Order {
    masters: HashMap<String, Vec<Log>>,
    held_bytes: usize,
    counts: Counts,
}

/// What happened, for people.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Events that had come before.
    pub(crate) repeated: u64,
    /// Events that came before the one they follow.
    pub(crate) early: u64,
    /// Holes that were given up.
    pub(crate) holes: u64,
}

#[derive(Debug)]
struct Log {
    id: LogId,
    last: Seq,
    /// Events that came too early, with their numbers in the stream.
    held: BTreeMap<Seq, (u64, Received)>,
    /// Since when some are held.
    since: Duration,
    /// The event before the next one is not asked for.
    is_loose: bool,
}

impl Order {
    /// A master's events are here up to this one: what a history or a file of an earlier run says.
    pub(crate) fn note(&mut self, master: &str, position: Position) {
        let log = self.log(master, position.log, Seq(0));
        log.last = log.last.max(position.seq);
    }

    /// How far each log's events have come.
    pub(crate) fn positions(&self) -> impl Iterator<Item = (&str, Position)> {
        self.masters.iter().flat_map(|(master, logs)| {
            logs.iter().map(move |log| {
                let position = Position {
                    log: log.id,
                    seq: log.last,
                };
                (master.as_str(), position)
            })
        })
    }

    /// The stream has lost events: nothing is held back any more, and the next event of each master need not follow
    /// what is here. Appends to `out` what may be taken now.
    pub(crate) fn expect_holes(&mut self, out: &mut Vec<Received>) {
        self.give_up(out, |_| true);
        for log in self.masters.values_mut().flatten() {
            log.is_loose = true;
        }
    }

    /// Takes an event with its number in the stream; appends to `out` the events that may be taken now, in order.
    pub(crate) fn take(
        &mut self,
        stream_seq: u64,
        received: Received,
        now: Duration,
        out: &mut Vec<Received>,
    ) {
        let Position { log, seq } = received.position;
        let is_known =
            (self.masters.get(&received.master).into_iter().flatten()).any(|known| known.id == log);
        let before = received.after.unwrap_or(Seq(seq.0.saturating_sub(1)));
        let bytes = received.bytes();
        let known = self.log(
            &received.master,
            log,
            if is_known { Seq(0) } else { before },
        );
        if seq <= known.last || known.held.contains_key(&seq) {
            self.counts.repeated += 1;
            return;
        }
        let is_early = received.after.is_some_and(|after| after > known.last) && !known.is_loose;
        if is_early {
            if known.held.is_empty() {
                known.since = now;
            }
            known.held.insert(seq, (stream_seq, received));
            self.held_bytes += bytes;
            self.counts.early += 1;
            if self.held_bytes > HELD_BYTES {
                self.give_up(out, |_| true);
            }
            return;
        }
        known.is_loose = false;
        known.last = seq;
        out.push(received);
        let released = known.release(out);
        self.held_bytes -= released;
    }

    /// Goes on without events that have not come for too long.
    pub(crate) fn expire(&mut self, now: Duration, out: &mut Vec<Received>) {
        self.give_up(out, |log| now.saturating_sub(log.since) > PATIENCE);
    }

    /// The lowest number in the stream of an event that is held: what comes before it has been dealt with.
    pub(crate) fn first_held(&self) -> Option<u64> {
        let held = self
            .masters
            .values()
            .flatten()
            .flat_map(|log| log.held.values());
        held.map(|(stream_seq, _)| *stream_seq).min()
    }

    pub(crate) const fn counts(&self) -> Counts {
        self.counts
    }

    fn give_up(&mut self, out: &mut Vec<Received>, is_due: impl Fn(&Log) -> bool) {
        let (mut released, mut holes) = (0, 0);
        for (master, logs) in &mut self.masters {
            for log in logs.iter_mut().filter(|log| is_due(log)) {
                while let Some((seq, (_, received))) = log.held.pop_first() {
                    holes += 1;
                    tracing::warn!(
                        origin = master, log = %log.id, after = %log.last, before = %seq,
                        "events of another master did not arrive; continuing without them"
                    );
                    released += received.bytes();
                    log.last = seq;
                    out.push(received);
                    released += log.release(out);
                }
            }
        }
        self.held_bytes -= released;
        self.counts.holes += holes;
    }

    /// A log; one that is new is here up to `last`.
    fn log(&mut self, master: &str, id: LogId, last: Seq) -> &mut Log {
        let logs = match self.masters.contains_key(master) {
            true => self.masters.get_mut(master),
            false => Some(self.masters.entry(master.to_owned()).or_default()),
        };
        let logs = logs.expect("it was just looked up or made");
        let at = match logs.iter().position(|log| log.id == id) {
            Some(at) => at,
            None => {
                if logs.len() == LOGS {
                    let forgotten = logs.remove(0);
                    let bytes = forgotten.held.values().map(|(_, held)| held.bytes());
                    self.held_bytes -= bytes.sum::<usize>();
                }
                logs.push(Log {
                    id,
                    last,
                    held: BTreeMap::new(),
                    since: Duration::ZERO,
                    is_loose: false,
                });
                logs.len() - 1
            }
        };
        &mut logs[at]
    }
}

impl Log {
    /// Moves on as far as what is held follows; returns how many bytes that was.
    fn release(&mut self, out: &mut Vec<Received>) -> usize {
        let mut bytes = 0;
        while let Some(first) = self.held.first_entry()
            && (first.get().1.after).is_none_or(|after| after <= self.last)
        {
            let (seq, (_, received)) = first.remove_entry();
            bytes += received.bytes();
            // One that was given up meanwhile is not due any more.
            if seq > self.last {
                self.last = seq;
                out.push(received);
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(master: &str, log: u64, seq: u64, after: Option<u64>) -> Received {
        Received {
            master: master.to_owned(),
            position: Position {
                log: LogId(log),
                seq: Seq(seq),
            },
            after: after.map(Seq),
            sender: None,
            event: b"t\n\n\x80".to_vec(),
            tag_bytes: 1,
        }
    }

    /// Offers events of one log in the order given, each after the one of `chain` before it.
    fn taken(order: &mut Order, chain: &[u64], offered: &[u64], now: u64) -> Vec<u64> {
        let mut out = Vec::new();
        for (stream_seq, seq) in offered.iter().enumerate() {
            let at = chain.iter().position(|own| own == seq).unwrap();
            let after = at.checked_sub(1).map(|before| chain[before]);
            let event = event("m1", 1, *seq, after.or(Some(0)));
            order.take(
                stream_seq as u64 + 1,
                event,
                Duration::from_secs(now),
                &mut out,
            );
        }
        out.iter().map(|event| event.position.seq.0).collect()
    }

    #[test]
    fn an_event_that_comes_early_waits_for_the_one_before_it() {
        let chain = [3, 5, 6, 9];
        let mut order = Order::default();
        assert_eq!(taken(&mut order, &chain, &[3, 6, 9], 0), [3]);
        assert_eq!(order.first_held(), Some(2));
        assert_eq!(taken(&mut order, &chain, &[5, 6, 3], 0), [5, 6, 9]);
        assert_eq!(order.first_held(), None);
        assert_eq!(order.counts().repeated, 2);
        assert_eq!(order.held_bytes, 0);
    }

    #[test]
    fn a_hole_is_given_up_after_a_while() {
        let chain = [1, 2, 3, 4, 5];
        let mut order = Order::default();
        assert_eq!(taken(&mut order, &chain, &[1, 3, 5], 100), [1]);
        let mut out = Vec::new();
        order.expire(Duration::from_secs(120), &mut out);
        assert!(out.is_empty());
        order.expire(Duration::from_secs(131), &mut out);
        let seqs: Vec<_> = out.iter().map(|event| event.position.seq.0).collect();
        assert_eq!((seqs, order.counts().holes), (vec![3, 5], 2));
        assert_eq!(taken(&mut order, &chain, &[2, 4], 140), [0; 0]);
        assert_eq!(order.held_bytes, 0);
    }

    #[test]
    fn what_is_known_from_before_does_not_come_again() {
        let mut order = Order::default();
        order.note(
            "m1",
            Position {
                log: LogId(1),
                seq: Seq(5),
            },
        );
        assert_eq!(taken(&mut order, &[4, 5, 6], &[4, 5, 6], 0), [6]);
        let positions: Vec<_> = order
            .positions()
            .map(|(name, at)| (name, at.to_string()))
            .collect();
        assert_eq!(positions, [("m1", "1-6".to_owned())]);
    }

    #[test]
    fn a_stream_that_has_lost_events_is_read_on() {
        let mut order = Order::default();
        assert_eq!(taken(&mut order, &[1, 2, 3, 4], &[1], 0), [1]);
        order.expect_holes(&mut Vec::new());
        assert_eq!(taken(&mut order, &[1, 2, 3, 4], &[3, 4], 0), [3, 4]);
    }

    #[test]
    fn a_master_that_is_new_is_taken_from_where_it_is() {
        let mut order = Order::default();
        assert_eq!(taken(&mut order, &[7, 8, 9], &[8, 9], 0), [8, 9]);
        // Another log of it, and another master, are other chains.
        let mut out = Vec::new();
        order.take(9, event("m1", 2, 1, Some(0)), Duration::ZERO, &mut out);
        order.take(10, event("m2", 1, 1, None), Duration::ZERO, &mut out);
        assert_eq!(out.len(), 2);
    }

    proptest! {
        #[test]
        fn every_event_once_and_in_order(
            gaps in proptest::collection::vec(1u64..4, 1..60),
            swaps in proptest::collection::vec((0usize..60, 0usize..60), 0..20),
            repeats in proptest::collection::vec(0usize..60, 0..20),
        ) {
            let mut seq = 0;
            let chain: Vec<u64> = gaps.iter().map(|gap| { seq += gap; seq }).collect();
            let mut offered = chain.clone();
            let length = offered.len();
            for (a, b) in swaps {
                // The first tells where the log begins.
                let (a, b) = (a % length, b % length);
                if a > 0 && b > 0 {
                    offered.swap(a, b);
                }
            }
            for at in repeats {
                offered.push(chain[at % length]);
            }
            let mut order = Order::default();
            prop_assert_eq!(taken(&mut order, &chain, &offered, 0), chain);
            prop_assert_eq!(order.held_bytes, 0);
            prop_assert_eq!(order.first_held(), None);
        }
    }
}

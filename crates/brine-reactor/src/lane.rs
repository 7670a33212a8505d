//! One rule at work, with its own cursor over the log, its own limits and its own part of the record.
//!
//! A reaction that hangs, a slow template, a storm of events: each delays only this rule. Jobs for minions are
//! published one after the other, in order; runner and wheel functions run in parallel, as many as the configuration
//! allows.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brine_log::{EventCursor, Expected, Gap, GapReason, Millis, Position, Seq, StoredEvent};
use brine_wire::envelope::{Envelope, TAG_END};
use brine_wire::{Map, Value, msgpack};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::call::Call;
use crate::counters::{Counters, one_more};
use crate::journal::{Counts, Outcome, Run};
use crate::pacer::Pacer;
use crate::problem::Problem;
use crate::react::{Reacted, Reaction, lock, react};
use crate::rules::Rule;
use crate::run::{REACTOR, RECORD_AGAIN, Shared, now};
use crate::throttle::{Throttle, ThrottleConfig, Verdict};

/// The number in the record that says that an event's files could not be rendered; no event has that many reactions.
const NOTHING_RENDERED: usize = usize::MAX;
/// How many reactions of a rule may have an end that is not on record.
const MAX_OPEN: usize = 4096;

/// A rule that runs.
pub(crate) struct Lane {
    /// Its pattern never changes; its files may.
    rule: Mutex<Arc<Rule>>,
    /// Its name in the record: the pattern, and a number if several rules have it.
    pub(crate) name: String,
    pub(crate) counters: Counters,
    /// Everything up to here was started.
    pub(crate) read: Mutex<Position>,
    shared: Arc<Shared>,
}

/// An event that a rule is for.
struct Event {
    seq: Seq,
    at: Millis,
    tag: String,
    data: Map,
}

/// What a reaction needs to start.
struct Room {
    /// Until its call has ended.
    slot: OwnedSemaphorePermit,
    /// Until its end is on record.
    open: OwnedSemaphorePermit,
}

/// What a lane's task holds.
struct Work {
    cursor: EventCursor,
    throttle: Option<Throttle<Event>>,
    /// Events that wait for the end of a time.
    waiting: BTreeSet<Seq>,
    /// What an earlier process started.
    started: HashSet<(Seq, usize)>,
    pacer: Pacer,
    running: JoinSet<()>,
    slots: Arc<Semaphore>,
    /// For reactions whose end is not on record: while the history cannot be written, no more than these wait for it.
    open: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

impl Lane {
    pub(crate) fn new(
        rule: Rule,
        name: String,
        shared: Arc<Shared>,
        read: Position,
        counts: &Counts,
    ) -> Self {
        Self {
            rule: Mutex::new(Arc::new(rule)),
            name,
            counters: Counters::of(counts),
            read: Mutex::new(read),
            shared,
        }
    }

    /// The rule as it is now.
    pub(crate) fn rule(&self) -> Arc<Rule> {
        Arc::clone(&lock(&self.rule))
    }

    /// Reacts with these files from the next event on.
    pub(crate) fn replace(&self, rule: Rule) {
        *lock(&self.rule) = Arc::new(rule);
    }

    /// How its reactions are throttled.
    fn throttle(&self) -> Option<&ThrottleConfig> {
        let rule = self.rule();
        let mut all = self.shared.config.throttle.iter();
        all.find(|(glob, _)| *glob == rule.glob)
            .map(|(_, config)| config)
    }

    /// Reacts until it is stopped; what runs then has a moment to end.
    pub(crate) async fn run(
        self: Arc<Self>,
        mut cursor: EventCursor,
        started: HashSet<(Seq, usize)>,
        stop: watch::Receiver<bool>,
    ) {
        /// How long reactions may take to end when the reactor does.
        const END_WITHIN: Duration = Duration::from_secs(2);
        let lane = Arc::clone(&self);
        cursor.expect(Expected::tags(move |tag| lane.rule().matches(tag)));
        let config = &self.shared.config;
        let mut work = Work {
            cursor,
            throttle: self.throttle().map(Throttle::new),
            waiting: BTreeSet::new(),
            started,
            pacer: Pacer::new(config.rate),
            running: JoinSet::new(),
            slots: Arc::new(Semaphore::new(config.workers)),
            open: Arc::new(Semaphore::new(MAX_OPEN)),
            stop,
        };
        while !*work.stop.borrow() {
            self.turn(&mut work).await;
        }
        let ended = async { while work.running.join_next().await.is_some() {} };
        if timeout(END_WITHIN, ended).await.is_err() {
            tracing::warn!(rule = %self.name, "reactions were still running at the end; brine reactor history lists them as uncertain");
        }
    }

    /// Waits for what comes next, and does it.
    async fn turn(self: &Arc<Self>, work: &mut Work) {
        while work.running.try_join_next().is_some() {}
        let due = work.throttle.as_ref().and_then(Throttle::next_due);
        let wait = async {
            match due {
                Some(due) => sleep(Duration::from_millis(due.0.saturating_sub(now().0))).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = work.stop.changed() => {}
            () = wait => {
                let due = work.throttle.as_mut().map(|throttle| throttle.take_due(now()));
                for event in due.unwrap_or_default() {
                    let seq = event.seq;
                    if self.react(event, work).await.is_none() {
                        return;
                    }
                    work.waiting.remove(&seq);
                }
                let read = work.cursor.seq();
                self.advance(work, read);
            }
            found = work.cursor.ready() => match found {
                Ok(events) => {
                    let rule = self.rule();
                    let own = events.iter().filter_map(|event| self.own(&rule, &event));
                    let own: Vec<Event> = own.collect();
                    work.cursor.advance(&events, events.len());
                    drop(events);
                    for event in own {
                        let next = Seq(event.seq.0 + 1);
                        if self.take(event, work).await.is_none() {
                            return;
                        }
                        self.advance(work, next);
                    }
                    let read = work.cursor.seq();
                    self.advance(work, read);
                }
                Err(gap) => self.skip(gap, work),
            }
        }
    }

    /// An event that this rule is for, decoded.
    fn own(&self, rule: &Rule, event: &StoredEvent<'_>) -> Option<Event> {
        let tag = std::str::from_utf8(event.event.get(..event.tag_bytes)?).ok()?;
        // What was fired on another master's bus is for that master's reactor.
        let is_own = event.origin.is_none();
        if !is_own || !rule.matches(tag) {
            return None;
        }
        // Salt's own commands to its reactor.
        if tag.contains("salt/reactors/manage") {
            return None;
        }
        let packed = event.event.get(event.tag_bytes + TAG_END.len()..)?;
        debug_assert!(Envelope::parse(event.event).is_ok());
        let Ok(Value::Map(data)) = msgpack::decode(packed) else {
            return None;
        };
        if data.get("user").and_then(Value::as_str) == Some(REACTOR) {
            return None;
        }
        Some(Event {
            seq: event.seq,
            at: event.at,
            tag: tag.to_owned(),
            data,
        })
    }

    /// Reacts to an event, unless it is one too many or has to wait. `None` if the reactor ends.
    async fn take(self: &Arc<Self>, event: Event, work: &mut Work) -> Option<()> {
        let counters = &self.counters;
        let (seq, at) = (event.seq, event.at);
        // Asked for each event: it may have been read long ago.
        if !self.shared.is_leader() {
            return Some(());
        }
        if self.shared.is_too_old(seq, at) {
            self.count(seq, &[&counters.events, &counters.too_old]);
            let text = "events older than max_age were found after the start, and are passed over";
            self.shared
                .warn_once(&Problem::warning(&self.name, None, text));
            return Some(());
        }
        let verdict = match &mut work.throttle {
            Some(throttle) => throttle.offer(&self.key(&event), at, event),
            None => Verdict::Run(event),
        };
        match verdict {
            Verdict::Run(event) => {
                self.count(seq, &[&counters.events]);
                return self.react(event, work).await;
            }
            Verdict::Drop => self.count(seq, &[&counters.events, &counters.throttled]),
            Verdict::Wait { replaced: None } => {
                self.count(seq, &[&counters.events]);
                work.waiting.insert(seq);
            }
            Verdict::Wait {
                replaced: Some(replaced),
            } => {
                self.count(seq, &[&counters.events, &counters.throttled]);
                work.waiting.remove(&replaced.seq);
                work.waiting.insert(seq);
            }
        }
        Some(())
    }

    /// Counts an event once, and not between those who read where the rule is and what it has counted.
    fn count(&self, seq: Seq, counters: &[&AtomicU64]) {
        let _read = lock(&self.read);
        self.counters.count(seq, counters);
    }

    /// The key by which events are throttled.
    fn key(&self, event: &Event) -> String {
        let throttle = self.throttle();
        let Some(expression) = throttle.and_then(|config| config.key.as_deref()) else {
            return String::new();
        };
        let data = Value::from(event.data.clone());
        let files = lock(&self.shared.files);
        files.evaluate(expression, &event.tag, &data).unwrap_or_else(|error| {
            tracing::warn!(rule = %self.name, tag = %event.tag, "throttle key {expression}: {error}");
            String::new()
        })
    }

    /// Renders the rule's files for an event and starts what they say. `None` if the reactor ends.
    async fn react(self: &Arc<Self>, event: Event, work: &mut Work) -> Option<()> {
        if !self.shared.is_leader() {
            return Some(());
        }
        let data = Value::from(event.data.clone());
        let rule = self.rule();
        let rendering = react(
            &rule,
            &self.shared.files,
            &*self.shared.execute,
            &event.tag,
            &data,
        );
        let mut stop = work.stop.clone();
        let reacted = tokio::select! {
            reacted = timeout(self.shared.config.timeout, rendering) => reacted,
            _ = stop.changed() => return None,
        };
        // Only what real Salt renders can take so long.
        let reacted = reacted.unwrap_or_else(|_| Reacted {
            problems: vec![Problem::error(
                rule.files.join(", "),
                None,
                self.shared.config.given_up(),
            )],
            ..Reacted::default()
        });
        let is_known = work.started.contains(&(event.seq, NOTHING_RENDERED));
        self.report(&event, &reacted.problems, is_known, &mut stop)
            .await?;
        for (nth, reaction) in reacted.reactions.into_iter().enumerate() {
            if work.started.contains(&(event.seq, nth)) {
                continue;
            }
            self.start(&event, nth, reaction, work).await?;
        }
        Some(())
    }

    /// Records and logs what kept files from being rendered; warnings are logged once. `None` if the reactor ends before.
    async fn report(
        &self,
        event: &Event,
        problems: &[Problem],
        is_known: bool,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<()> {
        for problem in problems.iter().filter(|problem| !problem.is_error) {
            self.shared.warn_once(problem);
        }
        let errors: Vec<_> = problems
            .iter()
            .filter(|problem| problem.is_error)
            .map(ToString::to_string)
            .collect();
        if errors.is_empty() || is_known {
            return Some(());
        }
        let text = errors.join("; ");
        tracing::error!(rule = %self.name, tag = %event.tag, "no reaction: {text}");
        let mut run = self.run_of(event, None, "rendering", None);
        self.record_failure(&mut run, text, stop).await
    }

    /// Records that a reaction has failed before anything was called. `None` if the reactor ends before.
    async fn record_failure(
        &self,
        run: &mut Run,
        text: String,
        stop: &mut watch::Receiver<bool>,
    ) -> Option<()> {
        self.record_start(run, stop).await?;
        let outcome = Outcome::Failed(text);
        tokio::select! {
            () = self.shared.record_end(run.number, &outcome) => Some(()),
            _ = stop.changed() => None,
        }
    }

    /// Records that a reaction starts. While that is impossible, because the disk is full, the rule waits: what is not
    /// on record is not started, and what is not started is not passed over. `None` if the reactor ends before.
    async fn record_start(&self, run: &mut Run, stop: &mut watch::Receiver<bool>) -> Option<()> {
        let mut is_told = false;
        while let Err(error) = self.shared.record_start(run) {
            if !std::mem::replace(&mut is_told, true) {
                tracing::error!(rule = %run.rule, tag = %run.tag, "the rule waits because its reaction cannot be recorded in {}: {error}", self.shared.directory.display());
            }
            tokio::select! {
                () = sleep(RECORD_AGAIN) => {}
                _ = stop.changed() => return None,
            }
        }
        Some(())
    }

    /// Starts a reaction, when there is room for it. `None` if the reactor ends before.
    async fn start(
        self: &Arc<Self>,
        event: &Event,
        nth: usize,
        reaction: Reaction,
        work: &mut Work,
    ) -> Option<()> {
        let mut stop = work.stop.clone();
        let room = async {
            work.pacer.wait().await;
            let open = Arc::clone(&work.open).acquire_owned().await.ok()?;
            let slot = Arc::clone(&work.slots).acquire_owned().await.ok()?;
            Some(Room { slot, open })
        };
        let room = tokio::select! {
            room = room => room?,
            _ = stop.changed() => return None,
        };
        // It may have waited long.
        if !self.shared.is_leader() {
            return Some(());
        }
        let from = format!("{}, ID {}", reaction.low.sls, reaction.low.id);
        let call = match reaction.call {
            Ok(call) => call,
            Err(problem) => {
                tracing::error!(rule = %self.name, tag = %event.tag, "no reaction: {problem}");
                let mut run = self.run_of(event, Some(nth), &from, None);
                return self
                    .record_failure(&mut run, problem.to_string(), &mut stop)
                    .await;
            }
        };
        let mut run = self.run_of(event, Some(nth), &from, Some(call.clone()));
        self.record_start(&mut run, &mut stop).await?;
        let lane = Arc::clone(self);
        // Jobs are published in order; whatever takes longer than a publish runs beside the others.
        if matches!(call, Call::Local(_)) {
            let outcome = self.perform(&call, room.slot).await;
            work.running.spawn(async move {
                lane.ended(&run, &outcome).await;
                drop(room.open);
            });
        } else {
            work.running.spawn(async move {
                let outcome = lane.perform(&call, room.slot).await;
                lane.ended(&run, &outcome).await;
                drop(room.open);
            });
        }
        while work.running.try_join_next().is_some() {}
        Some(())
    }

    /// Makes a call within its time.
    async fn perform(&self, call: &Call, slot: OwnedSemaphorePermit) -> Outcome {
        one_more(&self.counters.running);
        let outcome = self.shared.perform(call).await;
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        drop(slot);
        outcome
    }

    /// Records how a call ended.
    async fn ended(&self, run: &Run, outcome: &Outcome) {
        if let Outcome::Failed(text) = outcome {
            tracing::error!(rule = %self.name, tag = %run.tag, "reaction {} failed ({}): {text}", run.number, run.from);
        }
        self.shared.record_end(run.number, outcome).await;
    }

    fn run_of(&self, event: &Event, nth: Option<usize>, from: &str, call: Option<Call>) -> Run {
        Run {
            number: 0,
            rule: self.name.clone(),
            position: Position {
                log: self.shared.log.id(),
                seq: event.seq,
            },
            nth,
            tag: event.tag.clone(),
            from: from.to_owned(),
            call,
            too_large: None,
            started: now(),
            ended: None,
            outcome: Outcome::Running,
            repeats: None,
        }
    }

    /// Everything before `next` was started, but for what waits.
    fn advance(&self, work: &Work, next: Seq) {
        let next = work
            .waiting
            .first()
            .map_or(next, |waiting| next.min(*waiting));
        lock(&self.read).seq = Seq(next.0.saturating_sub(1));
    }

    /// Goes on behind events that are gone.
    fn skip(&self, gap: Gap, work: &mut Work) {
        // Numbers that a killed process left unused have no events.
        let missed = match &self.shared.history {
            Some(history)
                if gap.from.log == gap.to.log && gap.reason != Some(GapReason::Expired) =>
            {
                Some(history.count(gap.from.seq..gap.to.seq))
            }
            _ => gap.missed(),
        };
        match missed {
            Some(0) => {}
            None if gap.reason == Some(GapReason::UncleanShutdown) => {}
            missed => {
                self.counters
                    .missed
                    .fetch_add(missed.unwrap_or(1), Ordering::Relaxed);
                let missed = match missed {
                    Some(1) => "1 event".to_owned(),
                    Some(missed) => format!("{missed} events"),
                    None => "events".to_owned(),
                };
                tracing::error!(rule = %self.name, "no reaction to {missed} from {} on, which are no longer stored", gap.from);
            }
        }
        work.cursor.skip(gap);
        let read = work.cursor.seq();
        self.advance(work, read);
    }
}

//! One rule at work: its own cursor over the log, its own limits, its own place in the record.
//!
//! A reaction that hangs, a template that takes long, a storm of events: all of that holds up this rule and no other.
//! Jobs for minions are published one after the other, in order; runner and wheel functions run beside each other, as
//! many as the configuration allows.

use std::collections::{BTreeSet, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brine_log::{EventCursor, Gap, GapReason, Millis, Position, Seq, StoredEvent};
use brine_wire::envelope::{Envelope, TAG_END};
use brine_wire::{Map, Value, msgpack};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::call::Call;
use crate::journal::{Counts, Outcome, Run};
use crate::problem::Problem;
use crate::react::{Reaction, lock, react};
use crate::rules::Rule;
use crate::run::{REACTOR, Shared, now};
use crate::throttle::{Throttle, ThrottleConfig, Verdict};

/// A rule that runs.
pub(crate) struct Lane {
    /// Its pattern never changes; its files may.
    rule: Mutex<Arc<Rule>>,
    /// Its name in the record: the pattern, and a number if it stands there more than once.
    pub(crate) name: String,
    pub(crate) counters: Counters,
    /// Everything up to here was started.
    pub(crate) read: Mutex<Position>,
    shared: Arc<Shared>,
}

/// What has become of a rule's events, and how many of its reactions are running; what became of those that are not is
/// in the record.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    events: AtomicU64,
    throttled: AtomicU64,
    too_old: AtomicU64,
    missed: AtomicU64,
    pub(crate) running: AtomicU64,
}

impl Counters {
    fn of(counts: &Counts) -> Self {
        Self {
            events: counts.events.into(),
            throttled: counts.throttled.into(),
            too_old: counts.too_old.into(),
            missed: counts.missed.into(),
            running: AtomicU64::default(),
        }
    }

    /// Those of events, with what the record has of reactions.
    pub(crate) fn with(&self, recorded: Counts) -> Counts {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            events: now(&self.events),
            throttled: now(&self.throttled),
            too_old: now(&self.too_old),
            missed: now(&self.missed),
            ..recorded
        }
    }
}

fn one_more(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// An event that a rule is for.
struct Event {
    seq: Seq,
    at: Millis,
    tag: String,
    data: Map,
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
        cursor: EventCursor,
        started: HashSet<(Seq, usize)>,
        stop: watch::Receiver<bool>,
    ) {
        /// How long reactions may take to end when the reactor does.
        const END_WITHIN: Duration = Duration::from_secs(2);
        let config = &self.shared.config;
        let mut work = Work {
            cursor,
            throttle: self.throttle().map(Throttle::new),
            waiting: BTreeSet::new(),
            started,
            pacer: Pacer::new(config.rate),
            running: JoinSet::new(),
            slots: Arc::new(Semaphore::new(config.workers)),
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
        if !is_own || !rule.matches(tag) || !self.shared.is_leader() {
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
        one_more(&self.counters.events);
        if self.shared.is_too_old(event.seq, event.at) {
            one_more(&self.counters.too_old);
            let text = "events older than max_age were found after the start, and are passed over";
            self.shared
                .warn_once(&Problem::warning(&self.name, None, text));
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
        let Some(throttle) = &mut work.throttle else {
            return self.react(event, work).await;
        };
        let key = self.key(&event);
        let (seq, at) = (event.seq, event.at);
        match throttle.offer(&key, at, event) {
            Verdict::Run(event) => return self.react(event, work).await,
            Verdict::Drop => one_more(&self.counters.throttled),
            Verdict::Wait { replaced } => {
                if let Some(replaced) = replaced {
                    one_more(&self.counters.throttled);
                    work.waiting.remove(&replaced.seq);
                }
                work.waiting.insert(seq);
            }
        }
        Some(())
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
            reacted = rendering => reacted,
            _ = stop.changed() => return None,
        };
        self.report(&event, &reacted.problems, work);
        for (nth, reaction) in reacted.reactions.into_iter().enumerate() {
            if work.started.contains(&(event.seq, nth)) {
                continue;
            }
            self.start(&event, nth, reaction, work).await?;
        }
        Some(())
    }

    /// Records and logs what kept files from being rendered; warnings are logged once.
    fn report(&self, event: &Event, problems: &[Problem], work: &Work) {
        /// The number under which a failure is known after a restart; no event has so many reactions.
        const NONE: usize = usize::MAX;
        for problem in problems.iter().filter(|problem| !problem.is_error) {
            self.shared.warn_once(problem);
        }
        let errors: Vec<_> = problems
            .iter()
            .filter(|problem| problem.is_error)
            .map(ToString::to_string)
            .collect();
        if errors.is_empty() || work.started.contains(&(event.seq, NONE)) {
            return;
        }
        let text = errors.join("; ");
        tracing::error!(rule = %self.name, tag = %event.tag, "no reaction: {text}");
        let mut run = self.run_of(event, None, "rendering", None);
        if self.shared.record_start(&mut run) {
            self.shared.record_end(run.number, &Outcome::Failed(text));
        }
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
            Arc::clone(&work.slots).acquire_owned().await.ok()
        };
        let slot = tokio::select! {
            slot = room => slot?,
            _ = stop.changed() => return None,
        };
        let from = format!("{}, ID {}", reaction.low.sls, reaction.low.id);
        let call = match reaction.call {
            Ok(call) => call,
            Err(problem) => {
                let mut run = self.run_of(event, Some(nth), &from, None);
                if self.shared.record_start(&mut run) {
                    self.ended(&run, &Outcome::Failed(problem.to_string()));
                }
                return Some(());
            }
        };
        let mut run = self.run_of(event, Some(nth), &from, Some(call.clone()));
        if !self.shared.record_start(&mut run) {
            return Some(());
        }
        // Jobs are published in order; whatever takes longer than a publish runs beside the others.
        let is_in_order = matches!(call, Call::Local(_));
        let running = Arc::clone(self).perform(run, call, slot);
        match is_in_order {
            true => running.await,
            false => drop(work.running.spawn(running)),
        }
        Some(())
    }

    /// Makes a call within its time, and records what came of it.
    pub(crate) async fn perform(self: Arc<Self>, run: Run, call: Call, slot: OwnedSemaphorePermit) {
        one_more(&self.counters.running);
        let outcome = self.shared.perform(&call).await;
        self.counters.running.fetch_sub(1, Ordering::Relaxed);
        self.ended(&run, &outcome);
        drop(slot);
    }

    fn ended(&self, run: &Run, outcome: &Outcome) {
        if let Outcome::Failed(text) = outcome {
            tracing::error!(rule = %self.name, tag = %run.tag, "reaction {} failed ({}): {text}", run.number, run.from);
        }
        self.shared.record_end(run.number, outcome);
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
        // Numbers that a killed process left unused stand for no events.
        let missed = match &self.shared.history {
            Some(history) if gap.from.log == gap.to.log => {
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
                let missed =
                    missed.map_or_else(|| "events".to_owned(), |missed| format!("{missed} events"));
                tracing::error!(rule = %self.name, "{missed} from {} on are gone and not reacted to", gap.from);
            }
        }
        work.cursor.skip(gap);
        let read = work.cursor.seq();
        self.advance(work, read);
    }
}

/// Lets so many pass per second.
struct Pacer {
    interval: Duration,
    /// When the next may pass; a second's worth may have been saved up.
    next: Instant,
}

impl Pacer {
    fn new(rate: u32) -> Self {
        Self {
            interval: Duration::from_secs(1) / rate.max(1),
            next: Instant::now(),
        }
    }

    async fn wait(&mut self) {
        const SAVED: Duration = Duration::from_secs(1);
        let now = Instant::now();
        let saved = now.checked_sub(SAVED).unwrap_or(now);
        self.next = self.next.max(saved) + self.interval;
        if self.next > now {
            tokio::time::sleep_until(self.next.into()).await;
        }
    }
}

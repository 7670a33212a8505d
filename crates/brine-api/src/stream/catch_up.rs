//! One stream that reads through the log by itself, from its start or because its client was slow, until it has
//! caught up and joins the others ([`super::fan_out`]).
//!
//! For a client that does not read, it keeps only a cursor and how much of which record was sent: rendered bytes that
//! do not fit the socket are dropped, and rendered again to the same bytes.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::{SystemTime, UNIX_EPOCH};

use brine_log::{EventCursor, Events, Expected, Gap, Log, Millis, Next, Position, Seq, Start};
use tokio::sync::mpsc::error::SendError;
use tokio::time::{Duration, Instant, sleep_until};

use super::form;
use super::subscriber::{Over, Subscriber};
use super::window::{Spot, Window, push_framed};
use super::{Join, Shared};
use crate::events::filter::Expects;
use crate::events::last;
use crate::events::redaction::Redaction;

/// A stream's piece, about what one write moves, in bytes. It grows from the first to the second as long as
/// its socket takes whole pieces: what it does not take was rendered in vain.
const PIECE_BYTES: std::ops::RangeInclusive<usize> = 4 << 10..=64 << 10;
/// As good as never.
const FAR: Duration = Duration::from_secs(86_400 * 365);

/// Where a stream ends by itself. One that does never joins the others.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bounds {
    /// The last event.
    pub(super) end: Option<Seq>,
    /// The time of arrival after which none counts.
    pub(super) until: Option<Millis>,
    /// How many events are left.
    pub(super) limit: Option<u64>,
}

impl Bounds {
    const fn are_none(&self) -> bool {
        self.end.is_none() && self.until.is_none() && self.limit.is_none()
    }

    fn expected(&self, subscriber: &Subscriber, expects: Expects) -> Expected {
        let expected = subscriber.view.filter.expected(expects);
        expected.up_to(self.end, self.until)
    }
}

/// A stream that reads through the log.
pub(super) struct CatchUp {
    shared: Arc<Shared>,
    subscriber: Subscriber,
    log: Arc<Log>,
    cursor: EventCursor,
    redaction: Redaction,
    /// How many bytes of the record of the cursor's event were sent already.
    sent_of_record: usize,
    bounds: Bounds,
    piece_bytes: usize,
    /// When something was sent last.
    active: Instant,
}

/// How far a stream goes back in time in a log that takes the place of another: each of the two says for itself when an
/// event arrived, and one may have been slower.
const OVERLAP: Duration = Duration::from_millis(100);

/// When the newest event of a log arrived.
fn newest(log: &Log) -> Option<Millis> {
    let before = Seq(log.position().seq.0.checked_sub(1)?);
    let mut cursor = log.events(Start::After(Position {
        log: log.id(),
        seq: before,
    }));
    match cursor.next() {
        Next::Ready(events) => events.iter().last().map(|event| event.at),
        _ => None,
    }
}

/// What happens next to a stream.
enum Step {
    Continue,
    /// Its socket has no room.
    Blocked,
    /// It has read everything there is.
    Tail,
    /// It is complete.
    Complete,
    /// Its client has gone, or cannot be served on.
    Gone,
}

impl CatchUp {
    /// A stream that starts here in a log, of which `sent_of_record` bytes of its first record were sent.
    pub(super) fn new(
        shared: &Arc<Shared>,
        log: Arc<Log>,
        subscriber: Subscriber,
        start: Start,
        sent_of_record: usize,
        bounds: Bounds,
        expects: Expects,
    ) -> Self {
        let mut cursor = log.events(start);
        cursor.expect(bounds.expected(&subscriber, expects));
        // A client that takes nothing from the beginning is behind from there.
        subscriber.entry.reader.note(cursor.seq(), 0);
        Self {
            shared: Arc::clone(shared),
            subscriber,
            log,
            cursor,
            redaction: Redaction::of(&shared.redact),
            sent_of_record,
            bounds,
            piece_bytes: *PIECE_BYTES.start(),
            active: Instant::now(),
        }
    }

    /// Begins with the last `count` events that the stream shows, at or after `start`.
    pub(super) async fn run_from_last(mut self, start: Start, count: usize) {
        let view = Arc::clone(&self.subscriber.view);
        let log = Arc::clone(&self.log);
        let (end, until) = (self.bounds.end, self.bounds.until);
        let redaction = &mut self.redaction;
        let found = async {
            let before = end.map(|end| Seq(end.0.saturating_add(1)));
            let end = last::end(&log, before, until).await;
            last::find(&log, start, end, (&view.filter, redaction), count).await
        };
        let found = tokio::select! {
            found = found => found,
            _ = over(&mut self.subscriber) => return,
        };
        if let Some(start) = found {
            self.cursor = self.log.events(start);
            let expected = self.bounds.expected(&self.subscriber, Expects::WhatIsThere);
            self.cursor.expect(expected);
        }
        self.run().await;
    }

    /// Sends events until the stream has caught up, is complete or over.
    pub(super) async fn run(mut self) {
        loop {
            match self.step().await {
                Step::Continue => {
                    // A reader whose filter matches little must not delay the others of its thread.
                    tokio::task::yield_now().await;
                    let now = poll_fn(|context| Poll::Ready(self.subscriber.poll_over(context)));
                    if let Poll::Ready(reason) = now.await {
                        return self.end(reason);
                    }
                }
                Step::Blocked => {
                    tokio::select! {
                        biased;
                        reason = over(&mut self.subscriber) => return self.end(reason),
                        () = next_wake_up() => {}
                    }
                }
                Step::Tail if *self.shared.shutdown.borrow() => return self.end(Over::Ended),
                Step::Tail if self.bounds.are_none() => return self.join().await,
                Step::Tail => {
                    if let Some(reason) = self.wait().await {
                        return self.end(reason);
                    }
                }
                Step::Complete => return self.end(Over::Ended),
                Step::Gone => return,
            }
        }
    }

    /// Sends one piece, or finds out why there is none.
    async fn step(&mut self) -> Step {
        if !self.subscriber.pending.is_empty() {
            let subscriber = &mut self.subscriber;
            let sent = poll_fn(|context| Poll::Ready(subscriber.poll_send_pending(context))).await;
            return Self::after(&sent);
        }
        if self.is_complete() {
            return Step::Complete;
        }
        match self.cursor.next() {
            Next::Ready(events) => self.send(&events).await,
            Next::Stored => {
                self.cursor.load().await;
                Step::Continue
            }
            Next::Gap(gap) => self.report(gap),
            Next::Tail => self.follow_log().await,
        }
    }

    /// Sends what one run of events holds, as much of it as one piece and the socket take.
    async fn send(&mut self, events: &Events) -> Step {
        let (window, is_cut) = self.render(events);
        let mut at = window.base() + self.sent_of_record as u64;
        if self.sent_of_record > 0 && window.spot(window.base()) != Spot::Between(self.cursor.seq())
        {
            return Step::Gone; // the rest of the record is no longer to be had
        }
        let mut sent = 0;
        let (subscriber, bytes) = (&mut self.subscriber, window.from(at));
        let result =
            poll_fn(|context| Poll::Ready(subscriber.poll_send(context, bytes, &mut sent)));
        let result = result.await;
        at += sent as u64;
        let (next, sent_of_record) = match window.spot(at) {
            Spot::Between(next) | Spot::InsideOther(next, _) => (next, 0),
            Spot::Inside(seq, sent) => (seq, sent),
        };
        self.sent_of_record = sent_of_record;
        self.cursor
            .advance(events, distance(self.cursor.seq(), next));
        let count = window.events_before(at) - window.events_before(window.base());
        self.subscriber.entry.reader.note(next, count);
        self.shared.counters.delivered(count);
        if let Some(left) = &mut self.bounds.limit {
            *left = left.saturating_sub(count);
        }
        if sent > 0 {
            self.active = Instant::now();
        }
        self.piece_bytes = if at == window.end() {
            (2 * self.piece_bytes).min(*PIECE_BYTES.end())
        } else {
            *PIECE_BYTES.start()
        };
        if is_cut && at == window.end() {
            return Step::Complete;
        }
        Self::after(&result)
    }

    /// Renders events, and says whether the stream ends behind them.
    fn render(&mut self, events: &Events) -> (Window, bool) {
        let view = &self.subscriber.view;
        let first = self.cursor.seq();
        let mut window = Window::new(view.wire, first);
        let mut left = self.bounds.limit.unwrap_or(u64::MAX);
        let mut record = Vec::new();
        for event in events.iter() {
            let is_late = self.bounds.until.is_some_and(|until| event.at > until);
            if left == 0 || is_late || self.bounds.end.is_some_and(|end| event.seq > end) {
                return (window, true);
            }
            if window.len() >= self.piece_bytes {
                return (window, false);
            }
            if let Some(event) = view.filter.shown(&event, &mut self.redaction) {
                record.clear();
                view.form.event(self.log.id(), &event, &mut record);
                window.push_event(event.seq, &record);
                left -= 1;
            }
            window.looked_at(Seq(event.seq.0 + 1));
        }
        window.looked_at(Seq(first.0 + events.len() as u64));
        (window, left == 0)
    }

    /// Tells the client what it cannot have. In the middle of a record there is nothing to tell.
    fn report(&mut self, gap: Gap) -> Step {
        if self.sent_of_record > 0 {
            return Step::Gone;
        }
        let mut record = Vec::new();
        self.subscriber.view.form.gap(&gap, &mut record);
        push_framed(
            self.subscriber.view.wire,
            &record,
            &mut self.subscriber.pending,
        );
        self.active = Instant::now();
        self.cursor.skip(gap);
        Step::Continue
    }

    /// At the end of a log that was replaced by another, continues there with what arrived since; the events in between
    /// are a gap.
    async fn follow_log(&mut self) -> Step {
        let log = self.shared.log();
        if Arc::ptr_eq(&log, &self.log) {
            return Step::Tail;
        }
        if self.bounds.end.is_some() {
            return Step::Complete; // its end is a number of the old one
        }
        let start = match newest(&self.log) {
            Some(at) => Start::Since(Millis(at.0.saturating_sub(OVERLAP.as_millis() as u64))),
            None => Start::Tail,
        };
        let gap = Gap {
            from: Position {
                log: self.log.id(),
                seq: self.cursor.seq(),
            },
            to: Position {
                log: log.id(),
                seq: last::first(&log, start).await,
            },
            reason: None,
            unused: 0,
        };
        self.cursor = log.events(Start::After(form::before(gap.to.log, gap.to.seq)));
        let expected = self.bounds.expected(&self.subscriber, Expects::All);
        self.cursor.expect(expected);
        self.log = log;
        self.report(gap)
    }

    /// What a send came to.
    fn after(result: &Poll<io::Result<()>>) -> Step {
        match result {
            Poll::Ready(Ok(())) => Step::Continue,
            Poll::Ready(Err(_)) => Step::Gone,
            Poll::Pending => Step::Blocked,
        }
    }

    fn is_complete(&self) -> bool {
        let is_past_end = self.bounds.end.is_some_and(|end| self.cursor.seq() > end);
        self.bounds.limit == Some(0) || is_past_end && !self.cursor.is_behind_gap()
    }

    fn position(&self) -> Position {
        form::before(self.log.id(), self.cursor.seq())
    }

    async fn join(self) {
        let position = self.position();
        let join = Join {
            subscriber: self.subscriber,
            log: self.log,
            position,
        };
        if let Err(SendError(join)) = self.shared.joins.send(join).await {
            join.subscriber.finish(); // nobody takes it: all streams end
        }
    }

    /// Waits at the tail; gives the reason when the stream is over.
    async fn wait(&mut self) -> Option<Over> {
        let mut shutdown = self.shared.shutdown.clone();
        let until = Instant::now() + self.until();
        let heartbeat = self.active + self.subscriber.view.heartbeat;
        tokio::select! {
            biased;
            reason = over(&mut self.subscriber) => return Some(reason),
            () = self.cursor.readable() => {}
            () = self.shared.replaced(&self.log) => {}
            _ = shutdown.wait_for(|is_over| *is_over) => return Some(Over::Ended),
            () = sleep_until(until) => self.bounds.end = Some(self.log.position().seq),
            () = sleep_until(heartbeat) => {
                let mut record = Vec::new();
                self.subscriber.view.form.heartbeat(self.cursor.position(), &mut record);
                push_framed(self.subscriber.view.wire, &record, &mut self.subscriber.pending);
                self.active = Instant::now();
            }
        }
        None
    }

    /// How long something can still arrive in time.
    fn until(&self) -> Duration {
        let (None, Some(until)) = (self.bounds.end, self.bounds.until) else {
            return FAR;
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Duration::from_millis(until.0)
            .saturating_sub(now.unwrap_or_default())
            .min(FAR)
    }

    fn end(self, reason: Over) {
        let is_between = self.sent_of_record == 0 && self.subscriber.pending.is_empty();
        if reason == Over::Ended && is_between {
            self.subscriber.finish();
        }
    }
}

/// The number of events from one to another.
fn distance(from: Seq, to: Seq) -> usize {
    usize::try_from(to.0.saturating_sub(from.0)).unwrap_or(usize::MAX)
}

async fn over(subscriber: &mut Subscriber) -> Over {
    poll_fn(|context| subscriber.poll_over(context)).await
}

/// Done when the task is woken, for whatever reason: a socket that had no room wakes its task.
async fn next_wake_up() {
    let mut is_woken = false;
    poll_fn(|_| {
        if std::mem::replace(&mut is_woken, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

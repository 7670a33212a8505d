//! The streams that have caught up: each event is examined and rendered once for all of them, and each stream is sent
//! everything that is due in one write per turn.
//!
//! One task owns all of it, so that there are no locks, and no wake-up per event and stream. A stream is a position
//! in its group's window; a stream that the window leaves behind continues by itself ([`super::catch_up`]). Turns
//! form by themselves: the events that arrive during one turn are the next.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use brine_log::{EventCursor, Log, Next, Position, Seq, Start, StoredEvent};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Duration, Instant, sleep_until};

use super::catch_up::{Bounds, CatchUp};
use super::form::{self, Form};
use super::subscriber::{Over, Subscriber, View};
use super::window::{Spot, Window};
use super::{Join, Shared};
use crate::events::filter::Expects;
use crate::events::redaction::Redaction;

/// All windows together, in bytes.
const ALL_WINDOWS_BYTES: usize = 32 << 20;
/// One window, in bytes, while a stream lags in it.
const WINDOW_BYTES: usize = 1 << 20;
/// What stays of a window when none lags, for streams that join: this part of its bytes.
const KEPT_PART: usize = 16;
/// What is rendered in one turn, in bytes.
const TURN_BYTES: usize = 512 << 10;
/// What a new group may look at in one turn, in events: one that starts further back catches up alone.
const WARM_UP_EVENTS: u64 = 4096;
/// How often heartbeats are looked for.
const TICK: Duration = Duration::from_secs(1);

/// The streams that have caught up.
pub(super) struct FanOut {
    shared: Arc<Shared>,
    joins: mpsc::Receiver<Join>,
    woken: Arc<Woken>,
    log: Arc<Log>,
    /// `None` without streams: a cursor that nobody moves would keep the log from dropping anything.
    place: Option<Place>,
    groups: Vec<Group>,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    /// How many members' sockets have no room.
    blocked: usize,
    /// Whom the log's next events must be read for first.
    early: Vec<Join>,
    rendered: Vec<Rendered>,
    /// Nobody who comes over the network may see everything.
    redaction: Redaction,
    tick: Instant,
}

/// Where the fan-out is in the log.
struct Place {
    cursor: EventCursor,
    /// Not behind any stream, so that the log keeps what a stream needs that is let go.
    anchor: EventCursor,
}

impl Place {
    fn at_tail(log: &Log) -> Self {
        Self {
            cursor: log.events(Start::Tail),
            anchor: log.events(Start::Tail),
        }
    }
}

/// The streams that show the same.
struct Group {
    view: Arc<View>,
    window: Window,
    members: Vec<usize>,
    /// Where its window ended in the turn before.
    sent: u64,
    /// When its streams were sent something last.
    active: Instant,
}

struct Member {
    subscriber: Subscriber,
    /// Its place in its group's list.
    nth: usize,
    view: Arc<View>,
    at: u64,
    /// Whether its socket had no room.
    is_blocked: bool,
    waker: Waker,
}

/// An event in one form, for all groups of that form.
struct Rendered {
    form: Form,
    seq: Option<Seq>,
    record: Vec<u8>,
}

/// Members whose sockets have something to say.
#[derive(Default)]
struct Woken {
    members: Mutex<Vec<usize>>,
    any: Notify,
}

struct MemberWaker {
    member: usize,
    woken: Arc<Woken>,
}

impl Wake for MemberWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.lock().push(self.member);
        self.woken.any.notify_one();
    }
}

impl Woken {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        // A list of numbers is consistent even if a thread panicked.
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FanOut {
    pub(super) fn new(shared: Arc<Shared>, joins: mpsc::Receiver<Join>) -> Self {
        let log = shared.log();
        Self {
            place: None,
            log,
            redaction: Redaction::of(&shared.redact),
            shared,
            joins,
            woken: Arc::default(),
            groups: Vec::new(),
            members: Vec::new(),
            free: Vec::new(),
            blocked: 0,
            early: Vec::new(),
            rendered: Vec::new(),
            tick: Instant::now() + TICK,
        }
    }

    /// Serves streams until all of them are to end.
    pub(super) async fn run(mut self) {
        let mut shutdown = self.shared.shutdown.clone();
        loop {
            if self.shared.is_replaced(&self.log) {
                self.change_log();
            }
            let is_caught_up = self.turn();
            if !is_caught_up {
                tokio::task::yield_now().await;
                continue;
            }
            let has_members = !self.groups.is_empty();
            if !has_members {
                self.place = None;
            }
            let woken = Arc::clone(&self.woken);
            tokio::select! {
                biased;
                _ = shutdown.wait_for(|is_over| *is_over) => break,
                () = woken.any.notified() => {}
                Some(join) = self.joins.recv() => self.early.push(join),
                // Without streams nobody is woken for events.
                () = readable(&mut self.place) => {}
                () = self.shared.replaced(&self.log) => {}
                () = sleep_until(self.tick), if has_members => self.beat(),
            }
        }
        self.end();
    }

    /// One turn; says whether everything that is there was read.
    fn turn(&mut self) -> bool {
        self.take_woken();
        let is_caught_up = self.read();
        self.take_joins();
        let mut is_trimmed = false;
        for nth in (0..self.groups.len()).rev() {
            self.send(nth);
            is_trimmed |= self.trim(nth);
            if self.groups[nth].members.is_empty() {
                self.groups.swap_remove(nth);
            }
        }
        self.move_anchor(is_trimmed);
        is_caught_up && self.early.is_empty()
    }

    /// Moves the anchor up to the slowest stream. It matters only once a window was trimmed, so the streams are rarely
    /// searched for the slowest.
    fn move_anchor(&mut self, is_trimmed: bool) {
        let tail = self.next();
        let needed = if self.blocked == 0 {
            tail
        } else if is_trimmed {
            let blocked = self
                .members
                .iter()
                .flatten()
                .filter(|member| member.is_blocked);
            let needed = blocked.filter_map(|member| {
                let window = &self.group(&member.view)?.window;
                Some(window.spot(member.at).next())
            });
            needed.min().unwrap_or(tail)
        } else {
            return;
        };
        if let Some(place) = &mut self.place
            && place.anchor.seq() != needed
        {
            let start = Start::After(form::before(self.log.id(), needed));
            place.anchor = self.log.events(start);
        }
    }

    /// The first event that was not looked at.
    fn next(&mut self) -> Seq {
        let place = self.place.get_or_insert_with(|| Place::at_tail(&self.log));
        place.cursor.seq()
    }

    fn group(&self, view: &Arc<View>) -> Option<&Group> {
        self.groups
            .iter()
            .find(|group| Arc::ptr_eq(&group.view, view))
    }

    /// Looks at the log's next events for every group; says whether the tail was reached.
    fn read(&mut self) -> bool {
        let mut bytes = 0;
        loop {
            let Some(place) = &mut self.place else {
                return true;
            };
            match place.cursor.next() {
                Next::Ready(events) => {
                    place.cursor.advance(&events, events.len());
                    let next = place.cursor.seq();
                    for event in events.iter() {
                        bytes += self.show(&event);
                    }
                    let windows = self.groups.iter_mut().map(|group| &mut group.window);
                    windows.for_each(|window| window.looked_at(next));
                    if bytes >= TURN_BYTES {
                        return false;
                    }
                }
                Next::Tail => return true,
                // The log moved past us while we were busy: each stream reads or reports that itself.
                Next::Stored | Next::Gap(_) => {
                    for nth in (0..self.groups.len()).rev() {
                        self.send(nth);
                        self.let_go_of_group(nth);
                    }
                    self.place = Some(Place::at_tail(&self.log));
                    return true;
                }
            }
        }
    }

    /// Renders an event for the groups that show it, once per form; gives the bytes this took.
    fn show(&mut self, event: &StoredEvent<'_>) -> usize {
        let mut bytes = 0;
        let mut groups = self.groups.iter();
        let Some(first) = groups.position(|group| group.view.filter.wants(event)) else {
            return 0;
        };
        let Some(event) = self.redaction.apply(event) else {
            return 0;
        };
        for group in &mut self.groups[first..] {
            let filter = &group.view.filter;
            if filter.wants(&event) && filter.holds(&event) {
                let form = group.view.form;
                let record = rendered(&mut self.rendered, form, self.log.id(), &event);
                group.window.push_event(event.seq, record);
                bytes += record.len();
            }
        }
        bytes
    }

    /// Sends each stream of a group what is due.
    fn send(&mut self, nth: usize) {
        let group = &mut self.groups[nth];
        let end = group.window.end();
        if group.sent == end {
            return;
        }
        let turn_events = group.window.events_before(end) - group.window.events_before(group.sent);
        let (mut whole, mut gone) = (0, Vec::new());
        for &number in &group.members {
            let Some(member) = &mut self.members[number] else {
                continue;
            };
            if member.is_blocked {
                continue;
            }
            let from = member.at;
            if member.send(&group.window, &mut self.blocked).is_err() {
                gone.push(number);
            } else if from == group.sent && member.at == end {
                whole += 1;
                member
                    .subscriber
                    .entry
                    .reader
                    .note(group.window.next(), turn_events);
            } else {
                member.note(&group.window, from, &self.shared);
            }
        }
        self.shared.counters.delivered(whole * turn_events);
        group.sent = end;
        group.active = Instant::now();
        for number in gone {
            self.remove(number);
        }
    }

    /// Drops what no stream of a group needs, and lets go of those that would keep too much.
    /// Says whether anything was dropped.
    fn trim(&mut self, nth: usize) -> bool {
        let limit = (ALL_WINDOWS_BYTES / self.groups.len().max(1)).min(WINDOW_BYTES);
        let group = &mut self.groups[nth];
        let kept = limit / KEPT_PART;
        if group.window.len() <= 2 * kept {
            return false;
        }
        let base = group.window.base();
        let members = group
            .members
            .iter()
            .filter_map(|nth| self.members[*nth].as_ref());
        let slowest = members.map(|member| member.at).min();
        let end = group.window.end();
        let keep_from = end.saturating_sub(kept as u64);
        let needed_from = slowest.unwrap_or(end).min(keep_from);
        if end - needed_from <= limit as u64 {
            group.window.drop_before(needed_from);
        } else {
            let late = end - limit as u64 / 2;
            let members = group.members.iter().copied();
            let is_late = |nth: &usize| {
                let member = self.members[*nth].as_ref();
                member.is_some_and(|member| member.at < late)
            };
            let late_members: Vec<usize> = members.filter(is_late).collect();
            for number in late_members {
                self.let_go(number);
            }
            self.groups[nth].window.drop_before(late.min(keep_from));
        }
        let window = &mut self.groups[nth].window;
        window.shrink();
        window.base() != base
    }

    /// Looks at members whose sockets have something to say: they have room, are closed, or must end.
    fn take_woken(&mut self) {
        let mut woken = std::mem::take(&mut *self.woken.lock());
        woken.sort_unstable();
        woken.dedup();
        for number in woken {
            let Some(member) = self.members.get_mut(number).and_then(Option::as_mut) else {
                continue; // gone since
            };
            let Some(group) = self
                .groups
                .iter()
                .find(|group| Arc::ptr_eq(&group.view, &member.view))
            else {
                continue;
            };
            match member.poll_over() {
                Poll::Ready(Over::Ended) => {
                    let is_between = matches!(group.window.spot(member.at), Spot::Between(_));
                    if let Some(member) = self.remove(number).filter(|_| is_between) {
                        member.subscriber.finish();
                    }
                }
                Poll::Ready(Over::Gone) => drop(self.remove(number)),
                Poll::Pending => {
                    let from = member.at;
                    let sent = member.send(&group.window, &mut self.blocked);
                    member.note(&group.window, from, &self.shared);
                    if sent.is_err() {
                        self.remove(number);
                    }
                }
            }
        }
    }

    fn take_joins(&mut self) {
        let mut joins = std::mem::take(&mut self.early);
        while let Ok(join) = self.joins.try_recv() {
            joins.push(join);
        }
        for join in joins {
            self.join(join);
        }
    }

    /// Takes a stream in, where its group has what it reads next; lets it catch up if not.
    fn join(&mut self, join: Join) {
        let next = Seq(join.position.seq.0 + 1);
        if !Arc::ptr_eq(&join.log, &self.log) {
            return self.catch_up(join.log, join.subscriber, join.position, 0);
        }
        if next > self.next() {
            return self.early.push(join); // it has read further than this turn
        }
        let view = Arc::clone(&join.subscriber.view);
        let known = self.groups.iter().position(|group| group.view == view);
        let nth = match known {
            Some(nth) => nth,
            None => match self.new_group(view, next) {
                Some(nth) => nth,
                None => return self.catch_up(join.log, join.subscriber, join.position, 0),
            },
        };
        let group = &mut self.groups[nth];
        let Some(at) = group.window.find(next) else {
            return self.catch_up(join.log, join.subscriber, join.position, 0);
        };
        let number = self.free.pop().unwrap_or_else(|| {
            self.members.push(None);
            self.members.len() - 1
        });
        let waker = MemberWaker {
            member: number,
            woken: Arc::clone(&self.woken),
        };
        let mut subscriber = join.subscriber;
        subscriber.view = Arc::clone(&group.view); // one copy of a filter for all its streams
        let mut member = Member {
            subscriber,
            nth: group.members.len(),
            view: Arc::clone(&group.view),
            at,
            is_blocked: false,
            waker: Arc::new(waker).into(),
        };
        let is_over = member.poll_over();
        if is_over.is_pending() && member.send(&group.window, &mut self.blocked).is_ok() {
            member.note(&group.window, at, &self.shared);
            group.members.push(number);
            self.members[number] = Some(member);
            return;
        }
        self.free.push(number);
        if is_over == Poll::Ready(Over::Ended) {
            member.subscriber.finish();
        }
    }

    /// A group whose window begins with an event that was read already; `None` if that is far back.
    fn new_group(&mut self, view: Arc<View>, first: Seq) -> Option<usize> {
        let end = self.next();
        if end.0.saturating_sub(first.0) > WARM_UP_EVENTS {
            return None;
        }
        let mut window = Window::new(view.wire, first);
        let start = Start::After(form::before(self.log.id(), first));
        let mut cursor = self.log.events(start);
        let mut record = Vec::new();
        while cursor.seq() < end {
            let Next::Ready(events) = cursor.next() else {
                return None;
            };
            let events_before = events.iter().take_while(|event| event.seq < end);
            for event in events_before {
                let Some(event) = view.filter.shown(&event, &mut self.redaction) else {
                    continue;
                };
                record.clear();
                view.form.event(self.log.id(), &event, &mut record);
                window.push_event(event.seq, &record);
            }
            cursor.advance(&events, events.len());
        }
        window.looked_at(end);
        self.groups.push(Group {
            view,
            sent: window.end(),
            window,
            members: Vec::new(),
            active: Instant::now(),
        });
        Some(self.groups.len() - 1)
    }

    /// Lets a member continue by itself from where it is.
    fn let_go(&mut self, number: usize) {
        let Some(member) = self.remove(number) else {
            return;
        };
        let group = self
            .groups
            .iter()
            .find(|group| Arc::ptr_eq(&group.view, &member.view));
        let Some(window) = group.map(|group| &group.window) else {
            return;
        };
        let mut subscriber = member.subscriber;
        let (next, sent) = match window.spot(member.at) {
            Spot::Between(next) => (next, 0),
            Spot::Inside(seq, sent) => (seq, sent),
            Spot::InsideOther(next, left) => {
                subscriber.pending = window.from(member.at)[..left].to_vec();
                (next, 0)
            }
        };
        let position = form::before(self.log.id(), next);
        self.catch_up(Arc::clone(&self.log), subscriber, position, sent);
    }

    fn let_go_of_group(&mut self, nth: usize) {
        for number in self.groups[nth].members.clone() {
            self.let_go(number);
        }
    }

    fn catch_up(
        &self,
        log: Arc<Log>,
        subscriber: Subscriber,
        position: Position,
        sent_of_record: usize,
    ) {
        let start = Start::After(position);
        let bounds = Bounds::default();
        let stream = CatchUp::new(
            &self.shared,
            log,
            subscriber,
            start,
            sent_of_record,
            bounds,
            Expects::All,
        );
        if let Some(runtime) = self.shared.runtime.get() {
            runtime.spawn(stream.run());
        }
    }

    fn remove(&mut self, number: usize) -> Option<Member> {
        let member = self.members.get_mut(number)?.take()?;
        self.free.push(number);
        self.blocked -= usize::from(member.is_blocked);
        let group = self
            .groups
            .iter_mut()
            .find(|group| Arc::ptr_eq(&group.view, &member.view))?;
        group.members.swap_remove(member.nth);
        if let Some(moved) = group
            .members
            .get(member.nth)
            .and_then(|nth| self.members[*nth].as_mut())
        {
            moved.nth = member.nth;
        }
        Some(member)
    }

    /// The log was replaced by another: every stream finishes the old one by itself, continues in the new one, and joins
    /// again.
    fn change_log(&mut self) {
        self.turn(); // what the old one still had
        for nth in (0..self.groups.len()).rev() {
            self.let_go_of_group(nth);
        }
        self.groups.clear();
        self.rendered.clear();
        self.log = self.shared.log();
        self.place = None;
    }

    /// Shows streams that were sent nothing for a while that they live.
    fn beat(&mut self) {
        let now = Instant::now();
        let mut tick = TICK;
        let position = form::before(self.log.id(), self.next());
        for group in &mut self.groups {
            tick = tick.min(group.view.heartbeat);
            if now.duration_since(group.active) >= group.view.heartbeat {
                let mut record = Vec::new();
                group.view.form.heartbeat(position, &mut record);
                group.window.push_other(&record);
            }
        }
        self.tick = now + tick;
    }

    /// Sends what the log holds and ends every stream.
    fn end(&mut self) {
        self.joins.close();
        while !self.turn() {}
        let members = std::mem::take(&mut self.members);
        for member in members.into_iter().flatten() {
            if !member.is_blocked {
                member.subscriber.finish();
            }
        }
    }
}

/// Done when there are events to look at; never without a place.
async fn readable(place: &mut Option<Place>) {
    match place {
        Some(place) => place.cursor.readable().await,
        None => std::future::pending().await,
    }
}

impl Member {
    /// Sends what is due; `blocked` counts those whose sockets have no room.
    fn send(&mut self, window: &Window, blocked: &mut usize) -> std::io::Result<()> {
        let mut context = Context::from_waker(&self.waker);
        let mut sent = 0;
        let bytes = window.from(self.at);
        let result = self.subscriber.poll_send(&mut context, bytes, &mut sent);
        self.at += sent as u64;
        *blocked -= usize::from(self.is_blocked);
        self.is_blocked = result.is_pending();
        *blocked += usize::from(self.is_blocked);
        match result {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }

    fn poll_over(&mut self) -> Poll<Over> {
        let mut context = Context::from_waker(&self.waker);
        self.subscriber.poll_over(&mut context)
    }

    /// Counts what it was sent since it was at `from`.
    fn note(&self, window: &Window, from: u64, shared: &Shared) {
        let count = window.events_before(self.at) - window.events_before(from);
        let next = window.spot(self.at).next();
        self.subscriber.entry.reader.note(next, count);
        shared.counters.delivered(count);
    }
}

/// An event in a form, rendered unless it was already.
fn rendered<'a>(
    cache: &'a mut Vec<Rendered>,
    form: Form,
    log: brine_log::LogId,
    event: &StoredEvent<'_>,
) -> &'a [u8] {
    let nth = cache.iter().position(|rendered| rendered.form == form);
    let nth = nth.unwrap_or_else(|| {
        cache.push(Rendered {
            form,
            seq: None,
            record: Vec::new(),
        });
        cache.len() - 1
    });
    let rendered = &mut cache[nth];
    if rendered.seq != Some(event.seq) {
        rendered.record.clear();
        form.event(log, event, &mut rendered.record);
        rendered.seq = Some(event.seq);
    }
    &rendered.record
}

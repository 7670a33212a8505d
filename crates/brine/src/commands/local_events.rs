//! Events of a running bus over its local socket: what `brine watch` and `brine history` print if they do not read
//! the store itself.
//!
//! Past and present events are one stream. It resumes at its position after a connection breaks, and reports what is
//! missing.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use brine_bus::address::Endpoint;
use brine_bus::client::local::blocking::{EventStream, LocalClient};
use brine_bus::client::local::{
    ANSWER_TIME, Delivery, EventQuery, LocalAddress, LocalError, Stored,
};
use brine_bus::client::{ConnectError, Denied, EventRef, PublisherConfig, Wait};
use brine_log::{Millis, Position, Seq};
use brine_wire::Value;
use brine_wire::time::StartText;

use super::event_output::{Missing, Output, utc};
use super::late::{self, LATE};
use super::local_starts::{self, before, start_text, time_text};
use super::permitted;
use super::selection::Selection;
use crate::access;
use crate::bus_location::{self, BusLocation};
use crate::interrupt::Interrupt;
use crate::remote::{Kind, Remote};
use crate::show;
use crate::terminal;

/// The most events that are kept in order to print them in reverse order.
const MAX_KEPT: usize = 1_000_000;
/// How often an end from outside is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the bus may take to say what it hides before anything is asked; it is asked again once there are events.
const AT_FIRST: Duration = Duration::from_secs(1);

/// Which events are printed.
pub(crate) struct Wanted<'a> {
    pub(crate) selection: &'a Selection,
    /// `None` for the beginning that the command has by itself.
    pub(crate) start: Option<StartText>,
    pub(crate) until: Option<Millis>,
    /// Only the last N before now, and what comes after.
    pub(crate) last: Option<u64>,
    /// Only the newest of each tag, and what comes after.
    pub(crate) last_per_tag: bool,
    /// Stop after so many.
    pub(crate) count: Option<u64>,
    pub(crate) deadline: Option<Instant>,
    /// Whether what arrives is wanted, too.
    pub(crate) follows: bool,
    /// Newest first; only of what does not follow.
    pub(crate) reverse: bool,
    /// Start at the oldest event if the start is gone.
    pub(crate) allow_gap: bool,
    /// Fail when the bus is not there, or ends.
    pub(crate) no_wait: bool,
    /// Where the bus is, if not on this machine.
    pub(crate) remote: Option<&'a Remote>,
}

/// Why printing ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Everything that was wanted is printed.
    Complete,
    /// The time was over.
    TimeIsOver(Counts),
    Interrupted(Counts),
    /// The start is gone; the user knows.
    Gone,
}

/// How many events were printed, and how many the bus had meanwhile, unless it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) printed: u64,
    pub(crate) seen: Option<u64>,
}

/// What is said while the bus that [`brine attach`](super::attach) has joined is away.
const CUT_OFF: &str = "the salt-master or salt-minion whose bus brine attach has joined is away: no events until it is back";
const BACK: &str = "the salt-master or salt-minion whose bus brine attach has joined is back";
/// How often it is looked whether it is.
const LOOK_AT_STATUS_EVERY: Duration = Duration::from_secs(2);

/// Whether the bus that was joined is away, by the part of the status that says so.
pub(crate) fn is_cut_off(attach: &Value) -> bool {
    let joined = attach.as_map().and_then(|attach| attach.get("joined"));
    joined == Some(&Value::Bool(false))
}

/// A connection to a bus's own socket, if there is one.
///
/// # Errors
/// There is one, and this user may not use it.
pub(crate) fn connect(address: Option<LocalAddress>) -> Result<Option<LocalClient>, Denied> {
    let Some(address) = address else {
        return Ok(None);
    };
    let mut client = LocalClient::new(address, PublisherConfig::default());
    match client.connect(Some(Duration::ZERO)) {
        Ok(()) => Ok(Some(client)),
        Err(LocalError::Connect(ConnectError::Denied(denied))) => Err(denied),
        Err(error) => {
            tracing::debug!("{error}");
            Ok(None)
        }
    }
}

/// The same for a command that Salt's publish socket will do for as well.
///
/// # Errors
/// Both are closed to this user.
pub(crate) fn connect_unless_salts(location: &BusLocation) -> Result<Option<LocalClient>, Denied> {
    match connect(location.local_address()) {
        Err(denied) if access::closed(location.address.publish()).is_some() => Err(denied),
        Err(_) => Ok(None),
        client => client,
    }
}

/// How often the bus is asked for a sign of life while there are no events, and after how long without one it hangs:
/// two did not come, and a second for a machine that is busy.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);
pub(crate) const SILENT: Duration = Duration::from_secs(11);

/// What is known of the bus that was joined.
struct Joined {
    is_away: bool,
    /// When to look again; never where no bus was joined.
    next: Option<Instant>,
}

impl Default for Joined {
    fn default() -> Self {
        Self {
            is_away: false,
            next: Some(Instant::now()),
        }
    }
}

impl Joined {
    fn is_due(&self) -> bool {
        self.next.is_some_and(|next| next <= Instant::now())
    }
}

/// Prints what is wanted.
pub(crate) fn print(
    client: LocalClient,
    wanted: Wanted<'_>,
    out: &mut dyn Output,
) -> anyhow::Result<End> {
    if let Some(last) = wanted.last.filter(|last| *last > MAX_LAST) {
        anyhow::bail!(
            "--last {last}: a running bus looks for the last {MAX_LAST} at most; say where to start with --since or --from"
        );
    }
    let printing = Printing {
        interrupt: Interrupt::catch()?,
        left: wanted.count,
        printed: 0,
        began: None,
        printed_before: None,
        was_answered: false,
        looked_at: 0,
        knows_what_is_hidden: false,
        client,
        wanted,
        out,
    };
    let end = printing.run()?;
    out.finish()?;
    Ok(end)
}

/// The most events `last` looks for on a bus; `MAX_LAST` of `brine-api`.
const MAX_LAST: u64 = 100_000;

struct Printing<'a> {
    client: LocalClient,
    wanted: Wanted<'a>,
    out: &'a mut dyn Output,
    /// How many events are still wanted.
    left: Option<u64>,
    printed: u64,
    /// Where the stream that follows began, in the log that the bus has now.
    began: Option<Position>,
    /// How many events of an earlier log were printed, where the bus has another one since.
    printed_before: Option<u64>,
    /// Whether the bus has ever answered.
    was_answered: bool,
    /// How many events came that are chosen from here.
    looked_at: u64,
    /// Whether the user knows which events are hidden, if any are.
    knows_what_is_hidden: bool,
    interrupt: Interrupt,
}

impl Printing<'_> {
    fn run(mut self) -> anyhow::Result<End> {
        self.knows_what_is_hidden = self.tell_what_is_hidden(AT_FIRST)?;
        let wanted = &self.wanted;
        let wants_past = wanted.last.is_some() || wanted.last_per_tag || !wanted.follows;
        let starts_now = matches!(wanted.start, None | Some(StartText::New));
        if let Some(remote) = wanted.remote
            && self.is_unfiltered()
            && (wants_past || !starts_now)
        {
            bail!(
                "{}: this is Salt's own salt-api, which keeps no events: only new events can be read",
                remote.name
            );
        }
        let mut query = self.query();
        // What only a look at all of them can tell is found out first, and printed then.
        let kept = if self.wanted.last_per_tag {
            Some(self.newest_of_each_tag()?)
        } else if self.wanted.reverse || (self.wanted.last.is_some() && self.must_look_at_all()) {
            let count = self.wanted.last.or(self.wanted.count);
            Some(self.newest(count)?)
        } else {
            None
        };
        if let Some((events, end)) = kept {
            if self.print_kept(events)?.is_break() || !self.wanted.follows {
                return Ok(End::Complete);
            }
            query.from = end.to_string();
            query.last = None;
        }
        self.follow(&query)
    }

    /// Whether a bus of this machine is followed, and not an API.
    fn follows_a_bus(&self) -> bool {
        self.wanted.follows && self.wanted.remote.is_none()
    }

    /// All of it as the socket takes it.
    fn query(&self) -> EventQuery {
        let mut query = self.wanted.selection.asked();
        query.from = match &self.wanted.start {
            None if self.wanted.follows => String::new(),
            None => "earliest".to_owned(),
            Some(start) => start_text(start),
        };
        let until = self.wanted.until.map(time_text);
        query.until = until.unwrap_or_default();
        query.last = self.wanted.last;
        query.ends = !self.wanted.follows;
        query.heartbeat = self.follows_a_bus().then_some(HEARTBEAT.as_secs());
        // With a regular expression, which event is the last one is known here alone.
        query.limit = self.wanted.count.filter(|_| !self.must_look_at_all());
        query
    }

    /// Whether the socket has only a part of what is wanted.
    fn must_look_at_all(&self) -> bool {
        self.wanted.selection.has_grep() || self.is_unfiltered()
    }

    /// Whether every event comes, wanted or not: Salt's own API filters nothing.
    fn is_unfiltered(&self) -> bool {
        (self.wanted.remote).is_some_and(|remote| remote.kind == Kind::Salt)
    }

    fn is_wanted(&self, event: EventRef<'_>) -> bool {
        match self.is_unfiltered() {
            true => self.wanted.selection.wants(event),
            false => self.wanted.selection.greps(event),
        }
    }

    /// Prints a stream to its end.
    fn follow(&mut self, query: &EventQuery) -> anyhow::Result<End> {
        let mut stream = self.client.unconnected_events(query);
        // Whether a gap means that the start itself is missing: a position that was given as a number.
        let mut is_first = !self.wanted.allow_gap
            && matches!(
                self.wanted.start,
                Some(StartText::Sequence(_) | StartText::After { .. })
            );
        let (mut is_waiting, mut trouble) = (false, None);
        let mut joined = Joined::default();
        // Since when there is a connection without an answer, and whether the user knows.
        let mut unanswered: Option<(Instant, bool)> = None;
        // What was last heard of a bus of which the user knows that it is silent.
        let mut silent_since: Option<Instant> = None;
        loop {
            // All that has come, without waiting; then show it, and wait.
            let mut next = match is_waiting {
                true => Ok(None),
                false => stream.next(Wait::For(Duration::ZERO)),
            };
            if matches!(next, Ok(None)) {
                self.out.flush()?;
                self.out.tick()?;
                self.began = self.began.or(stream.position());
                if let Some(end) = self.end_from_outside()? {
                    return Ok(end);
                }
                next = stream.next(Wait::For(self.longest_wait()));
            }
            let is_quiet = matches!(next, Ok(None));
            match next {
                Ok(None) => {}
                Ok(Some(Delivery::End)) => return Ok(End::Complete),
                Ok(Some(Delivery::Gap {
                    from,
                    to,
                    missed,
                    reason,
                })) => {
                    // A gap with a reason is after the start.
                    if is_first && reason.is_none() {
                        self.say_what_is_there(from, to)?;
                        return Ok(End::Gone);
                    }
                    if from.log != to.log {
                        (self.began, self.printed_before) = (Some(to), Some(self.printed));
                    }
                    self.gap(&Missing::new(from, to, missed, reason.as_deref()))?;
                }
                Ok(Some(Delivery::Event(stored))) => {
                    is_first = false;
                    self.began = self.began.or(Some(before(stored.position)));
                    if self.event(&stored)?.is_break() {
                        return Ok(End::Complete);
                    }
                    if self.interrupt.has_come() {
                        return Ok(End::Interrupted(self.counts()));
                    }
                    self.out.tick()?;
                }
                Err(LocalError::Connect(error))
                    if !self.wanted.no_wait && bus_location::may_come(&error) =>
                {
                    if !is_waiting {
                        self.out.make_way()?;
                        let from = stream.position();
                        let from = from
                            .map(|from| format!(" after {from}"))
                            .unwrap_or_default();
                        show::complain(&format_args!("{error}; waiting to continue{from}"));
                        is_waiting = true;
                    }
                    if let Some(end) = self.end_from_outside()? {
                        return Ok(end);
                    }
                }
                Err(error) => return Err(error.into()),
            }
            let is_there = stream.is_answered();
            if is_there || stream.socket().is_none() {
                unanswered = None;
            } else {
                let (since, is_known) = unanswered.get_or_insert((Instant::now(), false));
                if !*is_known && since.elapsed() >= LATE {
                    *is_known = true;
                    self.tell_of_silence()?;
                } else if !self.wanted.follows && since.elapsed() >= ANSWER_TIME {
                    let endpoint = Endpoint::Path(self.client.address().path().to_owned());
                    return Err(LocalError::TimedOut { endpoint }.into());
                }
            }
            self.was_answered |= is_there;
            if is_there && self.follows_a_bus() {
                // Where something is still to be read, the bus is not the one that is late.
                if is_quiet || silent_since.is_some() {
                    self.tell_of_silence_since(stream.heard(), &mut silent_since)?;
                }
            } else {
                silent_since = None;
            }
            if is_there && !self.knows_what_is_hidden {
                self.tell_what_is_hidden(local_starts::ANSWER)?;
                self.knows_what_is_hidden = true;
            }
            if is_there && self.follows_a_bus() {
                self.tell_of_the_joined(&mut joined)?;
            }
            if let Some(remote) = self.wanted.remote {
                self.tell_of_trouble(remote, &mut trouble)?;
            } else if is_waiting && is_there {
                self.out.make_way()?;
                show::complain(&"connected again");
                is_waiting = false;
            }
        }
    }

    /// Says which events the bus hides from this user; `false` if it does not answer. An API does not tell its users.
    fn tell_what_is_hidden(&mut self, limit: Duration) -> anyhow::Result<bool> {
        if self.wanted.remote.is_some() {
            return Ok(true);
        }
        let Ok(status) = self.client.status(Some(limit)) else {
            return Ok(false);
        };
        let asked = self.wanted.selection.asked();
        let hidden = status.as_map().and_then(|it| permitted::hidden(it, &asked));
        if let Some(hidden) = hidden {
            self.out.make_way()?;
            show::complain(&hidden);
        }
        Ok(true)
    }

    /// Says that the bus has taken the connection, and nothing else yet.
    fn tell_of_silence(&mut self) -> anyhow::Result<()> {
        self.out.make_way()?;
        let limit = (!self.wanted.follows).then_some(ANSWER_TIME);
        show::complain(&late::waiting(self.client.address().path(), limit));
        Ok(())
    }

    /// Says once that nothing has come of the stream for a while, not even a heartbeat, and when something does again.
    fn tell_of_silence_since(
        &mut self,
        heard: Option<Instant>,
        silent_since: &mut Option<Instant>,
    ) -> anyhow::Result<()> {
        let bus = || late::bus_at(self.client.address().path());
        let said = match (heard, *silent_since) {
            (Some(heard), None) if heard.elapsed() >= SILENT => {
                *silent_since = Some(heard);
                let time = heard.elapsed().as_secs();
                format!("{} has said nothing for {time} s; waiting for it", bus())
            }
            (Some(heard), Some(since)) if heard != since => {
                *silent_since = None;
                format!("{} goes on", bus())
            }
            _ => return Ok(()),
        };
        self.out.make_way()?;
        show::complain(&said);
        Ok(())
    }

    /// Says that the bus which was joined is away, and when it is back.
    fn tell_of_the_joined(&mut self, known: &mut Joined) -> anyhow::Result<()> {
        if !known.is_due() {
            return Ok(());
        }
        let Ok(Value::Map(status)) = self.client.status(Some(local_starts::ANSWER)) else {
            return Ok(());
        };
        let attach = status.get("attach");
        known.next = attach.map(|_| Instant::now() + LOOK_AT_STATUS_EVERY);
        let is_away = attach.is_some_and(is_cut_off);
        let said = match (is_away, known.is_away) {
            (true, false) => CUT_OFF,
            (false, true) => BACK,
            _ => return Ok(()),
        };
        known.is_away = is_away;
        self.out.make_way()?;
        show::complain(&said);
        Ok(())
    }

    /// Says why nothing comes from another machine, and when it does again.
    fn tell_of_trouble(
        &mut self,
        remote: &Remote,
        known: &mut Option<String>,
    ) -> anyhow::Result<()> {
        let trouble = remote.trouble().get();
        match (&trouble, &*known) {
            (Some(trouble), _) if self.wanted.no_wait => bail!("{}: {trouble}", remote.name),
            (Some(trouble), None) => {
                self.out.make_way()?;
                show::complain(&format_args!(
                    "{}: {trouble}; connecting again",
                    remote.name
                ));
            }
            (None, Some(_)) => {
                self.out.make_way()?;
                show::complain(&"connected again");
            }
            _ => {}
        }
        *known = trouble;
        Ok(())
    }

    fn event(&mut self, stored: &Stored) -> anyhow::Result<ControlFlow<()>> {
        let event = stored.event.to_ref();
        self.looked_at += 1;
        if !self.is_wanted(event) {
            return Ok(ControlFlow::Continue(()));
        }
        let at = Some((stored.position, stored.at));
        // Malformed ones do not count, as in Salt.
        if !self.out.event_at(event, at)? {
            return Ok(ControlFlow::Continue(()));
        }
        self.printed += 1;
        if let Some(left) = &mut self.left {
            *left -= 1;
            if *left == 0 {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn gap(&mut self, missing: &Missing<'_>) -> io::Result<()> {
        if !self.out.gap(missing)? {
            self.out.make_way()?;
            show::complain(missing);
        }
        Ok(())
    }

    /// The start is gone: says what there is instead.
    fn say_what_is_there(&mut self, from: Position, to: Position) -> anyhow::Result<()> {
        self.out.flush()?;
        let asked = Position {
            seq: Seq(from.seq.0 + 1),
            ..from
        };
        let oldest = EventQuery {
            limit: Some(1),
            ..EventQuery::default()
        };
        let mut stream = self.client.history(oldest, Some(LOOK_EVERY))?;
        let oldest = loop {
            match stream.next(Wait::For(local_starts::ANSWER))? {
                Some(Delivery::Gap { .. }) => {}
                Some(Delivery::Event(stored)) => break Some(stored),
                Some(Delivery::End) | None => break None,
            }
        };
        let there = oldest.map_or_else(
            || "there is none".to_owned(),
            |stored| {
                let (seq, at) = (stored.position.seq, utc(stored.at));
                format!("the oldest is {seq}, of {at}; --allow-gap starts there")
            },
        );
        if from.log != to.log {
            show::complain(&format_args!(
                "position {from} is of another log; this one is {}; {there}",
                to.log
            ));
        } else if from.seq > to.seq {
            show::complain(&format_args!(
                "event {} is not there yet: the newest is {}",
                asked.seq, to.seq
            ));
        } else {
            show::complain(&format_args!("event {} is gone: {there}", asked.seq));
        }
        Ok(())
    }

    fn end_from_outside(&mut self) -> anyhow::Result<Option<End>> {
        if terminal::reader_is_gone() {
            return Ok(Some(End::Complete));
        }
        if self.interrupt.has_come() {
            return Ok(Some(End::Interrupted(self.counts())));
        }
        let is_over = (self.wanted.deadline).is_some_and(|at| Instant::now() >= at);
        Ok(is_over.then(|| End::TimeIsOver(self.counts())))
    }

    /// How many events there were. If a bus does not say, the number of those printed.
    fn counts(&mut self) -> Counts {
        let printed = self.printed;
        if self.is_unfiltered() {
            let seen = Some(self.looked_at);
            return Counts { printed, seen };
        }
        let looks_back = self.wanted.last.is_some() || self.wanted.last_per_tag;
        let began = match (self.printed_before, &self.wanted.start) {
            _ if !self.was_answered => None,
            (Some(_), _) => self.began,
            (None, None | Some(StartText::New)) if !looks_back => self.began,
            (None, start) => local_starts::first_event(&self.client, start.as_ref()),
        };
        let count = local_starts::count_after(&mut self.client, began);
        let before = self.printed_before.unwrap_or_default();
        let seen = count.map(|count| (before + count).max(printed));
        Counts { printed, seen }
    }

    fn longest_wait(&self) -> Duration {
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let next = [self.wanted.deadline, self.out.next_tick()];
        let next = next.into_iter().flatten().map(until);
        next.fold(LOOK_EVERY, Duration::min)
    }

    /// The newest event of each tag, oldest first, and where the log ended.
    fn newest_of_each_tag(&mut self) -> anyhow::Result<(Vec<Stored>, Position)> {
        let mut newest: HashMap<String, Stored> = HashMap::new();
        let end = self.look_at_all(&mut |stored| {
            newest.insert(stored.event.tag().to_owned(), stored);
            newest.len()
        })?;
        let mut events: Vec<Stored> = newest.into_values().collect();
        events.sort_unstable_by_key(|stored| stored.position.seq);
        Ok((events, end))
    }

    /// The newest events, oldest first, and where the log ended.
    fn newest(&mut self, count: Option<u64>) -> anyhow::Result<(Vec<Stored>, Position)> {
        let count = count.map_or(usize::MAX, |count| {
            usize::try_from(count).unwrap_or(usize::MAX)
        });
        let mut events = VecDeque::new();
        let end = self.look_at_all(&mut |stored| {
            if events.len() == count {
                events.pop_front();
            }
            events.push_back(stored);
            events.len()
        })?;
        Ok((events.into(), end))
    }

    /// Gives every event that is kept now to `keep`, which says how many it keeps.
    fn look_at_all(&mut self, keep: &mut dyn FnMut(Stored) -> usize) -> anyhow::Result<Position> {
        let end =
            local_starts::newest(&mut self.client)?.context("expected a position from the bus")?;
        let mut query = self.query();
        (query.limit, query.last) = (None, None);
        if self.wanted.start.is_none() {
            "earliest".clone_into(&mut query.from);
        }
        let mut stream: EventStream = self.client.history(query, Some(LOOK_EVERY))?;
        loop {
            match stream.next(Wait::For(LOOK_EVERY))? {
                None if self.interrupt.has_come() => bail!("interrupted"),
                None | Some(Delivery::Gap { .. }) => {}
                Some(Delivery::End) => return Ok(end),
                Some(Delivery::Event(stored)) if stored.position.seq > end.seq => return Ok(end),
                Some(Delivery::Event(stored)) => {
                    let is_wanted = self.is_wanted(stored.event.to_ref());
                    if is_wanted && keep(stored) > MAX_KEPT {
                        bail!(
                            "more than {MAX_KEPT} events would have to be kept; add --last N or a filter"
                        );
                    }
                }
            }
        }
    }

    /// Prints events that were kept, oldest first unless asked otherwise.
    fn print_kept(&mut self, mut events: Vec<Stored>) -> anyhow::Result<ControlFlow<()>> {
        if self.wanted.reverse {
            events.reverse();
        }
        for stored in &events {
            if self.event(stored)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

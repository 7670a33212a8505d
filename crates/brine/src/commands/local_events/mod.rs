//! Events of a running bus over its local socket: what `brine watch` and `brine history` print if they do not read
//! the store itself.
//!
//! Past and present events are one stream. It resumes at its position after a connection breaks, and reports what is
//! missing.

mod follow;

pub(crate) use self::follow::ATTACH_ENDED;
mod kept;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::bail;
use brine_bus::address::Address;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{EventQuery, LocalAddress, LocalError, Stored};
use brine_bus::client::{ConnectError, Denied, EventRef, PublisherConfig};
use brine_log::{Millis, Position};
use brine_wire::Value;
use brine_wire::time::StartText;

use super::event_output::Output;
use super::local_starts::{self, start_text, time_text};
use super::permitted;
use super::selection::Selection;
use crate::access;
use crate::bus_location::BusLocation;
use crate::interrupt::Interrupt;
use crate::remote::{Kind, Remote};
use crate::show;
use crate::terminal;

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
    /// Where Salt's sockets are, on this machine.
    pub(crate) address: Option<&'a Address>,
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
        start_may_be_gone: !wanted.allow_gap
            && matches!(
                wanted.start,
                Some(StartText::Sequence(_) | StartText::After { .. })
            ),
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
    /// Whether a gap means that the start itself is missing: a position that was given as a number.
    start_may_be_gone: bool,
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
            self.complain(&hidden)?;
        }
        Ok(true)
    }

    /// Tells the user something, below what is printed so far.
    fn complain(&mut self, text: &str) -> anyhow::Result<()> {
        self.out.make_way()?;
        show::complain(&text);
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
}

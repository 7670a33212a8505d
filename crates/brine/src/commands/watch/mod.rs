//! `brine watch`: live events, for people and for pipes.
//!
//! It reads Brine's own socket, where events have positions and every loss is noticed ([`super::local_events`]), or
//! the socket of a real Salt bus. There it looks at tags first and decodes only what is shown. Output is buffered,
//! and flushed whenever everything that has arrived is written: it is never late, and at high rates many events share
//! a write.

mod summary;

use std::io;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use brine_bus::address::{Address, Endpoint};
use brine_bus::client::blocking::Subscriber;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::{
    Denied, EventRef, PublisherConfig, ReceiveError, Reconnect, SubscriberConfig, Wait,
};
use brine_view::text::counted;
use brine_wire::time::StartText;

use self::summary::Summary;
use super::event_output::{FormArgs, Output};
use super::history::{GONE, WindowArgs, no_local_socket};
use super::late::StopWatch;
use super::local_events::{self, Counts, End as LocalEnd, Wanted};
use super::selection::{Selection, SelectionArgs};
use crate::bus_location::{self, BusArgs, BusLocation};
use crate::clock::Zone;
use crate::interrupt::Interrupt;
use crate::remote::{ApiArgs, Remote};
use crate::show;
use crate::terminal;

/// The arguments of `brine watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
TIME is 10m, 1h30m, 2026-11-29 08:01 (local time), 2026-11-29T08:01:00Z, @1700000000, yesterday or
a job id. START is a time, a sequence (42), a position (7f3a-42: after it), earliest or new.

On a terminal: a sentence for each event, in local time, as wide as the terminal; --full has all
data below it. In a pipe: -o ndjson, one JSON object per line,
{\"tag\": …, \"data\": …}, which `brine send --stdin` takes. Bytes become text, or base64 where they
are not UTF-8; -o raw keeps them apart.

With Brine's bus, a watch that was disconnected continues where it was, and reports what is missing.

Exit codes: 0 done (also after Ctrl-C without --count, and when the reader of the pipe exits);
1 failed, or --count not reached; 2 wrong usage; 3 the requested start is no longer stored.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Stop after N events
    #[arg(short = 'n', long, visible_alias = "limit", value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after so many seconds
    #[arg(short, long, value_name = "SECS", value_parser = show::seconds)]
    timeout: Option<Duration>,
    #[command(flatten)]
    form: FormArgs,
    /// Show rates per tag prefix instead of events, every SECS seconds [default: 1]
    #[arg(long, value_name = "SECS", value_parser = show::seconds, num_args = 0..=1,
          default_missing_value = "1", require_equals = true, conflicts_with = "exec")]
    summary: Option<Duration>,
    /// Begin with past events that arrived at this time or later, such as 10m
    #[arg(short = 'S', long, value_name = "TIME", conflicts_with_all = ["from", "last_per_tag", "summary"])]
    since: Option<String>,
    /// Begin with past events: from a time or a sequence number, after a position, or from the earliest event
    #[arg(long, visible_alias = "start-sequence", value_name = "START", conflicts_with_all = ["last", "last_per_tag", "summary"])]
    from: Option<String>,
    /// Begin with the last N events that match
    #[arg(long, visible_alias = "tail", value_name = "N", conflicts_with_all = ["last_per_tag", "summary"],
          value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// Begin with the newest event of each tag
    #[arg(long, visible_alias = "last-per-subject", conflicts_with = "summary")]
    last_per_tag: bool,
    /// Begin with the oldest event if the requested start is no longer stored
    #[arg(long)]
    allow_gap: bool,
    /// Read dates without a zone as UTC, and show times in UTC
    #[arg(long)]
    utc: bool,
    /// Fail at once if there is no bus, or when it ends
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    bus: BusArgs,
    #[command(flatten)]
    api: ApiArgs,
}

/// Watches until enough is seen.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.api.is_given() {
        return arguments.run_over_api();
    }
    let location = arguments.bus.resolve()?;
    if let Some(code) = arguments.run_over_local_socket(&location)? {
        return Ok(code);
    }
    let interrupt = Interrupt::catch()?;
    let config = SubscriberConfig {
        // The user learns that the connection ended.
        reconnect: Reconnect::Never,
        ..SubscriberConfig::default()
    };
    let mut bus = Subscriber::new(&location.address, config);
    bus.check_while_waiting({
        let interrupt = interrupt.clone();
        move || match interrupt.has_come() || terminal::reader_is_gone() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let selection = arguments.selection.compile();
    let watch = Watch {
        left: arguments.count,
        deadline: arguments.deadline(),
        no_wait: arguments.no_wait,
        is_waiting: false,
        connected: None,
        is_closed: local_events::connect(location.local_address()).err(),
        publish: location.address.publish().clone(),
        stop_watch: StopWatch::new(location.address.clone()),
        lost: None,
        refusals: 0,
        timeout: arguments.timeout.unwrap_or_default(),
        seen: 0,
        matched: 0,
        out: arguments.output(),
        bus,
        asked: &arguments.selection,
        selection,
        interrupt,
    };
    watch.run()
}

impl Arguments {
    /// Watches the bus of another machine.
    fn run_over_api(&self) -> anyhow::Result<ExitCode> {
        // What is wrong with the command line is said before a password is asked for.
        let (start, selection) = (self.start(), self.selection.compile());
        self.selection.warn_of_exact_tags();
        let remote = self.api.open()?;
        let Some(remote) = &remote else {
            return Ok(ExitCode::FAILURE);
        };
        let client = LocalClient::new(remote.address(), PublisherConfig::default());
        self.watch_log(client, start, &selection, None, Some(remote))
    }

    /// Watches Brine's own socket; `None` if there is none and Salt's is enough.
    fn run_over_local_socket(&self, location: &BusLocation) -> anyhow::Result<Option<ExitCode>> {
        let needs_log =
            self.since.is_some() || self.from.is_some() || self.last.is_some() || self.last_per_tag;
        let (start, selection) = (self.start(), self.selection.compile());
        self.selection.warn_of_exact_tags();
        let client = match needs_log {
            true => local_events::connect(location.local_address())?,
            false => local_events::connect_unless_salts(location)?,
        };
        match client {
            Some(client) => {
                let address = Some(&location.address);
                let code = self.watch_log(client, start, &selection, address, None)?;
                Ok(Some(code))
            }
            None if needs_log => Err(no_local_socket(location)),
            None => Ok(None),
        }
    }

    /// Where to start. A text that says nothing ends the program.
    fn start(&self) -> Option<StartText> {
        let window = WindowArgs {
            since: self.since.clone(),
            from: self.from.clone(),
            utc: self.utc,
            ..WindowArgs::default()
        };
        window.read().0
    }

    fn watch_log(
        &self,
        client: LocalClient,
        start: Option<StartText>,
        selection: &Selection,
        address: Option<&Address>,
        remote: Option<&Remote>,
    ) -> anyhow::Result<ExitCode> {
        let wanted = Wanted {
            selection,
            start,
            until: None,
            last: self.last,
            last_per_tag: self.last_per_tag,
            count: self.count,
            deadline: self.deadline(),
            follows: true,
            reverse: false,
            allow_gap: self.allow_gap,
            no_wait: self.no_wait,
            address,
            remote,
        };
        let end = local_events::print(client, wanted, &mut *self.output())?;
        let is_complete = match end {
            LocalEnd::Complete => true,
            LocalEnd::Gone => return Ok(ExitCode::from(GONE)),
            LocalEnd::Interrupted(counts) => {
                say_if_nothing_matched(
                    &self.selection,
                    counts.printed,
                    seen(counts, remote)?,
                    None,
                );
                self.count.is_none()
            }
            LocalEnd::TimeIsOver(counts) => {
                let time = self.timeout.unwrap_or_default();
                let seen = seen(counts, remote)?;
                say_what_was_seen(&self.selection, counts.printed, self.count, time, seen);
                self.count.is_none()
            }
        };
        Ok(match is_complete {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    }

    /// When the time is over; a time too long to end counts as none.
    fn deadline(&self) -> Option<Instant> {
        self.timeout
            .and_then(|time| Instant::now().checked_add(time))
    }

    fn output(&self) -> Box<dyn Output> {
        match self.summary {
            Some(every) => Box::new(Summary::new(every, self.form.form())),
            None => Box::new(self.form.printer(Zone::from_flag(self.utc))),
        }
    }
}

struct Watch<'a> {
    bus: Subscriber,
    asked: &'a SelectionArgs,
    selection: Selection,
    out: Box<dyn Output>,
    /// How many events are still wanted; `None` for all.
    left: Option<u64>,
    deadline: Option<Instant>,
    no_wait: bool,
    /// Whether the user was told that there is no bus.
    is_waiting: bool,
    /// When it was found last.
    connected: Option<Instant>,
    /// Why Brine's own socket is not read, if there is one.
    is_closed: Option<Denied>,
    publish: Endpoint,
    stop_watch: StopWatch,
    /// When the connection was lost that has not been made again.
    lost: Option<Instant>,
    /// How many connections in a row ended without an event.
    refusals: u32,
    /// The time that was asked for.
    timeout: Duration,
    /// Events of the bus so far, and those of them that were shown.
    seen: u64,
    matched: u64,
    interrupt: Interrupt,
}

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Enough,
    TimeIsOver,
    Interrupted,
}

impl Watch<'_> {
    fn run(mut self) -> anyhow::Result<ExitCode> {
        let end = loop {
            let round = match self.connect() {
                Ok(()) => {
                    self.connected = Some(Instant::now());
                    self.say_if_connected_again()?;
                    self.read()
                }
                Err(error) => Err(error),
            };
            match round {
                Ok(end) => break end,
                Err(error) => match self.after(error)? {
                    ControlFlow::Break(end) => break end,
                    ControlFlow::Continue(()) => {}
                },
            }
        };
        self.out.finish()?;
        match end {
            End::TimeIsOver if self.connected.is_none() => {
                anyhow::bail!("no bus in {} s", in_seconds(self.timeout));
            }
            End::TimeIsOver => {
                let wanted = self.left.map(|left| self.matched + left);
                let time = self.timeout;
                say_what_was_seen(self.asked, self.matched, wanted, time, self.seen);
            }
            End::Interrupted => {
                say_if_nothing_matched(self.asked, self.matched, self.seen, None);
            }
            End::Enough => {}
        }
        let is_complete = self.left.is_none() || end == End::Enough;
        Ok(if is_complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// A bus without positions, such as Salt's, does not say how many events did not match.
    fn say_if_connected_again(&mut self) -> io::Result<()> {
        if let Some(lost) = self.lost.take() {
            self.out.cut();
            self.out.make_way()?;
            let time = lost.elapsed().as_secs_f32();
            show::complain(&format_args!(
                "connected again after {time:.1} s; events that this bus had meanwhile are missing here"
            ));
        }
        Ok(())
    }

    /// Connects; if there is no bus yet, says so once and waits for it.
    fn connect(&mut self) -> Result<(), Trouble> {
        match self.bus.connect(Duration::ZERO) {
            Err(ReceiveError::Connect(error))
                if !self.no_wait && bus_location::may_come(&error) =>
            {
                if !self.is_waiting {
                    self.out.make_way()?;
                    show::complain(&format_args!("waiting: {error}"));
                }
            }
            done => return Ok(done?),
        }
        loop {
            match self.bus.connect(self.longest_wait()) {
                Err(ReceiveError::Connect(error)) if bus_location::may_come(&error) => {
                    if self.is_over() {
                        return Err(Trouble::TimeIsOver);
                    }
                    self.out.tick()?;
                }
                done => return Ok(done?),
            }
        }
    }

    /// Reads and shows until the connection ends or enough is seen.
    fn read(&mut self) -> Result<End, Trouble> {
        loop {
            // All that has come, without waiting …
            while let Some(event) = self.bus.next_ref(Wait::For(Duration::ZERO))? {
                self.seen += 1;
                self.refusals = 0;
                if take(
                    &self.selection,
                    &mut *self.out,
                    &mut self.left,
                    &mut self.matched,
                    event,
                )? {
                    return Ok(End::Enough);
                }
                if self.interrupt.has_come() {
                    return Ok(End::Interrupted);
                }
                self.out.tick()?;
            }
            // … then show it, and wait.
            self.out.flush()?;
            self.out.tick()?;
            if let Some(change) = self.stop_watch.look() {
                self.out.make_way()?;
                show::complain(&change);
            }
            if self.is_over() {
                return Ok(End::TimeIsOver);
            }
            let wait = Wait::For(self.longest_wait());
            if let Some(event) = self.bus.next_ref(wait)? {
                self.seen += 1;
                self.refusals = 0;
                if take(
                    &self.selection,
                    &mut *self.out,
                    &mut self.left,
                    &mut self.matched,
                    event,
                )? {
                    return Ok(End::Enough);
                }
            }
        }
    }

    /// What follows from the end of a connection or of waiting for one.
    fn after(&mut self, trouble: Trouble) -> anyhow::Result<ControlFlow<End>> {
        match trouble {
            Trouble::Bus(ReceiveError::Interrupted) => Ok(ControlFlow::Break(End::Interrupted)),
            Trouble::TimeIsOver => Ok(ControlFlow::Break(End::TimeIsOver)),
            Trouble::Bus(error @ ReceiveError::Closed { .. }) => {
                self.refusals += 1;
                if let Some(denied) = self.refusal() {
                    self.out.make_way()?;
                    anyhow::bail!(denied);
                }
                if self.no_wait {
                    self.out.make_way()?;
                    return Err(error.into());
                }
                if self.refusals >= bus_location::REFUSALS {
                    self.out.make_way()?;
                    anyhow::bail!(bus_location::refused(&error));
                }
                self.out.make_way()?;
                show::complain(&format_args!(
                    "{error}: it has ended, or this reader is too slow for it; connecting again"
                ));
                self.is_waiting = true;
                self.lost = Some(Instant::now());
                Ok(ControlFlow::Continue(()))
            }
            Trouble::Bus(error) => {
                self.out.make_way()?;
                Err(error.into())
            }
            Trouble::Output(error) => Err(error.into()),
        }
    }

    /// What to say if the connection that has just ended was this user's and not the bus's end: Brine's own socket is
    /// closed, no event came, and the bus is there.
    fn refusal(&mut self) -> Option<String> {
        let denied = self.is_closed.as_ref()?;
        let is_soon = |at: Instant| at.elapsed() < 2 * bus_location::REFUSED_WITHIN;
        let is_refused = self.refusals > 0
            && self.connected.is_some_and(is_soon)
            && self.bus.connect(Duration::ZERO).is_ok();
        is_refused.then(|| bus_location::may_not_read(denied, &self.publish))
    }

    fn is_over(&self) -> bool {
        self.deadline().is_some_and(|at| Instant::now() >= at)
    }

    /// When the time is over: not before a user who may not read knows that.
    fn deadline(&self) -> Option<Instant> {
        let is_undecided = self.is_closed.is_some() && self.seen == 0;
        let decided = self.connected.filter(|_| is_undecided);
        let decided = decided.map(|at| at + bus_location::REFUSED_WITHIN);
        self.deadline
            .map(|at| decided.map_or(at, |decided| at.max(decided)))
    }

    /// Until the next thing there is to do.
    fn longest_wait(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let next_look = self.connected.map(|_| self.stop_watch.next());
        let next = [self.deadline(), self.out.next_tick(), next_look];
        next.into_iter()
            .flatten()
            .map(until)
            .fold(LONG, Duration::min)
    }
}

/// How many events the bus had, if it answers.
fn seen(counts: Counts, remote: Option<&Remote>) -> anyhow::Result<u64> {
    let whose = remote.map_or("the bus", |remote| &remote.name);
    let seen = counts.seen;
    seen.with_context(|| {
        format!("{whose} does not answer: stopped or hung; run brine doctor there")
    })
}

/// After a time-out, so that silence is not taken for an absent bus.
fn say_what_was_seen(
    asked: &SelectionArgs,
    matched: u64,
    wanted: Option<u64>,
    time: Duration,
    seen: u64,
) {
    let Some(wanted) = wanted else {
        return say_if_nothing_matched(asked, matched, seen, Some(time));
    };
    show::complain(&format_args!(
        "{matched} of {} in {} s; the bus had {seen} in all",
        counted(wanted, "event"),
        in_seconds(time)
    ));
    if matched == 0 {
        asked.explain_silence();
    }
}

/// Seconds as they were asked for.
fn in_seconds(time: Duration) -> String {
    time.as_secs_f64().to_string()
}

/// So that a filter that matches nothing is not taken for a bus without events; nor after a time the other way round.
fn say_if_nothing_matched(asked: &SelectionArgs, matched: u64, seen: u64, time: Option<Duration>) {
    if matched > 0 {
        return;
    }
    if seen > 0 || time.is_some() {
        let time = time.map_or_else(String::new, |time| format!(" in {} s", in_seconds(time)));
        let all = counted(seen, "event");
        show::complain(&format_args!("0 of {all} matched{time}"));
    }
    asked.explain_silence();
}

/// Shows an event if it is wanted; whether it was the last one.
fn take(
    selection: &Selection,
    out: &mut dyn Output,
    left: &mut Option<u64>,
    matched: &mut u64,
    event: EventRef<'_>,
) -> io::Result<bool> {
    if !selection.wants(event) {
        return Ok(false);
    }
    if !out.event_at(event, None)? {
        return Ok(false);
    }
    *matched += 1;
    Ok(match left {
        Some(left) => {
            *left -= 1;
            *left == 0
        }
        None => false,
    })
}

/// Why reading stopped without an end.
#[derive(Debug)]
enum Trouble {
    Bus(ReceiveError),
    Output(io::Error),
    TimeIsOver,
}

impl From<ReceiveError> for Trouble {
    fn from(error: ReceiveError) -> Self {
        Self::Bus(error)
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

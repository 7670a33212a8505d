//! `brine watch`: events as they come, for people and for pipes.
//!
//! Reads with the blocking client, looks at tags first and decodes only what is shown. Output is
//! buffered and flushed whenever everything that has arrived is written, so that it is never late,
//! and at high rates many events share a write.

mod summary;

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use brine_bus::client::blocking::Subscriber;
use brine_bus::client::{EventRef, ReceiveError, Reconnect, SubscriberConfig, Wait};

use self::summary::Summary;
use super::event_output::{Form, Printer};
use super::history::{self, Following, FormArgs, WindowArgs};
use super::history_store::StoreArgs;
use super::selection::{Selection, SelectionArgs};
use crate::bus_location::{self, BusArgs};
use crate::interrupt::Interrupt;
use crate::show::{self, Colour};

/// The arguments of `brine watch`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
On a terminal: time, tag and data. In a pipe, or with --json: one JSON object per line,
{\"tag\": …, \"data\": …}, which `brine send --stdin` takes. Bytes become text, or base64 where they
are not UTF-8.

Exit codes: 0 done (also after Ctrl-C without --count, and when the reader of the pipe has gone);
1 failed, or --count not reached; 2 wrong usage.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: SelectionArgs,
    /// Stop after N events
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after so many seconds
    #[arg(short, long, value_name = "SECS", value_parser = show::seconds)]
    timeout: Option<Duration>,
    /// One JSON object per line [default when stdout is no terminal]
    #[arg(long, conflicts_with = "pretty")]
    json: bool,
    /// Data indented, over several lines
    #[arg(long)]
    pretty: bool,
    /// Show rates per tag prefix instead of events, every so many seconds
    #[arg(long, value_name = "SECS", value_parser = show::seconds, num_args = 0..=1,
          default_missing_value = "1", require_equals = true)]
    summary: Option<Duration>,
    /// Colours; always is also the form of a terminal, for `| less -R`
    #[arg(long, value_name = "WHEN", value_enum, default_value_t)]
    color: Colour,
    /// Begin with the past: what arrived at this time or later, such as 10m. Needs a bus with
    /// history
    #[arg(short = 'S', long, value_name = "TIME", conflicts_with_all = ["from", "last", "summary"])]
    since: Option<String>,
    /// Begin with the past, at a time, a sequence or a position (7f3a-42: after it), or earliest
    #[arg(long, value_name = "START", conflicts_with_all = ["last", "summary"])]
    from: Option<String>,
    /// Begin with the last N events that match
    #[arg(long, visible_alias = "tail", value_name = "N", conflicts_with = "summary",
          value_parser = clap::value_parser!(u64).range(1..))]
    last: Option<u64>,
    /// With --since, --from or --last: directory of the history [default: as configured, else
    /// history in the node's cachedir]
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// Fail at once when there is no bus, and when it ends
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    bus: BusArgs,
}

/// Watches until enough is seen.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.since.is_some() || arguments.from.is_some() || arguments.last.is_some() {
        return arguments.run_from_the_past();
    }
    let location = arguments.bus.resolve()?;
    let interrupt = Interrupt::catch()?;
    let config = SubscriberConfig {
        // The user learns that the connection ended.
        reconnect: Reconnect::Never,
        ..SubscriberConfig::default()
    };
    let mut bus = Subscriber::new(&location.address, config);
    bus.check_while_waiting({
        let interrupt = interrupt.clone();
        move || match interrupt.has_come() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    let selection = arguments.selection.compile()?;
    arguments.selection.warn_of_exact_tags();
    let watch = Watch {
        left: arguments.count,
        // A time too long to end is none.
        deadline: arguments
            .timeout
            .and_then(|time| Instant::now().checked_add(time)),
        no_wait: arguments.no_wait,
        is_waiting: false,
        started: Instant::now(),
        seen: 0,
        matched: 0,
        sink: arguments.sink(),
        bus,
        selection,
        interrupt,
    };
    watch.run()
}

impl Arguments {
    fn run_from_the_past(&self) -> anyhow::Result<ExitCode> {
        let window = WindowArgs {
            since: self.since.clone(),
            from: self.from.clone(),
            ..WindowArgs::default()
        };
        let form = FormArgs {
            json: self.json,
            pretty: self.pretty,
            seq: false,
            color: self.color,
        };
        let store = StoreArgs {
            history: self.history.clone(),
            bus: self.bus.clone(),
        };
        let following = Following {
            last: self.last,
            count: self.count,
            deadline: self
                .timeout
                .and_then(|time| Instant::now().checked_add(time)),
            allow_gap: false,
        };
        let selection = self.selection.compile()?;
        history::follow(
            &store,
            &selection,
            window.read().0.as_ref(),
            following,
            form.output(),
        )
    }

    fn sink(&self) -> Sink {
        // Colours are for people, also through a pipe into a pager.
        let is_terminal = io::stdout().is_terminal() || self.color == Colour::Always;
        let colour = self.color.on_stdout();
        let form = if self.pretty {
            Form::Pretty
        } else if self.json || !is_terminal {
            Form::JsonLines
        } else {
            Form::Columns
        };
        match self.summary {
            Some(every) => Sink::Summary(Box::new(Summary::new(every, form))),
            None => Sink::Events(Box::new(Printer::new(form, colour))),
        }
    }
}

struct Watch {
    bus: Subscriber,
    selection: Selection,
    sink: Sink,
    /// How many events are still wanted; `None` for all.
    left: Option<u64>,
    deadline: Option<Instant>,
    no_wait: bool,
    /// Whether the user knows that there is no bus.
    is_waiting: bool,
    started: Instant,
    /// Events of the bus so far, and those of them that were shown.
    seen: u64,
    matched: u64,
    interrupt: Interrupt,
}

/// Where events go.
enum Sink {
    Events(Box<Printer>),
    Summary(Box<Summary>),
}

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Enough,
    TimeIsOver,
    Interrupted,
}

impl Watch {
    fn run(mut self) -> anyhow::Result<ExitCode> {
        let end = loop {
            let round = match self.connect() {
                Ok(()) => self.read(),
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
        self.sink.finish()?;
        if end == End::TimeIsOver && (self.left.is_some() || self.matched == 0) {
            self.say_what_was_seen();
        }
        let is_complete = self.left.is_none() || end == End::Enough;
        Ok(if is_complete {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// Connects; where there is no bus yet, says so once and waits for it.
    fn connect(&mut self) -> Result<(), Trouble> {
        match self.bus.connect(Duration::ZERO) {
            Err(ReceiveError::Connect(error))
                if !self.no_wait && bus_location::may_come(&error) =>
            {
                if !self.is_waiting {
                    self.sink.flush()?;
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
                    self.sink.tick()?;
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
                if take(
                    &self.selection,
                    &mut self.sink,
                    &mut self.left,
                    &mut self.matched,
                    event,
                )? {
                    return Ok(End::Enough);
                }
                if self.interrupt.has_come() {
                    return Ok(End::Interrupted);
                }
                if self.sink.is_due() {
                    self.sink.tick()?;
                }
            }
            // … then show it, and wait.
            self.sink.flush()?;
            self.sink.tick()?;
            if self.is_over() {
                return Ok(End::TimeIsOver);
            }
            let wait = Wait::For(self.longest_wait());
            if let Some(event) = self.bus.next_ref(wait)? {
                self.seen += 1;
                if take(
                    &self.selection,
                    &mut self.sink,
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
            Trouble::Bus(error @ ReceiveError::Closed { .. }) if !self.no_wait => {
                self.sink.flush()?;
                show::complain(&format_args!(
                    "{error}; connecting again, events may be missed"
                ));
                self.is_waiting = true;
                Ok(ControlFlow::Continue(()))
            }
            Trouble::Bus(error) => {
                self.sink.flush()?;
                Err(error.into())
            }
            Trouble::Output(error) => Err(error.into()),
        }
    }

    /// After a time-out, so that silence is not taken for an absent bus.
    fn say_what_was_seen(&self) {
        let wanted = self.left.map(|left| format!(" of {}", self.matched + left));
        show::complain(&format_args!(
            "{}{} events in {} s; the bus had {} in all",
            self.matched,
            wanted.unwrap_or_default(),
            self.started.elapsed().as_secs_f32().round(),
            self.seen
        ));
    }

    fn is_over(&self) -> bool {
        self.deadline.is_some_and(|at| Instant::now() >= at)
    }

    /// Until the next thing there is to do.
    fn longest_wait(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(3600);
        let until = |at: Instant| at.saturating_duration_since(Instant::now());
        let next = [self.deadline, self.sink.next_tick()];
        next.into_iter()
            .flatten()
            .map(until)
            .fold(LONG, Duration::min)
    }
}

/// Shows an event if it is wanted; whether it was the last one.
fn take(
    selection: &Selection,
    sink: &mut Sink,
    left: &mut Option<u64>,
    matched: &mut u64,
    event: EventRef<'_>,
) -> io::Result<bool> {
    if !selection.wants(event) {
        return Ok(false);
    }
    if !sink.event(event)? {
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

impl Sink {
    /// Takes an event; whether it counts (malformed ones do not, as in Salt).
    fn event(&mut self, event: EventRef<'_>) -> io::Result<bool> {
        match self {
            Self::Events(printer) => printer.event(event),
            Self::Summary(summary) => {
                summary.event(event);
                Ok(true)
            }
        }
    }

    fn next_tick(&self) -> Option<Instant> {
        match self {
            Self::Events(_) => None,
            Self::Summary(summary) => Some(summary.due()),
        }
    }

    fn is_due(&self) -> bool {
        self.next_tick().is_some_and(|due| Instant::now() >= due)
    }

    fn tick(&mut self) -> io::Result<()> {
        match self {
            Self::Summary(summary) if Instant::now() >= summary.due() => summary.print(),
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Events(printer) => printer.flush(),
            Self::Summary(_) => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Events(printer) => printer.flush(),
            Self::Summary(summary) => summary.print(),
        }
    }
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

//! Logs on stderr: Salt's level names, and one line per record.
//!
//! Output that the user asked for is not a log; it goes through [`crate::show`].

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{SystemTime, UNIX_EPOCH};

use brine_wire::stamp::{self, StampStyle};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::layer as fmt_layer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

use crate::daemon::log_file;
use crate::show;

/// Salt's log levels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Level {
    All,
    Garbage,
    Trace,
    Debug,
    Profile,
    Info,
    Warning,
    Error,
    Critical,
    Quiet,
}

impl Level {
    /// As Python numbers levels; `None` if nothing is logged.
    pub(crate) const fn of_python(self) -> Option<i64> {
        Some(match self {
            Self::All | Self::Garbage => 1,
            Self::Trace => 5,
            Self::Debug => 10,
            Self::Profile => 15,
            Self::Info => 20,
            Self::Warning => 30,
            Self::Error => 40,
            Self::Critical => 50,
            Self::Quiet => return None,
        })
    }

    fn is_detailed(self) -> bool {
        self.filter() >= LevelFilter::DEBUG
    }

    fn env_filter(self) -> EnvFilter {
        let filter = self.filter();
        // The NATS client logs each attempt to connect; the code that connects logs the results.
        let nats = match self.is_detailed() {
            true => filter,
            false => filter.min(LevelFilter::WARN),
        };
        EnvFilter::new(format!("{filter},async_nats={nats}"))
    }

    const fn filter(self) -> LevelFilter {
        match self {
            Self::All | Self::Garbage | Self::Trace => LevelFilter::TRACE,
            Self::Debug | Self::Profile => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warning => LevelFilter::WARN,
            Self::Error | Self::Critical => LevelFilter::ERROR,
            Self::Quiet => LevelFilter::OFF,
        }
    }
}

/// What a record looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// Time, level, text, fields.
    Own,
    /// As Salt's commands write to a terminal: level and text.
    Salt,
}

/// Starts logging, for the whole process and once.
pub(crate) fn start(level: Level, look: Look) {
    let is_detailed = level.is_detailed();
    let logs = tracing_subscriber::fmt()
        .with_writer(log_file::Records)
        .with_env_filter(level.env_filter())
        .with_ansi(io::stderr().is_terminal() && show::wants_colour())
        .with_target(is_detailed)
        .with_timer(Time);
    match look {
        Look::Own => logs.init(),
        Look::Salt => logs.event_format(SaltLook).init(),
    }
}

/// The same for a daemon in the foreground: on the terminal as Salt's commands log, and in the log file that is open.
pub(crate) fn start_beside_file(terminal: Level, file: Level) {
    let on_terminal = fmt_layer()
        .with_writer(crate::terminal::stderr)
        .with_ansi(io::stderr().is_terminal() && show::wants_colour())
        .event_format(SaltLook)
        .with_filter(terminal.env_filter());
    let in_file = fmt_layer()
        .with_writer(log_file::Records)
        .with_ansi(false)
        .with_target(file.is_detailed())
        .with_timer(Time)
        .with_filter(file.env_filter());
    tracing_subscriber::registry()
        .with(on_terminal)
        .with(in_file)
        .init();
}

/// The time in UTC, to the millisecond.
struct Time;

impl FormatTime for Time {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let stamp = stamp::format(now, StampStyle::Naive);
        let seconds = stamp.get(..19).unwrap_or(&stamp);
        write!(out, "{seconds}.{:03}Z", now.subsec_millis())
    }
}

/// `[WARNING ] text`, as Salt's `log_fmt_console` has it.
struct SaltLook;

impl<S, N> FormatEvent<S, N> for SaltLook
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "ERROR",
            tracing::Level::WARN => "WARNING",
            tracing::Level::INFO => "INFO",
            tracing::Level::DEBUG => "DEBUG",
            tracing::Level::TRACE => "TRACE",
        };
        write!(out, "[{level:<8}] ")?;
        let mut fields: FormattedFields<N> = FormattedFields::new(String::new());
        context.format_fields(fields.as_writer(), event)?;
        writeln!(out, "{}", fields.fields)
    }
}

//! Logs on stderr: Salt's level names, and one line per record.
//!
//! Output that the user asked for is not a log; it goes through [`crate::show`].

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{SystemTime, UNIX_EPOCH};

use brine_wire::stamp::{self, StampStyle};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::fmt::{FmtContext, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

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
    let filter = level.filter();
    let is_detailed = filter >= LevelFilter::DEBUG;
    // The NATS client tells of each attempt to connect; what comes of them is told by whoever connects.
    let nats = match is_detailed {
        true => filter,
        false => filter.min(LevelFilter::WARN),
    };
    let logs = tracing_subscriber::fmt()
        .with_writer(log_file::Records)
        .with_env_filter(EnvFilter::new(format!("{filter},async_nats={nats}")))
        .with_ansi(io::stderr().is_terminal() && show::wants_colour())
        .with_target(is_detailed)
        .with_timer(Time);
    match look {
        Look::Own => logs.init(),
        Look::Salt => logs.event_format(SaltLook).init(),
    }
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

//! Logs on stderr: Salt's level names, and one line per record.
//!
//! What the user asked to see is output and not a log; it goes through [`crate::show`].

use std::fmt;
use std::io::{self, IsTerminal};
use std::time::{SystemTime, UNIX_EPOCH};

use brine_wire::stamp::{self, StampStyle};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

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

/// Starts logging, for the whole process and once.
pub(crate) fn start(level: Level) {
    let filter = level.filter();
    let is_detailed = filter >= LevelFilter::DEBUG;
    let logs = tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_max_level(filter)
        .with_ansi(io::stderr().is_terminal() && show::wants_colour())
        .with_target(is_detailed)
        .with_timer(Time);
    logs.init();
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

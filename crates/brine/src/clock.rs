//! The clock and the time zone that dates on the command line refer to.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_log::Millis;
use brine_wire::time::{self, Bound, Clock, StartText};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The zone of dates that name none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Zone {
    Local,
    Utc,
}

impl Zone {
    /// What `--utc` says.
    pub(crate) const fn from_flag(utc: bool) -> Self {
        if utc { Self::Utc } else { Self::Local }
    }

    /// Reads where to start.
    pub(crate) fn start(self, text: &str) -> Result<StartText, time::StartError> {
        self.read(|clock| time::parse_start(text, clock))
    }

    /// Reads a time.
    pub(crate) fn time(self, text: &str, bound: Bound) -> Result<Millis, time::TimeError> {
        self.read(|clock| time::parse_time(text, bound, clock))
            .map(millis)
    }

    fn read<T>(self, read: impl FnOnce(Clock<'_>) -> T) -> T {
        let local = TimeZone::system();
        let zone = |seconds: i64| match self {
            Self::Utc => 0,
            Self::Local => {
                let moment = Timestamp::from_second(seconds).unwrap_or_default();
                local.to_offset(moment).seconds()
            }
        };
        read(Clock {
            now: since_epoch(),
            zone: &zone,
        })
    }
}

/// How many seconds local time is ahead of UTC at a moment.
pub(crate) fn local_offset(seconds: i64) -> i32 {
    let moment = Timestamp::from_second(seconds).unwrap_or_default();
    TimeZone::system().to_offset(moment).seconds()
}

/// The time of a `_stamp` or of a time that Brine wrote; without a zone it is UTC.
pub(crate) fn stamp(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let time: jiff::civil::DateTime = text.parse().ok()?;
        Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

/// A time in milliseconds since 1970, as RFC 3339 writes it, in UTC.
pub(crate) fn utc_text(at: u64) -> String {
    let time = i64::try_from(at)
        .ok()
        .and_then(|at| Timestamp::from_millisecond(at).ok());
    time.unwrap_or_default().to_string()
}

/// A moment in local time, with its day unless that is today.
pub(crate) fn local_text(at: Timestamp) -> String {
    let zone = TimeZone::system();
    let (at, now) = (at.to_zoned(zone.clone()), Timestamp::now().to_zoned(zone));
    let form = match at.date() == now.date() {
        true => "%H:%M",
        false => "%Y-%m-%d %H:%M",
    };
    at.strftime(form).to_string()
}

/// The time now, since the UNIX epoch; a clock before 1970 says 1970.
pub(crate) fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The time now.
pub(crate) fn now() -> Millis {
    millis(since_epoch())
}

/// A time in the log's unit.
pub(crate) fn millis(time: Duration) -> Millis {
    Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

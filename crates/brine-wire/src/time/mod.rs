//! Times and starting points as people write them: `10m`, `2026-11-29 08:01`, a job id, `earliest`.
//!
//! One grammar for the commands, HTTP and Python. The clock and the local time zone are arguments,
//! so that a text means the same wherever it is read. A time is that of an event's arrival on the
//! bus. Words follow journalctl and the NATS and Kafka tools; a duration alone means that long ago.

mod civil;
mod duration;
mod loose;

use alloc::string::{String, ToString};
use core::time::Duration;

pub use loose::WallTime;

use civil::{Date, TimeOfDay};
use duration::parse_duration;

/// What a text is read against.
#[derive(Clone, Copy)]
pub struct Clock<'a> {
    /// The time now, since the UNIX epoch.
    pub now: Duration,
    /// How many seconds local time is ahead of UTC at a moment, given in seconds since the epoch.
    pub zone: &'a dyn Fn(i64) -> i32,
}

/// Which end of a stretch of time a text names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// Where it begins: never in the future.
    Since,
    /// Where it ends: may lie in the future, as in `+5min`.
    Until,
}

/// Where a reader starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartText {
    /// `earliest`, `all`: with the oldest event that is kept.
    Earliest,
    /// `new`, `latest`: with the next event to come.
    New,
    /// A number alone: with this sequence.
    Sequence(u64),
    /// `<log>-<sequence>`: after this position.
    After {
        /// The log's identity as text.
        log: String,
        /// The last sequence that was read.
        sequence: u64,
    },
    /// A time, since the UNIX epoch: with the first event that arrived at or after it.
    Time(Duration),
}

/// The text is no time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a time, such as 10m, 2026-11-29 08:01 or 2026-11-29T08:01:00Z, found {found:?}{fault}"
)]
pub struct TimeError {
    /// The text.
    pub found: String,
    /// What is wrong with it, where that is known.
    pub fault: TimeFault,
}

/// What is wrong with a text that is no time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimeFault {
    /// It has none of the forms.
    #[error("")]
    Form,
    /// Its unit is a month or a year.
    #[error(": months and years differ in length; give days (d) or a date")]
    UnitVaries,
    /// It has a form, but no such day or hour exists.
    #[error(": no such date or time of day")]
    NoSuchTime,
    /// It lies in the future where that makes no sense.
    #[error(": it lies in the future, which only an end (until) may")]
    Future,
}

/// The text is no starting point.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a start: earliest, new, a sequence such as 42, a position such as 7f3a-42, or a time such as 10m or 2026-11-29 08:01, found {found:?}{fault}"
)]
pub struct StartError {
    /// The text.
    pub found: String,
    /// What is wrong with it as a time.
    pub fault: TimeFault,
}

/// The longest text that is read, in bytes: more than any form needs.
const MAX_TEXT: usize = 64;
/// The digits of a job id that are a time.
const JID_DIGITS: usize = 20;
/// The last second of the year 9999.
const LATEST: i64 = 253_402_300_799;

/// Reads a starting point.
///
/// # Errors
/// [`StartError`] shows the right forms.
pub fn parse_start(text: &str, clock: Clock<'_>) -> Result<StartText, StartError> {
    let trimmed = text.trim();
    match trimmed {
        "earliest" | "all" => return Ok(StartText::Earliest),
        "latest" | "new" => return Ok(StartText::New),
        _ => {}
    }
    if is_digits(trimmed)
        && trimmed.len() < JID_DIGITS
        && let Ok(sequence) = trimmed.parse()
    {
        return Ok(StartText::Sequence(sequence));
    }
    if let Some(position) = position(trimmed) {
        return Ok(position);
    }
    match parse_time(trimmed, Bound::Since, clock) {
        Ok(time) => Ok(StartText::Time(time)),
        Err(error) => Err(StartError {
            found: error.found,
            fault: error.fault,
        }),
    }
}

/// `<log>-<sequence>`: hexadecimal digits, one hyphen, decimal digits.
fn position(text: &str) -> Option<StartText> {
    let (log, sequence) = text.split_once('-')?;
    let is_log =
        !log.is_empty() && log.len() <= 32 && log.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_log || !is_digits(sequence) {
        return None;
    }
    Some(StartText::After {
        log: log.to_string(),
        sequence: sequence.parse().ok()?,
    })
}

/// Reads a time, as the time since the UNIX epoch. Times before it are the epoch.
///
/// # Errors
/// [`TimeError`] shows three right forms.
pub fn parse_time(text: &str, bound: Bound, clock: Clock<'_>) -> Result<Duration, TimeError> {
    let trimmed = text.trim();
    let refused = |fault| TimeError {
        found: shortened(text),
        fault,
    };
    if trimmed.is_empty() || trimmed.len() > MAX_TEXT {
        return Err(refused(TimeFault::Form));
    }
    let time = moment(trimmed, clock).map_err(refused)?;
    if bound == Bound::Since && time.is_in_future && time.at > clock.now {
        return Err(refused(TimeFault::Future));
    }
    Ok(time.at)
}

/// A moment, and whether the text itself points forward.
struct Moment {
    at: Duration,
    is_in_future: bool,
}

impl From<Duration> for Moment {
    fn from(at: Duration) -> Self {
        Self {
            at,
            is_in_future: false,
        }
    }
}

/// Tries the forms one after the other; no text has two of them.
fn moment(text: &str, clock: Clock<'_>) -> Result<Moment, TimeFault> {
    if let Some(day) = day_word(text) {
        return Ok(Moment {
            at: midnight(clock, day)?,
            is_in_future: day > 0,
        });
    }
    if text == "now" {
        return Ok(clock.now.into());
    }
    if let Some(epoch) = text.strip_prefix('@') {
        return seconds(epoch).ok_or(TimeFault::Form).map(Moment::from);
    }
    if text.len() >= JID_DIGITS && is_digits(text.split('_').next().unwrap_or_default()) {
        return job_id(text).map(Moment::from);
    }
    if let Some(ahead) = text.strip_prefix('+') {
        let at = clock.now.saturating_add(parse_duration(ahead)?);
        return Ok(Moment {
            at,
            is_in_future: true,
        });
    }
    if let Some((date, rest)) = Date::parse_prefix(text) {
        return written(date, rest, clock).map(Moment::from);
    }
    if let Some(time) = TimeOfDay::parse(text) {
        let day = civil::day_of(local_now(clock));
        return to_utc(day, time, clock).map(Moment::from);
    }
    let back = text.strip_prefix('-').unwrap_or(text);
    let back = back.strip_suffix("ago").map_or(back, str::trim_end);
    Ok(clock.now.saturating_sub(parse_duration(back)?).into())
}

/// The day a word names, counted from today.
fn day_word(text: &str) -> Option<i64> {
    match text {
        "today" => Some(0),
        "yesterday" => Some(-1),
        "tomorrow" => Some(1),
        _ => None,
    }
}

/// The beginning of a day, counted from today.
fn midnight(clock: Clock<'_>, days: i64) -> Result<Duration, TimeFault> {
    let day = civil::day_of(local_now(clock)) + days;
    to_utc(day, TimeOfDay::default(), clock)
}

fn local_now(clock: Clock<'_>) -> i64 {
    let now = i64::try_from(clock.now.as_secs())
        .unwrap_or(LATEST)
        .min(LATEST);
    now + i64::from((clock.zone)(now))
}

/// What follows a date: nothing, a time of day, and perhaps a zone. After a `T`, a time without a
/// zone is UTC, since that is how Salt's `_stamp` is written; after a space it is local.
fn written(
    date: Result<Date, TimeFault>,
    rest: &str,
    clock: Clock<'_>,
) -> Result<Duration, TimeFault> {
    let day = date?.days();
    let Some(separator) = rest.chars().next() else {
        return to_utc(day, TimeOfDay::default(), clock);
    };
    let rest = &rest[separator.len_utf8()..];
    let is_stamp = matches!(separator, 'T' | 't');
    if !is_stamp && separator != ' ' {
        return Err(TimeFault::Form);
    }
    let (time, zone) = civil::split_zone(rest);
    let time = TimeOfDay::parse(time).ok_or(TimeFault::Form)?;
    let offset = match zone {
        Some(zone) => Some(civil::offset(zone).ok_or(TimeFault::Form)?),
        None if is_stamp => Some(0),
        None => None,
    };
    match offset {
        Some(offset) => {
            let seconds = day * 86_400 + time.seconds()? - i64::from(offset);
            since_epoch(seconds, time.nanoseconds())
        }
        None => to_utc(day, time, clock),
    }
}

/// The moment of a local date and time. What occurs twice (clocks set back) is the first of the two,
/// what does not occur (clocks set forward) is read by the offset from before.
fn to_utc(day: i64, time: TimeOfDay, clock: Clock<'_>) -> Result<Duration, TimeFault> {
    let local = day * 86_400 + time.seconds()?;
    let before = (clock.zone)(local - 86_400);
    let after = (clock.zone)(local + 86_400);
    let holds = |offset: i32| (clock.zone)(local - i64::from(offset)) == offset;
    let offset = match (holds(before), holds(after)) {
        (true, true) => before.max(after),
        (false, true) => after,
        (_, false) => before,
    };
    since_epoch(local - i64::from(offset), time.nanoseconds())
}

fn since_epoch(seconds: i64, nanoseconds: u32) -> Result<Duration, TimeFault> {
    if seconds > LATEST {
        return Err(TimeFault::NoSuchTime);
    }
    Ok(u64::try_from(seconds).map_or(Duration::ZERO, |seconds| {
        Duration::new(seconds, nanoseconds)
    }))
}

/// The time in a job id, which is that of the master's clock in UTC unless it is set otherwise.
fn job_id(text: &str) -> Result<Duration, TimeFault> {
    let digits = text.split('_').next().unwrap_or_default();
    if digits.len() != JID_DIGITS {
        return Err(TimeFault::Form);
    }
    let part = |from: usize, to: usize| digits[from..to].parse::<u32>().unwrap_or_default();
    let date = Date::new(part(0, 4), part(4, 6), part(6, 8))?;
    let time = TimeOfDay::new(part(8, 10), part(10, 12), part(12, 14), part(14, 20) * 1000);
    since_epoch(date.days() * 86_400 + time.seconds()?, time.nanoseconds())
}

/// Seconds with an optional fraction.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole = whole
        .parse::<u64>()
        .ok()
        .filter(|whole| *whole <= LATEST.unsigned_abs())?;
    Some(Duration::new(whole, civil::nanoseconds(fraction)))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// As much of a text as an error shows.
fn shortened(text: &str) -> String {
    text.chars().take(MAX_TEXT).collect()
}

#[cfg(test)]
mod tests;

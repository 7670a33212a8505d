//! Salt's filter `strftime` (`date_format`): times as numbers, and dates in common notations.
//!
//! Salt parses strings with timelib, which accepts phrases such as `next tuesday`; here these are an error that lists
//! what is accepted.

use std::fmt::Write as _;

use jiff::civil::{DateTime, Time};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error};

use super::values::{invalid, text};

/// Adds it to an environment.
pub(super) fn add_to(env: &mut Environment<'_>) {
    env.add_filter("strftime", strftime);
    env.add_filter("date_format", strftime);
}

fn strftime(value: &Value, format: Option<&str>) -> Result<String, Error> {
    let format = format.unwrap_or("%Y-%m-%d");
    strtime::format(as_here(format), date(value)?)
        .map_err(|error| invalid(format!("strftime {format:?}: {error}")))
}

fn date(value: &Value) -> Result<DateTime, Error> {
    let unreadable = || {
        let shown = text(value).unwrap_or_default();
        invalid(format!(
            "strftime cannot read {shown:?}; expected a number of seconds, or a date such as 2026-11-29 18:10:30"
        ))
    };
    match value.kind() {
        ValueKind::None => Ok(Zoned::now().datetime()),
        ValueKind::Number => f64::try_from(value.clone())
            .ok()
            .and_then(of_seconds)
            .ok_or_else(unreadable),
        ValueKind::String => of_text(value.as_str().unwrap_or_default()).ok_or_else(unreadable),
        _ => Err(unreadable()),
    }
}

/// A time since the epoch, in the machine's zone as in Salt.
fn of_seconds(seconds: f64) -> Option<DateTime> {
    let micros = (seconds * 1e6).round();
    let is_in_range = micros.abs() < 1e18;
    #[allow(clippy::cast_possible_truncation)] // it is in range
    let timestamp = is_in_range.then(|| Timestamp::from_microsecond(micros as i64).ok())??;
    Some(timestamp.to_zoned(TimeZone::system()).datetime())
}

/// `now` in UTC, a date with or without a time, or a number of seconds.
fn of_text(text: &str) -> Option<DateTime> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("now") {
        return Some(Timestamp::now().to_zoned(TimeZone::UTC).datetime());
    }
    let is_number = text.chars().all(|c| c.is_ascii_digit());
    if is_number && text.len() >= 9 {
        return of_seconds(text.parse().ok()?);
    }
    if let Some(date) = strtime::parse("%Y/%m/%d", text)
        .ok()
        .and_then(|parsed| parsed.to_date().ok())
    {
        return Some(date.to_datetime(Time::midnight()));
    }
    // With a zone it is the time in UTC.
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.to_zoned(TimeZone::UTC).datetime());
    }
    text.parse::<DateTime>().ok()
}

/// The format with what Python writes differently: a date without a zone has none to show, and fractions have six digits.
fn as_here(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match rest.next() {
            Some('Z' | 'z') => {}
            Some('f') => out.push_str("%6f"),
            Some('c') => out.push_str("%a %b %e %H:%M:%S %Y"),
            Some('x') => out.push_str("%m/%d/%y"),
            Some('X') => out.push_str("%H:%M:%S"),
            Some(other) => drop(write!(out, "%{other}")),
            None => out.push_str("%%"),
        }
    }
    out
}

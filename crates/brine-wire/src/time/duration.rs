//! Durations as written: `10m`, `1h30m`, `10 min`, `1.5h`.

use core::time::Duration;

use super::{TimeFault, civil, is_digits};

/// Reads one or more numbers with units. `m` is minutes; months and years have no fixed length.
pub(super) fn parse_duration(text: &str) -> Result<Duration, TimeFault> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(TimeFault::Form);
    }
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit() && c != '.');
        let (unit, after) = split_where(after.trim_start(), |c| !c.is_alphabetic());
        sum = sum.saturating_add(scaled(number, unit_milliseconds(unit)?)?);
        rest = after.trim_start();
    }
    Ok(sum)
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

fn unit_milliseconds(unit: &str) -> Result<u64, TimeFault> {
    Ok(match unit {
        "ms" | "msec" => 1,
        "s" | "sec" | "second" | "seconds" => 1000,
        "m" | "min" | "minute" | "minutes" => 60_000,
        "h" | "hr" | "hour" | "hours" => 3_600_000,
        "d" | "day" | "days" => 86_400_000,
        "w" | "week" | "weeks" => 604_800_000,
        "M" | "month" | "months" | "y" | "year" | "years" => return Err(TimeFault::UnitVaries),
        _ => return Err(TimeFault::Form),
    })
}

fn scaled(number: &str, milliseconds: u64) -> Result<Duration, TimeFault> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !is_digits(whole) || !is_digits(fraction) {
        return Err(TimeFault::Form);
    }
    let whole: u64 = whole.parse().map_err(|_| TimeFault::Form)?;
    let parts = u128::from(civil::nanoseconds(fraction)) * u128::from(milliseconds) / 1000;
    let parts = u64::try_from(parts).map_err(|_| TimeFault::Form)?;
    let whole = Duration::from_millis(whole.saturating_mul(milliseconds));
    Ok(whole.saturating_add(Duration::from_nanos(parts)))
}

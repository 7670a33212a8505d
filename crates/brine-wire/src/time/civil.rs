//! Dates and times of day as written: numbers checked for existing, and counted in days and seconds.
//!
//! Years are those of the proleptic Gregorian calendar, as in [`crate::stamp`], which goes the other
//! way.

use super::{TimeFault, is_digits};

/// A day that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    pub(super) fn new(year: u32, month: u32, day: u32) -> Result<Self, TimeFault> {
        if !(1..=12).contains(&month) || day == 0 || day > days_in(year, month) {
            return Err(TimeFault::NoSuchTime);
        }
        let [year, month, day] = [year, month, day].map(i64::from);
        Ok(Self { year, month, day })
    }

    /// `2026-11-29` at the beginning of a text, and what follows; `None` when there is no date.
    pub(super) fn parse_prefix(text: &str) -> Option<(Result<Self, TimeFault>, &str)> {
        const LENGTH: usize = "2026-11-29".len();
        let date = text.get(..LENGTH)?;
        let mut parts = date.split('-');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            (part.len() == digits && is_digits(part)).then(|| part.parse::<u32>().ok())?
        };
        let (year, month, day) = (number(4)?, number(2)?, number(2)?);
        Some((Self::new(year, month, day), &text[LENGTH..]))
    }

    /// Days since 1970-01-01. Years are counted from March, so that the leap day is the last of its
    /// year.
    pub(super) const fn days(self) -> i64 {
        let year = if self.month <= 2 {
            self.year - 1
        } else {
            self.year
        };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let march_month = (self.month + 9) % 12;
        let day_of_year = (153 * march_month + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }
}

pub(super) const fn days_in(year: u32, month: u32) -> u32 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// The day of a moment given in seconds since the epoch.
pub(super) const fn day_of(seconds: i64) -> i64 {
    seconds.div_euclid(86_400)
}

/// A time of day, not yet checked for existing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct TimeOfDay {
    hour: u32,
    minute: u32,
    second: u32,
    nanoseconds: u32,
}

impl TimeOfDay {
    pub(super) const fn new(hour: u32, minute: u32, second: u32, nanoseconds: u32) -> Self {
        Self {
            hour,
            minute,
            second,
            nanoseconds,
        }
    }

    /// `08:01`, `08:01:20`, `08:01:20.5`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        let mut numbers = [0; 3];
        let mut count = 0;
        for part in whole.split(':') {
            if !is_digits(part) || part.len() > 2 {
                return None;
            }
            *numbers.get_mut(count)? = part.parse().ok()?;
            count += 1;
        }
        let fraction = match fraction {
            Some(fraction) if count == 3 && is_digits(fraction) => nanoseconds(fraction),
            Some(_) => return None,
            None => 0,
        };
        (count >= 2).then(|| Self::new(numbers[0], numbers[1], numbers[2], fraction))
    }

    /// Seconds since midnight. A leap second is the second before it.
    pub(super) fn seconds(self) -> Result<i64, TimeFault> {
        if self.hour > 23 || self.minute > 59 || self.second > 60 {
            return Err(TimeFault::NoSuchTime);
        }
        let second = self.second.min(59);
        Ok(i64::from(self.hour * 3600 + self.minute * 60 + second))
    }

    pub(super) const fn nanoseconds(self) -> u32 {
        self.nanoseconds
    }
}

/// The digits after a point as nanoseconds; what is finer is cut off.
pub(super) fn nanoseconds(digits: &str) -> u32 {
    let padded = digits.bytes().chain(core::iter::repeat(b'0')).take(9);
    padded.fold(0, |number, digit| {
        number * 10 + u32::from(digit.wrapping_sub(b'0') % 10)
    })
}

/// A time of day and the zone behind it, if there is one.
pub(super) fn split_zone(text: &str) -> (&str, Option<&str>) {
    let is_zone = |character: char| matches!(character, 'Z' | 'z' | '+' | '-' | ' ');
    match text.find(is_zone) {
        Some(at) => (&text[..at], Some(text[at..].trim())),
        None => (text, None),
    }
}

/// A zone as written, in seconds ahead of UTC: `Z`, `UTC`, `+02:00`, `-0530`, `+02`.
pub(super) fn offset(zone: &str) -> Option<i32> {
    if matches!(zone, "Z" | "z" | "UTC") {
        return Some(0);
    }
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some(parts) => parts,
        None if digits.len() == 4 && digits.is_ascii() => digits.split_at(2),
        None => (digits, "00"),
    };
    let number = |text: &str, most: i32| {
        let number = (text.len() == 2 && is_digits(text)).then(|| text.parse::<i32>().ok())?;
        number.filter(|number| *number <= most)
    };
    Some(sign * (number(hours, 23)? * 3600 + number(minutes, 59)? * 60))
}

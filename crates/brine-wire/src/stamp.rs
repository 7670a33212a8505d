//! `_stamp`: when an event was fired, as Python's `datetime.isoformat` writes it.
//!
//! Pure: the time is an argument. Facts: `docs/protocol/ipc.md` §4.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

pub use crate::compat::StampStyle;

/// The stamp of a moment, given as the time since the UNIX epoch. The fraction is left out when it
/// is exactly zero, as Python does.
#[must_use]
pub fn format(since_epoch: Duration, style: StampStyle) -> String {
    let mut stamp = Vec::with_capacity(32);
    append(since_epoch, style, &mut stamp);
    stamp.into_iter().map(char::from).collect()
}

/// Appends what [`format`] gives.
pub fn append(since_epoch: Duration, style: StampStyle, out: &mut Vec<u8>) {
    let seconds = since_epoch.as_secs();
    let (year, month, day) = civil_from_days(seconds / 86_400 + EPOCH_DAYS);
    match year {
        0..=9999 => out.extend(pair(year / 100).into_iter().chain(pair(year % 100))),
        _ => crate::decimal::unsigned(year, out),
    }
    for (separator, number) in [
        (b'-', month),
        (b'-', day),
        (b'T', seconds / 3600 % 24),
        (b':', seconds / 60 % 60),
        (b':', seconds % 60),
    ] {
        let [tens, ones] = pair(number);
        out.extend_from_slice(&[separator, tens, ones]);
    }
    let micros = u64::from(since_epoch.subsec_micros());
    if micros > 0 {
        let [a, b] = pair(micros / 10_000);
        let [c, d] = pair(micros / 100 % 100);
        let [e, f] = pair(micros % 100);
        out.extend_from_slice(&[b'.', a, b, c, d, e, f]);
    }
    if style == StampStyle::Utc {
        out.extend_from_slice(b"+00:00");
    }
}

/// Two digits of a number below a hundred.
const fn pair(number: u64) -> [u8; 2] {
    #[allow(clippy::cast_possible_truncation)] // one digit each
    [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8]
}

/// The days from 0000-03-01, where an era of 400 years begins, to 1970-01-01.
pub(crate) const EPOCH_DAYS: u64 = 719_468;

/// Year, month and day of a day counted from 0000-03-01, in the proleptic Gregorian calendar.
/// Years are counted from March, so that the leap day is the last of its year.
pub(crate) const fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn stamps_are_pythons() {
        let at = |seconds, micros: u32| Duration::new(seconds, micros * 1000);
        for (moment, text) in [
            (at(0, 1), "1970-01-01T00:00:00.000001"),
            (at(951_782_400, 0), "2000-02-29T00:00:00"),
            (at(1_795_467_587, 223_006), "2026-11-23T20:59:47.223006"),
            (at(4_107_542_399, 999_999), "2100-02-28T23:59:59.999999"),
            (at(4_107_542_400, 0), "2100-03-01T00:00:00"),
        ] {
            assert_eq!(format(moment, StampStyle::Naive), text);
            assert_eq!(format(moment, StampStyle::Utc), format!("{text}+00:00"));
        }
    }
}

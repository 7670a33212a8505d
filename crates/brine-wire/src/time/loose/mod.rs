//! Dates and times as loosely as Python's `dateutil` reads them: `2015, Mar 16 19:00`, `16.3.2015 7pm`, `Nov 29`.
//!
//! Salt's runners read their time arguments so. What is not said is today's, at midnight. A time zone is refused: what
//! these times are compared with has none. Facts: dateutil's parser as Salt comes with it, which a test of
//! `brine-node` asks about generated texts.

mod tokens;
mod year_month_day;

use alloc::string::String;

use self::tokens::{Number, tokens};
use self::year_month_day::YearMonthDay;
use super::civil::{self, Date};
use crate::stamp::{EPOCH_DAYS, civil_from_days};

/// The longest text that is read, in bytes.
const MAX_TEXT: usize = 64;

/// A date and a time of day, wherever that is: earlier is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallTime {
    /// 1 to 9999.
    pub year: u32,
    /// 1 to 12.
    pub month: u32,
    /// 1 to 31.
    pub day: u32,
    /// 0 to 23.
    pub hour: u32,
    /// 0 to 59.
    pub minute: u32,
    /// 0 to 59.
    pub second: u32,
    /// 0 to 999,999.
    pub microsecond: u32,
}

impl WallTime {
    /// The time in a job id: its first twenty digits.
    #[must_use]
    pub fn of_jid(jid: &str) -> Option<Self> {
        let number = |from: usize, to: usize| jid.get(from..to)?.parse().ok();
        Some(Self {
            year: number(0, 4)?,
            month: number(4, 6)?,
            day: number(6, 8)?,
            hour: number(8, 10)?,
            minute: number(10, 12)?,
            second: number(12, 14)?,
            microsecond: number(14, 20)?,
        })
    }

    /// Reads a text; `today` stands for what it does not say. `None` if it is no time.
    #[must_use]
    pub fn parse(text: &str, today: Self) -> Option<Self> {
        if text.len() > MAX_TEXT || !text.is_ascii() {
            return None;
        }
        let mut reader = Reader {
            tokens: tokens(text),
            found: Found::default(),
            date: YearMonthDay::default(),
            this_year: today.year,
        };
        let mut at = 0;
        while at < reader.tokens.len() {
            at = reader.read(at)? + 1;
        }
        reader.found.with_the_rest_of(today, &reader.date)
    }
}

/// What a text has said besides year, month and day.
#[derive(Debug, Default)]
struct Found {
    weekday: Option<i64>,
    hour: Option<u32>,
    minute: Option<u32>,
    second: Option<u32>,
    microsecond: Option<u32>,
}

impl Found {
    fn with_the_rest_of(self, today: WallTime, date: &YearMonthDay) -> Option<WallTime> {
        let (year, month, day) = date.resolve(today.year)?;
        let says_a_time = self.hour.or(self.minute).or(self.second).is_some();
        if !says_a_time && self.weekday.is_none() && year.or(month).or(day).is_none() {
            return None;
        }
        let mut time = WallTime {
            year: year.unwrap_or(today.year),
            month: month.unwrap_or(today.month),
            day: day.unwrap_or(today.day),
            hour: self.hour.unwrap_or(0),
            minute: self.minute.unwrap_or(0),
            second: self.second.unwrap_or(0),
            microsecond: self.microsecond.unwrap_or(0),
        };
        if !(1..=9999).contains(&time.year) || !(1..=12).contains(&time.month) {
            return None;
        }
        if day.is_none() {
            time.day = time.day.min(civil::days_in(time.year, time.month));
        }
        let date = Date::new(time.year, time.month, time.day).ok()?;
        if time.hour > 23 || time.minute > 59 || time.second > 59 {
            return None;
        }
        if let (Some(weekday), None) = (self.weekday, day) {
            // The day of the week of 1970-01-01 was Thursday, three days after Monday.
            let ahead = (weekday - (date.days() + 3)).rem_euclid(7);
            let days = EPOCH_DAYS.checked_add_signed(date.days() + ahead)?;
            let (year, month, day) = civil_from_days(days);
            let number = |number: u64| u32::try_from(number).ok();
            (time.year, time.month, time.day) = (number(year)?, number(month)?, number(day)?);
        }
        Some(time)
    }
}

/// A text that is being read, token by token.
struct Reader {
    tokens: alloc::vec::Vec<String>,
    found: Found,
    date: YearMonthDay,
    this_year: u32,
}

impl Reader {
    /// Reads what begins at a token; the last token that belongs to it.
    fn read(&mut self, at: usize) -> Option<usize> {
        let token = self.tokens[at].as_str();
        if let Some(number) = Number::parse(token) {
            return self.number(at, number);
        }
        if let Some(weekday) = named(WEEKDAYS, token) {
            self.found.weekday = i64::try_from(weekday).ok();
            return Some(at);
        }
        if let Some(month) = month(token) {
            self.date.month(month)?;
            return self.after_month(at);
        }
        if let Some(half) = half_of_day(token) {
            let hour = self.found.hour.filter(|hour| *hour <= 12)?;
            self.found.hour = Some(half.of(hour));
            return Some(at);
        }
        // After an hour, capitals and signs are a time zone.
        let is_zone = self.found.hour.is_some()
            && (matches!(token, "+" | "-" | "z")
                || token.len() <= 5 && token.bytes().all(|byte| byte.is_ascii_uppercase()));
        (!is_zone && is_filler(token)).then_some(at)
    }

    /// `Jan-01`, `Jan-01-99`, `Jan of 01`.
    fn after_month(&mut self, at: usize) -> Option<usize> {
        match self.get(at + 1) {
            Some(sign @ ("-" | "/")) => {
                let has_third = self.get(at + 3) == Some(sign);
                self.append_token(at + 2)?;
                if has_third {
                    self.append_token(at + 4)?;
                    return Some(at + 4);
                }
                Some(at + 2)
            }
            Some(" ")
                if self.get(at + 3) == Some(" ")
                    && self
                        .get(at + 2)
                        .is_some_and(|of| of.eq_ignore_ascii_case("of"))
                    && self.get(at + 4).is_some() =>
            {
                if let Some(year) = self.get(at + 4).filter(|year| super::is_digits(year)) {
                    let year = year.parse().ok()?;
                    let year = year_month_day::with_century(year, self.this_year);
                    self.date.year(year)?;
                }
                Some(at + 4)
            }
            _ => Some(at),
        }
    }

    /// Takes the number at `at` with what belongs to it; the last token taken.
    fn number(&mut self, at: usize, number: Number) -> Option<usize> {
        let token = self.tokens[at].clone();
        if self.is_compact(at, &token) {
            self.compact(&token)?;
            return Some(at);
        }
        if let Some((last, unit)) = self.unit_of(at) {
            self.with_unit(number, unit)?;
            return Some(last);
        }
        match self.get(at + 1) {
            Some(":") if self.get(at + 2).is_some() => self.clock(at, number),
            Some(sign @ ("-" | "/" | ".")) => {
                let sign = String::from(sign);
                self.separated(at, &token, &sign)
            }
            next if next.is_none_or(is_filler) => {
                match self.get(at + 2).and_then(half_of_day) {
                    // 12 am
                    Some(half) => {
                        self.found.hour = Some(half.of(number.whole));
                        Some(at + 2)
                    }
                    None => {
                        self.date.append_number(number)?;
                        Some(at + 1)
                    }
                }
            }
            // 12am
            Some(next) if half_of_day(next).is_some() && number.whole < 24 => {
                self.found.hour = Some(half_of_day(next)?.of(number.whole));
                Some(at + 1)
            }
            _ if self.date.could_be_day(number)? => {
                self.date.append_number(number)?;
                Some(at)
            }
            _ => None,
        }
    }

    /// Whether the token is a date or a time of day without separators.
    fn is_compact(&self, at: usize, token: &str) -> bool {
        self.is_time_of_date(at, token)
            || token.len() == 6
            || token.find('.') == Some(6)
            || matches!(token.len(), 8 | 12 | 14)
    }

    /// `23` or `2359` after a whole date, as in `19990101T2359`.
    fn is_time_of_date(&self, at: usize, token: &str) -> bool {
        let next = self.get(at + 1);
        self.date.len() == 3
            && matches!(token.len(), 2 | 4)
            && self.found.hour.is_none()
            && next.is_none_or(|next| next != ":" && unit(next).is_none())
    }

    fn compact(&mut self, token: &str) -> Option<()> {
        let digits = |from: usize, to: usize| token.get(from..to)?.parse::<u32>().ok();
        match token.len() {
            // hh[mm]
            length @ (2 | 4) => {
                self.found.hour = Some(digits(0, 2)?);
                if length == 4 {
                    self.found.minute = Some(digits(2, 4)?);
                }
            }
            // YYMMDD
            6 if self.date.len() == 0 && !token.contains('.') => {
                for from in [0, 2, 4] {
                    self.date.append(token.get(from..from + 2)?)?;
                }
            }
            // YYYYMMDD[hhmm[ss]]
            length @ (8 | 12 | 14) if token.find('.') != Some(6) => {
                self.date.year(digits(0, 4)?)?;
                self.date.append(token.get(4..6)?)?;
                self.date.append(token.get(6..8)?)?;
                if length > 8 {
                    self.found.hour = Some(digits(8, 10)?);
                    self.found.minute = Some(digits(10, 12)?);
                }
                if length > 12 {
                    self.found.second = Some(digits(12, 14)?);
                }
            }
            // HHMMSS[.ss]
            _ => {
                self.found.hour = Some(digits(0, 2)?);
                self.found.minute = Some(digits(2, 4)?);
                self.seconds(Number::parse(token.get(4..)?)?);
            }
        }
        Some(())
    }

    /// `HH:MM[:SS[.ss]]`
    fn clock(&mut self, at: usize, hour: Number) -> Option<usize> {
        self.found.hour = Some(hour.whole);
        let minutes = Number::parse(self.get(at + 2)?)?;
        self.with_unit(minutes, Unit::Minute)?;
        if self.get(at + 3) == Some(":") && self.get(at + 4).is_some() {
            self.seconds(Number::parse(self.get(at + 4)?)?);
            return Some(at + 4);
        }
        Some(at + 2)
    }

    /// `01-01[-01]`, `01-Jan[-01]`
    fn separated(&mut self, at: usize, first: &str, sign: &str) -> Option<usize> {
        let second = self.get(at + 2).filter(|second| !is_filler(second));
        let (second, has_third) = (second.map(String::from), self.get(at + 3) == Some(sign));
        self.date.append(first)?;
        let Some(second) = second else {
            return Some(at + 1);
        };
        self.day_or_month(&second)?;
        if has_third {
            let third = String::from(self.get(at + 4)?);
            self.day_or_month(&third)?;
            return Some(at + 4);
        }
        Some(at + 2)
    }

    /// The unit of a number, after it or, as in `12h04`, the one below that before it; and the last token of both.
    fn unit_of(&self, at: usize) -> Option<(usize, Unit)> {
        let unit_at = |at: Option<usize>| self.get(at?).and_then(unit);
        if let Some(unit) = unit_at(Some(at + 1)) {
            return Some((at + 1, unit));
        }
        if self.get(at + 1) == Some(" ")
            && let Some(unit) = unit_at(Some(at + 2))
        {
            return Some((at + 2, unit));
        }
        if let Some(before) = unit_at(at.checked_sub(1)) {
            return Some((at, before.below()));
        }
        let is_last = at + 1 == self.tokens.len();
        if is_last && at > 1 && self.get(at - 1) == Some(" ") {
            return unit_at(at.checked_sub(2)).map(|before| (at, before.below()));
        }
        None
    }

    fn with_unit(&mut self, number: Number, unit: Unit) -> Option<()> {
        match unit {
            Unit::Hour => {
                self.found.hour = Some(number.whole);
                if number.millionths > 0 {
                    self.found.minute = Some(number.sixtieths());
                }
            }
            Unit::Minute => {
                self.found.minute = Some(number.whole);
                self.found.second = (number.millionths > 0).then(|| number.sixtieths());
            }
            Unit::Second => self.seconds(number),
            Unit::None => {}
        }
        Some(())
    }

    fn seconds(&mut self, number: Number) {
        self.found.second = Some(number.whole);
        self.found.microsecond = Some(number.millionths);
    }

    fn day_or_month(&mut self, token: &str) -> Option<()> {
        match month(token) {
            Some(month) => self.date.month(month),
            None => self.date.append(token),
        }
    }

    fn append_token(&mut self, at: usize) -> Option<()> {
        let token = String::from(self.get(at)?);
        self.date.append(&token)
    }

    fn get(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).map(String::as_str)
    }
}

#[derive(Debug, Clone, Copy)]
enum Unit {
    Hour,
    Minute,
    Second,
    /// What would be below seconds.
    None,
}

impl Unit {
    const fn below(self) -> Self {
        match self {
            Self::Hour => Self::Minute,
            Self::Minute => Self::Second,
            Self::Second | Self::None => Self::None,
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum HalfOfDay {
    Morning,
    Afternoon,
}

impl HalfOfDay {
    /// The hour of a day of 24 hours.
    const fn of(self, hour: u32) -> u32 {
        match self {
            Self::Afternoon if hour < 12 => hour + 12,
            Self::Morning if hour == 12 => 0,
            _ => hour,
        }
    }
}

const WEEKDAYS: &[&[&str]] = &[
    &["mon", "monday"],
    &["tue", "tuesday"],
    &["wed", "wednesday"],
    &["thu", "thursday"],
    &["fri", "friday"],
    &["sat", "saturday"],
    &["sun", "sunday"],
];
const MONTHS: &[&[&str]] = &[
    &["jan", "january"],
    &["feb", "february"],
    &["mar", "march"],
    &["apr", "april"],
    &["may"],
    &["jun", "june"],
    &["jul", "july"],
    &["aug", "august"],
    &["sep", "sept", "september"],
    &["oct", "october"],
    &["nov", "november"],
    &["dec", "december"],
];
/// Words and signs without a meaning of their own.
const FILLERS: &[&[&str]] = &[&[
    " ", ".", ",", ";", "-", "/", "'", "at", "on", "and", "ad", "m", "t", "of", "st", "nd", "rd",
    "th",
]];

/// The place in a table of the row that has a word.
fn named(table: &[&[&str]], word: &str) -> Option<usize> {
    let has = |row: &&[&str]| row.iter().any(|own| own.eq_ignore_ascii_case(word));
    table.iter().position(has)
}

fn month(word: &str) -> Option<u32> {
    u32::try_from(named(MONTHS, word)? + 1).ok()
}

fn is_filler(word: &str) -> bool {
    named(FILLERS, word).is_some()
}

fn unit(word: &str) -> Option<Unit> {
    const UNITS: &[&[&str]] = &[
        &["h", "hour", "hours"],
        &["m", "minute", "minutes"],
        &["s", "second", "seconds"],
    ];
    Some([Unit::Hour, Unit::Minute, Unit::Second][named(UNITS, word)?])
}

fn half_of_day(word: &str) -> Option<HalfOfDay> {
    const HALVES: &[&[&str]] = &[&["am", "a"], &["pm", "p"]];
    Some([HalfOfDay::Morning, HalfOfDay::Afternoon][named(HALVES, word)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Sunday.
    const TODAY: WallTime = time(2026, 11, 29, 0, 0);

    const fn time(year: u32, month: u32, day: u32, hour: u32, minute: u32) -> WallTime {
        WallTime {
            year,
            month,
            day,
            hour,
            minute,
            second: 0,
            microsecond: 0,
        }
    }

    #[test]
    fn times_are_read_in_many_forms() {
        for (text, expected) in [
            ("2020, Jan 01 00:00", Some(time(2020, 1, 1, 0, 0))),
            ("2026-11-28", Some(time(2026, 11, 28, 0, 0))),
            ("2026-11-28T08:05", Some(time(2026, 11, 28, 8, 5))),
            ("20261128 0805", Some(time(2026, 11, 28, 8, 5))),
            ("Nov 28 2026", Some(time(2026, 11, 28, 0, 0))),
            ("28. Nov. 2026 7 pm", Some(time(2026, 11, 28, 19, 0))),
            ("11/28/26 12am", Some(time(2026, 11, 28, 0, 0))),
            ("28/11/2026", Some(time(2026, 11, 28, 0, 0))),
            ("10h36m", Some(time(2026, 11, 29, 10, 36))),
            ("08:05", Some(time(2026, 11, 29, 8, 5))),
            ("tuesday", Some(time(2026, 12, 1, 0, 0))),
            ("Feb", Some(time(2026, 2, 28, 0, 0))),
            ("99", Some(time(1999, 11, 29, 0, 0))),
            ("", None),
            (",", None),
            ("yesterday", None),
            ("2026-13-01", None),
            ("08:05 UTC", None),
            ("08:05+01:00", None),
            ("25:00", None),
        ] {
            assert_eq!(WallTime::parse(text, TODAY), expected, "{text:?}");
        }
    }

    #[test]
    fn a_job_id_begins_with_its_time() {
        let of_jid = WallTime::of_jid("20261128080500000000");
        assert_eq!(of_jid, Some(time(2026, 11, 28, 8, 5)));
        assert_eq!(WallTime::of_jid("req"), None);
    }
}

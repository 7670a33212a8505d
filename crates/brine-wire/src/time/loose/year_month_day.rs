//! Which of up to three numbers is the year, which the month, which the day.

use super::tokens::Number;
use crate::time::{civil, is_digits};

/// The numbers of a date, in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct YearMonthDay {
    numbers: [u32; 4],
    count: usize,
    year_at: Option<usize>,
    month_at: Option<usize>,
    has_century: bool,
}

/// Year, month and day, as far as they are known.
type Resolved = (Option<u32>, Option<u32>, Option<u32>);

impl YearMonthDay {
    pub(super) const fn len(&self) -> usize {
        self.count
    }

    /// Digits that may be any of them; three or more are a year.
    pub(super) fn append(&mut self, digits: &str) -> Option<()> {
        if !is_digits(digits) {
            return None;
        }
        let number = digits.parse().ok()?;
        match digits.len() {
            1 | 2 => self.push(number),
            _ => self.year(number),
        }
    }

    /// A number that may be any of them; over 100 it is a year.
    pub(super) fn append_number(&mut self, number: Number) -> Option<()> {
        match (number.whole, number.millionths) {
            (0..=99, _) | (100, 0) => self.push(number.whole),
            _ => self.year(number.whole),
        }
    }

    /// A year with its century.
    pub(super) fn year(&mut self, year: u32) -> Option<()> {
        if self.year_at.is_some() {
            return None;
        }
        self.has_century = true;
        self.year_at = Some(self.count);
        self.push(year)
    }

    pub(super) fn month(&mut self, month: u32) -> Option<()> {
        if self.month_at.is_some() {
            return None;
        }
        self.month_at = Some(self.count);
        self.push(month)
    }

    /// Whether a number that stands alone may be the day; `None` if the month before it is none.
    pub(super) fn could_be_day(&self, number: Number) -> Option<bool> {
        let days = match (self.month_at, self.year_at) {
            (None, _) => 31,
            (Some(month), year) => {
                // Without a year, as in a leap year.
                let year = year.map_or(2000, |at| self.numbers[at]);
                let month = self.numbers[month];
                let is_month = (1..=12).contains(&month) && (1..=9999).contains(&year);
                civil::days_in(year, month) * u32::from(is_month.then_some(true)?)
            }
        };
        let is_whole = number.whole < days || number.millionths == 0;
        Some((1..=days).contains(&number.whole) && is_whole)
    }

    fn push(&mut self, number: u32) -> Option<()> {
        *self.numbers.get_mut(self.count)? = number;
        self.count += 1;
        Some(())
    }

    /// `None` if they are too many.
    pub(super) fn resolve(&self, this_year: u32) -> Option<Resolved> {
        let (year, month, day) = self.parts()?;
        let year = year.map(|year| match self.has_century {
            true => year,
            false => with_century(year, this_year),
        });
        Some((year, month, day))
    }

    fn parts(&self) -> Option<Resolved> {
        let [a, b, c, _] = self.numbers;
        let known = usize::from(self.year_at.is_some()) + usize::from(self.month_at.is_some());
        if self.count > 0 && self.count == known || (self.count, known) == (3, 2) {
            let at = |place: Option<usize>| place.map(|place| self.numbers[place]);
            let is_rest = |place: &usize| ![self.year_at, self.month_at].contains(&Some(*place));
            let day = (0..self.count).find(is_rest);
            return Some((at(self.year_at), at(self.month_at), at(day)));
        }
        let all = |year, month, day| Some((Some(year), Some(month), Some(day)));
        match (self.count, self.month_at) {
            (0, _) => Some((None, None, None)),
            (1, None) if a > 31 => Some((Some(a), None, None)),
            (1, None) => Some((None, None, Some(a))),
            (1, Some(_)) => Some((None, Some(a), None)),
            (2, Some(month)) => {
                let (month, other) = match month {
                    0 => (a, b),
                    _ => (b, a),
                };
                match other > 31 {
                    true => Some((Some(other), Some(month), None)),
                    false => Some((None, Some(month), Some(other))),
                }
            }
            (2, None) if a > 31 => Some((Some(a), Some(b), None)),
            (2, None) if b > 31 => Some((Some(b), Some(a), None)),
            (2, None) => Some((None, Some(a), Some(b))),
            (3, Some(0)) if b > 31 => all(b, a, c),
            (3, Some(0)) => all(c, a, b),
            (3, Some(1)) if a > 31 => all(a, b, c),
            (3, Some(1)) => all(c, b, a),
            (3, Some(_)) if b > 31 => all(b, c, a),
            (3, Some(_)) => all(a, c, b),
            (3, None) if a > 31 || self.year_at == Some(0) => all(a, b, c),
            (3, None) if a > 12 => all(c, b, a),
            (3, None) => all(c, a, b),
            _ => None,
        }
    }
}

/// A year of two digits as the one nearest to this year.
pub(super) const fn with_century(year: u32, this_year: u32) -> u32 {
    if year >= 100 {
        return year;
    }
    let year = year + this_year / 100 * 100;
    if year >= this_year + 50 {
        year - 100
    } else if year + 50 < this_year {
        year + 100
    } else {
        year
    }
}

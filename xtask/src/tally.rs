//! Counts the tests that test runners report.

use std::fmt;
use std::ops::AddAssign;

use anyhow::bail;

/// Tests that passed and tests that did not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// One check, passed or not.
    pub(crate) const fn one(passed: bool) -> Self {
        Self {
            passed: passed as u64,
            failed: !passed as u64,
        }
    }

    /// What the closing line of a runner counts; `None` for any other line. Known are cargo's own
    /// runner, nextest, pytest, and our plain `N passed, N failed`. All but nextest begin theirs at
    /// the margin; what is indented is what a test that failed has printed, counted already.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        if let Some(rest) = line.trim_start().strip_prefix("Summary [") {
            return Self::count(rest.split_once("run: ")?.1);
        }
        let line = line.trim_end().trim_matches('=');
        let line = line.strip_prefix(' ').unwrap_or(line);
        if let Some(rest) = line.strip_prefix("test result: ") {
            Self::count(rest.split_once(". ")?.1)
        } else if line.starts_with(|first: char| first.is_ascii_digit()) {
            Self::count(line)
        } else {
            None
        }
    }

    /// Adds up the pieces between commas: a number and a word, perhaps with a remark, `2 passed (1 slow)`.
    fn count(counts: &str) -> Option<Self> {
        let mut tally = Self::default();
        let mut any = false;
        for piece in counts.split([',', ';']) {
            let mut words = piece.split_whitespace();
            let (Some(number), Some(word)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<u64>() else {
                continue;
            };
            match word {
                "passed" => tally.passed += number,
                "failed" | "error" | "errors" | "timed" | "exec" => tally.failed += number,
                _ => continue,
            }
            any = true;
        }
        any.then_some(tally)
    }

    /// Prints the closing line; an error if anything failed or nothing ran.
    pub(crate) fn conclude(self) -> anyhow::Result<()> {
        println!("{self}");
        match self {
            Self { failed: 0, passed } if passed > 0 => Ok(()),
            Self { failed: 0, .. } => bail!("no test ran"),
            Self { failed, .. } => bail!("{failed} failed"),
        }
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_closing_lines_of_every_runner() {
        for (line, passed, failed) in [
            (
                "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.31s",
                12,
                0,
            ),
            (
                "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out",
                1,
                2,
            ),
            (
                "     Summary [   0.005s] 3 tests run: 3 passed, 0 skipped",
                3,
                0,
            ),
            (
                "     Summary [  61.1s] 9/10 tests run: 6 passed (2 slow), 1 failed, 2 timed out, 1 skipped",
                6,
                3,
            ),
            (
                "===== 2 failed, 41 passed, 3 skipped in 12.04s =====",
                41,
                2,
            ),
            ("5 passed, 0 failed", 5, 0),
        ] {
            assert_eq!(Tally::parse(line), Some(Tally { passed, failed }), "{line}");
        }
    }

    #[test]
    fn other_lines_count_nothing() {
        for line in [
            "",
            "test a::b ... ok",
            "3 tests",
            "running 3 tests",
            "it passed, they say",
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 54 filtered out",
            "    2 passed, 1 failed",
        ] {
            assert_eq!(Tally::parse(line), None, "{line}");
        }
    }
}

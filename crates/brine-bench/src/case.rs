//! The named loads of `docs/benchmarks.md`.
//!
//! A capital letter is the same load with 32 events per write (a, c, d) or the storm instead of
//! the paced form (j, k).

use core::time::Duration;

use crate::load::{Churn, ChurnOf, Load, Pace};

/// A load with a name.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// What it is called on a command line and in tables.
    pub name: &'static str,
    /// What it is, for people.
    pub about: &'static str,
    publishers: usize,
    subscribers: usize,
    reader_threads: usize,
    data_bytes: usize,
    events_per_write: usize,
    pace: Pace,
    stuck: usize,
    churn: Option<Churn>,
}

impl Case {
    /// The load, measured for `duration`.
    #[must_use]
    pub fn load(&self, duration: Duration) -> Load {
        Load {
            publishers: self.publishers,
            subscribers: self.subscribers,
            reader_threads: self.reader_threads,
            data_bytes: self.data_bytes,
            events_per_write: self.events_per_write,
            pace: self.pace,
            stuck: self.stuck,
            churn: self.churn,
            duration,
            ..Load::default()
        }
    }
}

/// The case of this name.
#[must_use]
pub fn case(name: &str) -> Option<&'static Case> {
    CASES.iter().find(|case| case.name == name)
}

/// All cases, in the order of the tables.
pub const CASES: &[Case] = &[
    fan("a", "256 B 1>1", 1, 1, Load::SMALL, 1),
    fan("A", "256 B 1>1, 32 per write", 1, 1, Load::SMALL, 32),
    fan("b2", "256 B 2>1", 2, 1, Load::SMALL, 1),
    fan("b", "256 B 4>1", 4, 1, Load::SMALL, 1),
    fan("b8", "256 B 8>1", 8, 1, Load::SMALL, 1),
    fan("c", "256 B 1>10", 1, 10, Load::SMALL, 1),
    Case {
        reader_threads: 10,
        ..fan(
            "c10",
            "c, each subscriber a thread of its own",
            1,
            10,
            Load::SMALL,
            1,
        )
    },
    fan("C", "256 B 1>10, 32 per write", 1, 10, Load::SMALL, 32),
    fan("d", "256 B 1>100", 1, 100, Load::SMALL, 1),
    fan("D", "256 B 1>100, 32 per write", 1, 100, Load::SMALL, 32),
    fan("e", "4 KiB 1>10", 1, 10, 4 << 10, 1),
    fan("f", "64 KiB 1>1", 1, 1, 64 << 10, 1),
    paced("r1", "1000/s 1>1", 1, 1, 1_000.0),
    paced("r10", "1000/s 1>10", 1, 10, 1_000.0),
    paced("R1", "20000/s 1>1", 1, 1, 20_000.0),
    paced("R10", "20000/s 1>10", 1, 10, 20_000.0),
    paced("b4r", "4 publishers at 2000/s each", 4, 1, 8_000.0),
    churn(
        "j",
        "200 subscribers/s come and go beside 1000/s",
        ChurnOf::Subscribers,
        Some(200.0),
    ),
    churn(
        "J",
        "subscribers come and go flat out beside 1000/s",
        ChurnOf::Subscribers,
        None,
    ),
    churn(
        "k",
        "200 one-event publishers/s beside 1000/s",
        ChurnOf::Publishers,
        Some(200.0),
    ),
    churn(
        "K",
        "one-event publishers flat out beside 1000/s",
        ChurnOf::Publishers,
        None,
    ),
    Case {
        stuck: 1,
        ..fan(
            "h",
            "a, and one subscriber that never reads",
            1,
            1,
            Load::SMALL,
            1,
        )
    },
];

const fn fan(
    name: &'static str,
    about: &'static str,
    publishers: usize,
    subscribers: usize,
    data_bytes: usize,
    events_per_write: usize,
) -> Case {
    Case {
        name,
        about,
        publishers,
        subscribers,
        reader_threads: 1,
        data_bytes,
        events_per_write,
        pace: Pace::Closed,
        stuck: 0,
        churn: None,
    }
}

const fn paced(
    name: &'static str,
    about: &'static str,
    publishers: usize,
    subscribers: usize,
    per_second: f64,
) -> Case {
    Case {
        pace: Pace::Rate(per_second),
        ..fan(name, about, publishers, subscribers, Load::SMALL, 1)
    }
}

const fn churn(
    name: &'static str,
    about: &'static str,
    of: ChurnOf,
    per_second: Option<f64>,
) -> Case {
    Case {
        churn: Some(Churn { of, per_second }),
        ..paced(name, about, 1, 1, 1_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for (at, case) in CASES.iter().enumerate() {
            assert!(
                CASES[at + 1..].iter().all(|other| other.name != case.name),
                "{}",
                case.name
            );
        }
    }
}

//! When to stop waiting for the returns of a job: the one rule, for `salt`, Python, the reactor and HTTP.
//!
//! Pure: events and the time come in, [`Step`]s come out. Publishing, listening and sleeping are the caller's.
//! After `timeout` the minions that have not returned are asked, with `saltutil.find_job`, whether the job still
//! runs on them. A minion that says so is waited for until `timeout` after its answer, and asked again after
//! `gather`. When nobody says so, the wait is over. Facts: Salt 3008.3 and 3006.28 (`get_iter_returns`) as they
//! behave; unlike Salt, the wait also ends as soon as all that were asked have answered that the job does not run.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::time::Duration;

use crate::value::{Map, Value};

/// The tag of every event of a job begins with this, then its id.
pub const JOB_TAG: &str = "salt/job/";

/// How long minions are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until they are asked whether the job still runs on them (`timeout`).
    pub timeout: Duration,
    /// For the answers to that (`gather_job_timeout`).
    pub gather: Duration,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Wait for events, at most until this time.
    WaitUntil(Duration),
    /// Publish `saltutil.find_job` with the job's id to these minions, and call [`Returns::asked`].
    Ask(Vec<String>),
    /// Nobody is waited for any more.
    Done,
}

/// What an event is to the job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Taken<'a> {
    /// The first return of a minion.
    Return {
        /// The minion.
        id: &'a str,
        /// The event's data.
        data: &'a Map,
    },
    /// The master refused the job (`salt/job/<jid>/error`).
    Refused(&'a Map),
    /// Nothing to report: another event, an answer to `saltutil.find_job`, a second return.
    Nothing,
}

/// The returns of one job. All times are since any one moment that the caller chooses.
#[derive(Debug, Clone)]
pub struct Returns {
    jid: String,
    timeouts: Timeouts,
    /// Minions that have not returned, with the time until which they are waited for.
    waiting: BTreeMap<String, Duration>,
    returned: BTreeSet<String>,
    /// Ids of the target that have no accepted key, and have not returned.
    missing: BTreeSet<String>,
    /// When the minions are asked, or the answers to that are late.
    ask_at: Duration,
    /// Whether a minion has said since the last inquiry that it runs the job. True at first: minions are asked at
    /// least once.
    some_run: bool,
    inquiry: Option<Inquiry>,
}

/// The last `saltutil.find_job`.
#[derive(Debug, Clone)]
struct Inquiry {
    jid: String,
    unanswered: BTreeSet<String>,
}

impl Returns {
    /// The returns of a job that was published to `minions` at `now`.
    #[must_use]
    pub fn new(
        jid: &str,
        minions: impl IntoIterator<Item = String>,
        missing: impl IntoIterator<Item = String>,
        timeouts: Timeouts,
        now: Duration,
    ) -> Self {
        let until = now.saturating_add(timeouts.timeout);
        Self {
            jid: jid.to_string(),
            timeouts,
            waiting: minions.into_iter().map(|id| (id, until)).collect(),
            returned: BTreeSet::new(),
            missing: missing.into_iter().collect(),
            ask_at: until,
            some_run: true,
            inquiry: None,
        }
    }

    /// The job's id.
    #[must_use]
    pub fn jid(&self) -> &str {
        &self.jid
    }

    /// Minions that were to return and have not, sorted.
    pub fn unreturned(&self) -> impl Iterator<Item = &str> {
        self.waiting.keys().map(String::as_str)
    }

    /// Ids of the target that have no accepted key and have not returned, sorted.
    pub fn missing(&self) -> impl Iterator<Item = &str> {
        self.missing.iter().map(String::as_str)
    }

    /// Takes an event of the master's bus.
    pub fn take<'a>(&mut self, tag: &'a str, data: &'a Map, now: Duration) -> Taken<'a> {
        let Some(rest) = tag.strip_prefix(JOB_TAG) else {
            return Taken::Nothing;
        };
        let mut parts = rest.splitn(3, '/');
        let (jid, what, id) = (parts.next(), parts.next(), parts.next());
        if jid == Some(self.jid.as_str()) {
            return match (what, id) {
                (Some("ret"), Some(id)) => self.take_return(id, data),
                (Some("new"), None) => {
                    self.take_new(data, now);
                    Taken::Nothing
                }
                // Exactly this tag: below it a minion could fire one.
                (Some("error"), None) => Taken::Refused(data),
                _ => Taken::Nothing,
            };
        }
        if let (Some("ret"), Some(id)) = (what, id)
            && let Some(inquiry) = &mut self.inquiry
            && jid == Some(inquiry.jid.as_str())
        {
            inquiry.unanswered.remove(id);
            self.take_answer(id, data, now);
        }
        Taken::Nothing
    }

    /// What to do next.
    pub fn poll(&mut self, now: Duration) -> Step {
        if self.waiting.is_empty() {
            return Step::Done;
        }
        if now < self.ask_at {
            return Step::WaitUntil(self.ask_at);
        }
        if self.some_run {
            self.some_run = false;
            self.inquiry = None;
            self.ask_at = now.saturating_add(self.timeouts.gather);
            return Step::Ask(self.waiting.keys().cloned().collect());
        }
        let last = self.waiting.values().copied().max().unwrap_or_default();
        if now >= last {
            Step::Done
        } else {
            Step::WaitUntil(last)
        }
    }

    /// Notes the id of the `saltutil.find_job` that [`Step::Ask`] asked for; `None` if no minion could be asked.
    pub fn asked(&mut self, jid: Option<&str>, now: Duration) {
        self.inquiry = jid.map(|jid| Inquiry {
            jid: jid.to_string(),
            unanswered: self.waiting.keys().cloned().collect(),
        });
        if self.inquiry.is_none() {
            self.ask_at = now;
        }
    }

    fn take_return<'a>(&mut self, id: &'a str, data: &'a Map) -> Taken<'a> {
        if data.get("return").is_none() || !self.returned.insert(id.to_string()) {
            return Taken::Nothing;
        }
        self.waiting.remove(id);
        self.missing.remove(id);
        Taken::Return { id, data }
    }

    /// The event by which a master announces the job, a syndic for its own minions.
    fn take_new(&mut self, data: &Map, now: Duration) {
        let until = now.saturating_add(self.timeouts.timeout);
        for id in ids(data, "minions").filter(|id| !self.returned.contains(*id)) {
            self.waiting.entry(id.to_string()).or_insert(until);
        }
        for id in ids(data, "missing").filter(|id| !self.returned.contains(*id)) {
            self.missing.insert(id.to_string());
        }
    }

    /// An answer of a minion to `saltutil.find_job`.
    fn take_answer(&mut self, id: &str, data: &Map, now: Duration) {
        let retcode = data.get("retcode").and_then(Value::as_int).unwrap_or(0);
        let runs = matches!(data.get("return"), Some(Value::Map(job)) if !job.is_empty());
        if retcode > 0 {
            // It cannot say, and Salt does not wait for it.
            self.waiting.remove(id);
        } else if runs && !self.returned.contains(id) {
            let until = now.saturating_add(self.timeouts.timeout);
            self.waiting.insert(id.to_string(), until);
            self.some_run = true;
        }
        let all_answered = (self.inquiry.as_ref()).is_some_and(|inquiry| {
            let mut unanswered = inquiry.unanswered.iter();
            unanswered.all(|id| !self.waiting.contains_key(id))
        });
        if all_answered && !self.some_run {
            self.ask_at = now;
        }
    }
}

fn ids<'a>(data: &'a Map, key: &str) -> impl Iterator<Item = &'a str> {
    let ids = match data.get(key) {
        Some(Value::Array(ids)) => ids.as_slice(),
        _ => &[],
    };
    ids.iter().filter_map(Value::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    const TIMEOUTS: Timeouts = Timeouts {
        timeout: Duration::from_secs(5),
        gather: Duration::from_secs(10),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn returns(minions: &[&str]) -> Returns {
        let minions = minions.iter().map(|id| id.to_string());
        Returns::new("1", minions, [], TIMEOUTS, at(0))
    }

    fn ret(value: impl Into<Value>) -> Map {
        [("return", value.into())].into_iter().collect()
    }

    fn running() -> Map {
        ret(Map::from_iter([("jid", "1")]))
    }

    fn ask(ids: &[&str]) -> Step {
        Step::Ask(ids.iter().map(|id| id.to_string()).collect())
    }

    #[test]
    fn the_wait_ends_with_the_last_return() {
        let mut job = returns(&["a", "b"]);
        assert_eq!(job.poll(at(0)), Step::WaitUntil(at(5)));
        let data = ret(true);
        let taken = job.take("salt/job/1/ret/a", &data, at(1));
        assert_eq!(
            taken,
            Taken::Return {
                id: "a",
                data: &data
            }
        );
        assert_eq!(job.take("salt/job/1/ret/a", &data, at(1)), Taken::Nothing);
        assert_eq!(job.poll(at(1)), Step::WaitUntil(at(5)));
        job.take("salt/job/1/ret/b", &data, at(2));
        assert_eq!(job.poll(at(2)), Step::Done);
    }

    #[test]
    fn only_events_of_the_job_count() {
        let mut job = returns(&["a"]);
        let data = ret(true);
        for tag in [
            "salt/job/12/ret/a",
            "salt/job/1/prog/a/0",
            "salt/job/1/x/ret/a",
            "salt/job/1/error/a",
            "my/salt/job/1/ret/a",
        ] {
            assert_eq!(job.take(tag, &data, at(1)), Taken::Nothing, "{tag}");
        }
        let none = Map::new();
        assert_eq!(job.take("salt/job/1/ret/a", &none, at(1)), Taken::Nothing);
        assert_eq!(
            job.take("salt/job/1/error", &none, at(1)),
            Taken::Refused(&none)
        );
        assert_eq!(job.unreturned().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn a_minion_that_runs_the_job_is_waited_for_and_asked_again() {
        let mut job = returns(&["a", "b"]);
        assert_eq!(job.poll(at(5)), ask(&["a", "b"]));
        job.asked(Some("2"), at(5));
        assert_eq!(job.poll(at(5)), Step::WaitUntil(at(15)));
        job.take("salt/job/2/ret/a", &running(), at(6));
        job.take("salt/job/2/ret/b", &ret(Map::new()), at(6));
        assert_eq!(job.poll(at(6)), Step::WaitUntil(at(15)));
        assert_eq!(job.poll(at(15)), ask(&["a", "b"]));
        job.asked(Some("3"), at(15));
        job.take("salt/job/3/ret/a", &running(), at(24));
        assert_eq!(job.poll(at(25)), ask(&["a", "b"]));
        job.asked(Some("4"), at(25));
        assert_eq!(job.poll(at(35)), Step::Done);
        assert_eq!(job.unreturned().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn a_minion_is_waited_for_as_long_as_its_last_answer_says() {
        let mut job = returns(&["a"]);
        job.poll(at(5));
        job.asked(Some("2"), at(5));
        job.take("salt/job/2/ret/a", &running(), at(14));
        assert_eq!(job.poll(at(15)), ask(&["a"]));
        job.asked(None, at(15));
        assert_eq!(job.poll(at(15)), Step::WaitUntil(at(19)));
        assert_eq!(job.poll(at(19)), Step::Done);
    }

    #[test]
    fn the_wait_ends_when_all_say_that_the_job_does_not_run() {
        let mut job = returns(&["a", "b", "c"]);
        assert_eq!(job.poll(at(5)), ask(&["a", "b", "c"]));
        job.asked(Some("2"), at(5));
        job.take("salt/job/2/ret/a", &ret(Map::new()), at(6));
        job.take("salt/job/1/ret/b", &ret(true), at(6));
        assert_eq!(job.poll(at(6)), Step::WaitUntil(at(15)));
        let mut failed = ret("no such function");
        failed.insert("retcode", 1);
        job.take("salt/job/2/ret/c", &failed, at(7));
        assert_eq!(job.poll(at(7)), Step::Done);
        assert_eq!(job.unreturned().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn minions_of_a_syndic_are_waited_for_too() {
        let mut job = returns(&["a"]);
        let ids = |id: &str| Value::Array(vec![id.into()]);
        let new: Map = [("minions", ids("b")), ("missing", ids("c"))]
            .into_iter()
            .collect();
        job.take("salt/job/1/new", &new, at(1));
        job.take("salt/job/1/ret/a", &ret(true), at(2));
        assert_eq!(job.unreturned().collect::<Vec<_>>(), ["b"]);
        assert_eq!(job.missing().collect::<Vec<_>>(), ["c"]);
        job.take("salt/job/1/ret/b", &ret(1), at(3));
        assert_eq!(job.poll(at(3)), Step::Done);
    }
}

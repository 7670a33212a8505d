//! `jobs.*`: what is in the master's job cache, in the form of Salt's runner.
//!
//! The cache's files are Salt's own, so jobs of a real master are found too. Functions here block on the disk. Facts:
//! Salt 3008.3 and 3006.28, by running them.

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::Jid;
use brine_wire::time::WallTime;
use brine_wire::{Map, Value, python_text as python};

use crate::client::MinionReply;
use crate::jobs::{JobCache, fuzz_read};
use crate::node_bus::since_epoch;

/// A question about jobs.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// `jobs.lookup_jid`
    LookupJid {
        /// The job's id.
        jid: String,
        /// List minions that returned.
        returned: bool,
        /// List minions that did not return.
        missing: bool,
    },
    /// `jobs.list_job`
    ListJob(String),
    /// `jobs.print_job`
    PrintJob(String),
    /// `jobs.exit_success`
    ExitSuccess(String),
    /// `jobs.list_jobs`
    ListJobs {
        /// Which.
        filter: Filter,
        /// How they are to be printed.
        outputter: Option<String>,
    },
    /// `jobs.list_jobs_filter`
    LatestJobs {
        /// How many at most; the newest.
        count: usize,
        /// Leave out questions whether a job still runs.
        without_find_job: bool,
        /// How they are to be printed.
        outputter: Option<String>,
    },
    /// `jobs.last_run`
    LastRun(Filter),
}

/// Which jobs are listed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    /// Jobs with one of these pairs in their metadata.
    pub metadata: Option<Map>,
    /// Globs for the function.
    pub functions: Vec<String>,
    /// Globs for the target.
    pub targets: Vec<String>,
    /// Jobs that started at this time or later.
    pub start_time: Option<String>,
    /// Jobs that started at this time or earlier.
    pub end_time: Option<String>,
}

/// A time argument that is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "ValueError: {name}: expected a time, such as '2026-11-29 08:00' or 'Nov 29 2026', found '{found}'"
)]
pub(super) struct NoTime {
    name: &'static str,
    found: String,
}

/// The answer, as the runner function returns it.
pub(super) fn answer(question: &Question, cache: &JobCache) -> Result<Value, NoTime> {
    Ok(match question {
        Question::LookupJid {
            jid,
            returned,
            missing,
        } => lookup(&Job::read(cache, jid), *returned, *missing),
        Question::ListJob(jid) => {
            let job = Job::read(cache, jid);
            let mut all = Map::from_iter([("jid", jid.as_str())]);
            for (name, value) in job.about(jid) {
                all.insert(name, value);
            }
            all.insert("Result", job.returns);
            all.into()
        }
        Question::PrintJob(jid) => {
            let job = Job::read(cache, jid);
            let mut about = job.about(jid);
            about.insert("Result", job.returns);
            Map::from_iter([(jid.as_str(), about)]).into()
        }
        Question::ExitSuccess(jid) => exit_success(&Job::read(cache, jid)),
        Question::ListJobs { filter, outputter } => {
            let listed = jobs(cache, filter)?.into_iter();
            let listed = listed.map(|(jid, load)| {
                let mut about = instance(&load);
                about.remove("Minions");
                about.insert("StartTime", start_time(jid.as_str()));
                (jid.as_str().into(), about.into())
            });
            printed_by(
                outputter.as_deref(),
                Map::from_pairs(listed.collect()).into(),
            )
        }
        Question::LatestJobs {
            count,
            without_find_job,
            outputter,
        } => {
            let mut latest = cache.list();
            if *without_find_job {
                let is_question = |load: &Map| load.get("fun") == Some(&"saltutil.find_job".into());
                latest.retain(|(_, load)| !is_question(load));
            }
            let latest = latest
                .split_off(latest.len().saturating_sub(*count))
                .into_iter();
            let latest = latest.map(|(jid, load)| {
                let mut about = instance(&load);
                about.remove("Minions");
                about.insert("JID", jid.as_str());
                about.insert("StartTime", start_time(jid.as_str()));
                Value::from(about)
            });
            printed_by(outputter.as_deref(), latest.collect::<Vec<_>>().into())
        }
        Question::LastRun(filter) => match jobs(cache, filter)?.pop() {
            Some((jid, _)) => answer(&Question::PrintJob(jid.as_str().to_owned()), cache)?,
            None => false.into(),
        },
    })
}

/// A value that names its outputter, if there is one.
fn printed_by(outputter: Option<&str>, data: Value) -> Value {
    match outputter {
        Some(outputter) => {
            Map::from_iter([("outputter", Value::from(outputter)), ("data", data)]).into()
        }
        None => data,
    }
}

/// A job as the cache has it; empty if it does not.
struct Job {
    load: Option<Map>,
    returns: Map,
}

impl Job {
    fn read(cache: &JobCache, jid: &str) -> Self {
        let jid = Jid::parse(jid).ok();
        Self {
            load: jid.as_ref().and_then(|jid| cache.load(jid)),
            returns: jid.map(|jid| cache.returns(&jid)).unwrap_or_default(),
        }
    }

    /// What was published, for people.
    fn about(&self, jid: &str) -> Map {
        let mut about = match &self.load {
            Some(load) => instance(load),
            None => Map::from_iter([("Error", "Cannot contact returner or no job with this jid")]),
        };
        about.insert("StartTime", start_time(jid));
        about
    }

    fn minions(&self) -> Vec<Value> {
        let minions = self.load.as_ref().and_then(|load| load.get("Minions"));
        match minions {
            Some(Value::Array(minions)) => minions.clone(),
            _ => Vec::new(),
        }
    }
}

fn lookup(job: &Job, returned: bool, missing: bool) -> Value {
    let mut found = Map::new();
    if returned {
        for (id, ret) in &job.returns {
            let value = ret.as_map().and_then(|ret| ret.get("return"));
            found.insert(id.clone(), value.cloned().unwrap_or(Value::Nil));
        }
    }
    if missing {
        for id in job.minions() {
            if !job.returns.iter().any(|(own, _)| *own == id) {
                found.insert(id, "Minion did not return");
            }
        }
    }
    let first = job.returns.iter().next();
    let out = first.and_then(|(_, ret)| ret.as_map()?.get("out")?.as_str());
    printed_by(out, found.into())
}

fn exit_success(job: &Job) -> Value {
    let succeeded = |id: &Value| {
        let ret = job.returns.iter().find(|(own, _)| own == id);
        ret.and_then(|(_, ret)| ret.as_map()?.get("return"))
            .is_some_and(Value::is_true)
    };
    let mut all = Map::new();
    for id in job.minions() {
        let did = succeeded(&id);
        all.insert(id, did);
    }
    for (id, _) in &job.returns {
        if succeeded(id) {
            all.insert(id.clone(), true);
        }
    }
    all.into()
}

/// The jobs that are wanted, oldest first.
fn jobs(cache: &JobCache, filter: &Filter) -> Result<Vec<(Jid, Map)>, NoTime> {
    // Job ids, which the times are compared with, are made in UTC.
    let today = Jid::at(since_epoch());
    let today = today.as_str().get(..8).unwrap_or_default().to_owned() + "000000000000";
    let time = |name, text: Option<&String>| {
        let Some(text) = text else { return Ok(None) };
        let time = WallTime::of_jid(&today).and_then(|today| WallTime::parse(text, today));
        match time {
            Some(time) => Ok(Some(time)),
            None => Err(NoTime {
                name,
                found: text.clone(),
            }),
        }
    };
    let start = time("start_time", filter.start_time.as_ref())?;
    let end = time("end_time", filter.end_time.as_ref())?;
    let is_between = |jid: &Jid| {
        if start.is_none() && end.is_none() {
            return true;
        }
        WallTime::of_jid(jid.as_str()).is_some_and(|began| {
            start.is_none_or(|start| began >= start) && end.is_none_or(|end| began <= end)
        })
    };
    let mut jobs = cache.list();
    jobs.retain(|(jid, load)| is_between(jid) && filter.wants(load));
    Ok(jobs)
}

impl Filter {
    fn wants(&self, load: &Map) -> bool {
        let matches = |globs: &[String], texts: &[String]| {
            globs.is_empty()
                || globs.iter().any(|glob| {
                    let glob = TagMatch::new(MatchType::Fnmatch, glob.as_str());
                    glob.is_ok_and(|glob| texts.iter().any(|text| glob.matches(text)))
                })
        };
        let texts = |value: Option<&Value>| match value {
            Some(Value::Array(items)) => items.iter().map(python::str).collect(),
            Some(value) => vec![python::str(value)],
            None => Vec::new(),
        };
        let has_metadata = self.metadata.as_ref().is_none_or(|wanted| {
            let own = metadata(load).and_then(Value::as_map);
            own.is_some_and(|own| wanted.iter().any(|pair| own.iter().any(|own| own == pair)))
        });
        has_metadata
            && matches(&self.functions, &texts(load.get("fun")))
            && matches(&self.targets, &texts(load.get("tgt")))
    }
}

/// The texts of a list, or of one text with commas.
pub(super) fn split(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().map(python::str).collect(),
        Some(value) if value.is_true() => {
            let text = python::str(value);
            text.split(',').map(|part| part.trim().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

/// A published job, under the runner's names.
fn instance(load: &Map) -> Map {
    let get = |name: &str, otherwise: &str| {
        let value = load.get(name).cloned();
        value.unwrap_or_else(|| otherwise.into())
    };
    let mut about = Map::new();
    about.insert("Function", get("fun", "unknown-function"));
    about.insert("Arguments", arguments(load));
    about.insert("Target", get("tgt", "unknown-target"));
    about.insert("Target-type", get("tgt_type", "list"));
    about.insert("User", get("user", "root"));
    if let Some(metadata) = metadata(load) {
        about.insert("Metadata", metadata.clone());
    }
    if let Some(minions) = load.get("Minions") {
        about.insert("Minions", minions.clone());
    }
    about
}

fn arguments(load: &Map) -> Vec<Value> {
    match load.get("arg") {
        Some(Value::Array(arguments)) => arguments.clone(),
        _ => Vec::new(),
    }
}

/// A job's metadata: published with it, or an argument of its function.
fn metadata(load: &Map) -> Option<&Value> {
    let of_map = |name| load.get(name).and_then(Value::as_map)?.get("metadata");
    let of_arguments = || {
        let Some(Value::Array(arguments)) = load.get("arg") else {
            return None;
        };
        let named = arguments.iter().filter_map(Value::as_map);
        let mut named = named.filter(|map| map.get("__kwarg__") == Some(&true.into()));
        named.find_map(|map| map.get("metadata"))
    };
    let published = load.get("metadata").or_else(|| of_map("kwargs"));
    published.or_else(of_arguments)
}

/// `2026, Nov 24 04:01:16.373859`
fn start_time(jid: &str) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let part = |range: std::ops::Range<usize>| jid.get(range).unwrap_or_default();
    let month = part(4..6).parse::<usize>().ok();
    let month = month.and_then(|month| MONTHS.get(month.checked_sub(1)?));
    let Some(month) = month.filter(|_| jid.len() >= 20) else {
        return String::new();
    };
    format!(
        "{}, {month} {} {}:{}:{}.{}",
        part(0..4),
        part(6..8),
        part(8..10),
        part(10..12),
        part(12..14),
        part(14..20)
    )
}

/// `jobs.active`: the jobs that minions answered they are running, by job.
pub(super) fn active(replies: &[MinionReply], cache: &JobCache) -> Value {
    let mut jobs: Vec<(String, Map, Vec<Value>)> = Vec::new();
    for minion in replies {
        let Value::Array(running) = &minion.ret else {
            continue;
        };
        for job in running.iter().filter_map(Value::as_map) {
            let jid = job.get("jid").map(python::str).unwrap_or_default();
            let pid = job.get("pid").cloned().unwrap_or(Value::Nil);
            let running_here = Value::from(Map::from_iter([(minion.id.as_str(), pid)]));
            match jobs.iter_mut().find(|(own, ..)| *own == jid) {
                Some((_, _, minions)) => minions.push(running_here),
                None => jobs.push((jid, job.clone(), vec![running_here])),
            }
        }
    }
    let active = jobs.into_iter().map(|(jid, job, running)| {
        let mut about = instance(&job);
        about.insert("StartTime", start_time(&jid));
        about.insert("Running", running);
        let returned = Jid::parse(&jid).map(|jid| cache.returns(&jid));
        let returned = returned.unwrap_or_default().into_iter();
        about.insert("Returned", returned.map(|(id, _)| id).collect::<Vec<_>>());
        (jid.as_str().into(), about.into())
    });
    Map::from_pairs(active.collect()).into()
}

/// For the fuzz target: whatever the files of a job hold, the runner's functions show it.
pub(crate) fn fuzz_jobs(bytes: &[u8]) {
    let Some((load, returns)) = fuzz_read(bytes) else {
        return;
    };
    let jid = load.get("jid").map(python::str).unwrap_or_default();
    let filter = Filter {
        metadata: metadata(&load).and_then(Value::as_map).cloned(),
        functions: split(load.get("fun")),
        targets: split(load.get("tgt")),
        ..Filter::default()
    };
    let _ = filter.wants(&load);
    let job = Job {
        load: Some(load),
        returns,
    };
    assert!(job.about(&jid).get("StartTime").is_some());
    let returned = lookup(&job, true, true);
    let shown = |value: &Value| {
        value
            .as_map()
            .map_or(0, |map| map.get("data").map_or(map.len(), |_| 2))
    };
    assert!(shown(&returned) <= job.minions().len() + job.returns.len() + 2);
    let succeeded = exit_success(&job);
    let is_answer = |(_, value): &(Value, Value)| matches!(value, Value::Bool(_));
    assert!(
        succeeded
            .as_map()
            .is_some_and(|all| all.iter().all(is_answer))
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_read_from_the_job_id() {
        assert_eq!(
            start_time("20261124040116373859"),
            "2026, Nov 24 04:01:16.373859"
        );
        for jid in ["", "2026", "20261324040116373859", "req"] {
            assert_eq!(start_time(jid), "");
        }
    }

    #[test]
    fn jobs_are_filtered_by_function_target_and_metadata() {
        let load: Map = [("fun", "test.ping"), ("tgt", "web*")]
            .into_iter()
            .collect();
        let filter = |functions: &[&str], targets: &[&str]| Filter {
            functions: functions.iter().map(|text| (*text).to_owned()).collect(),
            targets: targets.iter().map(|text| (*text).to_owned()).collect(),
            ..Filter::default()
        };
        assert!(filter(&[], &[]).wants(&load));
        assert!(filter(&["pkg.*", "test.*"], &["w*"]).wants(&load));
        assert!(!filter(&["pkg.*"], &[]).wants(&load));
        assert!(!filter(&[], &["db*"]).wants(&load));
        let metadata = Some(Map::from_iter([("a", 1)]));
        assert!(
            !Filter {
                metadata,
                ..Filter::default()
            }
            .wants(&load)
        );
    }

    #[test]
    fn the_newest_jobs_are_listed_by_time() {
        let root = tempfile::tempdir().unwrap();
        let cache = JobCache::open(root.path(), "sha256", None).unwrap();
        for (jid, fun) in [
            ("20261128080000000001", "test.ping"),
            ("20261129080000000001", "test.echo"),
            ("20261129080000000002", "saltutil.find_job"),
        ] {
            let load: Map = [("jid", jid), ("fun", fun)].into_iter().collect();
            let jid = Jid::parse(jid).unwrap();
            cache.begin(&jid, &load, &[]).unwrap();
        }
        let latest = |count, without_find_job| {
            let question = Question::LatestJobs {
                count,
                without_find_job,
                outputter: None,
            };
            let Ok(Value::Array(jobs)) = answer(&question, &cache) else {
                panic!("no list");
            };
            let funs = jobs.iter().map(|job| job.as_map().unwrap().get("Function"));
            funs.map(|fun| fun.unwrap().as_str().unwrap().to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(latest(5, true), ["test.ping", "test.echo"]);
        assert_eq!(latest(1, true), ["test.echo"]);
        assert_eq!(latest(1, false), ["saltutil.find_job"]);
        assert_eq!(latest(0, false), [""; 0]);
        let between = |start: &str, end: &str| {
            let filter = Filter {
                start_time: Some(start.to_owned()),
                end_time: Some(end.to_owned()),
                ..Filter::default()
            };
            jobs(&cache, &filter).map(|jobs| jobs.len())
        };
        assert_eq!(between("Nov 28 2026 8am", "2026-11-28 08:01"), Ok(1));
        assert_eq!(between("2026-11-29", "2026-11-30"), Ok(2));
        assert!(between("2026-11-29", "then").is_err());
        let last = Question::LastRun(Filter {
            functions: vec!["test.*".to_owned()],
            ..Filter::default()
        });
        let last = answer(&last, &cache).unwrap();
        assert!(last.as_map().unwrap().get("20261129080000000001").is_some());
    }
}

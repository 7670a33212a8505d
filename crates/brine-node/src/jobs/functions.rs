//! Runner and wheel functions in the job cache: a job of the master itself, as Salt's runner and wheel clients record
//! it before they fire its last event.
//!
//! Facts: Salt 3006.28 and 3008.3, file by file.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use brine_wire::network::{Jid, MinionId, field};
use brine_wire::{Map, Value};

use super::JobCache;
use super::hour::{Hour, Limit};
use crate::weight::weight_of_map;

/// What is recorded of one function in an hour. Pages ask the same every few seconds, and a list of all jobs grows with
/// each list before it; other functions must not lack the room.
const OF_A_FUNCTION: Limit = Limit {
    jobs: 600,
    bytes: 32 * 1024 * 1024,
};
/// So many functions are counted one by one. A client can ask for any name.
const FUNCTIONS: usize = 256;

/// What stands in place of a private key, which is handed out once and kept nowhere.
const BLANK: &str = "********";

/// Records functions that have run on a master.
#[derive(Debug)]
pub struct FunctionJobs {
    /// `None`: nothing is recorded.
    cache: Option<JobCache>,
    /// The master's id, which is the target of its functions.
    master: String,
    hours: Mutex<HashMap<String, Hour>>,
}

impl FunctionJobs {
    /// For the master of an id, whose `job_cache` is `False` if there is no `cache`.
    #[must_use]
    pub fn new(cache: Option<JobCache>, master: &str) -> Self {
        Self {
            cache,
            master: master.to_owned(),
            hours: Mutex::default(),
        }
    }

    /// Records a function from the data of its last event. Blocks on the disk; what fails is logged.
    pub fn record(&self, data: &Map) {
        let jid = field::text(data, "jid").and_then(|jid| Jid::parse(jid).ok());
        // What cannot name a folder is not recorded, as in Salt.
        let id = MinionId::parse(&self.master).ok();
        let (Some(cache), Some(jid), Some(id)) = (&self.cache, jid, id) else {
            return;
        };
        let fun = field::text(data, "fun").unwrap_or_default();
        if !self.is_within_limit(fun, weight_of_map(data)) {
            return;
        }
        let data = without_private_keys(&data.clone().into());
        match cache.ran(&jid, &id, &data) {
            Ok(()) => {}
            Err(error) if error.is_permission_denied() => {
                tracing::debug!(%error, %jid, "function not recorded in the job cache");
            }
            Err(error) => {
                tracing::error!(%error, %jid, "cannot write the function to the job cache")
            }
        }
    }

    fn is_within_limit(&self, fun: &str, bytes: usize) -> bool {
        let mut hours = self.hours.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = match hours.contains_key(fun) || hours.len() < FUNCTIONS {
            true => fun,
            false => "",
        };
        let now = Instant::now();
        let hour = hours.entry(counted.to_owned());
        let hour = hour.or_insert_with(|| Hour::begun(now));
        hour.allows(OF_A_FUNCTION, bytes, now, || {
            let Limit { jobs, bytes } = OF_A_FUNCTION;
            tracing::warn!(
                fun,
                "called more than {jobs} times, or returned more than {bytes} bytes, in an hour: further calls are not in the job cache"
            );
        })
    }
}

/// A value in which no private key of `key.gen` or `key.gen_accept` is left.
fn without_private_keys(value: &Value) -> Value {
    match value {
        Value::Map(map) => {
            let kept = map.iter().map(|(name, value)| {
                let value = match (name.as_str(), value) {
                    (Some("priv"), Value::Str(_) | Value::Bin(_)) => BLANK.into(),
                    _ => without_private_keys(value),
                };
                (name.clone(), value)
            });
            Map::from_pairs(kept.collect()).into()
        }
        Value::Array(items) => Value::Array(items.iter().map(without_private_keys).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(fun: &str, jid: &str, ret: impl Into<Value>) -> Map {
        let mut data = Map::from_iter([("fun", fun), ("jid", jid), ("user", "ann")]);
        data.insert("return", ret);
        data.insert("success", true);
        data
    }

    fn kept(root: &std::path::Path) -> JobCache {
        JobCache::open(root, "sha256", None).unwrap()
    }

    #[test]
    fn a_function_is_a_job_of_the_master() {
        let root = tempfile::tempdir().unwrap();
        let cache = kept(root.path());
        let data = ran("runner.test.arg", "20261130115959373293", "x");
        FunctionJobs::new(Some(cache.clone()), "m_master").record(&data);
        let jid = Jid::parse("20261130115959373293").unwrap();
        let load = cache.load(&jid).unwrap();
        let expected: Map = [
            ("id", "m_master"),
            ("tgt", "m_master"),
            ("jid", jid.as_str()),
            ("fun", "runner.test.arg"),
            ("user", "ann"),
        ]
        .into_iter()
        .collect();
        assert_eq!(load, expected);
        let returned: Map = [("return", data)].into_iter().collect();
        assert_eq!(cache.returns(&jid).get("m_master"), Some(&returned.into()));
    }

    #[test]
    fn private_keys_are_kept_nowhere() {
        let root = tempfile::tempdir().unwrap();
        let cache = kept(root.path());
        let keys: Map = [("pub", "public"), ("priv", "secret")]
            .into_iter()
            .collect();
        let data = ran("wheel.key.gen", "20261130115959373294", keys);
        FunctionJobs::new(Some(cache.clone()), "m_master").record(&data);
        let shown = format!(
            "{:?}",
            cache.returns(&Jid::parse("20261130115959373294").unwrap())
        );
        assert!(
            shown.contains("public") && !shown.contains("secret"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_called_all_the_time_does_not_fill_the_disk() {
        let root = tempfile::tempdir().unwrap();
        let cache = kept(root.path());
        let functions = FunctionJobs::new(Some(cache.clone()), "m_master");
        for call in 0..700 {
            let jid = format!("20261130115959{call:06}");
            functions.record(&ran("wheel.key.finger", &jid, "x"));
        }
        functions.record(&ran(
            "runner.state.orchestrate",
            "20261130120000000000",
            "x",
        ));
        let huge = Value::Bin(vec![0; OF_A_FUNCTION.bytes + 1]);
        functions.record(&ran("runner.jobs.list_jobs", "20261130120000000001", huge));
        let listed = cache.list();
        assert_eq!(listed.len(), 601);
        assert_eq!(listed[600].0.as_str(), "20261130120000000000");
        for name in 0..1000 {
            functions.is_within_limit(&name.to_string(), 1);
        }
        let counted = functions.hours.lock().unwrap().len();
        assert!(counted <= FUNCTIONS + 1, "{counted}");
    }

    #[test]
    fn without_a_cache_nothing_is_written() {
        let root = tempfile::tempdir().unwrap();
        let data = ran("runner.test.arg", "20261130115959373295", "x");
        FunctionJobs::new(None, "m_master").record(&data);
        FunctionJobs::new(Some(kept(root.path())), "../m").record(&data);
        assert!(kept(root.path()).list().is_empty());
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}

//! The job cache: which jobs there were, and what minions returned.
//!
//! The files are Salt's own (`local_cache`), so that Salt's runners read our jobs and ours read those of a
//! real master. Functions here block on the disk; [`writer`] has a thread for what nobody waits for.
//! Facts: Salt 3006.28 and 3008.3, by writing a job with their own code and looking at the files.

mod writer;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brine_wire::msgpack;
use brine_wire::network::job::ids;
use brine_wire::network::{Jid, MinionId};
use brine_wire::{Map, Value};

pub use self::writer::Writer;

use crate::file;
use crate::functions::digest;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The files of one job.
const JID: &str = "jid";
const LOAD: &str = ".load.p";
const MINIONS: &str = ".minions.p";
/// The files of one return.
const RETURN: &str = "return.p";
const OUT: &str = "out.p";

/// The jobs below a master's `cachedir`.
#[derive(Debug, Clone)]
pub struct JobCache {
    root: PathBuf,
    /// `hash_type`.
    hash: String,
    /// How long jobs are kept; `None` for ever.
    keep: Option<Duration>,
}

/// The job cache cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("job cache: {}: {source}", path.display())]
pub struct JobCacheError {
    /// Where.
    path: PathBuf,
    /// Why.
    source: io::Error,
}

/// A `hash_type` there is none of.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("hash_type: expected a digest such as sha256, found {0}")]
pub struct UnknownHash(String);

impl JobCache {
    /// The cache in a master's `cachedir`, with its `hash_type`; jobs older than `keep` are for
    /// [`Self::clean`].
    ///
    /// # Errors
    /// [`UnknownHash`].
    pub fn open(cachedir: &Path, hash: &str, keep: Option<Duration>) -> Result<Self, UnknownHash> {
        digest::hex(hash, &[]).ok_or_else(|| UnknownHash(hash.to_owned()))?;
        Ok(Self {
            root: cachedir.join("jobs"),
            hash: hash.to_owned(),
            keep,
        })
    }

    /// Notes a job before it is published: its load, without secrets, and whom it is for.
    ///
    /// # Errors
    /// [`JobCacheError`].
    pub fn begin(&self, jid: &Jid, load: &Map, minions: &[MinionId]) -> Result<(), JobCacheError> {
        let folder = self.folder(jid);
        make_folder(&folder)?;
        let mut packed = Vec::new();
        msgpack::encode_map(load, &mut packed);
        write(&folder.join(LOAD), &packed)?;
        write(&folder.join(MINIONS), &pack(&ids(minions)))?;
        write(&folder.join(JID), jid.as_str().as_bytes())
    }

    /// Notes a return. One of a job that is not known makes it known.
    ///
    /// # Errors
    /// [`JobCacheError`].
    pub fn returned(&self, jid: &Jid, id: &MinionId, ret: &Map) -> Result<(), JobCacheError> {
        let job = self.folder(jid);
        let folder = job.join(id.as_str());
        make_folder(&folder)?;
        if !job.join(JID).exists() {
            write(&job.join(LOAD), &pack(&ret.clone().into()))?;
            write(&job.join(MINIONS), &pack(&ids(std::slice::from_ref(id))))?;
            write(&job.join(JID), jid.as_str().as_bytes())?;
        }
        let kept = ["return", "retcode", "success"];
        let kept = kept
            .into_iter()
            .filter_map(|key| Some((key, ret.get(key)?.clone())));
        write(&folder.join(RETURN), &pack(&kept.collect::<Map>().into()))?;
        match ret.get("out") {
            Some(out) => write(&folder.join(OUT), &pack(out)),
            None => Ok(()),
        }
    }

    /// A job's load, with `Minions` as Salt adds it; `None` if there is no such job.
    #[must_use]
    pub fn load(&self, jid: &Jid) -> Option<Map> {
        let folder = self.folder(jid);
        let Value::Map(mut load) = read(&folder.join(LOAD))? else {
            return None;
        };
        if let Some(minions) = read(&folder.join(MINIONS)) {
            load.insert("Minions", minions);
        }
        Some(load)
    }

    /// What minions returned for a job, by id: `return`, `retcode`, `success` and `out`.
    #[must_use]
    pub fn returns(&self, jid: &Jid) -> Map {
        let mut returns = Map::new();
        for (id, path) in folders(&self.folder(jid)) {
            let Some(Value::Map(mut ret)) = read(&path.join(RETURN)) else {
                continue;
            };
            if let Some(out) = read(&path.join(OUT)) {
                ret.insert("out", out);
            }
            returns.insert(id, ret);
        }
        returns
    }

    /// All jobs with their loads, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<(Jid, Map)> {
        let mut jobs: Vec<_> = self
            .all()
            .filter_map(|folder| {
                let jid = fs::read_to_string(folder.join(JID)).ok()?;
                let jid = Jid::parse(jid.trim()).ok()?;
                Some((jid.clone(), self.load(&jid)?))
            })
            .collect();
        jobs.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        jobs
    }

    /// Removes jobs that are older than they are kept; how many.
    pub fn clean(&self, now: SystemTime) -> usize {
        let Some(keep) = self.keep else { return 0 };
        let is_old = |folder: &PathBuf| {
            let made = fs::metadata(folder.join(JID)).and_then(|about| about.modified());
            made.is_ok_and(|made| now.duration_since(made).is_ok_and(|age| age > keep))
        };
        let removed = self
            .all()
            .filter(is_old)
            .filter(|folder| fs::remove_dir_all(folder).is_ok());
        removed.count()
    }

    fn all(&self) -> impl Iterator<Item = PathBuf> {
        folders(&self.root).flat_map(|(_, top)| folders(&top).map(|(_, folder)| folder))
    }

    /// A job's folder: named for the digest of its id, so that no id can lead elsewhere.
    fn folder(&self, jid: &Jid) -> PathBuf {
        // Known since the cache was opened.
        let digest = digest::hex(&self.hash, jid.as_str().as_bytes()).unwrap_or_default();
        let (top, rest) = digest.split_at_checked(2).unwrap_or_default();
        self.root.join(top).join(rest)
    }
}

/// Folders in a folder, with their names.
fn folders(of: &Path) -> impl Iterator<Item = (String, PathBuf)> + use<> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
}

fn make_folder(path: &Path) -> Result<(), JobCacheError> {
    file::make_folder(path).map_err(failed(path))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), JobCacheError> {
    file::write(path, bytes).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> JobCacheError {
    let path = path.to_owned();
    |source| JobCacheError { path, source }
}

fn read(path: &Path) -> Option<Value> {
    file::read_value(path, MAX_FILE_BYTES)
}

fn pack(value: &Value) -> Vec<u8> {
    let mut packed = Vec::new();
    msgpack::encode(value, &mut packed);
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(root: &Path) -> JobCache {
        JobCache::open(root, "sha256", Some(Duration::from_secs(60))).unwrap()
    }

    #[test]
    fn a_job_and_its_returns_are_found_again_and_cleaned_when_old() {
        let root = tempfile::tempdir().unwrap();
        let jobs = cache(root.path());
        let jid = Jid::parse("20261124034048000001").unwrap();
        let m1 = MinionId::parse("m1").unwrap();
        let load: Map = [("fun", "test.ping"), ("tgt", "*")].into_iter().collect();
        jobs.begin(&jid, &load, std::slice::from_ref(&m1)).unwrap();
        let mut ret: Map = [("return", true), ("success", true)].into_iter().collect();
        ret.insert("retcode", 0);
        ret.insert("out", "nested");
        jobs.returned(&jid, &m1, &ret).unwrap();
        let found = jobs.load(&jid).unwrap();
        assert_eq!(found.get("Minions"), Some(&Value::Array(vec!["m1".into()])));
        let returns = jobs.returns(&jid);
        let back = returns.get("m1").and_then(Value::as_map).unwrap();
        assert_eq!(back.get("return"), Some(&true.into()));
        assert_eq!(back.get("out"), Some(&"nested".into()));
        assert_eq!(jobs.list().len(), 1);
        assert_eq!(jobs.clean(SystemTime::now()), 0);
        assert_eq!(jobs.clean(SystemTime::now() + Duration::from_secs(120)), 1);
        assert!(jobs.load(&jid).is_none());
    }

    #[test]
    fn a_return_nobody_asked_for_makes_its_job_known() {
        let root = tempfile::tempdir().unwrap();
        let jobs = cache(root.path());
        let jid = Jid::parse("20261124034048000002").unwrap();
        let ret: Map = [("fun", "event.send"), ("return", "x")]
            .into_iter()
            .collect();
        jobs.returned(&jid, &MinionId::parse("m1").unwrap(), &ret)
            .unwrap();
        assert_eq!(
            jobs.load(&jid).unwrap().get("fun"),
            Some(&"event.send".into())
        );
    }
}

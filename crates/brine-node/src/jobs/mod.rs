//! The job cache: published jobs and what minions returned.
//!
//! The files have Salt's format (`local_cache`): Salt's runners read our jobs, and ours read those of a real master.
//! Functions here block on the disk; `writer` writes returns on its own thread. Facts: Salt 3006.28 and 3008.3, file
//! by file (`tests/it/jobs_salt.rs`).

mod functions;
mod hour;
mod writer;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brine_wire::msgpack;
use brine_wire::network::{Jid, MinionId};
use brine_wire::{Map, Value};

pub use self::functions::FunctionJobs;
pub use self::writer::{Keeps, Writer};

use crate::file;
use crate::functions::digest;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024 * 1024;

/// The folder of a master's jobs, in its `cachedir`.
pub(crate) const FOLDER: &str = "jobs";

/// The files of one job.
const JID: &str = "jid";
const LOAD: &str = ".load.p";
const MINIONS: &str = ".minions.p";
/// Exists if the job's returns are not to be kept.
const NO_CACHE: &str = "nocache";
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

/// An unknown `hash_type`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("option hash_type: unknown digest {0}; use one such as sha256")]
pub struct UnknownHash(String);

impl JobCacheError {
    /// Whether the files are another user's.
    fn is_permission_denied(&self) -> bool {
        self.source.kind() == io::ErrorKind::PermissionDenied
    }
}

impl JobCache {
    /// The cache in a master's `cachedir`, with its `hash_type`. [`Self::clean`] removes jobs older than `keep`.
    ///
    /// # Errors
    /// [`UnknownHash`].
    pub fn open(cachedir: &Path, hash: &str, keep: Option<Duration>) -> Result<Self, UnknownHash> {
        digest::hex(hash, &[]).ok_or_else(|| UnknownHash(hash.to_owned()))?;
        Ok(Self {
            root: cachedir.join(FOLDER),
            hash: hash.to_owned(),
            keep,
        })
    }

    /// Records a job before it is published: its load, without secrets, and the minions it targets. A second job with
    /// the same id adds its minions.
    ///
    /// # Errors
    /// [`JobCacheError`].
    pub fn begin(&self, jid: &Jid, load: &Map, minions: &[MinionId]) -> Result<(), JobCacheError> {
        let folder = self.folder(jid);
        let kwargs = load.get("kwargs").and_then(Value::as_map);
        prepare(&folder, jid, kwargs)?;
        write(&folder.join(LOAD), &pack(&load.clone().into()))?;
        let minions = minions.iter().map(|id| id.as_str().to_owned());
        let mut all: BTreeSet<String> = minions.collect();
        all.extend(texts(read(&folder.join(MINIONS))));
        write(&folder.join(MINIONS), &pack(&sorted(all)))
    }

    /// Records a minion's return; a second return of the same minion is ignored. An unknown job is recorded from it.
    ///
    /// # Errors
    /// [`JobCacheError`].
    pub fn returned(&self, jid: &Jid, id: &MinionId, ret: &Map) -> Result<(), JobCacheError> {
        // A schedule marks returns that are for listeners only this way.
        if jid.as_str() == NO_CACHE {
            return Ok(());
        }
        let job = match self.recorded(jid) {
            Some(job) => job,
            None => self.record_of(jid, id, ret)?,
        };
        job.keep(id, ret)
    }

    /// Records an unknown job from one of its returns.
    fn record_of(&self, jid: &Jid, id: &MinionId, ret: &Map) -> Result<Recorded, JobCacheError> {
        let folder = self.folder(jid);
        prepare(&folder, jid, Some(ret))?;
        write(&folder.join(LOAD), &pack(&ret.clone().into()))?;
        let own = BTreeSet::from([id.as_str().to_owned()]);
        write(&folder.join(MINIONS), &pack(&sorted(own)))?;
        Ok(Recorded::new(jid, folder))
    }

    /// A job, if it is recorded.
    fn recorded(&self, jid: &Jid) -> Option<Recorded> {
        let folder = self.folder(jid);
        let is_recorded = jid.as_str() != NO_CACHE && folder.join(LOAD).exists();
        is_recorded.then(|| Recorded::new(jid, folder))
    }

    /// Records a function that ran on the master of this id. Salt writes what it returned into the load too, where nobody
    /// looks for it, and whoever lists jobs would read it.
    fn ran(&self, jid: &Jid, id: &MinionId, data: &Value) -> Result<(), JobCacheError> {
        let about = |name| data.as_map().and_then(|data| data.get(name)).cloned();
        let mut load = Map::from_iter([
            ("id", id.as_str()),
            ("tgt", id.as_str()),
            ("jid", jid.as_str()),
        ]);
        for name in ["fun", "user"] {
            if let Some(value) = about(name) {
                load.insert(name, value);
            }
        }
        let job = self.folder(jid);
        if !job.join(LOAD).exists() {
            prepare(&job, jid, None)?;
            write(&job.join(LOAD), &pack(&load.into()))?;
            write(&job.join(MINIONS), &pack(&sorted(BTreeSet::new())))?;
        }
        let ret = Map::from_iter([("return", data.clone())]);
        self.returned(jid, id, &ret)
    }

    /// A job's load, with `Minions` as Salt adds it; `None` if there is no such job.
    #[must_use]
    pub fn load(&self, jid: &Jid) -> Option<Map> {
        load(&self.folder(jid))
    }

    /// What minions returned for a job, by id: `return`, `retcode`, `success` and `out`.
    #[must_use]
    pub fn returns(&self, jid: &Jid) -> Map {
        let mut returns = Map::new();
        for (id, path) in folders(&self.folder(jid)) {
            if let Some(ret) = read(&path.join(RETURN)) {
                returns.insert(id, ret_of(ret, read(&path.join(OUT))));
            }
        }
        returns
    }

    /// All jobs with their loads, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<(Jid, Map)> {
        let job = |folder: PathBuf| {
            let load = load(&folder)?;
            Some((jid_of(&load)?, load))
        };
        let mut jobs: Vec<_> = self.all().filter_map(job).collect();
        jobs.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        jobs
    }

    /// Removes jobs older than `keep`; returns how many.
    pub fn clean(&self, now: SystemTime) -> usize {
        let Some(keep) = self.keep else { return 0 };
        let is_old = |folder: &PathBuf| {
            // A folder without this file is a leftover or not a job.
            let about = fs::metadata(folder.join(JID)).or_else(|_| fs::metadata(folder));
            let made = about.and_then(|about| about.modified());
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

    /// A job's folder. Its name is the digest of the id, so that no id can lead elsewhere.
    fn folder(&self, jid: &Jid) -> PathBuf {
        // Checked when the cache was opened.
        let digest = digest::hex(&self.hash, jid.as_str().as_bytes()).unwrap_or_default();
        let (top, rest) = digest.split_at_checked(2).unwrap_or_default();
        self.root.join(top).join(rest)
    }
}

/// Makes a job's folder. The file with the job's id comes before all others: Salt's own cleaning removes what
/// lacks it.
/// A job that is recorded.
#[derive(Debug)]
struct Recorded {
    jid: Jid,
    folder: PathBuf,
    keeps_returns: bool,
}

impl Recorded {
    fn new(jid: &Jid, folder: PathBuf) -> Self {
        Self {
            jid: jid.clone(),
            keeps_returns: !folder.join(NO_CACHE).exists(),
            folder,
        }
    }

    /// Keeps a minion's return, unless it has one.
    fn keep(&self, id: &MinionId, ret: &Map) -> Result<(), JobCacheError> {
        if !self.keeps_returns {
            return Ok(());
        }
        let folder = self.folder.join(id.as_str());
        let kept = ["return", "retcode", "success"];
        let kept = kept
            .into_iter()
            .filter_map(|key| Some((key, ret.get(key)?.clone())));
        let kept = Value::Map(kept.collect());
        // In a new folder there is no return to look for.
        let is_new = file::make_new_folder(&folder).map_err(failed(&folder))?;
        if !is_new && let Some(first) = read(&folder.join(RETURN)) {
            if first != kept {
                tracing::warn!(jid = %self.jid, %id, "ignoring a second, different return; do two minions use this id?");
            }
            return Ok(());
        }
        if let Some(out) = ret.get("out") {
            write(&folder.join(OUT), &pack(out))?;
        }
        write(&folder.join(RETURN), &pack(&kept))
    }
}

fn prepare(folder: &Path, jid: &Jid, options: Option<&Map>) -> Result<(), JobCacheError> {
    make_folder(folder)?;
    write(&folder.join(JID), jid.as_str().as_bytes())?;
    let no_cache = options.and_then(|options| options.get(NO_CACHE));
    if no_cache.is_some_and(Value::is_true) {
        write(&folder.join(NO_CACHE), &[])?;
    }
    Ok(())
}

/// A job's load in its folder; `Minions` are those of this master and those that syndics reported.
fn load(folder: &Path) -> Option<Map> {
    let load = read(&folder.join(LOAD))?;
    let is_list = |name: &str| {
        name == MINIONS || (name.starts_with(".minions.") && name[9..].ends_with(".p"))
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let lists = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_list));
    load_of(load, lists.map(|list| read(&list.path())))
}

/// A job's load from what its files hold: `None` if it is no mapping.
fn load_of(load: Value, minions: impl Iterator<Item = Option<Value>>) -> Option<Map> {
    let Value::Map(mut load) = load else {
        return None;
    };
    let minions: BTreeSet<String> = minions.flat_map(texts).collect();
    if !minions.is_empty() {
        load.insert("Minions", sorted(minions));
    }
    Some(load)
}

/// A return from what its files hold.
fn ret_of(ret: Value, out: Option<Value>) -> Map {
    let mut ret = match ret {
        Value::Map(ret) if ret.get("return").is_some() => ret,
        // The format of old releases.
        ret => Map::from_iter([("return", ret)]),
    };
    if let Some(out) = out {
        ret.insert("out", out);
    }
    ret
}

fn jid_of(load: &Map) -> Option<Jid> {
    Jid::parse(load.get("jid")?.as_str()?).ok()
}

/// For the fuzz target: a job as [`JobCache::load`] and [`JobCache::returns`] read it, from an array with what its files
/// hold: load, minions, return and outputter.
pub(crate) fn fuzz_read(bytes: &[u8]) -> Option<(Map, Map)> {
    let Ok(Value::Array(files)) = msgpack::decode(bytes) else {
        return None;
    };
    let mut files = files.into_iter();
    let load = files.next()?;
    let load = load_of(load, std::iter::once(files.next()));
    let returns = files.next().map(|ret| ("m1", ret_of(ret, files.next())));
    let load = load?;
    if let Some(jid) = jid_of(&load) {
        assert!(!jid.as_str().contains(['/', '\0']), "{jid} would be a path");
    }
    Some((load, returns.into_iter().collect()))
}

/// The texts in a list; empty if it is not a list.
fn texts(list: Option<Value>) -> Vec<String> {
    let Some(Value::Array(items)) = list else {
        return Vec::new();
    };
    let texts = items.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn sorted(ids: BTreeSet<String>) -> Value {
    Value::Array(ids.into_iter().map(Value::from).collect())
}

/// The folders in a folder, with their names.
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
        let load = [("fun", "test.ping"), ("tgt", "*"), ("jid", jid.as_str())];
        let load: Map = load.into_iter().collect();
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
    fn the_first_return_of_a_minion_stands() {
        let root = tempfile::tempdir().unwrap();
        let jobs = cache(root.path());
        let jid = Jid::parse("20261124034048000003").unwrap();
        let id = MinionId::parse("m1").unwrap();
        for text in ["first", "second"] {
            let ret: Map = [("return", text)].into_iter().collect();
            jobs.returned(&jid, &id, &ret).unwrap();
        }
        let first: Map = [("return", "first")].into_iter().collect();
        assert_eq!(jobs.returns(&jid).get("m1"), Some(&first.into()));
    }

    #[test]
    fn no_returns_are_kept_of_a_job_that_says_so() {
        let root = tempfile::tempdir().unwrap();
        let jobs = cache(root.path());
        let ids = [MinionId::parse("m1").unwrap()];
        let ret: Map = [("return", true)].into_iter().collect();
        let kwargs: Map = [("nocache", true)].into_iter().collect();
        let load: Map = [("kwargs", kwargs)].into_iter().collect();
        let jid = Jid::parse("20261124034048000004").unwrap();
        jobs.begin(&jid, &load, &ids).unwrap();
        jobs.returned(&jid, &ids[0], &ret).unwrap();
        assert!(jobs.load(&jid).is_some());
        assert!(jobs.returns(&jid).is_empty());
        let scheduled = Jid::parse("nocache").unwrap();
        jobs.returned(&scheduled, &ids[0], &ret).unwrap();
        assert!(jobs.load(&scheduled).is_none());
    }

    #[test]
    fn a_job_published_again_is_for_all_it_was_published_for() {
        let root = tempfile::tempdir().unwrap();
        let jobs = cache(root.path());
        let jid = Jid::parse("20261124034048000005").unwrap();
        for id in ["m2", "m1"] {
            let ids = [MinionId::parse(id).unwrap()];
            jobs.begin(&jid, &Map::new(), &ids).unwrap();
        }
        let load = jobs.load(&jid).unwrap();
        let both = Value::Array(vec!["m1".into(), "m2".into()]);
        assert_eq!(load.get("Minions"), Some(&both));
    }

    #[test]
    fn what_is_left_of_a_job_without_its_id_is_cleaned_too() {
        let root = tempfile::tempdir().unwrap();
        let jobs = cache(root.path());
        fs::create_dir_all(root.path().join("jobs/ab/cd")).unwrap();
        assert_eq!(jobs.clean(SystemTime::now()), 0);
        assert_eq!(jobs.clean(SystemTime::now() + Duration::from_secs(120)), 1);
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

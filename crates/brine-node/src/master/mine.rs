//! The mine: data that minions store on the master for other minions, in Salt's files.
//!
//! Each minion has a map by function name. The master decides who may read what (`mine_get`), and each minion decides
//! for its own data (`allow_tgt`). Facts: `docs/protocol/network.md` §8; Salt 3006.28 and 3008.3, with which each
//! answer is compared (test `mine_salt`).

use std::collections::HashSet;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use brine_wire::compat::{Compat, Series};
use brine_wire::network::{MinionId, field};
use brine_wire::{Map, Value, msgpack};

use crate::file;
use crate::target::Patterns;
use crate::weight::weight;

/// The most that one minion may store, in bytes.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The most values in what one minion stores: each takes some 70 bytes while it is read.
const MAX_VALUES: usize = 1 << 20;

/// The most that one answer may hold, in bytes of memory, and the most functions that it may be about: a message of
/// 64 MiB is the largest.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;
const MAX_FUNCTIONS: usize = 100;

/// How many locks minions share.
const LOCKS: usize = 64;

/// An entry that only some minions may read is wrapped: a mark, the data, and the target of those minions.
const WRAPPED: &str = "__saltmine_acl__";
const WRAPPED_DATA: &str = "__data__";

/// Resolves targets that a minion names.
#[derive(Clone, Copy)]
pub(super) struct Targets<'a> {
    /// The minions that a target of a type selects.
    pub(super) select: &'a dyn Fn(&Value, &str) -> Vec<MinionId>,
    /// Whether it selects this one.
    pub(super) matches: &'a dyn Fn(&Value, &str, &MinionId) -> bool,
}

/// The mine of all minions.
pub(super) struct Mine {
    cachedir: PathBuf,
    compat: Compat,
    options: MineOptions,
    patterns: Patterns,
    /// Held while a minion's file is changed; minions share one only by chance.
    changing: [Mutex<()>; LOCKS],
}

/// What the mine keeps and who may read it.
#[derive(Debug, Clone)]
pub(super) struct MineOptions {
    /// Without `minion_data_cache` and `enforce_mine_cache` nothing is kept.
    pub(super) is_kept: bool,
    /// `mine_get`: patterns of minion ids, and patterns of the functions these may ask for.
    pub(super) permitted: Option<Value>,
}

impl Mine {
    pub(super) fn new(cachedir: PathBuf, compat: Compat, options: MineOptions) -> Self {
        Self {
            cachedir,
            compat,
            options,
            patterns: Patterns::default(),
            changing: [const { Mutex::new(()) }; LOCKS],
        }
    }

    /// Whether a request is about the mine.
    pub(super) fn handles(cmd: &str) -> bool {
        matches!(cmd, "_mine" | "_mine_get" | "_mine_delete" | "_mine_flush")
    }

    /// The answer to a request of a minion. Blocks on the disk.
    pub(super) fn answer(
        &self,
        cmd: &str,
        id: &MinionId,
        load: &Map,
        targets: Targets<'_>,
    ) -> Value {
        let changed = match cmd {
            "_mine_get" => return self.get(id, load, targets).into(),
            "_mine" => self.put(id, load),
            "_mine_delete" => self.delete(id, load),
            _ => self.flush(id),
        };
        match changed {
            Ok(done) => done.into(),
            Err(error) => {
                tracing::error!(%id, %error, "cannot change the mine");
                false.into()
            }
        }
    }

    fn put(&self, id: &MinionId, load: &Map) -> io::Result<bool> {
        let Some(new) = load.get("data").and_then(Value::as_map) else {
            return Ok(false);
        };
        if !self.options.is_kept {
            return Ok(true);
        }
        let _one_at_a_time = self.changing(id);
        let begins_anew = load.get("clear").is_some_and(Value::is_true);
        let known = match begins_anew {
            true => Map::new(),
            false => self.read(id),
        };
        // One pass: a minion may store many functions.
        let all = known.into_iter().chain(new.iter().cloned());
        self.write(id, &Map::from_pairs(all.collect()))
    }

    fn delete(&self, id: &MinionId, load: &Map) -> io::Result<bool> {
        let Some(fun) = field::text(load, "fun") else {
            return Ok(false);
        };
        if !self.options.is_kept {
            return Ok(true);
        }
        let _one_at_a_time = self.changing(id);
        let mut entries = self.read(id);
        match entries.remove(fun) {
            Some(_) => self.write(id, &entries),
            None => Ok(true),
        }
    }

    /// True if there was anything to remove.
    fn flush(&self, id: &MinionId) -> io::Result<bool> {
        if !self.options.is_kept {
            return Ok(true);
        }
        let _one_at_a_time = self.changing(id);
        match fs::remove_file(self.path(id)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// By minion; if several functions are asked for, by function and minion.
    fn get(&self, asks: &MinionId, load: &Map, targets: Targets<'_>) -> Map {
        let (Some(tgt), Some((funs, by_fun))) = (load.get("tgt"), load.get("fun").and_then(asked))
        else {
            return Map::new();
        };
        let permitted = funs.into_iter().filter(|fun| self.may_have(asks, fun));
        let mut found: Vec<(&str, Vec<(Value, Value)>)> =
            permitted.map(|fun| (fun, Vec::new())).collect();
        if found.is_empty() {
            return Map::new();
        }
        let tgt_type = field::text(load, "tgt_type").or_else(|| field::text(load, "expr_form"));
        let mut bytes = 0;
        for id in (targets.select)(tgt, tgt_type.unwrap_or("glob")) {
            let entries = self.read(&id);
            for (fun, of_fun) in &mut found {
                let entry = entries.get(fun);
                if let Some(data) = entry.and_then(|entry| unwrapped(entry, asks, targets)) {
                    bytes += weight(data);
                    if bytes > MAX_ANSWER_BYTES {
                        tracing::info!(%asks, "mine data refused: more than {MAX_ANSWER_BYTES} bytes");
                        return Map::new();
                    }
                    of_fun.push((id.as_str().into(), data.clone()));
                }
            }
        }
        if !by_fun {
            let only = found.into_iter().next();
            return only.map_or_else(Map::new, |(_, of_fun)| Map::from_pairs(of_fun));
        }
        let any = found.into_iter().filter(|(_, of_fun)| !of_fun.is_empty());
        any.map(|(fun, of_fun)| (fun, Map::from_pairs(of_fun)))
            .collect()
    }

    /// The functions that `mine_get` permits.
    fn may_have(&self, asks: &MinionId, fun: &str) -> bool {
        let permitted = match &self.options.permitted {
            None => return true,
            Some(Value::Map(permitted)) => permitted,
            Some(_) => return false,
        };
        let of_asking = permitted.iter().filter(|(ids, _)| {
            let ids = ids.as_str();
            ids.is_some_and(|ids| self.patterns.pcre(ids, asks.as_str()))
        });
        let mut funs = of_asking.flat_map(|(_, funs)| funs.as_array().unwrap_or_default());
        funs.any(|permitted| {
            let permitted = permitted.as_str();
            permitted.is_some_and(|permitted| self.patterns.pcre(permitted, fun))
        })
    }

    fn changing(&self, id: &MinionId) -> impl Drop + '_ {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % LOCKS as u64).unwrap_or_default();
        let lock = &self.changing[at % LOCKS];
        lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, id: &MinionId) -> PathBuf {
        match self.compat.series() {
            Series::S3006 | Series::S3007 => {
                let folder = self.cachedir.join("minions").join(id.as_str());
                folder.join("mine.p")
            }
            Series::S3008 => self.cachedir.join("mine").join(format!("{id}.p")),
        }
    }

    fn read(&self, id: &MinionId) -> Map {
        match file::read_value(&self.path(id), MAX_BYTES) {
            Some(Value::Map(entries)) => entries,
            _ => Map::new(),
        }
    }

    fn write(&self, id: &MinionId, entries: &Map) -> io::Result<bool> {
        let mut packed = Vec::new();
        msgpack::encode_map(entries, &mut packed);
        if packed.len() as u64 > MAX_BYTES || !file::holds_at_most(&packed, MAX_VALUES) {
            let found = packed.len();
            tracing::warn!(%id, "mine data of {found} bytes refused: the limit is {MAX_BYTES} and {MAX_VALUES} values");
            return Ok(false);
        }
        let path = self.path(id);
        if let Some(folder) = path.parent() {
            file::make_folder(folder)?;
        }
        file::write(&path, &packed)?;
        Ok(true)
    }
}

/// The functions asked for, and whether the answer is by function.
fn asked(fun: &Value) -> Option<(Vec<&str>, bool)> {
    match fun {
        Value::Str(funs) => {
            let mut funs: Vec<&str> = funs.split(',').collect();
            funs.sort_unstable();
            funs.dedup();
            let by_fun = funs.len() > 1;
            (funs.len() <= MAX_FUNCTIONS).then_some((funs, by_fun))
        }
        Value::Array(funs) => {
            // As above: of a function that is named twice the answer is the same, and one of them is enough.
            let mut named: Vec<&str> = Vec::new();
            let mut seen = HashSet::new();
            named.extend((funs.iter().filter_map(Value::as_str)).filter(|fun| seen.insert(*fun)));
            (named.len() <= MAX_FUNCTIONS).then_some((named, true))
        }
        _ => None,
    }
}

/// The data of an entry, if the requesting minion may read it.
fn unwrapped<'a>(entry: &'a Value, asks: &MinionId, targets: Targets<'_>) -> Option<&'a Value> {
    let wrapped = match entry {
        Value::Map(map) if map.get(WRAPPED).is_some() => map,
        entry => return Some(entry),
    };
    if let Some(tgt) = wrapped.get("allow_tgt") {
        let tgt_type = field::text(wrapped, "allow_tgt_type").unwrap_or("glob");
        if !(targets.matches)(tgt, tgt_type, asks) {
            return None;
        }
    }
    wrapped.get(WRAPPED_DATA)
}

/// For the fuzz target: whatever an entry is, a minion that its target does not select does not get it; and no question
/// is about more functions than it may be.
pub(crate) fn fuzz_mine(bytes: &[u8]) {
    let Ok(value) = msgpack::decode_network(bytes) else {
        return;
    };
    if let Some((funs, _)) = asked(&value) {
        assert!(funs.len() <= MAX_FUNCTIONS);
        assert_eq!(funs.iter().collect::<HashSet<_>>().len(), funs.len());
    }
    let Ok(id) = MinionId::parse("m1") else {
        return;
    };
    let nobody = Targets {
        select: &|_, _| Vec::new(),
        matches: &|_, _, _| false,
    };
    let is_for_some =
        |entry: &Map| entry.get(WRAPPED).is_some() && entry.get("allow_tgt").is_some();
    let found = unwrapped(&value, &id, nobody);
    assert!(found.is_none() || !value.as_map().is_some_and(is_for_some));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mine(root: &tempfile::TempDir) -> Mine {
        let options = MineOptions {
            is_kept: true,
            permitted: None,
        };
        Mine::new(root.path().to_owned(), Compat::NEWEST, options)
    }

    /// With an insertion that looks at all entries before, this would take minutes.
    #[test]
    fn a_mine_of_many_functions_is_stored_in_one_pass() {
        const MANY: usize = 100_000;
        let root = tempfile::tempdir().unwrap();
        let mine = mine(&root);
        let id = MinionId::parse("m1").unwrap();
        let entries = |value: i64| {
            let pairs = (0..MANY).map(|at| (format!("f{at}").into(), value.into()));
            Map::from_iter([("data", Map::from_pairs(pairs.collect()))])
        };
        assert!(mine.put(&id, &entries(1)).unwrap());
        assert!(mine.put(&id, &entries(2)).unwrap());
        let kept = mine.read(&id);
        assert_eq!((kept.len(), kept.get("f7")), (MANY, Some(&2.into())));
    }

    /// A copy of the data for each time that a function is named would fill any memory.
    #[test]
    fn an_answer_holds_a_function_once_and_no_more_than_a_message() {
        let root = tempfile::tempdir().unwrap();
        let mine = mine(&root);
        let id = MinionId::parse("m1").unwrap();
        let large: Map = [("f", "x".repeat(1 << 20))].into_iter().collect();
        let stored = mine.put(&id, &[("data", large)].into_iter().collect());
        assert!(stored.unwrap());
        let get = |fun: Value, minions: usize| {
            let load: Map = [("tgt", "*".into()), ("fun", fun)].into_iter().collect();
            let select = |_: &Value, _: &str| vec![id.clone(); minions];
            let targets = Targets {
                select: &select,
                matches: &|_, _, _| false,
            };
            mine.get(&id, &load, targets)
        };
        let often = Value::Array(vec!["f".into(); 100_000]);
        assert_eq!(get(often, 1).len(), 1);
        assert_eq!(get("f".into(), 60).len(), 1);
        assert_eq!(get("f".into(), 100).len(), 0);
        let many: Vec<Value> = (0..1000).map(|n| format!("f{n}").into()).collect();
        assert_eq!(get(Value::Array(many), 1).len(), 0);
    }

    #[test]
    fn few_bytes_of_many_values_are_not_stored() {
        let root = tempfile::tempdir().unwrap();
        let mine = mine(&root);
        let id = MinionId::parse("m1").unwrap();
        let data: Map = [("f", Value::Array(vec![Value::Nil; MAX_VALUES]))]
            .into_iter()
            .collect();
        let stored = mine.put(&id, &[("data", data)].into_iter().collect());
        assert!(!stored.unwrap());
    }
}

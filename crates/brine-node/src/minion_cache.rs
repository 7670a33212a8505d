//! What a master's disk holds about its minions: whose keys are accepted, and their cached grains, pillars and mines.
//!
//! It only reads, and clears on request: for programs beside a master, ours or Salt's of any series. The layouts are
//! `minions/<id>/data.p` and `mine.p` (3006, 3007, and our grains), and `<bank>/<id>.p` (3008). Functions here block
//! on the disk. Facts: the files of Salt 3006.28 and 3008.3.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use brine_config::{ConfigError, Opts};
use brine_wire::network::MinionId;
use brine_wire::nodegroup::nodegroups;
use brine_wire::{Map, Value, msgpack};

use crate::connected;
use crate::file;
use crate::target::{Candidate, DELIMITER, Target, TargetError};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// What is cached of a minion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bank {
    /// Its grains.
    Grains,
    /// Its pillar; our master caches none.
    Pillar,
    /// What it left in the mine.
    Mine,
}

impl Bank {
    const fn name(self) -> &'static str {
        match self {
            Self::Grains => "grains",
            Self::Pillar => "pillar",
            Self::Mine => "mine",
        }
    }
}

/// The minions that a master's `pki_dir` and `cachedir` know.
#[derive(Debug, Clone)]
pub struct MinionCache {
    accepted: PathBuf,
    cachedir: PathBuf,
    nodegroups: Map,
    /// `minion_data_cache`: without it nothing that is cached counts.
    is_kept: bool,
}

impl MinionCache {
    /// Those of the master with these options.
    ///
    /// # Errors
    /// [`ConfigError`] without `pki_dir` or `cachedir`.
    pub fn of(opts: &Opts) -> Result<Self, ConfigError> {
        Ok(Self {
            accepted: Path::new(opts.text("pki_dir")?).join("minions"),
            cachedir: opts.text("cachedir")?.into(),
            nodegroups: nodegroups(opts.get("nodegroups")),
            is_kept: opts.flag("minion_data_cache")?,
        })
    }

    /// The minions with accepted keys, sorted.
    #[must_use]
    pub fn accepted(&self) -> Vec<MinionId> {
        let mut ids: Vec<_> = ids(&self.accepted, "").collect();
        ids.sort();
        ids
    }

    /// The minions with accepted keys that a target selects, by what is cached of them.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn selected(
        &self,
        tgt: &Value,
        tgt_type: &str,
        delimiter: Option<&str>,
    ) -> Result<Vec<MinionId>, TargetError> {
        let delimiter = delimiter.unwrap_or(DELIMITER);
        let target = Target::parse(tgt, tgt_type, delimiter, &self.nodegroups)?;
        let is_selected = |id: &MinionId| {
            let cached = |bank| match target.needs_data() {
                true => self.cached(bank, id).unwrap_or_default(),
                false => Map::new(),
            };
            let (grains, pillar) = (cached(Bank::Grains), cached(Bank::Pillar));
            target.matches(Candidate {
                id,
                grains: &grains,
                pillar: &pillar,
            })
        };
        Ok(self.accepted().into_iter().filter(is_selected).collect())
    }

    /// What is cached of a minion; `None` if that is nothing.
    #[must_use]
    pub fn cached(&self, bank: Bank, id: &MinionId) -> Option<Map> {
        if !self.is_kept {
            return None;
        }
        let modified = |path: &Path| fs::metadata(path).and_then(|about| about.modified()).ok();
        let [old, new] = self.files(bank, id);
        // A master may have been replaced by one of another series: the newer file counts.
        let path = match (modified(&old), modified(&new)) {
            (None, None) => return None,
            (at_old, at_new) if at_old > at_new => old,
            _ => new,
        };
        let Some(Value::Map(mut data)) = file::read_value(&path, MAX_FILE_BYTES) else {
            return None;
        };
        if !path.ends_with("data.p") {
            return Some(data);
        }
        match data.remove(bank.name()) {
            Some(Value::Map(data)) => Some(data),
            _ => None,
        }
    }

    /// Forgets what is cached of a minion.
    ///
    /// # Errors
    /// Of the file system.
    pub fn clear(&self, banks: &[Bank], id: &MinionId) -> io::Result<()> {
        for bank in banks {
            let [old, new] = self.files(*bank, id);
            remove(&new)?;
            if !old.ends_with("data.p") {
                remove(&old)?;
            } else if let Some(Value::Map(mut data)) = file::read_value(&old, MAX_FILE_BYTES)
                && data.get(bank.name()).is_some()
            {
                data.insert(bank.name(), Map::new());
                write(&old, &data)?;
            }
        }
        Ok(())
    }

    /// Forgets what a minion's function left in the mine.
    ///
    /// # Errors
    /// Of the file system.
    pub fn clear_mine_function(&self, fun: &str, id: &MinionId) -> io::Result<()> {
        for path in self.files(Bank::Mine, id) {
            if let Some(Value::Map(mut data)) = file::read_value(&path, MAX_FILE_BYTES)
                && data.remove(fun).is_some()
            {
                write(&path, &data)?;
            }
        }
        Ok(())
    }

    /// The minions that hold a connection to the publish port, as far as their grains tell: each with its address.
    #[must_use]
    pub fn connected(&self, publish_port: u16) -> Vec<(MinionId, IpAddr)> {
        let connected = connected::addresses(publish_port);
        if connected.is_empty() {
            return Vec::new();
        }
        let own = connected::own_addresses();
        let known: HashSet<_> = ids(&self.cachedir.join("minions"), "")
            .chain(ids(&self.cachedir.join("grains"), ".p"))
            .collect();
        let mut known: Vec<_> = known.into_iter().collect();
        known.sort();
        let present = known.into_iter().filter_map(|id| {
            let grains = self.cached(Bank::Grains, &id)?;
            let at = connected::present_at(&grains, &connected, &own)?;
            Some((id, at))
        });
        present.collect()
    }

    /// Where a bank's data of a minion may be: in the layout of 3006, and of 3008.
    fn files(&self, bank: Bank, id: &MinionId) -> [PathBuf; 2] {
        let folder = self.cachedir.join("minions").join(id.as_str());
        let old = match bank {
            Bank::Grains | Bank::Pillar => folder.join("data.p"),
            Bank::Mine => folder.join("mine.p"),
        };
        let new = self.cachedir.join(bank.name()).join(format!("{id}.p"));
        [old, new]
    }
}

/// The ids that entries of a folder are named for.
fn ids(folder: &Path, suffix: &str) -> impl Iterator<Item = MinionId> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(move |entry| {
        let name = entry.file_name();
        MinionId::parse(name.to_str()?.strip_suffix(suffix)?).ok()
    })
}

fn write(path: &Path, data: &Map) -> io::Result<()> {
    let mut packed = Vec::new();
    msgpack::encode_map(data, &mut packed);
    file::write(path, &packed)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache with an accepted minion `m1` in the layout of one series and `m2` in that of another.
    fn cache(root: &Path) -> MinionCache {
        let pack = |data: Map, path: &str| {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            write(&path, &data).unwrap();
        };
        let grains = |os: &str| Map::from_iter([("os", os)]);
        pack(
            Map::from_iter([("grains", grains("Debian")), ("pillar", Map::new())]),
            "minions/m1/data.p",
        );
        pack(
            Map::from_iter([("a.b", 1), ("c.d", 2)]),
            "minions/m1/mine.p",
        );
        pack(grains("Alpine"), "grains/m2.p");
        for id in ["m1", "m2", ".hidden"] {
            fs::create_dir_all(root.join("pki/minions")).unwrap();
            fs::write(root.join("pki/minions").join(id), "").unwrap();
        }
        MinionCache {
            accepted: root.join("pki/minions"),
            cachedir: root.to_owned(),
            nodegroups: Map::new(),
            is_kept: true,
        }
    }

    fn id(text: &str) -> MinionId {
        MinionId::parse(text).unwrap()
    }

    #[test]
    fn minions_are_selected_by_what_either_series_has_cached() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        let selected = |tgt: &str, tgt_type| cache.selected(&tgt.into(), tgt_type, None);
        assert_eq!(selected("*", "glob"), Ok(vec![id("m1"), id("m2")]));
        assert_eq!(selected("os:Debian", "grain"), Ok(vec![id("m1")]));
        assert_eq!(selected("G@os:Alpine", "compound"), Ok(vec![id("m2")]));
        assert!(selected("N@nosuch", "compound").is_err());
    }

    #[test]
    fn what_is_cleared_is_gone_and_the_rest_stays() {
        let root = tempfile::tempdir().unwrap();
        let cache = cache(root.path());
        cache.clear_mine_function("a.b", &id("m1")).unwrap();
        let mine = cache.cached(Bank::Mine, &id("m1"));
        assert_eq!(mine, Some(Map::from_iter([("c.d", 2)])));
        for name in ["m1", "m2"] {
            cache.clear(&[Bank::Grains], &id(name)).unwrap();
            let grains = cache.cached(Bank::Grains, &id(name)).unwrap_or_default();
            assert!(grains.is_empty(), "{name}");
        }
        cache.clear(&[Bank::Mine], &id("m1")).unwrap();
        assert_eq!(cache.cached(Bank::Mine, &id("m1")), None);
        // It is not an error if there is nothing to clear.
        cache.clear(&[Bank::Mine, Bank::Pillar], &id("m3")).unwrap();
    }
}

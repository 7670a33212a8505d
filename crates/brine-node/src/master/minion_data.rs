//! The grains of a master's minions, which they send with every pillar request.
//!
//! They are in memory for targeting, and on disk in the layout of Salt's minion data cache (`minions/<id>/data.p`),
//! so that a restarted master can target minions that have not reconnected yet. Facts: `docs/protocol/network.md`
//! §8.1.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use brine_wire::Map;
use brine_wire::msgpack;
use brine_wire::network::MinionId;

use crate::file;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// The largest grains of one minion that are kept, in bytes of msgpack.
const MAX_GRAINS_BYTES: usize = 1024 * 1024;

/// The most values in the grains of one minion, which are kept in memory. Real ones have hundreds, or a few thousand.
const MAX_GRAINS_VALUES: usize = 65_536;

/// The grains of all minions that have shown them.
#[derive(Debug)]
pub(super) struct MinionData {
    root: PathBuf,
    /// Locked for a look or a change, never while waiting for the disk.
    grains: RwLock<HashMap<MinionId, Arc<Map>>>,
}

impl MinionData {
    /// What the cache below `cachedir` holds.
    pub(super) fn open(cachedir: &Path) -> Self {
        let root = cachedir.join("minions");
        let entries = fs::read_dir(&root).into_iter().flatten().flatten();
        let known = entries.filter_map(|entry| {
            let id = MinionId::parse(entry.file_name().to_str()?).ok()?;
            let data = file::read_value(&entry.path().join("data.p"), MAX_FILE_BYTES)?;
            let grains = data.as_map()?.get("grains")?.as_map()?.clone();
            Some((id, Arc::new(grains)))
        });
        Self {
            grains: RwLock::new(known.collect()),
            root,
        }
    }

    /// A minion's grains; empty if it has shown none.
    pub(super) fn grains(&self, id: &MinionId) -> Arc<Map> {
        let grains = self.grains.read().unwrap_or_else(PoisonError::into_inner);
        grains.get(id).cloned().unwrap_or_default()
    }

    /// Stores a minion's grains in memory; `true` if [`Self::write`] should write them to disk. Grains of more
    /// than [`MAX_GRAINS_BYTES`] or [`MAX_GRAINS_VALUES`] are not stored; the previous ones stay.
    pub(super) fn set(&self, id: &MinionId, grains: Map) -> bool {
        let mut packed = Vec::new();
        msgpack::encode_map(&grains, &mut packed);
        if packed.len() > MAX_GRAINS_BYTES || !file::holds_at_most(&packed, MAX_GRAINS_VALUES) {
            let bytes = packed.len();
            tracing::warn!(%id, bytes, "grains over {MAX_GRAINS_BYTES} bytes or {MAX_GRAINS_VALUES} values are not kept");
            return false;
        }
        let mut all = self.grains.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = all.get(id).is_none_or(|known| **known != grains);
        if is_new {
            all.insert(id.clone(), Arc::new(grains));
        }
        is_new
    }

    /// Writes a minion's grains. Blocks on the disk.
    pub(super) fn write(&self, id: &MinionId) -> io::Result<()> {
        let grains = self.grains(id);
        let mut data = Map::new();
        data.insert("grains", Map::clone(&grains));
        data.insert("pillar", Map::new());
        let mut packed = Vec::new();
        msgpack::encode_map(&data, &mut packed);
        let folder = self.root.join(id.as_str());
        file::make_folder(&folder)?;
        file::write(&folder.join("data.p"), &packed)
    }
}

#[cfg(test)]
mod tests {
    use brine_wire::Value;

    use super::*;

    #[test]
    fn grains_are_known_again_after_a_restart() {
        let root = tempfile::tempdir().unwrap();
        let id = MinionId::parse("m1").unwrap();
        let grains: Map = [("os", "Debian")].into_iter().collect();
        let data = MinionData::open(root.path());
        assert!(data.set(&id, grains.clone()));
        assert!(!data.set(&id, grains.clone()));
        data.write(&id).unwrap();
        let large: Map = [("x", "x".repeat(MAX_GRAINS_BYTES))].into_iter().collect();
        assert!(!data.set(&id, large));
        // Few bytes, much memory.
        let nils = Value::Array(vec![Value::Nil; MAX_GRAINS_VALUES]);
        assert!(!data.set(&id, [("x", nils)].into_iter().collect()));
        assert_eq!(*data.grains(&id), grains);
        assert_eq!(*MinionData::open(root.path()).grains(&id), grains);
    }
}

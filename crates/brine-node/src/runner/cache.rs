//! `cache.*`: what the master has cached about its minions.
//!
//! Functions here block on the disk. Facts: Salt 3008.3 and 3006.28, by running them.

use std::io;

use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use crate::minion_cache::{Bank, MinionCache};

/// A question about what is cached, or an order to forget it.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheRequest {
    /// What is asked.
    pub what: CacheWhat,
    /// Of which minions; `None` if the call did not say.
    pub tgt: Option<Value>,
    /// How `tgt` is to be read.
    pub tgt_type: String,
}

/// What is asked of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheWhat {
    /// `cache.grains`, `cache.pillar`, `cache.mine`
    Show(Bank),
    /// `cache.clear_grains`, `cache.clear_pillar`, `cache.clear_mine`, `cache.clear_all`
    Clear(&'static [Bank]),
    /// `cache.clear_mine_func`, and the function.
    ClearMineFunction(Option<String>),
}

/// What is cached of a minion cannot be cleared.
#[derive(Debug, thiserror::Error)]
#[error("OSError: the cache of minion {id}: {source}")]
pub(super) struct NotCleared {
    id: MinionId,
    source: io::Error,
}

/// The answer, as the runner function returns it.
pub(super) fn answer(request: &CacheRequest, cache: &MinionCache) -> Result<Value, NotCleared> {
    let selected = |tgt: &Value| {
        let selected = cache.selected(tgt, &request.tgt_type, None);
        selected.unwrap_or_else(|error| {
            tracing::warn!("{error}; no minion matches");
            Vec::new()
        })
    };
    let CacheWhat::Show(bank) = &request.what else {
        // Only what is named is forgotten.
        let Some(tgt) = &request.tgt else {
            return Ok(false.into());
        };
        for id in selected(tgt) {
            let cleared = match &request.what {
                CacheWhat::Clear(banks) => cache.clear(banks, &id),
                CacheWhat::ClearMineFunction(Some(fun)) => cache.clear_mine_function(fun, &id),
                CacheWhat::ClearMineFunction(None) | CacheWhat::Show(_) => return Ok(false.into()),
            };
            cleared.map_err(|source| NotCleared { id, source })?;
        }
        return Ok(true.into());
    };
    let ids = match &request.tgt {
        Some(tgt) => selected(tgt),
        None => cache.accepted(),
    };
    let shown = ids.into_iter().map(|id| {
        let cached = cache.cached(*bank, &id).unwrap_or_default();
        (Value::from(id.as_str()), Value::from(cached))
    });
    Ok(Map::from_pairs(shown.collect()).into())
}

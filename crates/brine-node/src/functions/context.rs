//! What built-in functions can read and change: configuration, grains, pillar, and requests to the minion.
//!
//! Knows no other function, and no Python.

use std::sync::{Arc, PoisonError, RwLock};

use brine_wire::Map;

use super::settings::Settings;
use super::{FunctionsConfig, Host};

/// The surroundings of built-in functions.
pub(crate) struct Context {
    config: FunctionsConfig,
    settings: Settings,
    host: Host,
    /// Locked for a clone or a store, never across an await; so is `pillar`.
    grains: RwLock<Arc<Map>>,
    pillar: RwLock<Arc<Map>>,
}

impl Context {
    pub(super) fn new(mut config: FunctionsConfig, host: Host) -> Self {
        let grains = std::mem::take(&mut config.grains);
        let pillar = std::mem::take(&mut config.pillar);
        Self {
            settings: Settings::new(&config),
            config,
            host,
            grains: RwLock::new(Arc::new(grains)),
            pillar: RwLock::new(Arc::new(pillar)),
        }
    }

    /// The options that built-in functions act on.
    pub(crate) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The minion's whole configuration, for functions that show it.
    pub(crate) const fn config(&self) -> &FunctionsConfig {
        &self.config
    }

    /// The minion, for requests.
    pub(crate) const fn host(&self) -> &Host {
        &self.host
    }

    /// The current grains.
    pub(crate) fn grains(&self) -> Arc<Map> {
        read(&self.grains)
    }

    /// The current pillar.
    pub(crate) fn pillar(&self) -> Arc<Map> {
        read(&self.pillar)
    }

    /// Replaces the grains.
    pub(crate) fn set_grains(&self, grains: Map) {
        write(&self.grains, grains);
    }

    /// Replaces the pillar.
    pub(crate) fn set_pillar(&self, pillar: Map) {
        write(&self.pillar, pillar);
    }
}

fn read(slot: &RwLock<Arc<Map>>) -> Arc<Map> {
    slot.read().unwrap_or_else(PoisonError::into_inner).clone()
}

fn write(slot: &RwLock<Arc<Map>>, map: Map) {
    *slot.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
}

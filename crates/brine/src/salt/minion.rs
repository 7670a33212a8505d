//! `salt-minion`: runs what its masters publish, until it is told to end.

use std::ffi::OsString;
use std::process::ExitCode;

use brine_config::{Opts, Role};
use brine_node::functions::{Functions, FunctionsConfig, grains};
use brine_node::minion::{Ended, Minion, MinionOptions};
use brine_wire::Map;

use super::options::Key;
use super::optparse::Syntax;
use super::serve::{self, Begun, Service};
use crate::commands::bus;
use crate::place;

const SYNTAX: Syntax<Key> = Syntax {
    program: "salt-minion",
    usage: "[options]",
    about: "Runs functions for its masters. This is Brine.",
    options: serve::OPTIONS,
};

/// Salt's code for a minion whose key was rejected.
const NO_PERMISSION: u8 = 77;

/// Serves until told to end.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    match serve::begin(&SYNTAX, words, Role::Minion, "minion")? {
        Begun::Service(service) => service.run(minion(&service)),
        Begun::Done(code) => Ok(code),
    }
}

async fn minion(service: &Service) -> anyhow::Result<ExitCode> {
    let loaded = &service.loaded;
    let options = MinionOptions::from_opts(&loaded.opts, &loaded.brine)?;
    let config = functions_config(&loaded.opts);
    let node = place::own_minion(&loaded.opts)?;
    let address = place::address(&loaded.opts, &node, None)?;
    let told_to_end = bus::told_to_end()?;
    let (served, log) = bus::open(&address, node, loaded)?;
    let minion = Minion::start(options, |host| Functions::new(config, host), served, log)?;
    tracing::info!("ready");
    let _pid_file = service.is_up()?;
    Ok(match minion.run(told_to_end).await {
        Ended::Told => ExitCode::SUCCESS,
        Ended::Rejected => ExitCode::from(NO_PERMISSION),
    })
}

/// What functions are told of the minion they run in.
pub(super) fn functions_config(opts: &Opts) -> FunctionsConfig {
    let all = opts.iter().map(|(name, value)| (name, value.clone()));
    let all = Map::from_pairs(all.map(|(name, value)| (name.into(), value)).collect());
    let grains = grains::core(&all);
    let mut config = FunctionsConfig::new(all);
    config.grains = grains;
    config
}

//! A master or a minion made from its configuration: bus, ports and functions.

use anyhow::Context;
use brine_bus::address::Node;
use brine_config::Loaded;
use brine_node::functions::{Functions, FunctionsConfig, grains};
use brine_node::master::{Master, MasterOptions};
use brine_node::minion::{Minion, MinionOptions};
use brine_wire::Map;
use brine_wire::compat::{Compat, Series};
use tokio::runtime::Runtime;

use crate::commands::bus;
use crate::place;
use crate::salt::run;

/// The runtime a node runs on.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// A master, bound.
pub(crate) async fn master(loaded: &Loaded) -> anyhow::Result<Master> {
    let options = MasterOptions::from_opts(&loaded.opts, &loaded.brine)?;
    let address = place::address(&loaded.opts, &Node::Master, None)?;
    let (served, log) = bus::open(&address, Node::Master, loaded)?;
    Ok(Master::start(options, served, log, Some(run::runners(loaded))).await?)
}

/// A minion, its bus bound; `umask` is that of what its functions make, if not this process's own.
pub(crate) fn minion(loaded: &Loaded, umask: Option<u32>) -> anyhow::Result<Minion> {
    let options = MinionOptions::from_opts(&loaded.opts, &loaded.brine)?;
    let mut config = functions_config(loaded);
    config.umask = umask;
    let node = place::own_minion(&loaded.opts)?;
    let address = place::address(&loaded.opts, &node, None)?;
    let (served, log) = bus::open(&address, node, loaded)?;
    let functions = |host| Functions::new(config, host);
    Ok(Minion::start(options, functions, served, log)?)
}

/// What functions are told of the minion they run in.
pub(crate) fn functions_config(loaded: &Loaded) -> FunctionsConfig {
    let all = loaded.opts.iter();
    let all = all.map(|(name, value)| (name.into(), value.clone()));
    let mut config = FunctionsConfig::new(Map::from_pairs(all.collect()));
    config.salt_version = salt_version(loaded.brine.compat.unwrap_or(Compat::NEWEST)).into();
    config.python = loaded.brine.python.as_ref().map(Into::into);
    config.grains = grains::load(&config.opts, &config.salt_version);
    config
}

/// The release of a series that functions are compared with.
const fn salt_version(compat: Compat) -> &'static str {
    match compat.series() {
        Series::S3006 => "3006.28",
        Series::S3007 => "3007.14",
        Series::S3008 => "3008.3",
    }
}

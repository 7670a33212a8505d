//! A master or a minion made from its configuration: bus, ports and functions.

use std::path::Path;
use std::sync::Arc;

use brine_bus::address::Node;
use brine_config::{Loaded, Warning};
use brine_node::functions::{Functions, FunctionsConfig, grains, salt_release};
use brine_node::master::{Master, MasterOptions, missing_backends};
use brine_node::minion::{Minion, MinionOptions};
use brine_wire::Map;
use brine_wire::compat::Compat;

use crate::bus_location;
use crate::daemon;
use crate::host::reactor::{
    OpenedReactor, OwnMaster, OwnMinion, OwnReactor, Prepared, Whose, WithReactor, WithStatus,
};
use crate::host::{Attached, MasterCommands, MinionCommands, OpenBus};

/// A master, bound, and its history, to be dropped when the master has ended.
pub(crate) async fn master(loaded: &Loaded) -> anyhow::Result<(Master, Attached)> {
    let options = MasterOptions::from_opts(&loaded.opts, &loaded.brine)?;
    for (_, text) in missing_backends(&loaded.opts) {
        tracing::warn!("{text}");
    }
    // What is wrong with its rules is said before anything is there.
    let reactor = Prepared::of(loaded, Whose::Master)?;
    // As Salt makes it: users whom publisher_acl names have their keys in cachedir. Making that says what is wrong.
    let _ = options.cachedir.parent().map(daemon::make_public_folder);
    let bus = OpenBus::of_node(loaded, Node::Master)?;
    let (bus, handle, detached) = bus.into_parts();
    // Before anybody can fire anything: it reacts to what comes from now on.
    let reactor = reactor.map(|prepared| detached.open_reactor(prepared));
    let reactor = reactor.transpose()?;
    let master = Master::start(options, bus, handle).await?;
    if let Some((durable, stored)) = detached.durable() {
        master.answer_when(durable, stored, &|minion, from| detached.held(minion, from));
    }
    let start = |opened: OpenedReactor| {
        let own = OwnMaster {
            master: master.handle(),
        };
        let running = opened.start_on_master(own)?;
        let own = OwnReactor(running.handle.clone());
        master.handle().set_reactor(Arc::new(own));
        anyhow::Ok(running)
    };
    let reactor = reactor.map(start).transpose()?;
    let commands = WithStatus {
        inner: Arc::new(MasterCommands(master.handle())),
        reactor: (reactor.as_ref()).map(|running| Arc::new(OwnReactor(running.handle.clone()))),
    };
    let mut attached = detached.attach(Arc::new(commands), Some(&master.handle()), reactor)?;
    if loaded.brine.api.in_master {
        attached.start_api(loaded, master.handle())?;
    }
    Ok((master, attached))
}

/// A minion, its bus bound, and its history, to be dropped when the minion has ended; `umask` applies to what its
/// functions create, if it is not this process's own.
pub(crate) fn minion(loaded: &Loaded, umask: Option<u32>) -> anyhow::Result<(Minion, Attached)> {
    let options = MinionOptions::from_opts(&loaded.opts, &loaded.brine)?;
    let reactor = Prepared::of(loaded, Whose::Minion)?;
    remember_id(loaded);
    let mut config = functions_config(loaded);
    config.umask = umask;
    let bus = OpenBus::of_node(loaded, bus_location::own_minion(&loaded.opts)?)?;
    let functions = |host| Functions::new(config, host);
    let (bus, handle, detached) = bus.into_parts();
    let reactor = reactor.map(|prepared| detached.open_reactor(prepared));
    let reactor = reactor.transpose()?;
    let minion = Minion::start(options, functions, bus, handle)?;
    let detached = detached.of_minion(minion.handle());
    let commands = Arc::new(MinionCommands(minion.handle()));
    let Some(opened) = reactor else {
        return Ok((minion, detached.attach(commands, None, None)?));
    };
    let execute = OwnMinion {
        minion: minion.handle(),
    };
    let running = opened.start(Arc::new(execute))?;
    let commands = WithReactor {
        inner: Some(commands),
        reactor: Arc::new(OwnReactor(running.handle.clone())),
        node: "minion",
    };
    let attached = detached.attach(Arc::new(commands), None, Some(running))?;
    Ok((minion, attached))
}

/// Keeps a guessed minion id for the next start (`minion_id_caching`): a machine that is renamed stays the same
/// minion.
pub(crate) fn remember_id(loaded: &Loaded) {
    let guessed = loaded.warnings.iter().find_map(|warning| match warning {
        Warning::GuessedId { id } => Some(id),
        _ => None,
    });
    let is_wanted = loaded.opts.flag("minion_id_caching").unwrap_or(true);
    let (Some(id), true, Ok(root)) = (guessed, is_wanted, loaded.opts.text("root_dir")) else {
        return;
    };
    let file = Path::new(root).join("etc/salt/minion_id");
    let folder = file.parent().map_or(Ok(()), daemon::make_public_folder);
    if let Err(error) = folder.and_then(|()| std::fs::write(&file, id)) {
        tracing::warn!(
            "cannot keep the minion id {id} in {}: {error}; set option id",
            file.display()
        );
    }
}

/// What functions know about the minion they run in.
pub(crate) fn functions_config(loaded: &Loaded) -> FunctionsConfig {
    let all = loaded.opts.iter();
    let all = all.map(|(name, value)| (name.into(), value.clone()));
    let mut config = FunctionsConfig::new(Map::from_pairs(all.collect()));
    config.salt_version = salt_release(loaded.brine.compat.unwrap_or(Compat::NEWEST)).into();
    config.compat = loaded.brine.compat;
    config.python = loaded.brine.python.as_ref().map(Into::into);
    if let Some(python) = config.python.as_ref().filter(|python| python.is_absolute())
        && !python.exists()
    {
        let python = python.display();
        tracing::warn!(
            "option brine: python: {python} does not exist; functions that need Python fail"
        );
    }
    config.grains = grains::load(&config.opts, &config.salt_version);
    config
}

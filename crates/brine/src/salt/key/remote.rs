//! `salt-key --eauth`: has the master list and change keys, with the rights of the user who logs in.
//!
//! Real `salt-key` asks for the right keys and then accepts none: it passes on those of `minions`, which are already
//! accepted.

use brine_config::Arguments;
use brine_net::keys::store::KeyState;
use brine_node::client::{self, ClientConfig, ClientError};
use brine_node::keys::{Action, Found, Include};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};
use tokio::runtime::Runtime;

use super::cli::{self, Changed};
use super::{Command, Session, include, show};
use crate::salt::login;
use crate::salt::start;

/// Runs the command; what the master refuses is printed, and not a failure, as in Salt.
pub(super) fn run(command: Command<'_>, session: &Session<'_>) -> anyhow::Result<()> {
    let runtime = start::runtime()?;
    let Some(config) = runtime.block_on(login::client(session.line, session.opts))? else {
        return Ok(());
    };
    let master = Wheel { runtime, config };
    match master.run(command, session) {
        Err(error) => match error.downcast::<ClientError>() {
            Ok(error) => (session.printer).print(&error.to_string().into(), Some("nested"), 0),
            Err(error) => Err(error),
        },
        Ok(()) => Ok(()),
    }
}

struct Wheel {
    runtime: Runtime,
    config: ClientConfig,
}

impl Wheel {
    fn run(&self, command: Command<'_>, session: &Session<'_>) -> anyhow::Result<()> {
        let mut shown = match command {
            Command::List(state) => self.call("key.list", &[state.into()], Map::new())?,
            Command::Print(glob) => self.call("key.print", &[glob.into()], Map::new())?,
            Command::Finger(glob) => {
                let hash = session.opts.text("hash_type")?;
                self.call("key.finger", &[glob.into(), hash.into()], Map::new())?
            }
            Command::Change(action, glob) => {
                let include = include(session.line, action);
                let found = found(&self.call("key.glob_match", &[glob.into()], Map::new())?);
                return cli::change(found, action, glob, include, session, |found| {
                    self.change(action, found, include)
                });
            }
            Command::GenKeys(_) | Command::GenSignature => return Ok(()), // these need no master
        };
        // The master's own key files are shown with fingerprints alone.
        if let (Value::Map(listed), false) = (&mut shown, matches!(command, Command::Finger(_))) {
            listed.remove("local");
        }
        show(session.printer, &shown)
    }

    /// Changes the keys that were shown, whatever else the glob matches by now.
    fn change(&self, action: Action, shown: &Found, include: Include) -> anyhow::Result<Changed> {
        let (fun, others) = match action {
            Action::Accept => ("key.accept", Some(("include_rejected", include.rejected))),
            Action::Reject => ("key.reject", Some(("include_accepted", include.accepted))),
            Action::Delete => ("key.delete", None),
        };
        let mut named: Map = others.into_iter().collect();
        if others.is_some() {
            named.insert("include_denied", include.denied);
        }
        let shown: Vec<_> = shown.iter().flat_map(|(_, ids)| ids.clone()).collect();
        let globs: Vec<_> = shown.iter().map(MinionId::as_str).collect();
        let now = found(&self.call(fun, &[globs.join(",").into()], named)?);
        let ids = match action {
            Action::Delete => shown,
            Action::Accept | Action::Reject => now.into_iter().flat_map(|(_, ids)| ids).collect(),
        };
        Ok(Changed {
            ids,
            refused: Vec::new(),
        })
    }

    fn call(&self, fun: &str, positional: &[Value], keyword: Map) -> Result<Value, ClientError> {
        let arguments = Arguments {
            positional: positional.to_vec(),
            keyword,
        };
        let called = client::wheel(&self.config, fun, arguments);
        self.runtime.block_on(called)
    }
}

/// Ids by state, as wheel functions return them.
fn found(returned: &Value) -> Found {
    let states = returned.as_map().into_iter().flat_map(Map::iter);
    let found = states.filter_map(|(folder, ids)| {
        let mut all = KeyState::ALL.into_iter();
        let state = all.find(|state| folder.as_str() == Some(state.folder()))?;
        let ids = ids.as_array().unwrap_or_default().iter();
        let ids = ids.filter_map(|id| MinionId::parse(id.as_str()?).ok());
        Some((state, ids.collect()))
    });
    found.collect()
}

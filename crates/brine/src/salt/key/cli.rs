//! Accepting, rejecting and deleting interactively: lists the keys, asks for confirmation, reports the
//! result.

use std::io::{self, BufRead, Write};

use std::time::Duration;

use brine_bus::address::Node;
use brine_bus::client::blocking::Publisher;
use brine_net::keys::store::KeyState;
use brine_node::keys::{Action, Found, Include, Keys, LeftoverFiles, by_state};
use brine_node::master::audit;
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use super::{Session, show};
use crate::bus_location;
use crate::salt::options::Key;
use crate::salt::start;
use crate::terminal;

/// What became of keys.
pub(super) struct Changed {
    /// Whose keys were changed.
    pub(super) ids: Vec<MinionId>,
    /// Whose files hold no key.
    pub(super) refused: Vec<MinionId>,
}

/// Asks, has `act` change the keys that a glob has matched, and reports it.
pub(super) fn change(
    mut found: Found,
    action: Action,
    glob: &str,
    include: Include,
    session: &Session<'_>,
    act: impl FnOnce(&Found) -> anyhow::Result<Changed>,
) -> anyhow::Result<()> {
    if action != Action::Delete {
        found = only_included(&found, include);
    }
    let mut stdout = terminal::stdout();
    if found.is_empty() {
        let states = states(include);
        writeln!(
            stdout,
            "The key glob '{glob}' does not match any {states} keys."
        )?;
        return Ok(());
    }
    let done = action.done();
    writeln!(stdout, "The following keys are going to be {done}:")?;
    show(session.printer, &by_state(&found))?;
    if !session.line.has(Key::Yes) && !says_yes(action)? {
        return Ok(());
    }
    let changed = act(&found)?;
    for id in &changed.refused {
        writeln!(terminal::stderr(), "Unable to accept invalid key for {id}.")?;
    }
    for id in &changed.ids {
        if !changed.refused.contains(id) {
            writeln!(stdout, "Key for minion {id} {done}.")?;
        }
    }
    Ok(())
}

/// Changes keys in the master's own files.
pub(super) fn change_files(
    keys: &Keys,
    action: Action,
    found: &Found,
    include: Include,
    session: &Session<'_>,
) -> anyhow::Result<Changed> {
    let mut bus = bus(session)?;
    let user = start::user();
    // Without a running master nobody listens to the events.
    let mut fire = |tag, mut data: Map| {
        if let Err(error) = bus.fire_event(tag, &mut data, Some(Duration::ZERO)) {
            tracing::debug!("{tag}: {error}");
        }
    };
    let refused = keys.change(action, found, include, &leftover(session)?, |data| {
        if session.audit {
            let text = |name| data.get(name).and_then(Value::as_str).unwrap_or_default();
            let about = audit::key_data(text("id"), text("act"), "salt-key", &user);
            fire(audit::KEY, about);
        }
        fire("salt/key", data);
    })?;
    let ids = match action {
        Action::Delete => found.iter().flat_map(|(_, ids)| ids.clone()).collect(),
        Action::Accept | Action::Reject => keys.now(found)?,
    };
    Ok(Changed { ids, refused })
}

fn bus(session: &Session<'_>) -> anyhow::Result<Publisher> {
    let config = bus_location::publisher_config(Some(session.compat), Some(session.opts))?;
    let address = bus_location::address(session.opts, &Node::Master, None)?;
    Ok(Publisher::new(&address, config))
}

/// Reads the options, which the command line overrides.
fn leftover(session: &Session<'_>) -> anyhow::Result<LeftoverFiles> {
    let mut leftover = LeftoverFiles::from_opts(session.opts)?;
    let said = |key| session.line.value(key);
    leftover.preserve_minions =
        said(Key::PreserveMinions).is_some_and(|text| text.eq_ignore_ascii_case("true"));
    if let Some(text) = said(Key::RotateAes) {
        leftover.rotate_aes_key = !text.eq_ignore_ascii_case("false");
    }
    Ok(leftover)
}

/// The keys in the requested states, in the order in which Salt lists them.
fn only_included(found: &Found, include: Include) -> Found {
    let wanted = [
        (KeyState::Pending, true),
        (KeyState::Accepted, include.accepted),
        (KeyState::Rejected, include.rejected),
        (KeyState::Denied, include.denied),
    ];
    let wanted = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
    wanted
        .filter_map(|(state, _)| found.iter().find(|(own, _)| *own == state).cloned())
        .collect()
}

/// `unaccepted, accepted or rejected`
fn states(include: Include) -> String {
    let states = [
        ("unaccepted", true),
        ("accepted", include.accepted),
        ("rejected", include.rejected),
        ("denied", include.denied),
    ];
    let states = states.into_iter().filter(|(_, is_wanted)| *is_wanted);
    let mut states: Vec<_> = states.map(|(state, _)| state).collect();
    match (states.pop(), states.as_slice()) {
        (Some(last), []) => last.to_owned(),
        (last, before) => format!("{} or {}", before.join(", "), last.unwrap_or_default()),
    }
}

/// Asks for confirmation; an empty answer means the harmless choice.
fn says_yes(action: Action) -> anyhow::Result<bool> {
    let (question, otherwise) = match action {
        Action::Delete => ("Proceed? [N/y] ", false),
        Action::Accept | Action::Reject => ("Proceed? [n/Y] ", true),
    };
    let mut stdout = terminal::stdout();
    stdout.write_all(question.as_bytes())?;
    stdout.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        tracing::error!("EOF when reading a line");
        return Ok(false);
    }
    let answer = answer.trim_end_matches('\n');
    Ok(match answer {
        "" => otherwise,
        answer => answer.to_lowercase().starts_with('y'),
    })
}

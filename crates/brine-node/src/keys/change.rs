//! What accepting, rejecting and deleting do: to the key files, to what is kept of the minions, and
//! on the master's bus. Facts: `docs/protocol/network.md` §5, §7.2.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use brine_bus::address::Node;
use brine_bus::client::blocking::Publisher;
use brine_config::Opts;
use brine_net::crypto::rsa::PublicKey;
use brine_net::keys::dropfile;
use brine_net::keys::store::KeyState;
use brine_wire::Map;
use brine_wire::network::MinionId;

use super::Session;
use super::keys::{Found, Include, Keys};
use crate::salt::options::Key;
use crate::{commands, place};

/// What is done to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Accept,
    Reject,
    Delete,
}

impl Action {
    /// What they are afterwards.
    pub(super) const fn done(self) -> &'static str {
        match self {
            Self::Accept => "accepted",
            Self::Reject => "rejected",
            Self::Delete => "deleted",
        }
    }

    /// What the event calls it. 3008 says what a key is now, against its documentation.
    const fn act(self, is_cache: bool) -> &'static str {
        match self {
            Self::Accept if is_cache => "accepted",
            Self::Reject if is_cache => "rejected",
            Self::Accept => "accept",
            Self::Reject => "reject",
            Self::Delete => "delete",
        }
    }
}

/// Does it to all keys found in the states that are included; gives back the ids whose keys are
/// none.
pub(super) fn all(
    keys: &Keys,
    action: Action,
    found: &Found,
    include: Include,
    session: &Session<'_>,
) -> anyhow::Result<Vec<MinionId>> {
    let mut events = Events::new(action, session)?;
    let mut refused = Vec::new();
    for (state, ids) in in_order(found, action, include) {
        for id in ids {
            match one(keys, action, state, id)? {
                Changed::Done(pem) => events.fire(id, pem.as_deref()),
                Changed::Absent => {}
                Changed::NoKey => {
                    tracing::error!("Invalid RSA public key: {id}");
                    refused.push(id.clone());
                }
            }
        }
    }
    for id in &refused {
        writeln!(io::stderr(), "Unable to accept invalid key for {id}.")?;
    }
    if action != Action::Accept {
        forget(keys, found, session)?;
        if rotates(session) {
            let cachedir = Path::new(session.opts.text("cachedir")?);
            fs::create_dir_all(cachedir)?;
            dropfile::request(cachedir, session.opts.text("id")?)?;
        }
    }
    Ok(refused)
}

/// Pending keys first, then the others.
fn in_order(
    found: &Found,
    action: Action,
    include: Include,
) -> impl Iterator<Item = (KeyState, &Vec<MinionId>)> {
    let order = [
        (KeyState::Pending, true),
        (KeyState::Rejected, include.rejected),
        (KeyState::Denied, include.denied),
        (KeyState::Accepted, include.accepted),
    ];
    let rank = move |state: KeyState| order.iter().position(|(own, _)| *own == state);
    let is_wanted = move |state: KeyState| {
        action == Action::Delete || order.iter().any(|(own, wanted)| *own == state && *wanted)
    };
    let mut found: Vec<_> = found.iter().map(|(state, ids)| (*state, ids)).collect();
    if action != Action::Delete {
        found.sort_by_key(|(state, _)| rank(*state));
    }
    found
        .into_iter()
        .filter(move |(state, _)| is_wanted(*state))
}

/// What became of one key.
enum Changed {
    /// It is done; the key, unless it is gone.
    Done(Option<String>),
    /// Somebody else was faster.
    Absent,
    /// The file holds no key, and stays where it is.
    NoKey,
}

fn one(keys: &Keys, action: Action, state: KeyState, id: &MinionId) -> anyhow::Result<Changed> {
    let to = match action {
        Action::Accept => KeyState::Accepted,
        Action::Reject => KeyState::Rejected,
        Action::Delete => {
            return Ok(match keys.store.delete(state, id)? {
                true => Changed::Done(None),
                false => Changed::Absent,
            });
        }
    };
    let Some(pem) = keys.store.get(state, id)? else {
        return Ok(Changed::Absent);
    };
    // A file that holds no key may well be rejected, which 3008 does not do.
    if action == Action::Accept && PublicKey::from_pem(&pem).is_err() {
        return Ok(Changed::NoKey);
    }
    Ok(match keys.store.change(id, state, to)? {
        Some(pem) => Changed::Done(Some(pem)),
        None => Changed::Absent,
    })
}

/// The events that tell of changes.
struct Events {
    bus: Publisher,
    act: &'static str,
    tells_key: bool,
}

impl Events {
    fn new(action: Action, session: &Session<'_>) -> anyhow::Result<Self> {
        let is_cache = super::is_cache(session.compat);
        let config = commands::send::publisher_config(Some(session.compat), Some(session.opts))?;
        let address = place::address(session.opts, &Node::Master, None)?;
        Ok(Self {
            bus: Publisher::new(&address, config),
            act: action.act(is_cache),
            tells_key: is_cache && action != Action::Delete,
        })
    }

    /// Fires for one key, if the master runs; without one there is nobody to tell.
    fn fire(&mut self, id: &MinionId, pem: Option<&str>) {
        let mut data = Map::new();
        data.insert("result", true);
        data.insert("act", self.act);
        data.insert("id", id.as_str());
        if let Some(pem) = pem.filter(|_| self.tells_key) {
            data.insert("pub", pem);
        }
        if let Err(error) = self
            .bus
            .fire_event("salt/key", &mut data, Some(Duration::ZERO))
        {
            tracing::debug!("salt/key: {error}");
        }
    }
}

/// Removes what is kept of minions that have no key any more, as `preserve_minion_cache` and
/// `--preserve-minions` leave it.
fn forget(keys: &Keys, found: &Found, session: &Session<'_>) -> anyhow::Result<()> {
    if session.opts.flag("preserve_minion_cache").unwrap_or(false) {
        return Ok(());
    }
    let mut known = BTreeSet::new();
    for state in KeyState::ALL {
        known.extend(keys.store.list(state)?);
    }
    if is_true(session.line.value(Key::PreserveMinions)) {
        let accepted = found
            .iter()
            .filter(|(state, _)| *state == KeyState::Accepted);
        known.extend(accepted.flat_map(|(_, ids)| ids.clone()));
    }
    let cachedir = Path::new(session.opts.text("cachedir")?);
    remove_unknown(&cachedir.join("minions"), "", &known);
    for bank in ["grains", "pillar"] {
        remove_unknown(&cachedir.join(bank), ".p", &known);
    }
    Ok(())
}

/// Removes the entries of a folder that are named by ids we do not know.
fn remove_unknown(folder: &Path, suffix: &str, known: &BTreeSet<MinionId>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(suffix));
        // Pillar may be kept by environment too: `<id>:<pillarenv>`.
        let id = id.map(|id| id.split_once(':').map_or(id, |(id, _)| id));
        let Some(id) = id.and_then(|id| MinionId::parse(id).ok()) else {
            continue;
        };
        if known.contains(&id) {
            continue;
        }
        let path = entry.path();
        let removed = match entry.file_type() {
            Ok(kind) if kind.is_dir() => fs::remove_dir_all(&path),
            _ => fs::remove_file(&path),
        };
        if let Err(error) = removed {
            tracing::warn!("what is kept of {id} stays: {}: {error}", path.display());
        }
    }
}

/// Whether minions are to get a new shared key.
fn rotates(session: &Session<'_>) -> bool {
    let said = session.line.value(Key::RotateAes);
    let configured = |opts: &Opts| opts.flag("rotate_aes_key").unwrap_or(true);
    match said {
        Some(text) => !text.eq_ignore_ascii_case("false"),
        None => configured(session.opts),
    }
}

fn is_true(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

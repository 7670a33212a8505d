//! What accepting, rejecting and deleting do: to the key files, and to what is kept of the minions. Who is told of
//! it on the master's bus is the caller's to do. Facts: `docs/protocol/network.md` §5, §7.2.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use brine_config::Opts;
use brine_net::keys::store::{KeyState, StoredKey};
use brine_net::keys::{dropfile, sessions};
use brine_wire::Map;
use brine_wire::network::MinionId;

use super::{Found, Keys, KeysError};
use crate::file;
use crate::options::OptionsError;

/// What is done to keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The minion may sign in.
    Accept,
    /// It may not.
    Reject,
    /// The key is gone; it may ask again.
    Delete,
}

impl Action {
    /// What they are afterwards.
    #[must_use]
    pub const fn done(self) -> &'static str {
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

/// States besides pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Include {
    /// Accepted keys.
    pub accepted: bool,
    /// Rejected keys.
    pub rejected: bool,
    /// Denied keys.
    pub denied: bool,
}

/// What a change leaves behind of minions that are out; Salt's options of the same names.
#[derive(Debug, Clone)]
pub struct LeftoverFiles {
    /// The master's `cachedir`.
    pub cachedir: PathBuf,
    /// The master's `id`.
    pub id: String,
    /// Keep what is known of minions without a key.
    pub preserve_minion_cache: bool,
    /// The same for those whose keys were accepted (`--preserve-minions`).
    pub preserve_minions: bool,
    /// Minions are to get a new shared key.
    pub rotate_aes_key: bool,
}

impl LeftoverFiles {
    /// As the master's options say.
    ///
    /// # Errors
    /// [`OptionsError`].
    pub fn from_opts(opts: &Opts) -> Result<Self, OptionsError> {
        Ok(Self {
            cachedir: opts.text("cachedir")?.into(),
            id: opts.text("id")?.to_owned(),
            preserve_minion_cache: opts.flag("preserve_minion_cache").unwrap_or(false),
            preserve_minions: false,
            rotate_aes_key: opts.flag("rotate_aes_key").unwrap_or(true),
        })
    }
}

impl Keys {
    /// Does it to all keys found in the states that are included. `fire` is given the data of a `salt/key` event
    /// for each; the ids whose keys are none are given back, untouched.
    ///
    /// # Errors
    /// [`KeysError`]. What was done before stays done.
    pub fn change(
        &self,
        action: Action,
        found: &Found,
        include: Include,
        leftover: &LeftoverFiles,
        mut fire: impl FnMut(Map),
    ) -> Result<Vec<MinionId>, KeysError> {
        let mut refused = Vec::new();
        for (state, ids) in in_order(found, action, include) {
            for id in ids {
                match one(self, action, state, id, leftover)? {
                    Changed::Done(pem) => fire(self.event(action, id, pem.as_deref())),
                    Changed::Absent => {}
                    Changed::NoKey => {
                        tracing::error!("Invalid RSA public key: {id}");
                        refused.push(id.clone());
                    }
                }
            }
        }
        if action != Action::Accept {
            self.forget(found, leftover)?;
            if leftover.rotate_aes_key {
                let cachedir = &leftover.cachedir;
                file::make_folder(cachedir).map_err(KeysError::file(cachedir))?;
                dropfile::request(cachedir, &leftover.id)?;
            }
        }
        Ok(refused)
    }

    /// The data of `salt/key`. 3008 tells the key.
    fn event(&self, action: Action, id: &MinionId, pem: Option<&str>) -> Map {
        let mut data = Map::new();
        data.insert("result", true);
        data.insert("act", action.act(self.is_cache()));
        data.insert("id", id.as_str());
        if let Some(pem) = pem.filter(|_| self.is_cache() && action != Action::Delete) {
            data.insert("pub", pem);
        }
        data
    }

    /// Removes what is kept of minions that have no key any more.
    fn forget(&self, found: &Found, leftover: &LeftoverFiles) -> Result<(), KeysError> {
        if leftover.preserve_minion_cache {
            return Ok(());
        }
        let mut known = BTreeSet::new();
        for state in KeyState::ALL {
            known.extend(self.store.list(state)?);
        }
        if leftover.preserve_minions {
            let accepted = found
                .iter()
                .filter(|(state, _)| *state == KeyState::Accepted);
            known.extend(accepted.flat_map(|(_, ids)| ids.clone()));
        }
        remove_unknown(&leftover.cachedir.join("minions"), "", &known);
        for bank in ["grains", "pillar"] {
            remove_unknown(&leftover.cachedir.join(bank), ".p", &known);
        }
        Ok(())
    }
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

fn one(
    keys: &Keys,
    action: Action,
    state: KeyState,
    id: &MinionId,
    leftover: &LeftoverFiles,
) -> Result<Changed, KeysError> {
    if state == KeyState::Accepted && action != Action::Accept {
        sessions::end(&leftover.cachedir, id)?;
    }
    let changing = keys.store.change()?;
    let to = match action {
        Action::Accept => KeyState::Accepted,
        Action::Reject => KeyState::Rejected,
        Action::Delete => {
            return Ok(match changing.delete(state, id)? {
                true => Changed::Done(None),
                false => Changed::Absent,
            });
        }
    };
    // A file that holds no key may well be rejected, which 3008 does not do.
    Ok(match changing.transfer(id, state, to)? {
        Some(StoredKey::Key(key)) => Changed::Done(Some(key.pem().to_owned())),
        Some(StoredKey::Invalid) if action == Action::Accept => Changed::NoKey,
        Some(StoredKey::Invalid) => Changed::Done(None),
        None => Changed::Absent,
    })
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

//! Accepting, rejecting and deleting keys: changes the key files and removes the cached data of minions that lost
//! their key. The caller fires the events. Facts: `docs/protocol/network.md` §5, §7.2.

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

/// How keys are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The minion may sign in from now on.
    Accept,
    /// The minion may not sign in.
    Reject,
    /// Remove the key; the minion may present one again.
    Delete,
}

impl Action {
    /// The state of the keys afterwards, as `salt-key` prints it.
    #[must_use]
    pub const fn done(self) -> &'static str {
        match self {
            Self::Accept => "accepted",
            Self::Reject => "rejected",
            Self::Delete => "deleted",
        }
    }

    /// The name of the change in the event. 3008 gives the new state instead, against its documentation.
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

/// Which keys are changed besides pending ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Include {
    /// Accepted keys.
    pub accepted: bool,
    /// Rejected keys.
    pub rejected: bool,
    /// Denied keys.
    pub denied: bool,
}

/// Which files of minions without a key are kept, from Salt's options of the same names.
#[derive(Debug, Clone)]
pub struct LeftoverFiles {
    /// The master's `cachedir`.
    pub cachedir: PathBuf,
    /// The master's `id`.
    pub id: String,
    /// Keep cached data of minions whose keys are deleted.
    pub preserve_minion_cache: bool,
    /// Keep it for minions whose keys were accepted (`--preserve-minions`).
    pub preserve_minions: bool,
    /// Replace the shared key, so that a minion without a key can read no further publish.
    pub rotate_aes_key: bool,
}

impl LeftoverFiles {
    /// Reads the master's options.
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
    /// Changes all found keys in the included states and passes the data of a `salt/key` event for each to `fire`.
    /// Returns the ids whose files hold no valid key; those files are left as they are.
    ///
    /// # Errors
    /// [`KeysError`]. Keys changed before the error stay changed.
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
            rotate(leftover)?;
        }
        Ok(refused)
    }

    /// Takes from whoever held a minion's accepted key until now what that key opened.
    pub(super) fn end_session(
        &self,
        id: &MinionId,
        leftover: &LeftoverFiles,
    ) -> Result<(), KeysError> {
        sessions::end(&leftover.cachedir, id)?;
        rotate(leftover)
    }

    /// The data of `salt/key`. 3008 adds the key itself.
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

    /// Removes the cached data of minions that have no key any more.
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

/// Asks the running master for a new shared key, unless `rotate_aes_key` is off.
fn rotate(leftover: &LeftoverFiles) -> Result<(), KeysError> {
    if leftover.rotate_aes_key {
        let cachedir = &leftover.cachedir;
        file::make_folder(cachedir).map_err(KeysError::file(cachedir))?;
        dropfile::request(cachedir, &leftover.id)?;
    }
    Ok(())
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

/// The result for one key.
enum Changed {
    /// Changed; holds the key unless it was deleted.
    Done(Option<String>),
    /// Another process changed it first.
    Absent,
    /// The file holds no valid key and was left alone.
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
    // A file without a valid key can still be rejected, which 3008 refuses to do.
    Ok(match changing.transfer(id, state, to)? {
        Some(StoredKey::Key(key)) => Changed::Done(Some(key.pem().to_owned())),
        Some(StoredKey::Invalid) if action == Action::Accept => Changed::NoKey,
        Some(StoredKey::Invalid) => Changed::Done(None),
        None => Changed::Absent,
    })
}

/// Removes the entries of a folder that are named after unknown minions.
fn remove_unknown(folder: &Path, suffix: &str, known: &BTreeSet<MinionId>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(suffix));
        // Pillar files may be named `<id>:<pillarenv>`.
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
            tracing::warn!(
                "cannot remove cached data of {id}: {}: {error}",
                path.display()
            );
        }
    }
}

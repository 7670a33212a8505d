//! The keys there are, by state and by glob, in the shapes that `salt-key` prints.

use std::path::PathBuf;

use anyhow::Context;
use brine_net::crypto::{self, FingerprintHash};
use brine_net::keys::store::{KeyState, KeyStore};
use brine_wire::compat::Compat;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

/// The keys of a master.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) store: KeyStore,
    pki_dir: PathBuf,
    compat: Compat,
}

/// States besides pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Include {
    pub(super) accepted: bool,
    pub(super) rejected: bool,
    pub(super) denied: bool,
}

/// Ids by state, in the release's order; states without any are left out.
pub(super) type Found = Vec<(KeyState, Vec<MinionId>)>;

impl Keys {
    pub(super) const fn new(store: KeyStore, pki_dir: PathBuf, compat: Compat) -> Self {
        Self {
            store,
            pki_dir,
            compat,
        }
    }

    /// The states in the order in which the release tells them.
    const fn states(&self) -> [KeyState; 4] {
        if super::is_cache(self.compat) {
            [
                KeyState::Pending,
                KeyState::Rejected,
                KeyState::Accepted,
                KeyState::Denied,
            ]
        } else {
            [
                KeyState::Accepted,
                KeyState::Pending,
                KeyState::Rejected,
                KeyState::Denied,
            ]
        }
    }

    /// The ids in a state, sorted as Salt sorts them.
    fn ids(&self, state: KeyState) -> anyhow::Result<Vec<MinionId>> {
        let mut ids = self.store.list(state)?;
        ids.sort_by_key(|id| id.as_str().to_lowercase());
        Ok(ids)
    }

    /// `--list`: the ids in the states that a word means.
    pub(super) fn list(&self, word: &str) -> anyhow::Result<Value> {
        let of_word = |word: &str| match word {
            _ if word.starts_with("acc") => Some(KeyState::Accepted),
            _ if word.starts_with("pre") || word.starts_with("un") => Some(KeyState::Pending),
            _ if word.starts_with("rej") => Some(KeyState::Rejected),
            _ if word.starts_with("den") => Some(KeyState::Denied),
            _ => None,
        };
        let states = of_word(word).map_or_else(|| self.states().to_vec(), |state| vec![state]);
        let mut listed = Map::new();
        for state in states {
            listed.insert(state.folder(), names(&self.ids(state)?));
        }
        Ok(listed.into())
    }

    /// The ids that a glob, or several with commas, matches.
    pub(super) fn matching(&self, glob: &str) -> anyhow::Result<Found> {
        let globs = globs(glob)?;
        let mut found = Vec::new();
        for state in self.states() {
            let ids = self.ids(state)?.into_iter();
            let ids: Vec<_> = ids
                .flat_map(|id| {
                    let times = globs.iter().filter(|glob| glob.matches(id.as_str()));
                    std::iter::repeat_n(id.clone(), times.count())
                })
                .collect();
            if !ids.is_empty() {
                found.push((state, ids));
            }
        }
        Ok(found)
    }

    /// Where ids stand now, asked state by state as they stood before.
    pub(super) fn now(&self, before: &Found) -> anyhow::Result<Vec<MinionId>> {
        let mut by_state: [Vec<MinionId>; 4] = Default::default();
        let states = [
            KeyState::Accepted,
            KeyState::Pending,
            KeyState::Rejected,
            KeyState::Denied,
        ];
        let mut order = Vec::new();
        for id in before.iter().flat_map(|(_, ids)| ids) {
            for (at, state) in states.into_iter().enumerate() {
                if self.store.path(state, id).is_file() {
                    if !order.contains(&at) {
                        order.push(at);
                    }
                    by_state[at].push(id.clone());
                }
            }
        }
        Ok(order
            .into_iter()
            .flat_map(|at| std::mem::take(&mut by_state[at]))
            .collect())
    }

    /// The texts of keys, `--print`.
    pub(super) fn texts(&self, glob: &str) -> anyhow::Result<Value> {
        self.each(&self.matching(glob)?, str::to_owned)
    }

    /// `--finger`: of the master's own keys too.
    pub(super) fn fingerprints(&self, glob: &str, hash: FingerprintHash) -> anyhow::Result<Value> {
        let print = |pem: &str| crypto::fingerprint(pem, hash);
        let mut prints = self.each(&self.matching(glob)?, print)?;
        let globs = globs(glob)?;
        let mut local = Map::new();
        for name in self.own()? {
            if globs.iter().any(|glob| glob.matches(&name)) {
                let path = self.pki_dir.join(&name);
                let pem = std::fs::read_to_string(&path);
                let pem = pem.with_context(|| path.display().to_string())?;
                local.insert(name, print(&pem));
            }
        }
        if let Value::Map(prints) = &mut prints
            && !local.is_empty()
        {
            prints.insert("local", local);
        }
        Ok(prints)
    }

    /// The names of the master's own key files, sorted. 3008 leaves links out.
    fn own(&self) -> anyhow::Result<Vec<String>> {
        let folder = std::fs::read_dir(&self.pki_dir);
        let mut names = Vec::new();
        for entry in folder.with_context(|| self.pki_dir.display().to_string())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let is_file = if super::is_cache(self.compat) {
                entry.file_type()?.is_file() && MinionId::parse(&name).is_ok()
            } else {
                entry.path().is_file()
            };
            if is_file && (name.ends_with(".pub") || name.ends_with(".pem")) {
                names.push(name);
            }
        }
        names.sort_by_key(|name| name.to_lowercase());
        Ok(names)
    }

    /// What is made of each key's text, by state and id.
    fn each(&self, found: &Found, make: impl Fn(&str) -> String) -> anyhow::Result<Value> {
        let mut all = Map::new();
        for (state, ids) in found {
            let mut made = Map::new();
            for id in ids {
                let path = self.store.path(*state, id);
                let pem = std::fs::read_to_string(&path);
                let pem = pem.with_context(|| path.display().to_string())?;
                made.insert(id.as_str(), make(&pem));
            }
            all.insert(state.folder(), made);
        }
        Ok(all.into())
    }
}

/// Ids by state as they are printed.
pub(super) fn printed(found: &Found) -> Value {
    let pairs = found.iter();
    let pairs = pairs.map(|(state, ids)| (state.folder(), names(ids)));
    Map::from_iter(pairs).into()
}

fn names(ids: &[MinionId]) -> Value {
    Value::Array(ids.iter().map(|id| id.as_str().into()).collect())
}

fn globs(text: &str) -> anyhow::Result<Vec<TagMatch>> {
    text.split(',')
        .map(|glob| {
            TagMatch::new(MatchType::Fnmatch, glob)
                .with_context(|| format!("the key glob '{glob}'"))
        })
        .collect()
}

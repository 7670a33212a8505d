//! Which of the machine's users may have the master publish: keys of their own, `publisher_acl`, its blacklist.
//!
//! Every user who may ask has a key in a file that he alone can read; what he shows of it says who he is. The
//! master's own user may do anything, others what `publisher_acl` says of them ([`acl`]). External
//! authentication lets nobody in here. Facts: `docs/protocol/network.md` §12.

pub(super) mod acl;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use brine_net::crypto;
use brine_net::keys::{StoreError, local};
use brine_wire::network::field;
use brine_wire::{Map, Value};
use nix::unistd::{User, geteuid};

use self::acl::{is_meant, strings};
use super::options::MasterOptions;

/// What decides.
pub(super) struct Access {
    /// The master's own user.
    own: String,
    /// The user the process runs as.
    running: String,
    keys: Vec<LocalKey>,
    /// `publisher_acl`.
    acl: Map,
    /// `publisher_acl_blacklist`.
    blacklist: Map,
    /// Users behind `sudo` are held to `publisher_acl`, too.
    sudo_acl: bool,
}

/// The key of one user. Secret: no `Debug`.
struct LocalKey {
    user: String,
    key: String,
}

/// Somebody whose key is known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Caller {
    /// He may do anything.
    Master,
    /// He may do what these entries of `publisher_acl` say.
    Listed(Vec<Value>),
}

/// Why a `publish` is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// `publisher_acl_blacklist`.
    Blacklisted,
    /// No key of ours.
    Unknown,
}

impl Access {
    /// Makes what keys are missing.
    pub(super) fn open(options: &MasterOptions) -> Result<Self, StoreError> {
        let opts = &options.opts;
        let map = |name| opts.get(name).and_then(Value::as_map).cloned();
        let acl: Map = map("publisher_acl").unwrap_or_default();
        let running = User::from_uid(geteuid()).ok().flatten();
        let running = running.map_or_else(|| options.user.clone(), |user| user.name);
        let must_exist = opts.flag("client_acl_verify").unwrap_or(true);
        let mut keys = Vec::new();
        for user in users(&options.user, &running, &acl) {
            let is_own = user == options.user || user == running;
            let account = User::from_name(&user).ok().flatten();
            if account.is_none() && must_exist && !is_own {
                continue; // a pattern, or nobody
            }
            let Some(key) = local::open(&options.cachedir, &user)? else {
                continue;
            };
            if let (false, Some(account)) = (is_own, account)
                && let Some(path) = local::path(&options.cachedir, &user)
                && let Err(error) = chown(&path, Some(account.uid.as_raw()), None)
            {
                tracing::warn!(%error, user, "this user cannot read the key that lets publish");
            }
            keys.push(LocalKey { user, key });
        }
        if !acl.is_empty() {
            let_through(&options.cachedir);
        }
        Ok(Self {
            own: options.user.clone(),
            running,
            keys,
            acl,
            blacklist: map("publisher_acl_blacklist").unwrap_or_default(),
            sudo_acl: opts.flag("sudo_acl").unwrap_or(false),
        })
    }

    /// Who asks, by a load with `user`, `fun` and `key`.
    pub(super) fn caller(&self, load: &Map, user: &str, fun: &Value) -> Result<Caller, Refused> {
        if acl::is_blacklisted(&self.blacklist, user, fun) {
            return Err(Refused::Blacklisted);
        }
        if is_external(load) {
            return Err(Refused::Unknown);
        }
        let key = field::text(load, "key").unwrap_or_default();
        self.authenticate(user, key).ok_or(Refused::Unknown)
    }

    /// Under which name the master's own user asks, by a load with `key` and perhaps `user`; `None` if it is
    /// somebody else.
    pub(super) fn as_master(&self, load: &Map) -> Option<String> {
        if ["token", "eauth"].iter().any(|way| load.get(way).is_some()) {
            return None;
        }
        let user = field::text(load, "user").unwrap_or(&self.running);
        let caller = self.authenticate(user, field::text(load, "key").unwrap_or_default());
        (caller == Some(Caller::Master)).then(|| match user.starts_with("sudo_") {
            true => self.own.clone(),
            false => user.to_owned(),
        })
    }

    /// Whose key it is, for somebody who says he is `user`.
    pub(super) fn authenticate(&self, user: &str, key: &str) -> Option<Caller> {
        if let Some(behind) = user.strip_prefix("sudo_") {
            return match self.is_key_of(&self.own, key) {
                true if self.sudo_acl && !self.acl.is_empty() => self.listed(behind),
                true => Some(Caller::Master),
                false => None,
            };
        }
        let asked_for = match user {
            "root" => &self.own,
            user => user,
        };
        if asked_for == self.own || asked_for == self.running {
            return self.is_key_of(asked_for, key).then_some(Caller::Master);
        }
        if self.is_key_of("root", key) {
            return Some(Caller::Master);
        }
        self.is_key_of(user, key)
            .then(|| self.listed(user))
            .flatten()
    }

    fn is_key_of(&self, user: &str, key: &str) -> bool {
        self.keys
            .iter()
            .any(|known| known.user == user && crypto::same(known.key.as_bytes(), key.as_bytes()))
    }

    /// What `publisher_acl` says of a user; `None` if nothing.
    fn listed(&self, user: &str) -> Option<Caller> {
        let entries = self
            .acl
            .iter()
            .filter(|(name, _)| name.as_str().is_some_and(|name| is_meant(name, user)))
            .flat_map(|(_, entries)| entries.as_array().unwrap_or_default().to_vec());
        let entries: Vec<Value> = entries.collect();
        (!entries.is_empty()).then_some(Caller::Listed(entries))
    }
}

/// Who is to have a key: the master's user, who runs it, the users that `publisher_acl` names, and those of the
/// password file that its patterns mean.
fn users(own: &str, running: &str, acl: &Map) -> Vec<String> {
    let named: Vec<&str> = strings(acl.iter().map(|(name, _)| name)).collect();
    let mut users = vec![own.to_owned(), running.to_owned()];
    users.extend(named.iter().map(|&name| name.to_owned()));
    if !named.is_empty() {
        let file = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let all = file.lines().filter_map(|line| line.split(':').next());
        let meant = all.filter(|user| named.iter().any(|name| is_meant(name, user)));
        users.extend(meant.map(str::to_owned));
    }
    users.sort();
    users.dedup();
    users
}

/// Lets users of other keys reach theirs in the directory, without seeing what else is there.
fn let_through(cachedir: &Path) {
    const OTHERS_ENTER: u32 = 0o001;
    let entered = fs::metadata(cachedir).and_then(|about| {
        let mut mode = about.permissions();
        mode.set_mode(mode.mode() | OTHERS_ENTER);
        fs::set_permissions(cachedir, mode)
    });
    if let Err(error) = entered {
        tracing::warn!(%error, path = %cachedir.display(), "users of publisher_acl cannot reach their keys");
    }
}

/// Whether a `publish` is to be judged by external authentication, not by its key.
fn is_external(load: &Map) -> bool {
    let kwargs = load.get("kwargs").and_then(Value::as_map);
    kwargs.is_some_and(|kwargs| kwargs.get("token").is_some() || kwargs.get("eauth").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(sudo_acl: bool) -> Access {
        let key = |user: &str| LocalKey {
            user: user.to_owned(),
            key: format!("key of {user}"),
        };
        let entries = Value::Array(vec!["test.*".into()]);
        Access {
            own: "salt".to_owned(),
            running: "salt".to_owned(),
            keys: ["salt", "fred", "root"].map(key).into(),
            acl: [("fre?", entries)].into_iter().collect(),
            blacklist: Map::new(),
            sudo_acl,
        }
    }

    #[test]
    fn a_user_is_who_his_key_says() {
        let access = access(false);
        let listed = Caller::Listed(vec!["test.*".into()]);
        for (user, key, expected) in [
            ("salt", "salt", Some(Caller::Master)),
            ("root", "salt", Some(Caller::Master)),
            ("root", "root", None),
            ("sudo_fred", "salt", Some(Caller::Master)),
            ("sudo_fred", "fred", None),
            ("fred", "fred", Some(listed)),
            ("fred", "root", Some(Caller::Master)),
            ("fred", "salt", None),
            ("salt", "fred", None),
            ("eve", "fred", None),
            ("eve", "eve", None),
        ] {
            let key = format!("key of {key}");
            assert_eq!(access.authenticate(user, &key), expected, "{user}, {key}");
        }
        assert_eq!(access.authenticate("fred", ""), None);
    }

    #[test]
    fn sudo_acl_holds_users_behind_sudo_to_the_acl() {
        let access = access(true);
        let listed = Caller::Listed(vec!["test.*".into()]);
        assert_eq!(
            access.authenticate("sudo_fred", "key of salt"),
            Some(listed)
        );
        assert_eq!(access.authenticate("sudo_eve", "key of salt"), None);
    }

    #[test]
    fn external_authentication_lets_nobody_in() {
        let kwargs: Map = [("token", "x")].into_iter().collect();
        let mut load: Map = [("key", "key of salt")].into_iter().collect();
        let fun = "test.ping".into();
        assert_eq!(
            access(false).caller(&load, "salt", &fun),
            Ok(Caller::Master)
        );
        load.insert("kwargs", kwargs);
        assert_eq!(
            access(false).caller(&load, "salt", &fun),
            Err(Refused::Unknown)
        );
    }
}

//! Which local users may publish jobs: their keys, `publisher_acl` and `publisher_acl_blacklist`.
//!
//! Every permitted user has a key in a file that only this user can read; sending the key proves the user's identity.
//! The master's own user may do anything, others what `publisher_acl` permits ([`acl`]). Users of `external_auth` have
//! no key: [`external`](super::external). Facts: `docs/protocol/network.md` §12.

pub(super) mod acl;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use brine_config::{Arguments, Opts};
use brine_net::crypto;
use brine_net::keys::{StoreError, local};
use brine_wire::network::field;
use brine_wire::{Map, Value};
use nix::unistd::{User, geteuid};

use self::acl::{Blacklist, Pattern, strings};

/// The longest user name, in bytes: until its key is checked a request may come from anybody.
const MAX_USER_BYTES: usize = 256;

/// The keys and access lists.
pub(super) struct Access {
    /// The master's own user.
    own: String,
    /// The user the process runs as.
    running: String,
    keys: Vec<LocalKey>,
    /// `publisher_acl`: patterns of users, with what they may do.
    acl: Vec<(Pattern, Vec<Value>)>,
    /// `publisher_acl_blacklist`.
    blacklist: Blacklist,
    /// Users behind `sudo` are held to `publisher_acl`, too.
    sudo_acl: bool,
}

/// Salt's options about local users, named as Salt names them.
#[derive(Debug, Clone, Default)]
pub(super) struct AccessOptions {
    pub(super) publisher_acl: Map,
    pub(super) publisher_acl_blacklist: Map,
    pub(super) client_acl_verify: bool,
    pub(super) sudo_acl: bool,
}

/// The key of one user. Secret: no `Debug`.
struct LocalKey {
    user: String,
    key: String,
}

/// A user whose identity was checked, and what the user may do. Only a master's access lists make one.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// The name that jobs and events show.
    pub(super) user: String,
    pub(super) rights: Rights,
}

/// What a caller may do.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Rights {
    /// Anything.
    Everything,
    /// What these entries of `publisher_acl` permit.
    Listed(Vec<Value>),
    /// What these entries of `external_auth` permit, runner and wheel functions included.
    External(Vec<Value>),
}

/// Why a runner or wheel function may not be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotCallable {
    /// Not permitted.
    NotPermitted,
    /// Not the name of a function.
    BadName,
}

impl Caller {
    /// A caller who may do anything.
    pub(super) const fn unrestricted(user: String) -> Self {
        Self {
            user,
            rights: Rights::Everything,
        }
    }

    /// A user of `external_auth`, with the entries there.
    pub(super) const fn external(user: String, entries: Vec<Value>) -> Self {
        Self {
            user,
            rights: Rights::External(entries),
        }
    }

    /// Whether a runner function may be called, whether or not there is one of that name.
    #[must_use]
    pub fn may_run(&self, fun: &str, arguments: &Arguments) -> bool {
        self.may_call("runner", fun, &arguments.positional, &arguments.keyword)
            .is_ok()
    }

    /// Whether a function of a runner or wheel (`form`) may be called.
    pub(super) fn may_call(
        &self,
        form: &str,
        fun: &str,
        args: &[Value],
        kwargs: &Map,
    ) -> Result<(), NotCallable> {
        match &self.rights {
            Rights::Everything => Ok(()),
            Rights::Listed(_) => Err(NotCallable::NotPermitted),
            Rights::External(entries) => acl::permits_call(entries, form, fun, args, kwargs),
        }
    }

    /// The name that jobs and events show.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Whether the caller may do anything, as the master's own user may.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.rights == Rights::Everything
    }
}

/// Why a `publish` is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// `publisher_acl_blacklist` names the user or the function.
    Blacklisted,
    /// The key belongs to no user.
    Unknown,
}

impl Access {
    /// Reads the keys in `cachedir`, and makes those that are missing. `own` is the master's own user.
    pub(super) fn open(
        options: &AccessOptions,
        cachedir: &Path,
        own: &str,
    ) -> Result<Self, StoreError> {
        let AccessOptions {
            publisher_acl: acl,
            publisher_acl_blacklist,
            client_acl_verify,
            sudo_acl,
        } = options;
        let running = User::from_uid(geteuid()).ok().flatten();
        let running = running.map_or_else(|| own.to_owned(), |user| user.name);
        let mut keys = Vec::new();
        for user in users(own, &running, acl) {
            let is_own = user == own || user == running;
            let account = User::from_name(&user).ok().flatten();
            if account.is_none() && *client_acl_verify && !is_own {
                continue; // a pattern, or a user who does not exist
            }
            let Some(key) = local::open(cachedir, &user)? else {
                continue;
            };
            if let (false, Some(account)) = (is_own, account)
                && let Some(path) = local::path(cachedir, &user)
                && let Err(error) = chown(&path, Some(account.uid.as_raw()), None)
            {
                tracing::warn!(%error, user, "cannot give this user the key for publishing");
            }
            keys.push(LocalKey { user, key });
        }
        if !acl.is_empty() {
            let_through(cachedir);
        }
        Ok(Self {
            own: own.to_owned(),
            running,
            keys,
            acl: acl::entries(acl),
            blacklist: Blacklist::new(publisher_acl_blacklist),
            sudo_acl: *sudo_acl,
        })
    }

    /// Who sends a load with `user`, `fun` and `key`.
    pub(super) fn caller(&self, load: &Map, user: &str, fun: &Value) -> Result<Caller, Refused> {
        // The key first: no pattern is matched for a sender without one.
        if is_external(load) || user.len() > MAX_USER_BYTES {
            return Err(Refused::Unknown);
        }
        let key = field::text(load, "key").unwrap_or_default();
        let rights = self.authenticate(user, key).ok_or(Refused::Unknown)?;
        if self.is_blacklisted(user, fun) {
            return Err(Refused::Blacklisted);
        }
        Ok(Caller {
            user: user.to_owned(),
            rights,
        })
    }

    /// Whether `publisher_acl_blacklist` names a user or one of the functions.
    pub(super) fn is_blacklisted(&self, user: &str, fun: &Value) -> bool {
        self.blacklist.names(user, fun)
    }

    /// A user identified by the kernel, without a key; `None` if the user may do nothing.
    pub(super) fn local(&self, user: &str) -> Option<Caller> {
        let rights = match self.is_own(user) {
            true => Rights::Everything,
            false => self.listed(user)?,
        };
        Some(Caller {
            user: user.to_owned(),
            rights,
        })
    }

    /// Whether a caller is root or the master's own user: more than a user who was permitted something elsewhere.
    pub(super) fn is_master(&self, caller: &Caller) -> bool {
        caller.is_unrestricted() && self.is_own(&caller.user)
    }

    fn is_own(&self, user: &str) -> bool {
        user == "root" || user == self.own || user == self.running
    }

    /// The name of the master's own user in a load with `key` and perhaps `user`; `None` if the key is not that
    /// user's.
    pub(super) fn as_master(&self, load: &Map) -> Option<String> {
        if ["token", "eauth"]
            .iter()
            .any(|name| load.get(name).is_some())
        {
            return None;
        }
        let user = field::text(load, "user").unwrap_or(&self.running);
        let rights = self.authenticate(user, field::text(load, "key").unwrap_or_default());
        (rights == Some(Rights::Everything)).then(|| match user.starts_with("sudo_") {
            true => self.own.clone(),
            false => user.to_owned(),
        })
    }

    /// The rights of a sender that claims to be `user` and shows `key`; `None` if the key is wrong.
    fn authenticate(&self, user: &str, key: &str) -> Option<Rights> {
        if let Some(behind) = user.strip_prefix("sudo_") {
            return match self.is_key_of(&self.own, key) {
                true if self.sudo_acl && !self.acl.is_empty() => self.listed(behind),
                true => Some(Rights::Everything),
                false => None,
            };
        }
        let owner = match user {
            "root" => &self.own,
            user => user,
        };
        if owner == self.own || owner == self.running {
            return self.is_key_of(owner, key).then_some(Rights::Everything);
        }
        if self.is_key_of("root", key) {
            return Some(Rights::Everything);
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

    /// The entries of `publisher_acl` for a user; `None` if there are none.
    fn listed(&self, user: &str) -> Option<Rights> {
        let entries = self
            .acl
            .iter()
            .filter(|(name, _)| name.matches(user))
            .flat_map(|(_, entries)| entries.iter().cloned());
        let entries: Vec<Value> = entries.collect();
        (!entries.is_empty()).then_some(Rights::Listed(entries))
    }
}

/// The users who get a key: the master's own, the one the process runs as, those that `publisher_acl` names, and
/// those in the password file that match its patterns.
fn users(own: &str, running: &str, acl: &Map) -> Vec<String> {
    let named: Vec<&str> = strings(acl.iter().map(|(name, _)| name)).collect();
    let mut users = vec![own.to_owned(), running.to_owned()];
    users.extend(named.iter().map(|&name| name.to_owned()));
    if !named.is_empty() {
        let file = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let all = file.lines().filter_map(|line| line.split(':').next());
        let patterns: Vec<Pattern> = named.iter().map(|name| Pattern::new(name)).collect();
        let meant = all.filter(|user| patterns.iter().any(|name| name.matches(user)));
        users.extend(meant.map(str::to_owned));
    }
    users.sort();
    users.dedup();
    users
}

/// The numbers of the machine's users that `publisher_acl` lets publish, and who have to read the bus for that.
#[must_use]
pub fn acl_users(opts: &Opts) -> Vec<u32> {
    let acl = opts.get("publisher_acl").and_then(Value::as_map);
    let acl = acl.cloned().unwrap_or_default();
    let named = match acl.is_empty() {
        true => Vec::new(),
        false => users("root", "root", &acl),
    };
    let account = |user: &String| User::from_name(user).ok().flatten();
    let accounts = named.iter().filter_map(account);
    accounts.map(|account| account.uid.as_raw()).collect()
}

/// Lets the other users open their keys in the directory, without letting them list it.
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
    // If somebody closed a directory above, that may be intended.
    let is_closed = |folder: &&Path| {
        let about = fs::metadata(folder);
        about.is_ok_and(|about| about.permissions().mode() & OTHERS_ENTER == 0)
    };
    if let Some(folder) = cachedir.ancestors().skip(1).find(is_closed) {
        let folder = folder.display();
        tracing::warn!(
            "users of publisher_acl cannot reach their keys: run chmod o+x {folder}, or set cachedir"
        );
    }
}

/// Whether a `publish` relies on external authentication instead of its key.
pub(super) fn is_external(load: &Map) -> bool {
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
            acl: acl::entries(&[("fre?", entries)].into_iter().collect()),
            blacklist: Blacklist::default(),
            sudo_acl,
        }
    }

    #[test]
    fn a_key_identifies_its_user() {
        let access = access(false);
        let listed = Rights::Listed(vec!["test.*".into()]);
        for (user, key, expected) in [
            ("salt", "salt", Some(Rights::Everything)),
            ("root", "salt", Some(Rights::Everything)),
            ("root", "root", None),
            ("sudo_fred", "salt", Some(Rights::Everything)),
            ("sudo_fred", "fred", None),
            ("fred", "fred", Some(listed)),
            ("fred", "root", Some(Rights::Everything)),
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
        let listed = Rights::Listed(vec!["test.*".into()]);
        assert_eq!(
            access.authenticate("sudo_fred", "key of salt"),
            Some(listed)
        );
        assert_eq!(access.authenticate("sudo_eve", "key of salt"), None);
    }

    #[test]
    fn a_local_user_needs_no_key_and_has_the_same_rights() {
        let access = access(false);
        let rights = |user| access.local(user).map(|caller| caller.rights);
        assert_eq!(rights("root"), Some(Rights::Everything));
        assert_eq!(rights("salt"), Some(Rights::Everything));
        assert_eq!(rights("fred"), Some(Rights::Listed(vec!["test.*".into()])));
        assert_eq!(rights("eve"), None);
    }

    #[test]
    fn who_was_permitted_something_elsewhere_is_not_the_master() {
        let access = access(false);
        for (user, is_master) in [
            ("root", true),
            ("salt", true),
            ("sudo_fred", false),
            ("fred", false),
        ] {
            let caller = Caller::unrestricted(user.to_owned());
            assert_eq!(access.is_master(&caller), is_master, "{user}");
            assert!(!access.is_master(&Caller::external(user.to_owned(), Vec::new())));
        }
    }

    #[test]
    fn the_key_is_checked_before_the_blacklist() {
        let mut access = access(false);
        let users = Value::Array(vec![".*".into()]);
        access.blacklist = Blacklist::new(&[("users", users)].into_iter().collect());
        let load = |key: &str| -> Map { [("key", key)].into_iter().collect() };
        let fun = "test.ping".into();
        let stranger = access.caller(&load("no key"), "salt", &fun);
        assert_eq!(stranger, Err(Refused::Unknown));
        let known = access.caller(&load("key of salt"), "salt", &fun);
        assert_eq!(known, Err(Refused::Blacklisted));
        let long = "x".repeat(1_000_000);
        let stranger = access.caller(&load("key of salt"), &long, &fun);
        assert_eq!(stranger, Err(Refused::Unknown));
    }

    #[test]
    fn external_authentication_is_refused() {
        let kwargs: Map = [("token", "x")].into_iter().collect();
        let mut load: Map = [("key", "key of salt")].into_iter().collect();
        let fun = "test.ping".into();
        assert_eq!(
            access(false).caller(&load, "salt", &fun),
            Ok(Caller::unrestricted("salt".to_owned()))
        );
        load.insert("kwargs", kwargs);
        assert_eq!(
            access(false).caller(&load, "salt", &fun),
            Err(Refused::Unknown)
        );
    }
}

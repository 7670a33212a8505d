//! Checks logins, makes tokens, and says whose a token is and what that user may do.

use std::io;
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brine_wire::{Map, Value};

use crate::attempts::Attempts;
use crate::backend::{self, Backend, Known};
use crate::config::AuthConfig;
use crate::login::Login;
use crate::permissions;
use crate::token::{Token, TokenStore};

/// Why somebody is not logged in. Clients are told no more than that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The back end is not configured, or there is none of the name.
    #[error("the eauth system {0:?} is not enabled: see external_auth")]
    NotEnabled(String),
    /// Wrong user or password.
    #[error("wrong user or password")]
    Wrong,
    /// Too many others log in now.
    #[error("too many logins under way; try again later")]
    Busy,
    /// Too many failures of late.
    #[error("{TOO_MANY}{}{SECONDS}", whole_seconds(*wait))]
    TooMany {
        /// When the next one is looked at.
        wait: Duration,
    },
    /// The back end does not work.
    #[error("{0}")]
    Broken(String),
}

const TOO_MANY: &str = "too many failed logins of this user or address; try again in ";
const SECONDS: &str = " s";

/// A time to wait in whole seconds, at least one, and never too short.
#[must_use]
pub fn whole_seconds(wait: Duration) -> u64 {
    let whole = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    whole.max(1)
}

impl LoginError {
    /// The limit that a master says with this text, by which it refuses a login that it has not looked at.
    #[must_use]
    pub fn limit(text: &str) -> Option<Self> {
        if text == Self::Busy.to_string() {
            return Some(Self::Busy);
        }
        let seconds = text.strip_prefix(TOO_MANY)?.strip_suffix(SECONDS)?;
        let wait = Duration::from_secs(seconds.parse().ok()?);
        Some(Self::TooMany { wait })
    }
}

/// Who may log in, and who has.
#[derive(Debug)]
pub struct Authority {
    config: AuthConfig,
    tokens: TokenStore,
    attempts: Attempts,
    /// Checks that take memory and a processor.
    own: Slots,
    /// Checks that wait for others, who may not answer: logins by other back ends go on meanwhile.
    others: Slots,
}

/// How many passwords are checked at a time here, and how many logins wait for that.
const OWN: Room = Room {
    checked: 4,
    waiting: 256,
};

/// The same for those that others check: a connection or a process each.
const OTHERS: Room = Room {
    checked: 16,
    waiting: 64,
};

/// How many logins there may be. Each has a thread, of which a runtime has a few hundred for everything.
#[derive(Debug, Clone, Copy)]
struct Room {
    checked: usize,
    waiting: usize,
}

/// Checks of passwords under way.
#[derive(Debug)]
struct Slots {
    room: Room,
    under_way: Mutex<UnderWay>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct UnderWay {
    checked: usize,
    waiting: usize,
}

/// One of them, given back when dropped.
struct Slot<'s>(&'s Slots);

impl Slots {
    fn new(room: Room) -> Self {
        Self {
            room,
            under_way: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Waits until a check may begin; `None` when too many wait.
    fn enter(&self) -> Option<Slot<'_>> {
        let mut under_way = self.lock();
        if under_way.checked >= self.room.checked {
            if under_way.waiting >= self.room.waiting {
                return None;
            }
            under_way.waiting += 1;
            let is_full = |now: &mut UnderWay| now.checked >= self.room.checked;
            let waited = self.freed.wait_while(under_way, is_full);
            under_way = waited.unwrap_or_else(PoisonError::into_inner);
            under_way.waiting -= 1;
        }
        under_way.checked += 1;
        Some(Slot(self))
    }

    fn lock(&self) -> MutexGuard<'_, UnderWay> {
        let locked = self.under_way.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.0.lock().checked -= 1;
        self.0.freed.notify_one();
    }
}

impl Authority {
    /// An authority with its tokens.
    #[must_use]
    pub fn new(config: AuthConfig, tokens: TokenStore) -> Self {
        Self {
            config,
            tokens,
            attempts: Attempts::default(),
            own: Slots::new(OWN),
            others: Slots::new(OTHERS),
        }
    }

    /// Checks a login and makes a token.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn log_in(&self, login: &Login, from: Option<IpAddr>) -> Result<Token, LoginError> {
        let mut token = self.check(login, from)?;
        token.token = self.tokens.draw().map_err(|error| broken(&error))?;
        self.tokens.keep(&token).map_err(|error| broken(&error))?;
        Ok(token)
    }

    /// Checks a login; what is returned stands for the user once and is no token that is kept.
    ///
    /// # Errors
    /// [`LoginError`].
    pub fn check(&self, login: &Login, from: Option<IpAddr>) -> Result<Token, LoginError> {
        let user = login.username.as_str();
        // Before the limit is looked at: failures of those that came before count.
        let slots = match Backend::named(&login.eauth) {
            Some(backend) if backend.asks_others() => &self.others,
            _ => &self.own,
        };
        let _slot = slots.enter().ok_or(LoginError::Busy)?;
        if let Some(wait) = self.attempts.wait(from, user, Instant::now()) {
            return Err(LoginError::TooMany { wait });
        }
        let known = self.identify(login);
        match known {
            Ok(_) => self.attempts.succeeded(from, user, Instant::now()),
            Err(_) => self.attempts.failed(from, user, Instant::now()),
        }
        let known = known?;
        let start = since_epoch();
        let lives = login.token_expire.filter(|_| self.may_choose(login));
        Ok(Token {
            token: String::new(),
            start,
            expire: start + lives.unwrap_or(self.config.token_expire).as_secs_f64(),
            name: login.username.clone(),
            eauth: login.eauth.clone(),
            // What the back end permits is known now alone: it goes with the token.
            auth_list: (!known.permissions.is_empty()).then(|| {
                let configured = self.configured(&login.eauth, user, &known.groups);
                configured.into_iter().chain(known.permissions).collect()
            }),
            groups: known.groups,
        })
    }

    /// Asks the back end.
    fn identify(&self, login: &Login) -> Result<Known, LoginError> {
        let not_enabled = || LoginError::NotEnabled(login.eauth.clone());
        let options = self.config.external_auth.get(login.eauth.as_str());
        let options = options.ok_or_else(not_enabled)?;
        let backend = Backend::named(&login.eauth).ok_or_else(not_enabled)?;
        if backend == Backend::Auto && !self.config.allows_auto {
            tracing::warn!(
                "external_auth: auto lets everybody in; brine: {{auth: {{allow_auto: true}}}} allows it"
            );
            return Err(not_enabled());
        }
        let empty = Map::new();
        let options = options.as_map().unwrap_or(&empty);
        match backend::check(backend, login, options, &self.config) {
            Ok(Some(known)) => Ok(known),
            Ok(None) => Err(LoginError::Wrong),
            Err(error) => Err(broken(&error)),
        }
    }

    fn may_choose(&self, login: &Login) -> bool {
        match &self.config.token_expire_user_override {
            Value::Bool(may) => *may,
            Value::Map(users) => {
                let users = users.get(login.eauth.as_str()).and_then(Value::as_array);
                let mut users = users.unwrap_or_default().iter();
                users.any(|user| user.as_str() == Some(login.username.as_str()))
            }
            _ => false,
        }
    }

    /// The token of a text, if it is valid now and its back end is still configured.
    ///
    /// # Errors
    /// When that cannot be told now.
    pub fn token(&self, text: &str) -> io::Result<Option<Token>> {
        let Some(token) = self.tokens.find(text)? else {
            return Ok(None);
        };
        if token.expire < since_epoch() {
            self.tokens.remove(text);
            return Ok(None);
        }
        let is_enabled = self
            .config
            .external_auth
            .get(token.eauth.as_str())
            .is_some();
        Ok(is_enabled.then_some(token))
    }

    /// Removes a token: it is dead at once.
    pub fn revoke(&self, text: &str) {
        self.tokens.remove(text);
    }

    /// Removes expired tokens.
    pub fn sweep(&self) {
        self.tokens.sweep(since_epoch());
    }

    /// What the user of a token may do.
    #[must_use]
    pub fn auth_list(&self, token: &Token) -> Vec<Value> {
        if let Some(list) = &token.auth_list {
            return list.clone();
        }
        self.configured(&token.eauth, &token.name, &token.groups)
    }

    /// What `external_auth` permits a user.
    fn configured(&self, eauth: &str, user: &str, groups: &[String]) -> Vec<Value> {
        let backend = self.backend(eauth);
        let is_permissive = self.config.permissive_acl;
        permissions::auth_list(backend.unwrap_or(&Map::new()), user, groups, is_permissive)
    }

    fn backend(&self, eauth: &str) -> Option<&Map> {
        self.config.external_auth.get(eauth).and_then(Value::as_map)
    }
}

fn broken(error: &impl ToString) -> LoginError {
    let error = error.to_string();
    tracing::error!("external_auth: {error}");
    LoginError::Broken(error)
}

fn since_epoch() -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::token::TokenLayout;
    use brine_wire::json;

    fn authority(external_auth: &str, directory: &std::path::Path) -> Authority {
        let external_auth = json::parse(external_auth.as_bytes()).unwrap();
        let config = AuthConfig {
            external_auth: external_auth.as_map().unwrap().clone(),
            sharedsecret: Some("hunter2".to_owned()),
            ..AuthConfig::default()
        };
        Authority::new(
            config,
            TokenStore::new(directory, TokenLayout::Cache, "sha256"),
        )
    }

    fn login(user: &str, password: &str, eauth: &str) -> Login {
        Login::from_map(
            &[("username", user), ("password", password), ("eauth", eauth)]
                .into_iter()
                .collect(),
        )
        .unwrap()
    }

    #[test]
    fn a_shared_secret_makes_a_token_that_expires_and_can_be_revoked() {
        let directory = tempfile::tempdir().unwrap();
        let all = r#"{"sharedsecret": {"fred": [".*"]}, "auto": {"a": []}}"#;
        let authority = authority(all, directory.path());
        let mut right = login("fred", "hunter2", "sharedsecret");
        right.token_expire = Some(Duration::from_secs(1)); // not permitted
        let token = authority.log_in(&right, None).unwrap();
        assert!((token.expire - token.start - 43_200.0).abs() < 0.01);
        assert_eq!(authority.token(&token.token).unwrap().unwrap().name, "fred");
        assert_eq!(authority.auth_list(&token), [".*".into()]);
        authority.revoke(&token.token);
        assert!(authority.token(&token.token).unwrap().is_none());
        let wrong = authority.log_in(&login("fred", "hunter", "sharedsecret"), None);
        assert_eq!(wrong, Err(LoginError::Wrong));
        for eauth in ["auto", "pam", "brine", ""] {
            let refused = authority.log_in(&login("a", "x", eauth), None);
            assert_eq!(
                refused,
                Err(LoginError::NotEnabled(eauth.to_owned())),
                "{eauth}"
            );
        }
    }

    #[test]
    fn without_a_secret_nobody_knows_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = authority(r#"{"sharedsecret": {"fred": [".*"]}}"#, directory.path());
        for secret in [None, Some(String::new())] {
            authority.config.sharedsecret = secret;
            let refused = authority.log_in(&login("fred", "", "sharedsecret"), None);
            assert!(matches!(refused, Err(LoginError::Broken(_))), "{refused:?}");
        }
    }

    #[test]
    fn failures_are_limited() {
        let directory = tempfile::tempdir().unwrap();
        let authority = authority(r#"{"sharedsecret": {"fred": [".*"]}}"#, directory.path());
        let from = Some(IpAddr::V4(1.into()));
        for _ in 0..10 {
            let wrong = authority.log_in(&login("fred", "x", "sharedsecret"), from);
            assert_eq!(wrong, Err(LoginError::Wrong));
        }
        let right = login("fred", "hunter2", "sharedsecret");
        let refused = authority.log_in(&right, from);
        assert!(
            matches!(refused, Err(LoginError::TooMany { .. })),
            "{refused:?}"
        );
        assert!(authority.log_in(&right, Some(IpAddr::V4(2.into()))).is_ok());
    }

    #[test]
    fn a_limit_is_known_by_its_text() {
        for (millis, seconds) in [(0, 1), (5_200, 6), (60_000, 60)] {
            let wait = Duration::from_millis(millis);
            let text = LoginError::TooMany { wait }.to_string();
            let wait = Duration::from_secs(seconds);
            assert_eq!(
                LoginError::limit(&text),
                Some(LoginError::TooMany { wait }),
                "{text}"
            );
        }
        let busy = LoginError::Busy.to_string();
        assert_eq!(LoginError::limit(&busy), Some(LoginError::Busy));
        for text in [
            "",
            "wrong user or password",
            TOO_MANY,
            "Authentication error occurred.",
        ] {
            assert_eq!(LoginError::limit(text), None, "{text}");
        }
    }

    #[test]
    fn so_many_are_checked_so_many_wait_and_others_are_sent_away() {
        let slots = Slots::new(Room {
            checked: 1,
            waiting: 1,
        });
        let first = slots.enter().unwrap();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| slots.enter().is_some());
            while slots.lock().waiting == 0 {
                std::thread::yield_now();
            }
            assert!(slots.enter().is_none());
            drop(first);
            assert!(second.join().unwrap());
        });
        assert!(slots.enter().is_some());
    }

    #[test]
    fn passwords_are_not_shown() {
        let directory = tempfile::tempdir().unwrap();
        let authority = authority(r#"{"sharedsecret": {"fred": [".*"]}}"#, directory.path());
        assert!(!format!("{authority:?}").contains("hunter2"));
        assert!(!format!("{:?}", login("fred", "hunter2", "x")).contains("hunter2"));
        assert!(Login::from_map(&[("username", "fred")].into_iter().collect()).is_none());
        for name in ["", "a\nb", "a\u{1b}[31mb", "a\0"] {
            let fields = [("username", name), ("password", "a\nb"), ("eauth", "file")];
            assert!(
                Login::from_map(&fields.into_iter().collect()).is_none(),
                "{name:?}"
            );
        }
    }
}

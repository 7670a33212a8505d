//! External authentication at a master: users of `external_auth`, who send a token or log in with each request.
//!
//! `brine_auth` authenticates them; this file answers the requests of Salt's clients, and the calls of
//! [`MasterHandle`](super::MasterHandle). Checking a password takes processor time and disk reads, so all of it runs
//! on threads that may block, a few at a time. Facts: `docs/protocol/network.md` §12; Salt 3008.3, by running it.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use brine_auth::{AuthConfig, Authority, Login, LoginError, Token, TokenStore};
use brine_wire::network::field;
use brine_wire::{Map, Value};

use super::access::Caller;
use super::clear;

/// How many requests of strangers that need a password or a token checked may be under way.
const MOST_AT_ONCE: usize = 128;

/// Users of `external_auth`.
pub(super) struct External {
    authority: Authority,
    under_way: Arc<AtomicUsize>,
}

/// A check under way, counted until it is dropped.
pub(super) struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl External {
    pub(super) fn new(auth: AuthConfig, tokens: TokenStore) -> Self {
        Self {
            authority: Authority::new(auth, tokens),
            under_way: Arc::default(),
        }
    }

    /// Counts one more check for a stranger; `None` when there are too many.
    pub(super) fn begin(&self) -> Option<UnderWay> {
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let counted = UnderWay(Arc::clone(&self.under_way));
        (before < MOST_AT_ONCE).then_some(counted)
    }

    /// Who knows users and tokens.
    pub(super) const fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The user of a token, as a caller.
    pub(super) fn caller(&self, token: &Token) -> Caller {
        Caller::external(token.name.clone(), self.authority.auth_list(token))
    }

    /// Authenticates a user by these fields: a token, or a login. Blocks.
    ///
    /// # Errors
    /// [`LoginError`].
    pub(super) fn identify(
        &self,
        fields: &Map,
        from: Option<IpAddr>,
    ) -> Result<Caller, LoginError> {
        let token = match fields.get("token") {
            Some(token) => token
                .as_str()
                .and_then(|token| self.authority.token(token).ok()?),
            None => match Login::from_map(fields) {
                Some(login) => Some(self.authority.check(&login, from)?),
                None => None,
            },
        };
        token
            .map(|token| self.caller(&token))
            .ok_or(LoginError::Wrong)
    }

    /// Answers `mk_token`: the token's data, or an empty text. Waits.
    pub(super) fn make_token(&self, load: &Map, from: Option<IpAddr>) -> Value {
        let login = Login::from_map(load).ok_or(LoginError::Wrong);
        match login.and_then(|login| self.authority.log_in(&login, from)) {
            Ok(token) => token.to_map().into(),
            Err(error) => too_many(&error).unwrap_or_else(|| "".into()),
        }
    }

    /// Answers `get_token`: the token's data, or nothing. Waits.
    pub(super) fn get_token(&self, load: &Map) -> Value {
        let Some(text) = field::text(load, "token") else {
            return clear::answer(load);
        };
        match self.authority.token(text) {
            Ok(Some(token)) => token.to_map().into(),
            Ok(None) => Map::new().into(),
            // Whoever asks must not take it for a token that is gone.
            Err(error) => clear::error(
                "SaltMasterError",
                &format!("cannot read the token: {error}"),
            ),
        }
    }
}

/// The answer to a login that was not looked at, whatever it was for. Salt has none: it limits nothing.
pub(super) fn too_many(error: &LoginError) -> Option<Value> {
    let is_limit = matches!(error, LoginError::TooMany { .. } | LoginError::Busy);
    is_limit.then(|| clear::error("EauthAuthenticationError", &error.to_string()))
}

//! The credentials of a login.

use std::time::Duration;

use brine_wire::{Map, Value};
use zeroize::Zeroizing;

/// The longest user name and password, in bytes.
const MAX_TEXT: usize = 1024;

/// What somebody shows to log in. Its password is wiped when it is dropped.
#[derive(Clone)]
pub struct Login {
    /// The back end.
    pub eauth: String,
    /// The user's name.
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// How long the token is to live, if the user may choose.
    pub token_expire: Option<Duration>,
}

impl Login {
    /// Reads the fields of a request; `None` without back end, user and password, if one is absurdly long, or if a name has
    /// control characters, which logs would show.
    #[must_use]
    pub fn from_map(map: &Map) -> Option<Self> {
        let text = |key| match map.get(key)? {
            Value::Str(text) if text.len() <= MAX_TEXT => Some(text.clone()),
            Value::Int(number) => Some(number.to_string()),
            _ => None,
        };
        let name = |key| text(key).filter(|name| !name.contains(char::is_control));
        let seconds = match map.get("token_expire") {
            Some(Value::Int(seconds)) => u64::try_from(*seconds).ok(),
            _ => None,
        };
        Some(Self {
            eauth: name("eauth")?,
            username: name("username").filter(|name| !name.is_empty())?,
            password: Zeroizing::new(text("password")?),
            token_expire: seconds.map(Duration::from_secs),
        })
    }
}

impl std::fmt::Debug for Login {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Login")
            .field("eauth", &self.eauth)
            .field("username", &self.username)
            .field("password", &"[redacted]")
            .finish_non_exhaustive()
    }
}

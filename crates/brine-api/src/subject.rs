//! Who makes a request, for the purpose of permissions.
//!
//! The code that has authenticated a user makes the subject: the local socket from the peer's credentials, the HTTP
//! API from a login.

use std::fmt;

/// Somebody whose identity was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// How the identity is known.
    pub origin: Origin,
    /// The user's name; the number as text if the system has no name for it.
    pub user: String,
    /// The names of the user's groups. Empty where nothing depends on them.
    pub groups: Vec<String>,
}

/// How an identity is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The kernel says who opened the connection.
    Peer {
        /// The process.
        pid: Option<i32>,
        /// The user's number.
        uid: u32,
    },
    /// The client knows a secret that only the bus's own user can read.
    Token,
    /// The user logged in to the HTTP API. The name is that of `external_auth`, not of this machine's users.
    Login,
}

impl Subject {
    /// The process, if it is known.
    #[must_use]
    pub const fn pid(&self) -> Option<i32> {
        match self.origin {
            Origin::Peer { pid, .. } => pid,
            Origin::Token | Origin::Login => None,
        }
    }

    /// The user's number, if it is known.
    #[must_use]
    pub const fn uid(&self) -> Option<u32> {
        match self.origin {
            Origin::Peer { uid, .. } => Some(uid),
            Origin::Token | Origin::Login => None,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Peer { pid: Some(pid), .. } => write!(out, "{} (pid {pid})", self.user),
            Origin::Peer { pid: None, .. } => self.user.fmt(out),
            Origin::Token => write!(out, "{} (by token)", self.user),
            Origin::Login => write!(out, "API user {}", self.user),
        }
    }
}

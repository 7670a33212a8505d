//! Job ids: a moment in twenty digits, or whatever a client asked for.
//!
//! Facts: `docs/protocol/network.md` §10.1, §12.

use alloc::string::String;
use core::fmt;
use core::time::Duration;

use super::minion_id::forbidden;
use crate::stamp::{self, StampStyle};

/// The longest job id, in bytes.
pub const MAX_BYTES: usize = 255;

/// What the return of something unpublished (salt-call, a schedule) has instead of a job id.
pub const REQ: &str = "req";

const DIGITS: usize = 20;

/// A checked job id: fit to be a part of a tag and the name of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jid(String);

/// The text is no job id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid job id of {bytes} bytes: it must not be empty, begin with a dot, contain slashes or control characters, or be longer than {MAX_BYTES} bytes"
)]
pub struct JidError {
    /// How long the text is.
    pub bytes: usize,
}

impl Jid {
    /// Checks a job id. Clients may choose their own, so that digits are not required.
    ///
    /// # Errors
    /// [`JidError`] when it could not be a part of a tag or the name of a file.
    pub fn parse(text: &str) -> Result<Self, JidError> {
        let fine = !text.is_empty()
            && text.len() <= MAX_BYTES
            && !text.starts_with('.')
            && forbidden(text).is_none();
        if fine {
            Ok(Self(text.into()))
        } else {
            Err(JidError { bytes: text.len() })
        }
    }

    /// The id of a job that begins at a moment, given as the time since the UNIX epoch.
    #[must_use]
    pub fn at(since_epoch: Duration) -> Self {
        let stamp = stamp::format(since_epoch, StampStyle::Naive);
        let mut digits: String = stamp.chars().filter(char::is_ascii_digit).collect();
        if digits.len() < DIGITS {
            // A moment on the full second has no fraction.
            digits.push_str("000000");
        }
        Self(digits)
    }

    /// Whether a text is an id as Salt makes them: twenty digits.
    #[must_use]
    pub fn is_timestamp(text: &str) -> bool {
        text.len() == DIGITS && text.bytes().all(|byte| byte.is_ascii_digit())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_twenty_digits() {
        let at = |seconds, micros: u32| Jid::at(Duration::new(seconds, micros * 1000));
        assert_eq!(at(1_795_467_587, 223_006).as_str(), "20261123205947223006");
        assert_eq!(at(951_782_400, 0).as_str(), "20000229000000000000");
        assert!(Jid::is_timestamp(at(951_782_400, 0).as_str()));
        assert!(!Jid::is_timestamp("2026") && !Jid::is_timestamp("2026112400293369223x"));
    }

    #[test]
    fn clients_choose_names_but_no_paths() {
        for jid in [
            "20261123205947223006",
            "20261123205947223006_4711",
            "req",
            "mine",
        ] {
            assert_eq!(Jid::parse(jid).map(|jid| jid.0).as_deref(), Ok(jid));
        }
        for jid in [
            "",
            "..",
            "../../etc",
            "a/b",
            "a\0b",
            "1\n\n2",
            &"1".repeat(256),
        ] {
            assert!(Jid::parse(jid).is_err(), "{jid:?}");
        }
    }
}

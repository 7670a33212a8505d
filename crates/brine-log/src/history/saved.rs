//! Named positions of consumers, kept with the history so that both agree after a crash.
//!
//! A consumer is a named reader with a saved position: a sink, the reactor, a script. This file knows what is saved
//! about a consumer, and not how it reads.

use crate::position::{Millis, Position};

/// What is kept of a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consumer {
    /// Its name: 1 to 128 letters, digits, dots, dashes and underscores.
    pub name: ConsumerName,
    /// The last event it has dealt with.
    pub position: Position,
    /// What kind of reader it is, for people who look: `cursor`, `sink`, `reactor`.
    pub kind: String,
    /// Which events it takes, in the words of the reader that made it; empty for all.
    pub filter: String,
    /// Until when it is to rest.
    pub paused: Paused,
    /// When its position was last saved.
    pub saved_at: Millis,
}

/// Whether a consumer rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    /// It does not.
    No,
    /// Until this time.
    Until(Millis),
    /// Until somebody resumes it.
    UntilResumed,
}

impl Paused {
    /// Whether it rests at this time.
    #[must_use]
    pub fn is_paused(self, now: Millis) -> bool {
        match self {
            Self::No => false,
            Self::Until(time) => now < time,
            Self::UntilResumed => true,
        }
    }
}

/// A consumer's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConsumerName(String);

/// Why a text is not a consumer's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?}: a consumer's name is 1 to 128 letters, digits, dots, dashes and underscores")]
pub struct NameError {
    /// The text.
    pub name: String,
}

impl ConsumerName {
    /// A name.
    ///
    /// # Errors
    /// [`NameError`] if it is empty, too long, or holds other characters.
    pub fn parse(name: &str) -> Result<Self, NameError> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        match (1..=128).contains(&name.len()) && name.bytes().all(is_allowed) {
            true => Ok(Self(name.to_owned())),
            false => Err(NameError {
                name: name.to_owned(),
            }),
        }
    }

    /// Whether a new consumer should not have this name: it reads as a directory in paths, or as an option of a command.
    #[must_use]
    pub fn is_confusing(&self) -> bool {
        self.0 == "." || self.0 == ".." || self.0.starts_with('-')
    }

    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ConsumerName {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["a", "audit-db.1_x"] {
            assert_eq!(ConsumerName::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(129);
        for bad in ["", "a b", "a/b", "ä", long.as_str()] {
            assert!(ConsumerName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pause_ends_by_itself_or_by_hand() {
        assert!(!Paused::No.is_paused(Millis(5)));
        assert!(Paused::Until(Millis(6)).is_paused(Millis(5)));
        assert!(!Paused::Until(Millis(5)).is_paused(Millis(5)));
        assert!(Paused::UntilResumed.is_paused(Millis(u64::MAX)));
    }
}

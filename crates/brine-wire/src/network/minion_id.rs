//! Minion ids: the one way to get from a text to something that may become a path or a tag.
//!
//! Facts: `docs/protocol/network.md` §5.

use alloc::string::String;
use core::fmt;

/// The longest id, in bytes: what a file name may hold.
pub const MAX_BYTES: usize = 255;

/// A checked minion id: not empty, no path, no control characters, at most [`MAX_BYTES`] long.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MinionId(String);

/// Why a text is no minion id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MinionIdError {
    /// There is none.
    #[error("the minion id is empty")]
    Empty,
    /// No file could bear it.
    #[error("expected a minion id of at most {MAX_BYTES} bytes, found {bytes}")]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// `.`, `..` and other names that the key store does not list.
    #[error("the minion id begins with a dot")]
    Hidden,
    /// A character that would lead out of a directory or break a tag.
    #[error(
        "the minion id contains {character:?} at byte {at}; slashes and control characters are not allowed"
    )]
    Forbidden {
        /// The character.
        character: char,
        /// Where, in bytes.
        at: usize,
    },
}

impl MinionId {
    /// Checks an id.
    ///
    /// # Errors
    /// [`MinionIdError`] names the rule it breaks.
    pub fn parse(text: &str) -> Result<Self, MinionIdError> {
        if text.is_empty() {
            return Err(MinionIdError::Empty);
        }
        if text.len() > MAX_BYTES {
            return Err(MinionIdError::TooLong { bytes: text.len() });
        }
        if text.starts_with('.') {
            return Err(MinionIdError::Hidden);
        }
        match forbidden(text) {
            Some((at, character)) => Err(MinionIdError::Forbidden { character, at }),
            None => Ok(Self(text.into())),
        }
    }

    /// Whether every character can be seen and is one character to a shell and to a file system alike: what ids of new
    /// minions are made of. Ids that were accepted before may hold others.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let starts_well = self.0.starts_with(|c: char| is_letter(c) || c == '_');
        starts_well && !self.0.ends_with(' ') && self.0.chars().all(is_plain)
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MinionId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

fn is_plain(character: char) -> bool {
    is_letter(character)
        || matches!(
            character,
            '.' | '-' | '_' | ':' | '@' | '+' | '=' | ',' | ' '
        )
}

/// Letters and digits of scripts in which a visible text has one spelling, that of normal form C: no combining
/// marks, no parts of syllables, no characters that stand for others.
fn is_letter(character: char) -> bool {
    match character {
        '\0'..='\u{7f}' => character.is_ascii_alphanumeric(),
        '\u{c0}'..='\u{24f}'        // Latin
        | '\u{386}'..='\u{3ff}'     // Greek
        | '\u{400}'..='\u{52f}'     // Cyrillic
        | '\u{5d0}'..='\u{5ea}'     // Hebrew
        | '\u{620}'..='\u{64a}'     // Arabic
        | '\u{3041}'..='\u{30ff}'   // Hiragana, Katakana
        | '\u{3400}'..='\u{9fff}'   // Han
        | '\u{ac00}'..='\u{d7a3}'   // Hangul
            => character.is_alphanumeric(),
        _ => false,
    }
}

/// The first character that may stand neither in a file's name nor in a tag's part.
pub(super) fn forbidden(text: &str) -> Option<(usize, char)> {
    text.char_indices()
        .find(|(_, character)| matches!(character, '/' | '\\') || character.is_control())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_and_never_paths() {
        for id in ["m1", "web01.example.com", "ключ", "a b", "*", "a..b", "-n"] {
            assert_eq!(MinionId::parse(id).map(|id| id.0).as_deref(), Ok(id));
        }
        for id in [
            "",
            ".",
            "..",
            "../x",
            ".key_cache",
            "a/b",
            "/etc",
            "a\\b",
            "a\0",
            "a\n",
            "a\u{85}",
        ] {
            assert!(MinionId::parse(id).is_err(), "{id:?}");
        }
        assert!(MinionId::parse(&"x".repeat(255)).is_ok());
        assert_eq!(
            MinionId::parse(&"x".repeat(256)),
            Err(MinionIdError::TooLong { bytes: 256 })
        );
    }
}

//! Salt's YAML: what its configuration files and command line arguments are written in.
//!
//! YAML 1.1 as PyYAML's safe loader reads it, with Salt's changes: an integer with a leading zero
//! is decimal, a timestamp stays text, a key given twice is an error, base64 may lack its padding.
//! `scan` cuts tokens, `compose` puts nodes together, plain scalars get their types in `scalar`,
//! and `construct` makes values. Nothing here knows what an option is.
//!
//! Home-made because no library reads YAML 1.1: 1.2 has another idea of what a comment, a tab and
//! a closing bracket may be next to, and would refuse files that Salt accepts.
//!
//! Facts: PyYAML 6.0 and the loader of Salt 3008.3; every rule is checked against the real one by
//! the golden files in `tests/golden/`.

mod compose;
mod construct;
mod node;
mod scalar;
mod scan;

use brine_wire::Value;

/// The longest text that is looked at, in bytes.
pub const MAX_BYTES: usize = 16 << 20;
/// How many values one text may make, those repeated by aliases counted each time.
pub const MAX_VALUES: usize = 500_000;
/// How many bytes of text and binary one text may make, repeated ones counted each time.
pub const MAX_TEXT: usize = 2 * MAX_BYTES;
/// How deep collections may lie in each other.
pub const MAX_DEPTH: usize = 128;

/// Loads the one document in `text`; an empty text is [`Value::Nil`].
///
/// Sets come as lists, pairs and ordered maps as lists of two-item lists, integers past 128 bits
/// as their decimal text.
///
/// # Errors
/// Whatever real Salt refuses, aliases inside what they repeat, and anything over this module's
/// limits: deeply nested text and "billion laughs" end in an error, not in memory.
pub fn load(text: &[u8]) -> Result<Value, YamlError> {
    let text = readable(text)?;
    match compose::compose(text)? {
        Some(document) => construct::construct(&document),
        None => Ok(Value::Nil),
    }
}

/// Loads as [`load`] does; with it come the keys and the lines on which they stand, those of mappings in mappings
/// with the outer keys in front: `brine: history: max_age`.
///
/// # Errors
/// As [`load`].
pub fn load_with_lines(text: &[u8]) -> Result<(Value, Vec<(String, usize)>), YamlError> {
    let text = readable(text)?;
    let Some(document) = compose::compose(text)? else {
        return Ok((Value::Nil, Vec::new()));
    };
    let mut lines = Vec::new();
    document.key_lines(document.root, "", &mut lines);
    Ok((construct::construct(&document)?, lines))
}

/// Loads as [`load`] does, but the last of equal keys of a mapping counts, as for `yaml.safe_load`; the keys that
/// stand there more than once come with it.
///
/// # Errors
/// As [`load`], without duplicate keys.
pub fn load_last_wins(text: &[u8]) -> Result<(Value, Vec<String>), YamlError> {
    let text = readable(text)?;
    match compose::compose(text)? {
        Some(document) => construct::construct_last_wins(&document),
        None => Ok((Value::Nil, Vec::new())),
    }
}

/// The line, from 1, of the innermost of these keys that a text has, each below the one before; with how many of them
/// it has.
#[must_use]
pub fn line_of(text: &[u8], keys: &[&str]) -> Option<(usize, usize)> {
    let document = compose::compose(readable(text).ok()?).ok()??;
    let mut node = document.root();
    let mut found = None;
    for (key, depth) in keys.iter().zip(1..) {
        let node::Kind::Mapping(pairs) = &node.kind else {
            break;
        };
        let is_key =
            |name: &node::Node| matches!(&name.kind, node::Kind::Scalar(text) if text == key);
        let pair = pairs.iter().find(|(name, _)| is_key(document.node(*name)));
        let Some((name, value)) = pair else { break };
        found = Some((depth, document.node(*name).mark.line()));
        node = document.node(*value);
    }
    found
}

/// Whether a scalar without quotes is text, and not null, a boolean, a number or a merge.
#[must_use]
pub fn is_text_when_plain(text: &str) -> bool {
    scalar::resolve(text) == node::Tag::Str
}

/// Loads arbitrary bytes and requires nothing but an end: the body of the fuzz target.
#[doc(hidden)]
pub fn fuzz_load(bytes: &[u8]) {
    if let Err(error) = load(bytes) {
        assert!(!error.to_string().is_empty());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = crate::arguments::parse_value(text);
    }
}

/// The text, when it is UTF-8, not too long, and holds only what YAML calls printable.
fn readable(bytes: &[u8]) -> Result<&str, YamlError> {
    if bytes.len() > MAX_BYTES {
        return Err(YamlError::at_start(Fault::TooLong { bytes: bytes.len() }));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            return Err(YamlError::at_end_of(&valid, Fault::NotUtf8));
        }
    };
    // The mark that says "UTF-8" is not even a column.
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    match text.char_indices().find(|&(_, c)| !is_printable(c)) {
        Some((at, c)) => Err(YamlError::at_end_of(&text[..at], Fault::Unprintable(c))),
        None => Ok(text),
    }
}

const fn is_printable(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{A0}'..='\u{FFFD}' | '\u{10000}'..)
}

/// As much of a text as an error can show.
fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Where in a text a load failed, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct YamlError {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: Fault,
}

impl YamlError {
    const fn at_start(fault: Fault) -> Self {
        Self {
            line: 1,
            column: 1,
            fault,
        }
    }

    fn at_end_of(text: &str, fault: Fault) -> Self {
        let last = text.rsplit('\n').next().unwrap_or_default();
        Self {
            line: 1 + text.matches('\n').count(),
            column: 1 + last.chars().count(),
            fault,
        }
    }
}

/// What is wrong with a YAML text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// Not YAML.
    #[error("not YAML: {0}")]
    Syntax(&'static str),
    /// Bytes that are not UTF-8.
    #[error("expected UTF-8 text; save the file as UTF-8")]
    NotUtf8,
    /// A control character, or one of the few others YAML forbids.
    #[error("character U+{:04X} is not allowed in YAML; write it as an escape inside double quotes", u32::from(*.0))]
    Unprintable(char),
    /// A second document after the first.
    #[error("expected one document, but a second one starts here; remove the `---`")]
    SecondDocument,
    /// A mapping with the same key twice.
    #[error("key {0} is given twice in this mapping; keep one")]
    DuplicateKey(String),
    /// A list or mapping as a key.
    #[error("expected text, a number or a boolean as key, found a list or mapping")]
    UnusableKey,
    /// A tag Salt's safe loader knows nothing of, or a lone `=` or `<<`.
    #[error("tag {0} is not known; quote the value if it is text")]
    UnknownTag(String),
    /// A scalar that does not read as its tag says.
    #[error("{text:?} is not a valid {tag}")]
    BadScalar {
        /// The tag's short name.
        tag: &'static str,
        /// The scalar as written.
        text: String,
    },
    /// A tag on the wrong kind of node.
    #[error("expected {expected} for tag {tag}, found {found}")]
    WrongKind {
        /// The tag's short name.
        tag: &'static str,
        /// What the tag is for.
        expected: &'static str,
        /// What it is applied to.
        found: &'static str,
    },
    /// `<<` with something other than mappings.
    #[error("expected a mapping or a list of mappings to merge, found {0}")]
    BadMerge(&'static str),
    /// An alias without its anchor.
    #[error("alias of the unknown anchor &{0}; quote the value if it is text")]
    UnknownAlias(String),
    /// An anchor given twice.
    #[error("anchor &{0} is given twice")]
    DuplicateAnchor(String),
    /// An alias inside what it repeats.
    #[error("this alias is inside the value it repeats")]
    RecursiveAlias,
    /// More than [`MAX_BYTES`].
    #[error("{bytes} bytes of YAML are over the limit of {MAX_BYTES}")]
    TooLong {
        /// The text's length.
        bytes: usize,
    },
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// More than [`MAX_VALUES`] values or [`MAX_TEXT`] bytes of text.
    #[error("expands to more than {MAX_VALUES} values or {MAX_TEXT} bytes; use fewer aliases")]
    TooLarge,
}

#[cfg(test)]
mod tests;

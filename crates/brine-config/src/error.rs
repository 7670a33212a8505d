//! What can be wrong with a configuration: what stops it from being used, and what does not.

use std::io;

use crate::yaml::YamlError;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The main file cannot be read or understood.
    #[error(transparent)]
    File(#[from] FileError),
    /// An option without which nothing can be computed has a value of another type.
    #[error("option {option}: expected {expected}, found {found}")]
    WrongType {
        /// The option's name.
        option: String,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// A key under `brine:` that does not exist.
    #[error("brine: {key}: no such option; did you mean {nearest}?")]
    UnknownBrineKey {
        /// The key as written.
        key: String,
        /// The valid key most like it.
        nearest: &'static str,
    },
    /// A value under `brine:` that cannot be used.
    #[error("brine: {key}: expected {expected}, found {found}")]
    BadBrineValue {
        /// The key.
        key: &'static str,
        /// What it has to be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// A configuration file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// Not YAML as Salt reads it.
    #[error("{path}: {source}")]
    Yaml {
        /// The file.
        path: String,
        /// Where and why.
        source: YamlError,
    },
    /// YAML, but no options.
    #[error("{path}: expected `option: value` lines, found {found}")]
    NotAMapping {
        /// The file.
        path: String,
        /// What the document is.
        found: &'static str,
    },
}

/// Something in a configuration that a user should know; the configuration is used anyway.
///
/// Each is one line of text, without an ending full stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// The main file is there, but not for this user: Salt goes on with the defaults.
    #[error("{path}: no permission to read it; the defaults apply")]
    Unreadable {
        /// The file.
        path: String,
    },
    /// An included file that was left out.
    #[error("{0}; the file is skipped")]
    IncludeSkipped(#[from] FileError),
    /// An `include` that names no file.
    #[error("include {pattern} matches no file")]
    IncludeMatchesNothing {
        /// The pattern, as an absolute path.
        pattern: String,
    },
    /// A file that includes itself, at some remove.
    #[error("{path} includes itself; the inner include is skipped")]
    IncludeLoop {
        /// The file.
        path: String,
    },
    /// A value of a type that Salt does not expect; it is used as it is.
    #[error("option {option}: expected {expected}, found {found}")]
    WrongType {
        /// The option.
        option: String,
        /// Salt's types for it.
        expected: String,
        /// The value's type.
        found: &'static str,
    },
    /// An option of Salt's that changes nothing here.
    #[error("option {option} is known but not acted on")]
    NotActedOn {
        /// The option.
        option: String,
    },
    /// An option that no supported release of Salt reads any more.
    #[error("option {option} is no longer read by Salt; {instead}")]
    Obsolete {
        /// The option.
        option: String,
        /// What does its work now.
        instead: &'static str,
    },
    /// A top-level key that is not text; it is skipped.
    #[error("{path}: option names must be text, found {found}; it is skipped")]
    NameIsNotText {
        /// The file.
        path: String,
        /// The key.
        found: String,
    },
    /// A minion without a configured or remembered id, on which its sockets' names depend.
    #[error("no id configured; using {id}, guessed from the host name; set `id` if that is wrong")]
    GuessedId {
        /// The id.
        id: String,
    },
}

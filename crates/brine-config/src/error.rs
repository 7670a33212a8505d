//! Errors and warnings about a configuration.

use std::io;

use brine_wire::Value;

use crate::brine_values::shown;
use crate::yaml::YamlError;

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The main file cannot be read or understood.
    #[error(transparent)]
    File(#[from] FileError),
    /// An option that others depend on has the wrong type.
    #[error("option {option}: expected {expected}, found {found}")]
    WrongType {
        /// The option's name.
        option: String,
        /// The expected value.
        expected: &'static str,
        /// The actual value.
        found: String,
    },
    /// A key under `brine:` that does not exist.
    #[error("brine: {key}: no such option; did you mean {nearest}?")]
    UnknownBrineKey {
        /// The key as written.
        key: String,
        /// The most similar valid key.
        nearest: &'static str,
    },
    /// An option below others that does not exist.
    #[error("{option}: no such option; {hint}")]
    UnknownOption {
        /// The option, with those it is below: `brine: sinks: audit: hsot`.
        option: String,
        /// Which one may be meant, or which there are.
        hint: String,
    },
    /// The value of an option below others, or of one that names other options, that cannot be used.
    #[error("{option}: expected {expected}, found {found}")]
    BadOption {
        /// The option, with those it is below: `brine: sinks: audit: port`.
        option: String,
        /// The expected value.
        expected: String,
        /// The actual value.
        found: String,
    },
    /// One of the others, and where the option is written.
    #[error("{file}, line {line}: {error}")]
    At {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        error: Box<Self>,
    },
    /// A value under `brine:` that cannot be used.
    #[error("brine: {key}: expected {expected}, found {found}")]
    BadBrineValue {
        /// The key.
        key: &'static str,
        /// The expected value.
        expected: &'static str,
        /// The actual value.
        found: String,
    },
}

impl ConfigError {
    /// An option that cannot be used; `option` names those it is below too.
    pub(crate) fn bad_option(option: &str, expected: &str, found: &Value) -> Self {
        Self::bad_option_with(option, expected, shown(found))
    }

    /// The same of a value that is described, because it is secret or several options are at fault together.
    pub(crate) fn bad_option_with(option: &str, expected: &str, found: impl Into<String>) -> Self {
        Self::BadOption {
            option: option.to_owned(),
            expected: expected.to_owned(),
            found: found.into(),
        }
    }

    /// The keys that lead to the option it is about, outermost first; none if it is about a file.
    pub(crate) fn keys(&self) -> Vec<&str> {
        match self {
            Self::UnknownBrineKey { key, .. } => below_brine(key),
            Self::BadBrineValue { key, .. } => below_brine(key),
            Self::UnknownOption { option, .. } | Self::BadOption { option, .. } => {
                option.split(": ").collect()
            }
            Self::WrongType { option, .. } => vec![option],
            Self::File(_) | Self::At { .. } => Vec::new(),
        }
    }
}

fn below_brine(key: &str) -> Vec<&str> {
    let keys = key.split(['.', ':']).map(str::trim);
    std::iter::once("brine").chain(keys).collect()
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
    /// YAML, but not a mapping of options.
    #[error("{path}: expected `option: value` lines, found {found}")]
    NotAMapping {
        /// The file.
        path: String,
        /// The type of the document.
        found: &'static str,
    },
}

/// Something in a configuration that a user should know; the configuration is used anyway.
///
/// Each is one line of text, without an ending full stop.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Warning {
    /// This user may not read the main file: as in Salt, the defaults apply.
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
    /// A file that includes itself, directly or indirectly.
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
    /// An option of Salt's that Brine ignores.
    #[error("option {option} is ignored{}", .means.map(|means| format!(": {means}")).unwrap_or_default())]
    NotActedOn {
        /// The option.
        option: String,
        /// What does not happen for that, if somebody would miss it.
        means: Option<&'static str>,
    },
    /// An option that no supported release of Salt reads any more.
    #[error("option {option} is no longer read by Salt; {instead}")]
    Obsolete {
        /// The option.
        option: String,
        /// The replacement.
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

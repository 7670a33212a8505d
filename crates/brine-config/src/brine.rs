//! The options under Brine's own configuration key, `brine:`.
//!
//! Real Salt ignores it. Nothing is guessed here: a key that does not exist is an error.

use brine_wire::compat::Compat;
use brine_wire::{Map, Value};

use crate::error::ConfigError;
use crate::history::{HistoryOptions, redact};
use crate::spool::SpoolOptions;
use crate::types::type_name;

/// The list of permissions of the local socket, not yet parsed: whoever serves the socket parses it.
#[derive(Debug, Clone, PartialEq)]
pub struct AclOption(pub Value);

// A `Value` may hold a NaN, which is not equal to itself; no valid list of permissions does.
impl Eq for AclOption {}

/// Brine's own options; `None` where the file has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Brine {
    /// `compat`: the Salt series (`3006`) or release (`'3006.25'`) whose framing subscribers read.
    pub compat: Option<Compat>,
    /// `log_bytes`: the most memory the event log takes when subscribers lag, in bytes or as
    /// `64MiB`.
    pub log_bytes: Option<u64>,
    /// `keep_bytes`: how much of the newest events stays in memory when no subscriber lags.
    pub keep_bytes: Option<u64>,
    /// `overflow_bytes`: the most disk that events take which slow subscribers still need; 0 for none.
    pub overflow_bytes: Option<u64>,
    /// `history`: whether events are kept on disk, where and how long.
    pub history: HistoryOptions,
    /// `redact`: names of fields whose values are not kept on disk.
    pub redact: Vec<String>,
    /// `max_pending_keys`: how many minions' keys may wait to be accepted; further ones are not kept.
    pub max_pending_keys: Option<usize>,
    /// `minion_tags: audit`: events that the tag policy refuses minions are fired all the same, and only reported.
    pub audit_minion_tags: bool,
    /// `acl`: who else may use the local socket, and for what.
    pub acl: Option<AclOption>,
    /// `spool`: what a minion has for a master that is away.
    pub spool: SpoolOptions,
    /// `python`: the Python that runs users' modules, a name or a path.
    pub python: Option<String>,
}

const KEYS: [&str; 11] = [
    "acl",
    "compat",
    "history",
    "keep_bytes",
    "log_bytes",
    "max_pending_keys",
    "minion_tags",
    "overflow_bytes",
    "python",
    "redact",
    "spool",
];

impl Brine {
    /// Reads the value of `brine:`.
    pub(crate) fn parse(value: Option<&Value>) -> Result<Self, ConfigError> {
        let mut brine = Self::default();
        let options = match value {
            None | Some(Value::Nil) => &Map::new(),
            Some(Value::Map(options)) => options,
            Some(other) => {
                return Err(ConfigError::WrongType {
                    option: "brine".to_owned(),
                    expected: "a mapping",
                    found: type_name(other).to_owned(),
                });
            }
        };
        for (key, value) in options {
            match key.as_str() {
                Some("compat") => brine.compat = Some(compat(value)?),
                Some("log_bytes") => brine.log_bytes = Some(bytes("log_bytes", value)?),
                Some("acl") => brine.acl = Some(AclOption(value.clone())),
                Some("keep_bytes") => brine.keep_bytes = Some(bytes("keep_bytes", value)?),
                Some("overflow_bytes") => {
                    brine.overflow_bytes = Some(bytes("overflow_bytes", value)?);
                }
                Some("max_pending_keys") => {
                    brine.max_pending_keys = Some(count("max_pending_keys", value)?);
                }
                Some("history") => brine.history = HistoryOptions::parse(value)?,
                Some("spool") => brine.spool = SpoolOptions::parse(value)?,
                Some("redact") => brine.redact = redact(value)?,
                Some("minion_tags") => brine.audit_minion_tags = is_audited(value)?,
                Some("python") => brine.python = Some(python(value)?),
                other => return Err(unknown(other.unwrap_or_else(|| type_name(key)), &KEYS)),
            }
        }
        Ok(brine)
    }
}

fn compat(value: &Value) -> Result<Compat, ConfigError> {
    let text = match value {
        Value::Str(text) => Some(text.clone()),
        Value::Int(series) => Some(series.to_string()),
        // 3006.2 may have been 3006.20 before YAML read it; two digits leave no doubt.
        Value::Float(release) => Some(release.to_string()).filter(|text| {
            text.split_once('.')
                .is_some_and(|(_, patch)| patch.len() > 1)
        }),
        _ => None,
    };
    let compat = text.as_deref().and_then(|text| text.parse().ok());
    compat.ok_or_else(|| ConfigError::BadBrineValue {
        key: "compat",
        expected: "a Salt series or, in quotes, a release, such as 3006 or '3006.25'",
        found: shown(value),
    })
}

fn count(key: &'static str, value: &Value) -> Result<usize, ConfigError> {
    let count = value.as_int().and_then(|count| usize::try_from(count).ok());
    count.ok_or_else(|| ConfigError::BadBrineValue {
        key,
        expected: "a number",
        found: shown(value),
    })
}

fn is_audited(value: &Value) -> Result<bool, ConfigError> {
    match value.as_str() {
        Some("audit") => Ok(true),
        Some("enforce") => Ok(false),
        _ => Err(ConfigError::BadBrineValue {
            key: "minion_tags",
            expected: "enforce or audit",
            found: shown(value),
        }),
    }
}

fn python(value: &Value) -> Result<String, ConfigError> {
    let text = value.as_str().filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| ConfigError::BadBrineValue {
        key: "python",
        expected: "the name or path of a Python, such as /usr/bin/python3.11",
        found: shown(value),
    });
    text.map(str::to_owned)
}

pub(crate) fn bytes(key: &'static str, value: &Value) -> Result<u64, ConfigError> {
    let bytes = match value {
        Value::Int(bytes) => u64::try_from(*bytes).ok(),
        Value::Str(text) => sized(text),
        _ => None,
    };
    bytes.ok_or_else(|| ConfigError::BadBrineValue {
        key,
        expected: "a number of bytes, or a number with KiB, MiB or GiB",
        found: shown(value),
    })
}

fn sized(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .unwrap_or((text, 1));
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => type_name(other).to_owned(),
    }
}

pub(crate) fn unknown(key: &str, keys: &[&'static str]) -> ConfigError {
    let distance = |valid: &&&str| edit_distance(key, valid);
    let nearest = keys.iter().min_by_key(distance).copied();
    ConfigError::UnknownBrineKey {
        key: key.to_owned(),
        nearest: nearest.unwrap_or_default(),
    }
}

/// Levenshtein's distance.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Brine, String> {
        let value = crate::yaml::load(yaml.as_bytes()).unwrap();
        Brine::parse(Some(&value)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_is_read() {
        assert_eq!(parse("{}"), Ok(Brine::default()));
        let brine =
            parse("{compat: 3006, log_bytes: 64MiB, keep_bytes: 1, python: python3.9}").unwrap();
        assert_eq!(brine.keep_bytes, Some(1));
        assert_eq!(brine.python.as_deref(), Some("python3.9"));
        assert_eq!(brine.compat, "3006".parse().ok());
        assert_eq!(brine.log_bytes, Some(64 << 20));
        assert_eq!(parse("{compat: 3006.25}"), parse("{compat: '3006.25'}"));
    }

    #[test]
    fn a_misspelt_key_names_the_nearest_one() {
        assert_eq!(
            parse("{log_size: 1}").unwrap_err(),
            "brine: log_size: no such option; did you mean log_bytes?"
        );
        assert!(parse("{Compat: 3006}").unwrap_err().ends_with("compat?"));
    }

    #[test]
    fn a_release_that_yaml_may_have_shortened_is_refused() {
        // 3006.10 and 3006.1 are the same number.
        assert!(
            parse("{compat: 3006.10}")
                .unwrap_err()
                .contains("in quotes")
        );
        assert!(parse("{compat: '3006.10'}").is_ok());
        for bad in [
            "{compat: 2019}",
            "{compat: [3006]}",
            "{log_bytes: -1}",
            "{log_bytes: 1TB}",
            "{python: 3}",
            "[1]",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

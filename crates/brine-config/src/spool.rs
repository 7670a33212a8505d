//! The options under `brine: {spool: …}`: where a minion keeps what waits for its masters, and how much of it.
//!
//! Only values; defaults are the minion's.

use std::path::PathBuf;

use brine_wire::Value;

use crate::brine_values::{bytes, unknown};
use crate::error::ConfigError;
use crate::history::{Age, age, bad, directory};

/// `spool`: keep events and returns for a master that is away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Whether they wait on disk; with `spool: false` in memory, where they end with the minion.
    pub enabled: bool,
    /// `directory` (path; `spool` below `cachedir`): where.
    pub directory: Option<PathBuf>,
    /// `max_age` (time or `forever`; `7d`): how long events and returns wait.
    pub max_age: Option<Age>,
    /// `max_bytes` (size; `256MiB`): the most disk space for each master.
    pub max_bytes: Option<u64>,
}

impl Default for SpoolOptions {
    fn default() -> Self {
        Self {
            enabled: true,
            directory: None,
            max_age: None,
            max_bytes: None,
        }
    }
}

const KEYS: [&str; 3] = ["spool.directory", "spool.max_age", "spool.max_bytes"];

impl SpoolOptions {
    pub(crate) fn parse(value: &Value) -> Result<Self, ConfigError> {
        let mut spool = Self::default();
        let options = match value {
            Value::Nil => return Ok(spool),
            Value::Bool(enabled) => {
                spool.enabled = *enabled;
                return Ok(spool);
            }
            Value::Map(options) => options,
            other => {
                let expected = "true, false, or a mapping of its options";
                return Err(bad("spool", expected, other));
            }
        };
        for (key, value) in options {
            match key.as_str() {
                Some("directory") => {
                    spool.directory = Some(directory("spool.directory", value)?);
                }
                Some("max_age") => spool.max_age = Some(age("spool.max_age", value)?),
                Some("max_bytes") => spool.max_bytes = Some(bytes("spool.max_bytes", value)?),
                other => {
                    let key = other.unwrap_or("a key that is not text");
                    return Err(unknown(&format!("spool.{key}"), &KEYS));
                }
            }
        }
        Ok(spool)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(yaml: &str) -> Result<SpoolOptions, String> {
        let value = crate::yaml::load(yaml.as_bytes()).unwrap();
        SpoolOptions::parse(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        let spool = parse("{directory: /srv/spool, max_age: 1h, max_bytes: 1MiB}").unwrap();
        let expected = SpoolOptions {
            enabled: true,
            directory: Some("/srv/spool".into()),
            max_age: Some(Age::For(Duration::from_secs(3600))),
            max_bytes: Some(1 << 20),
        };
        assert_eq!(spool, expected);
        assert!(!parse("false").unwrap().enabled);
        assert_eq!(parse("{}"), Ok(SpoolOptions::default()));
        assert_eq!(
            parse("{max_age: forever}").unwrap().max_age,
            Some(Age::Forever)
        );
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (yaml, named) in [
            ("{directory: spool}", "spool.directory"),
            ("{max_age: 7}", "spool.max_age"),
            ("{max_bytes: lots}", "spool.max_bytes"),
            ("{max_size: 1}", "spool.max_"),
            ("[1]", "spool"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}

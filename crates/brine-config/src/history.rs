//! The options under `brine: {history: …}`: whether events are kept on disk, where and how long.
//!
//! Only values: the program decides on the default directory and for which daemons history is on by default.

use std::path::PathBuf;
use std::time::Duration;

use brine_wire::Value;

use crate::brine_values::{bytes, shown, unknown};
use crate::error::ConfigError;

/// `history`: keep events on disk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Whether events are kept at all: `history: false` or `true`, or any option below it; `None`
    /// if not set.
    pub enabled: Option<bool>,
    /// `directory` (path; `history` below `cachedir`): the directory of the store.
    pub directory: Option<PathBuf>,
    /// `max_age` (time or `forever`; `7d`): how long events are kept.
    pub max_age: Option<Age>,
    /// `max_age` (tag patterns with times): how long events of these tags are kept. The first matching pattern counts.
    pub max_age_of_tags: Vec<(String, Age)>,
    /// `max_bytes` (size, at least `1MiB`; `2GiB`): the most disk space for events.
    pub max_bytes: Option<u64>,
    /// `sync` (`group`, `each` or `os`; `group`): when an event counts as stored.
    pub sync: Option<SyncOption>,
    /// Where `history: false` stands: the file and the line.
    pub place: Option<(String, usize)>,
}

/// How long something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Age {
    /// As long as there is room.
    Forever,
    /// So long.
    For(Duration),
}

/// When an event counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncOption {
    /// `group`: after a sync shared by all that wait for one.
    Group,
    /// `each`: the same, without waiting to collect further events.
    Each,
    /// `os`: when the operating system has it.
    Os,
}

pub(crate) const KEYS: [&str; 4] = [
    "history.directory",
    "history.max_age",
    "history.max_bytes",
    "history.sync",
];

impl HistoryOptions {
    pub(crate) fn parse(value: &Value) -> Result<Self, ConfigError> {
        let mut history = Self::default();
        let options = match value {
            Value::Nil => return Ok(history),
            Value::Bool(enabled) => {
                history.enabled = Some(*enabled);
                return Ok(history);
            }
            Value::Map(options) => options,
            other => {
                return Err(bad(
                    "history",
                    "true, false, or a mapping of its options",
                    other,
                ));
            }
        };
        history.enabled = Some(true);
        for (key, value) in options {
            match key.as_str() {
                Some("directory") => {
                    history.directory = Some(directory("history.directory", value)?);
                }
                Some("max_age") => history.set_max_age(value)?,
                Some("max_bytes") => {
                    history.max_bytes = Some(max_bytes(value)?);
                }
                Some("sync") => history.sync = Some(sync(value)?),
                other => {
                    let key = other.unwrap_or("a key that is not text");
                    return Err(unknown(&format!("history.{key}"), &KEYS));
                }
            }
        }
        Ok(history)
    }

    fn set_max_age(&mut self, value: &Value) -> Result<(), ConfigError> {
        let Value::Map(tags) = value else {
            self.max_age = Some(age("history.max_age", value)?);
            return Ok(());
        };
        for (pattern, value) in tags {
            let age = age("history.max_age", value)?;
            match pattern.as_str() {
                Some("*") => self.max_age = Some(age),
                Some(pattern) => self.max_age_of_tags.push((pattern.to_owned(), age)),
                None => {
                    return Err(bad(
                        "history.max_age",
                        "tag patterns such as 'salt/job/*'",
                        pattern,
                    ));
                }
            }
        }
        Ok(())
    }
}

/// `redact`: names of fields whose values are not kept.
pub(crate) fn redact(value: &Value) -> Result<Vec<String>, ConfigError> {
    let expected = "a list of field names, such as [password, token]";
    let Value::Array(names) = value else {
        return Err(bad("redact", expected, value));
    };
    let name = |value: &Value| match value.as_str().filter(|name| !name.is_empty()) {
        Some(name) => Ok(name.to_owned()),
        None => Err(bad("redact", expected, value)),
    };
    names.iter().map(name).collect()
}

pub(crate) fn directory(key: &'static str, value: &Value) -> Result<PathBuf, ConfigError> {
    let path = value.as_str().map(PathBuf::from);
    path.filter(|path| path.is_absolute())
        .ok_or_else(|| bad(key, "an absolute path", value))
}

/// Below this an empty store takes a good part of it, and events go as soon as they are stored.
const MIN_BYTES: u64 = 1 << 20;

fn max_bytes(value: &Value) -> Result<u64, ConfigError> {
    match bytes("history.max_bytes", value)? {
        too_few if too_few < MIN_BYTES => Err(bad(
            "history.max_bytes",
            "at least 1MiB, or history: false for none",
            value,
        )),
        enough => Ok(enough),
    }
}

fn sync(value: &Value) -> Result<SyncOption, ConfigError> {
    match value.as_str() {
        Some("group") => Ok(SyncOption::Group),
        Some("each") => Ok(SyncOption::Each),
        Some("os") => Ok(SyncOption::Os),
        _ => Err(bad("history.sync", "group, each or os", value)),
    }
}

pub(crate) fn age(key: &'static str, value: &Value) -> Result<Age, ConfigError> {
    let age = match value.as_str() {
        Some("forever") => Some(Age::Forever),
        Some(text) => span(text).map(Age::For),
        None => None,
    };
    age.ok_or_else(|| {
        bad(
            key,
            "a time with its units such as 7d, 12h or 1d12h, or forever",
            value,
        )
    })
}

/// A time such as `1d12h`: numbers, each with its unit.
pub(crate) fn span(text: &str) -> Option<Duration> {
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = match after.chars().next()? {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86_400,
            'w' => 7 * 86_400,
            _ => return None,
        };
        seconds = seconds.checked_add(number.parse::<u64>().ok()?.checked_mul(unit)?)?;
        rest = &after[1..];
    }
    (seconds > 0).then_some(Duration::from_secs(seconds))
}

pub(crate) fn bad(key: &'static str, expected: &'static str, value: &Value) -> ConfigError {
    ConfigError::BadBrineValue {
        key,
        expected,
        found: shown(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<HistoryOptions, String> {
        let value = crate::yaml::load(yaml.as_bytes()).unwrap();
        HistoryOptions::parse(&value).map_err(|error| error.to_string())
    }

    fn hours(count: u64) -> Age {
        Age::For(Duration::from_secs(count * 3600))
    }

    #[test]
    fn options_are_read() {
        let history =
            parse("{directory: /srv/history, max_age: 7d, max_bytes: 2GiB, sync: each}").unwrap();
        let expected = HistoryOptions {
            enabled: Some(true),
            directory: Some("/srv/history".into()),
            max_age: Some(hours(7 * 24)),
            max_age_of_tags: Vec::new(),
            max_bytes: Some(2 << 30),
            sync: Some(SyncOption::Each),
            place: None,
        };
        assert_eq!(history, expected);
        assert_eq!(parse("false").unwrap().enabled, Some(false));
        assert_eq!(parse("true").unwrap().enabled, Some(true));
        assert_eq!(parse("{}").unwrap().enabled, Some(true));
        assert_eq!(parse("null").unwrap().enabled, None);
    }

    #[test]
    fn tags_may_have_ages_of_their_own() {
        let history =
            parse("{max_age: {'salt/job/*/ret/*': 1d12h, 'audit/*': forever, '*': 2w}}").unwrap();
        assert_eq!(history.max_age, Some(hours(14 * 24)));
        let tags = [
            ("salt/job/*/ret/*".to_owned(), hours(36)),
            ("audit/*".to_owned(), Age::Forever),
        ];
        assert_eq!(history.max_age_of_tags, tags);
    }

    #[test]
    fn mistakes_are_named() {
        for (yaml, error) in [
            (
                "{max_ages: 7d}",
                "brine: history.max_ages: no such option; did you mean history.max_age?",
            ),
            (
                "{redact: [x]}",
                "brine: history: redact: no such option; it is one level up: brine: {redact: …}",
            ),
            (
                "{max_age: 7}",
                "brine: history.max_age: expected a time with its units such as 7d, 12h or 1d12h, or forever, found 7",
            ),
            (
                "{sync: always}",
                "brine: history.sync: expected group, each or os, found \"always\"",
            ),
            (
                "{directory: history}",
                "brine: history.directory: expected an absolute path, found \"history\"",
            ),
            (
                "{max_bytes: 10}",
                "brine: history.max_bytes: expected at least 1MiB, or history: false for none, found 10",
            ),
        ] {
            assert_eq!(parse(yaml).unwrap_err(), error);
        }
        for bad in [
            "7",
            "{max_age: 7x}",
            "{max_age: d}",
            "{max_age: 0s}",
            "{max_age: {'a*': 1}}",
            "{max_bytes: x}",
            "{max_bytes: 0}",
            "{max_bytes: 1048575}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

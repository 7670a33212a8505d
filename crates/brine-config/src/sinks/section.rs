//! One mapping of options: the code asks for each by name, and all others do not exist.

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use brine_wire::{Map, Value};

use crate::brine_values::{hint, shown, sized};
use crate::error::ConfigError;
use crate::history::span;

/// Options that are being read.
pub(crate) struct Section<'a> {
    /// Where it is, as errors say.
    path: String,
    options: &'a Map,
    asked: RefCell<Vec<&'static str>>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(path: String, options: &'a Value) -> Result<Self, ConfigError> {
        match options {
            Value::Map(options) => Ok(Self {
                path,
                options,
                asked: RefCell::default(),
            }),
            other => Err(ConfigError::bad_option(
                &path,
                "a mapping of options",
                other,
            )),
        }
    }

    /// Refuses options that are in none of these lists, before one is said to be missing: it may be a misspelt one, also
    /// where it has no likeness.
    pub(crate) fn only(
        &self,
        known: &[&[&'static str]],
        missing: Option<&'static str>,
    ) -> Result<(), ConfigError> {
        self.refuse_others(&known.concat(), missing)
    }

    /// An option's value; null counts as not set.
    fn get(&self, name: &'static str) -> Option<&'a Value> {
        self.asked.borrow_mut().push(name);
        self.options.get(name).filter(|value| **value != Value::Nil)
    }

    /// An error about one of the options.
    pub(crate) fn bad(&self, name: &str, expected: &str, found: &Value) -> ConfigError {
        ConfigError::bad_option(&format!("{}: {name}", self.path), expected, found)
    }

    /// The same of a value that is described.
    pub(crate) fn bad_with(&self, name: &str, expected: &str, found: &str) -> ConfigError {
        ConfigError::bad_option_with(&format!("{}: {name}", self.path), expected, found)
    }

    /// An option that must be there, and is not.
    pub(crate) fn missing(&self, name: &'static str, expected: &str) -> ConfigError {
        let found = self.options.get(name).unwrap_or(&Value::Nil);
        self.bad(name, expected, found)
    }

    fn read<T>(
        &self,
        name: &'static str,
        expected: &str,
        read: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        let read = read(value);
        read.map(Some)
            .ok_or_else(|| self.bad(name, expected, value))
    }

    pub(crate) fn text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        self.read(name, "text", text)
    }

    pub(crate) fn required_text(&self, name: &'static str) -> Result<String, ConfigError> {
        let text = self.text(name)?;
        text.filter(|text| !text.is_empty())
            .ok_or_else(|| self.missing(name, "text"))
    }

    /// A text that is not empty, if it is there.
    pub(crate) fn filled_text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        self.read(name, "text that is not empty", |value| {
            text(value).filter(|text| !text.is_empty())
        })
    }

    /// A text that no number stands for, if it is there.
    pub(crate) fn plain_text(&self, name: &'static str) -> Result<Option<String>, ConfigError> {
        self.read(name, "text that is not empty", plain_text)
    }

    /// A text, or a list of texts, none of which is empty or a number.
    pub(crate) fn texts(
        &self,
        name: &'static str,
        expected: &str,
    ) -> Result<Vec<String>, ConfigError> {
        let Some(value) = self.get(name) else {
            return Ok(Vec::new());
        };
        let items = match value {
            Value::Array(items) => &items[..],
            one => std::slice::from_ref(one),
        };
        let text = |item| plain_text(item).ok_or_else(|| self.bad(name, expected, item));
        items.iter().map(text).collect()
    }

    /// Whether an option is there, and an empty list.
    pub(crate) fn is_empty_list(&self, name: &str) -> bool {
        matches!(self.options.get(name), Some(Value::Array(items)) if items.is_empty())
    }

    /// One of a few words.
    pub(crate) fn word(
        &self,
        name: &'static str,
        words: &[&'static str],
    ) -> Result<Option<&'static str>, ConfigError> {
        self.read(name, &words.join(", "), |value| {
            // `off` is false before anybody sees it.
            let text = match value {
                Value::Bool(false) => "off",
                other => other.as_str()?,
            };
            words.iter().copied().find(|word| *word == text)
        })
    }

    pub(crate) fn flag(&self, name: &'static str) -> Result<Option<bool>, ConfigError> {
        self.read(name, "true or false", |value| match value {
            Value::Bool(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(crate) fn count(
        &self,
        name: &'static str,
        range: RangeInclusive<usize>,
    ) -> Result<Option<usize>, ConfigError> {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.read(name, &expected, |value| {
            let number = match value {
                Value::Str(text) => text.trim().parse().ok(),
                other => other
                    .as_int()
                    .and_then(|number| usize::try_from(number).ok()),
            };
            number.filter(|number| range.contains(number))
        })
    }

    pub(crate) fn bytes(&self, name: &'static str) -> Result<Option<usize>, ConfigError> {
        let expected = "a number of bytes, or a number with KiB, MiB or GiB";
        self.read(name, expected, |value| {
            let bytes = match value {
                Value::Str(text) => sized(text)?,
                other => u64::try_from(other.as_int()?).ok()?,
            };
            usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)
        })
    }

    pub(crate) fn seconds(&self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        self.read(name, "a number of seconds", |value| {
            let seconds = match value {
                Value::Float(seconds) => *seconds,
                Value::Str(text) => text.trim().parse().ok()?,
                other => f64::from(i32::try_from(other.as_int()?).ok()?),
            };
            Duration::try_from_secs_f64(seconds).ok()
        })
    }

    /// Seconds, more than none: what waits no time at all never succeeds.
    pub(crate) fn some_seconds(&self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        let seconds = self.seconds(name)?;
        match seconds {
            Some(Duration::ZERO) => {
                Err(self.bad(name, "a number of seconds above 0", &Value::Int(0)))
            }
            seconds => Ok(seconds),
        }
    }

    /// A time with its units.
    pub(crate) fn span(&self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        let expected = "a time with its units such as 7d, 12h or 1d12h";
        self.read(name, expected, |value| span(value.as_str()?))
    }

    pub(crate) fn path(&self, name: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        self.read(name, "an absolute path", |value| {
            let path = value.as_str().map(PathBuf::from);
            path.filter(|path| path.is_absolute())
        })
    }

    /// `cert` and `key`: both or none.
    pub(crate) fn identity(&self) -> Result<Option<(PathBuf, PathBuf)>, ConfigError> {
        match (self.path("cert")?, self.path("key")?) {
            (Some(cert), Some(key)) => Ok(Some((cert, key))),
            (None, None) => Ok(None),
            (cert, _) => Err(self.one_of(cert.is_some(), "cert", "key")),
        }
    }

    /// Two options of which one alone makes no sense.
    pub(crate) fn one_of(&self, has_first: bool, first: &str, second: &str) -> ConfigError {
        let (there, absent) = match has_first {
            true => (first, second),
            false => (second, first),
        };
        let expected = format!("{first} and {second} together");
        self.bad_with(there, &expected, &format!("no {absent}"))
    }

    pub(crate) fn map(&self, name: &'static str) -> Result<Vec<(String, String)>, ConfigError> {
        let expected = "a mapping of texts";
        let map = self.read(name, expected, Value::as_map)?;
        let pairs = map.into_iter().flat_map(Map::iter);
        let pair = |(key, value): &(Value, Value)| match (key.as_str(), value.as_str()) {
            (Some(key), Some(value)) => Ok((key.to_owned(), value.to_owned())),
            // The value may be a password.
            _ => Err(self.bad_with(
                name,
                expected,
                &format!("no text for {}; put it in quotes", shown(key)),
            )),
        };
        pairs.map(pair).collect()
    }

    /// Refuses what nobody asked for.
    pub(crate) fn finish(self) -> Result<(), ConfigError> {
        self.refuse_others(&self.asked.borrow(), None)
    }

    fn refuse_others(
        &self,
        known: &[&'static str],
        missing: Option<&'static str>,
    ) -> Result<(), ConfigError> {
        let is_known = |key: &Value| key.as_str().is_some_and(|key| known.contains(&key));
        let Some((key, _)) = self.options.iter().find(|(key, _)| !is_known(key)) else {
            return Ok(());
        };
        let name = key.as_str().unwrap_or_default();
        Err(ConfigError::UnknownOption {
            option: format!("{}: {}", self.path, key.as_str().unwrap_or(&shown(key))),
            hint: hint(name, known, missing),
        })
    }
}

fn plain_text(value: &Value) -> Option<String> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(str::to_owned)
}

/// A text; numbers are often passwords and names that nobody has quoted.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

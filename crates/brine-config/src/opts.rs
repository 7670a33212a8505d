//! `Opts`: Salt's options by name, as plain data.
//!
//! No crate passes an `Opts` on: each has its own small configuration made from it once. How one is read from files
//! is in `load`.

use std::collections::{BTreeMap, BTreeSet};

use brine_wire::Value;

use crate::error::ConfigError;
use crate::types::type_name;

/// Salt's options by name, the unknown ones among them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Opts {
    values: BTreeMap<String, Value>,
    /// What the files say, whether or not it is the default.
    given: BTreeSet<String>,
}

impl Opts {
    /// An option's value as the files give it, or its default.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// Whether an option has a value other than null.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        !matches!(self.get(name), None | Some(Value::Nil))
    }

    /// Whether the configuration files give an option, be it with its default.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.given.contains(name)
    }

    /// A textual option.
    ///
    /// # Errors
    /// It is absent or no text.
    pub fn text(&self, name: &str) -> Result<&str, ConfigError> {
        match self.get(name) {
            Some(Value::Str(text)) => Ok(text),
            other => Err(wrong_type(name, "text", other)),
        }
    }

    /// An integer option; text that is one counts, as it does for Salt.
    ///
    /// # Errors
    /// It is absent or no integer of 64 bits.
    pub fn int(&self, name: &str) -> Result<i64, ConfigError> {
        let value = self.get(name);
        let number = match value {
            Some(Value::Int(number)) => i64::try_from(*number).ok(),
            Some(Value::Str(text)) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| wrong_type(name, "an integer", value))
    }

    /// A numeric option, such as a time in seconds.
    ///
    /// # Errors
    /// It is absent or no number.
    #[expect(
        clippy::cast_precision_loss,
        reason = "times and ratios, not identities"
    )]
    pub fn number(&self, name: &str) -> Result<f64, ConfigError> {
        let value = self.get(name);
        let number = match value {
            Some(Value::Float(number)) => Some(*number),
            Some(Value::Int(number)) => Some(*number as f64),
            Some(Value::Str(text)) => text.trim().parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| wrong_type(name, "a number", value))
    }

    /// A switch; null and 0 are off.
    ///
    /// # Errors
    /// It is neither a boolean nor a number.
    pub fn flag(&self, name: &str) -> Result<bool, ConfigError> {
        match self.get(name) {
            None | Some(Value::Nil) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::Int(number)) => Ok(*number != 0),
            other => Err(wrong_type(name, "true or false", other)),
        }
    }

    /// All options by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    /// Sets an option, as a command line does over the files.
    pub fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.values.insert(name.to_owned(), value.into());
    }

    /// Sets an option that a configuration file gives.
    pub(crate) fn set_given(&mut self, name: &str, value: Value) {
        self.given.insert(name.to_owned());
        self.set(name, value);
    }
}

fn wrong_type(option: &str, expected: &'static str, found: Option<&Value>) -> ConfigError {
    ConfigError::WrongType {
        option: option.to_owned(),
        expected,
        found: found.map_or("nothing", type_name).to_owned(),
    }
}

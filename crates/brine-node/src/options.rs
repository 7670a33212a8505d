//! Reading Salt's options into checked types: the parts that master and minion share.
//!
//! Defaults are `brine-config`'s; where it has none, the reader names one.

use std::path::PathBuf;
use std::time::Duration;

use brine_config::{ConfigError, Opts};
use brine_net::tls::{TlsError, TlsOptions};
use brine_wire::Value;
use brine_wire::event::MAX_EVENT_SIZE;

use crate::jobs::UnknownHash;

/// How minions and masters reach each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// `zeromq`
    ZeroMq,
    /// `tcp`
    Tcp,
    /// `ws`
    Ws,
}

/// Why a configuration does not describe a node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// An option has the wrong type.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// `hash_type`.
    #[error(transparent)]
    Hash(#[from] UnknownHash),
    /// `ssl` cannot be followed.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An option has a value we cannot follow.
    #[error("option {option}: expected {expected}, found {found}")]
    Value {
        /// Which.
        option: &'static str,
        /// What it may be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
}

/// Reads options of the common types. An option that is not set has the given default.
pub(crate) struct Reader<'a>(pub(crate) &'a Opts);

impl Reader<'_> {
    pub(crate) fn is_set(&self, name: &str) -> bool {
        !matches!(self.0.get(name), None | Some(Value::Nil))
    }

    /// Whether an option is there and Python takes it for true.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(Value::is_true)
    }

    pub(crate) fn flag(&self, name: &str, default: bool) -> Result<bool, OptionsError> {
        match self.is_set(name) {
            true => Ok(self.0.flag(name)?),
            false => Ok(default),
        }
    }

    pub(crate) fn int(&self, name: &str, default: i64) -> Result<i64, OptionsError> {
        match self.is_set(name) {
            true => Ok(self.0.int(name)?),
            false => Ok(default),
        }
    }

    pub(crate) fn port(&self, name: &'static str, default: u16) -> Result<u16, OptionsError> {
        let number = self.int(name, default.into())?;
        u16::try_from(number).map_err(|_| OptionsError::Value {
            option: name,
            expected: "a port",
            found: number.to_string(),
        })
    }

    pub(crate) fn millis(&self, name: &str, default: i64) -> Result<Duration, OptionsError> {
        Ok(Duration::from_millis(
            u64::try_from(self.int(name, default)?).unwrap_or(0),
        ))
    }

    pub(crate) fn seconds(
        &self,
        name: &'static str,
        default: f64,
    ) -> Result<Duration, OptionsError> {
        let number = match self.is_set(name) {
            true => self.0.number(name)?,
            false => default,
        };
        Duration::try_from_secs_f64(number).map_err(|_| OptionsError::Value {
            option: name,
            expected: "seconds",
            found: number.to_string(),
        })
    }

    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let text = self.0.get(name)?.as_str()?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        match self.0.get(name) {
            Some(Value::Array(texts)) => texts
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// A number that is not negative.
    pub(crate) fn count(&self, name: &'static str, default: u64) -> Result<u64, OptionsError> {
        let number = self.int(name, i64::try_from(default).unwrap_or(i64::MAX))?;
        u64::try_from(number).map_err(|_| OptionsError::Value {
            option: name,
            expected: "a number that is not negative",
            found: number.to_string(),
        })
    }

    /// `max_event_size`, in bytes.
    pub(crate) fn max_event_size(&self) -> Result<usize, OptionsError> {
        let bytes = self.count("max_event_size", MAX_EVENT_SIZE as u64)?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    /// `transport`, which both ends must agree on.
    pub(crate) fn transport(&self) -> Result<Transport, OptionsError> {
        match self.0.text("transport")? {
            // Salt ignores it, and talks in clear.
            "zeromq" if TlsOptions::from_option(self.0.get("ssl"))?.is_some() => {
                Err(OptionsError::Value {
                    option: "ssl",
                    expected: "transport: tcp or ws, which can be within TLS",
                    found: "transport: zeromq".to_owned(),
                })
            }
            "zeromq" => Ok(Transport::ZeroMq),
            "tcp" => Ok(Transport::Tcp),
            "ws" => Ok(Transport::Ws),
            other => Err(OptionsError::Value {
                option: "transport",
                expected: "zeromq, tcp or ws",
                found: other.to_owned(),
            }),
        }
    }
}

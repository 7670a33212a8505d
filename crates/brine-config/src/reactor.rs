//! The options under `brine: {reactor: …}`: limits that Salt's reactor does not have.
//!
//! Only values; defaults are the reactor's. Salt's option `reactor` says which files react to which events.

use std::time::Duration;

use brine_wire::Value;

use crate::brine_values::unknown;
use crate::error::ConfigError;
use crate::history::{Age, age, bad};

/// `reactor`: limits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReactorOptions {
    /// `timeout` (time; `1h`): how long a runner or wheel function may take.
    pub timeout: Option<Duration>,
    /// `rate` (number; 1000): how many reactions each rule may start per second; further ones wait.
    pub rate: Option<u32>,
    /// `max_age` (time or `forever`; `1h`): events older than this are skipped after a restart.
    pub max_age: Option<Age>,
    /// `throttle` (patterns of rules with the options below; none): which rules react less often.
    pub throttle: Vec<ThrottleOption>,
}

/// `throttle: {PATTERN: {run: first, within: 1m, key: data['id']}}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThrottleOption {
    /// The pattern, as `reactor` has it.
    pub glob: String,
    /// `run` (`first` or `last`): react at once to the first event, or to the newest when the time is over.
    pub is_last: bool,
    /// `within` (time): the time in which the rule reacts once.
    pub within: Duration,
    /// `key` (text; none): an expression of Jinja over `tag` and `data`; events of different values do not concern each other.
    pub key: Option<String>,
}

const KEYS: [&str; 4] = [
    "reactor.timeout",
    "reactor.rate",
    "reactor.max_age",
    "reactor.throttle",
];

impl ReactorOptions {
    pub(crate) fn parse(value: &Value) -> Result<Self, ConfigError> {
        let mut reactor = Self::default();
        let options = value
            .as_map()
            .ok_or_else(|| bad("reactor", "a mapping of its options", value))?;
        for (key, value) in options {
            match key.as_str() {
                Some("timeout") => reactor.timeout = Some(time("reactor.timeout", value)?),
                Some("rate") => {
                    let rate = value.as_int().and_then(|rate| u32::try_from(rate).ok());
                    let rate = rate.filter(|rate| *rate > 0);
                    let expected = "a number of reactions per second, from 1";
                    reactor.rate = Some(rate.ok_or_else(|| bad("reactor.rate", expected, value))?);
                }
                Some("max_age") => reactor.max_age = Some(age("reactor.max_age", value)?),
                Some("throttle") => reactor.throttle = throttles(value)?,
                other => {
                    let key = other.unwrap_or("a key that is not text");
                    return Err(unknown(&format!("reactor.{key}"), &KEYS));
                }
            }
        }
        Ok(reactor)
    }
}

fn throttles(value: &Value) -> Result<Vec<ThrottleOption>, ConfigError> {
    const KEY: &str = "reactor.throttle";
    let expected = "a mapping of the patterns of reactor to {run, within, key}";
    let rules = value.as_map().ok_or_else(|| bad(KEY, expected, value))?;
    let mut throttles = Vec::new();
    for (glob, options) in rules {
        let glob = glob.as_str().ok_or_else(|| bad(KEY, expected, glob))?;
        let options = options
            .as_map()
            .ok_or_else(|| bad(KEY, expected, options))?;
        let mut throttle = ThrottleOption {
            glob: glob.to_owned(),
            is_last: false,
            within: Duration::ZERO,
            key: None,
        };
        for (key, value) in options {
            match (key.as_str(), value.as_str()) {
                (Some("run"), Some("first")) => throttle.is_last = false,
                (Some("run"), Some("last")) => throttle.is_last = true,
                (Some("run"), _) => {
                    return Err(bad("reactor.throttle: run", "first or last", value));
                }
                (Some("within"), _) => throttle.within = time("reactor.throttle: within", value)?,
                (Some("key"), Some(key)) => throttle.key = Some(key.to_owned()),
                (Some("key"), _) => {
                    return Err(bad(
                        "reactor.throttle: key",
                        "an expression, such as data['id']",
                        value,
                    ));
                }
                (other, _) => {
                    let key = other.unwrap_or("a key that is not text");
                    return Err(unknown(
                        &format!("reactor.throttle: {key}"),
                        &[
                            "reactor.throttle: run",
                            "reactor.throttle: within",
                            "reactor.throttle: key",
                        ],
                    ));
                }
            }
        }
        if throttle.within.is_zero() {
            return Err(bad(
                KEY,
                "within, a time such as 30s, for each pattern",
                &options.clone().into(),
            ));
        }
        throttles.push(throttle);
    }
    Ok(throttles)
}

fn time(key: &'static str, value: &Value) -> Result<Duration, ConfigError> {
    match age(key, value)? {
        Age::For(time) if !time.is_zero() => Ok(time),
        _ => Err(bad(key, "a time such as 30s", value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<ReactorOptions, String> {
        let value = crate::yaml::load(yaml.as_bytes()).unwrap();
        ReactorOptions::parse(&value).map_err(|error| error.to_string())
    }

    #[test]
    fn limits_are_read() {
        assert_eq!(parse("{}"), Ok(ReactorOptions::default()));
        let read = parse("{timeout: 10m, rate: 50, max_age: 1h, throttle: {'a/*': {run: last, within: 30s, key: tag}}}").unwrap();
        assert_eq!(read.timeout, Some(Duration::from_secs(600)));
        assert_eq!(read.rate, Some(50));
        assert_eq!(read.throttle[0].within, Duration::from_secs(30));
        assert!(read.throttle[0].is_last);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for (yaml, named) in [
            ("1", "reactor: expected"),
            ("{rate: 0}", "reactor.rate"),
            ("{timeuot: 1m}", "did you mean reactor.timeout"),
            ("{throttle: {a: {run: last}}}", "within"),
            ("{throttle: {a: {within: 1m, run: 1}}}", "first or last"),
            ("{throttle: [a]}", "reactor.throttle"),
        ] {
            let error = parse(yaml).unwrap_err();
            assert!(error.contains(named), "{yaml}: {error}");
        }
    }
}

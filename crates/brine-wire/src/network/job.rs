//! A job: what a master publishes, what a minion takes from it, and the events it makes.
//!
//! Facts: `docs/protocol/network.md` §10.1, §10.2, §10.4.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Jid, MinionId, field};
use crate::tag::{SALT, tagify};
use crate::value::{Map, Value};

/// A job, from its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The function; a list for compound execution.
    pub fun: Value,
    /// Its arguments; keyword arguments are the last, marked with `__kwarg__`.
    pub arg: Vec<Value>,
    /// The target: text or a list.
    pub tgt: Value,
    /// Its id.
    pub jid: Jid,
    /// A returner, mostly empty.
    pub ret: String,
    /// How `tgt` is to be read.
    pub tgt_type: String,
    /// Who wants it.
    pub user: String,
    /// The master that publishes it, where a master of masters needs to know.
    pub master_id: Option<String>,
    /// What parts keys in grain targets, if not a colon.
    pub delimiter: Option<String>,
    /// The `id` that a client may give.
    pub id: Option<String>,
    /// The client's timeout, in seconds.
    pub to: Option<i64>,
    /// `ret_config`, `metadata`, `module_executors`, `executor_opts`, `ret_kwargs`.
    pub options: Map,
    /// Minions fire an event when they begin (3008).
    pub start_event: bool,
    /// What the user may do, for syndics.
    pub auth_list: Option<Value>,
}

/// The keys of [`Job::options`], in order.
const OPTIONS: [&str; 5] = [
    "ret_config",
    "metadata",
    "module_executors",
    "executor_opts",
    "ret_kwargs",
];

impl Job {
    /// A job with nothing but what every job has: glob target, no returner.
    #[must_use]
    pub fn new(fun: &str, arg: Vec<Value>, tgt: impl Into<Value>, jid: Jid, user: &str) -> Self {
        Self {
            fun: fun.into(),
            arg,
            tgt: tgt.into(),
            jid,
            ret: String::new(),
            tgt_type: "glob".into(),
            user: user.into(),
            master_id: None,
            delimiter: None,
            id: None,
            to: None,
            options: Map::new(),
            start_event: false,
            auth_list: None,
        }
    }

    /// The job map without `serial`, in Salt's order of keys: also the data of the `publish` event.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let mut map = Map::new();
        map.insert("fun", self.fun.clone());
        map.insert("arg", self.arg.clone());
        map.insert("tgt", self.tgt.clone());
        map.insert("jid", self.jid.as_str());
        map.insert("ret", self.ret.as_str());
        for (key, text) in [
            ("master_id", &self.master_id),
            ("delimiter", &self.delimiter),
            ("id", &self.id),
        ] {
            if let Some(text) = text {
                map.insert(key, text.as_str());
            }
        }
        map.insert("tgt_type", self.tgt_type.as_str());
        if let Some(to) = self.to {
            map.insert("to", to);
        }
        for key in OPTIONS {
            if let Some(value) = self.options.get(key) {
                map.insert(key, value.clone());
            }
        }
        if self.start_event {
            map.insert("start_event", true);
        }
        map.insert("user", self.user.as_str());
        if let Some(auth_list) = &self.auth_list {
            map.insert("auth_list", auth_list.clone());
        }
        map
    }

    /// Reads a published map; `None` if `tgt`, `jid`, `fun` or `arg` is missing or of a type no
    /// minion can follow: such a publish is ignored.
    #[must_use]
    pub fn parse(map: &Map) -> Option<Self> {
        let text = |key| field::text(map, key).map(String::from);
        let arg = match map.get("arg")? {
            Value::Array(items) => items.clone(),
            _ => return None,
        };
        let fun = map.get("fun")?;
        let tgt = map.get("tgt")?;
        let runnable = matches!(fun, Value::Str(_) | Value::Array(_));
        let addressed = matches!(tgt, Value::Str(_) | Value::Array(_));
        (runnable && addressed).then_some(())?;
        Some(Self {
            fun: fun.clone(),
            arg,
            tgt: tgt.clone(),
            jid: Jid::parse(field::text(map, "jid")?).ok()?,
            ret: text("ret").unwrap_or_default(),
            tgt_type: text("tgt_type").unwrap_or_else(|| "glob".into()),
            user: text("user").unwrap_or_default(),
            master_id: text("master_id"),
            delimiter: text("delimiter"),
            id: text("id"),
            to: map
                .get("to")
                .and_then(Value::as_int)
                .and_then(|to| i64::try_from(to).ok()),
            options: OPTIONS
                .into_iter()
                .filter_map(|key| Some((key, map.get(key)?.clone())))
                .collect(),
            start_event: map.get("start_event").is_some_and(Value::is_true),
            auth_list: map.get("auth_list").cloned(),
        })
    }

    /// Tag and data of the event `new`.
    #[must_use]
    pub fn new_event(&self, minions: &[MinionId], missing: &[MinionId]) -> (String, Map) {
        let data = [
            ("jid", Value::from(self.jid.as_str())),
            ("tgt_type", self.tgt_type.as_str().into()),
            ("tgt", self.tgt.clone()),
            ("user", self.user.as_str().into()),
            ("fun", self.fun.clone()),
            ("arg", self.arg.clone().into()),
            ("minions", ids(minions)),
            ("missing", ids(missing)),
        ];
        (
            tagify([self.jid.as_str(), "new"], "job", SALT),
            data.into_iter().collect(),
        )
    }

    /// Tag and data of the event `publish` (3007 and 3008).
    #[must_use]
    pub fn publish_event(&self) -> (String, Map) {
        (
            tagify([self.jid.as_str(), "publish"], "job", SALT),
            self.to_map(),
        )
    }

    /// Tag and data of the event under the bare job id (3006 and 3007).
    #[must_use]
    pub fn minions_event(&self, minions: &[MinionId]) -> (String, Map) {
        (
            self.jid.as_str().into(),
            [("minions", ids(minions))].into_iter().collect(),
        )
    }
}

/// Tag and data of the event for a publish that was refused: the client's load without what it
/// signed in with, and the error. Real masters leave secrets in `kwargs`.
#[must_use]
pub fn error_event(load: &Map, name: &str, message: &str) -> (String, Map) {
    let jid = field::text(load, "jid").and_then(|jid| Jid::parse(jid).ok());
    let tag = match jid {
        Some(jid) => format!("salt/job/{jid}/error"),
        None => "salt/job/error".into(),
    };
    let mut data = without_secrets(load);
    let error: Map = [("name", name), ("message", message)].into_iter().collect();
    data.insert("error", error);
    (tag, data)
}

/// Tag and data of the event for a publish of somebody whose key is unknown: always the same tag and four fields of
/// at most 256 bytes, since strangers can cause it.
#[must_use]
pub fn stranger_error_event(load: &Map, name: &str, message: &str) -> (String, Map) {
    const MOST: usize = 256;
    let mut data = Map::new();
    for key in ["user", "fun", "tgt"] {
        let text = field::text(load, key).unwrap_or_default();
        let end = (0..=text.len().min(MOST))
            .rev()
            .find(|at| text.is_char_boundary(*at));
        data.insert(key, &text[..end.unwrap_or(0)]);
    }
    let error: Map = [("name", name), ("message", message)].into_iter().collect();
    data.insert("error", error);
    ("salt/job/error".into(), data)
}

/// A map without `password`, `token` and `key`, at every depth.
#[must_use]
pub fn without_secrets(map: &Map) -> Map {
    let secret = |key: &Value| matches!(key.as_str(), Some("password" | "token" | "key"));
    let kept: Vec<_> = map
        .iter()
        .filter(|(key, _)| !secret(key))
        .map(|(key, value)| (key.clone(), clear_of_secrets(value)))
        .collect();
    Map::from(kept)
}

fn clear_of_secrets(value: &Value) -> Value {
    match value {
        Value::Map(map) => without_secrets(map).into(),
        Value::Array(items) => Value::Array(items.iter().map(clear_of_secrets).collect()),
        other => other.clone(),
    }
}

/// Minion ids as a list.
#[must_use]
pub fn ids(minions: &[MinionId]) -> Value {
    Value::Array(minions.iter().map(|id| id.as_str().into()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_job_survives_the_wire() {
        let jid = Jid::parse("20261123205947223006").unwrap();
        let mut job = Job::new("test.ping", vec![1.into()], "*", jid, "root");
        job.delimiter = Some("|".into());
        job.to = Some(5);
        job.start_event = true;
        job.options.insert("metadata", "x");
        assert_eq!(Job::parse(&job.to_map()), Some(job.clone()));
        let keys: Vec<_> = job
            .to_map()
            .iter()
            .map(|(key, _)| String::from(key.as_str().unwrap()))
            .collect();
        assert_eq!(
            keys,
            [
                "fun",
                "arg",
                "tgt",
                "jid",
                "ret",
                "delimiter",
                "tgt_type",
                "to",
                "metadata",
                "start_event",
                "user"
            ]
        );
    }

    #[test]
    fn a_publish_without_the_four_fields_is_ignored() {
        let jid = Jid::parse("1").unwrap();
        let whole = Job::new("test.ping", vec![], "*", jid, "root").to_map();
        for key in ["fun", "arg", "tgt", "jid"] {
            let mut lacking = whole.clone();
            lacking.remove(key);
            assert_eq!(Job::parse(&lacking), None, "{key}");
            lacking.insert(key, 5);
            assert_eq!(Job::parse(&lacking), None, "{key}");
        }
        let mut path = whole;
        path.insert("jid", "../x");
        assert_eq!(Job::parse(&path), None);
    }

    #[test]
    fn the_event_of_a_refused_publish_has_no_secrets() {
        let kwargs: Map = [("password", "p"), ("username", "u"), ("token", "t")]
            .into_iter()
            .collect();
        let load: Map = [
            ("tgt", Value::from("*")),
            ("key", "k".into()),
            ("kwargs", kwargs.into()),
            ("jid", "7".into()),
        ]
        .into_iter()
        .collect();
        let (tag, data) = error_event(&load, "AuthenticationError", "no");
        assert_eq!(tag, "salt/job/7/error");
        let mut line = String::new();
        crate::json::to_line(&data.into(), &mut line);
        assert_eq!(
            line,
            r#"{"tgt": "*", "kwargs": {"username": "u"}, "jid": "7", "error": {"name": "AuthenticationError", "message": "no"}}"#
        );
        let mut stranger = load.clone();
        stranger.insert("fun", "é".repeat(1000));
        stranger.insert("more", "x".repeat(1_000_000));
        let (tag, data) = stranger_error_event(&stranger, "AuthenticationError", "no");
        assert_eq!(tag, "salt/job/error");
        assert_eq!(data.len(), 4);
        assert_eq!(data.get("fun"), Some(&"é".repeat(128).into()));
        let odd: Map = [("jid", "../x\n\n")].into_iter().collect();
        assert_eq!(error_event(&odd, "", "").0, "salt/job/error");
    }
}

//! A request to publish a job, from `salt`, a script or the reactor.
//!
//! The typed load of a clear `publish` request, without the user and the key.
//! Facts: `docs/protocol/network.md` §12.

use brine_wire::network::{Jid, MinionId, field};
use brine_wire::{Map, Value};

use crate::target::DELIMITER;

/// A job to publish.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRequest {
    /// Which minions: a text or a list, as `tgt_type` says.
    pub tgt: Value,
    /// `glob`, `pcre`, `list`, `grain`, `grain_pcre`, `ipcidr`, `nodegroup` or `compound`.
    pub tgt_type: String,
    /// The function, or a list of several.
    pub fun: Value,
    /// Its arguments; keyword arguments in one mapping marked `__kwarg__`. For several functions a list for each.
    pub arg: Vec<Value>,
    /// The returner; mostly empty.
    pub ret: String,
    /// The job's id, if the client chooses it.
    pub jid: Option<Jid>,
    /// More options of the job: `delimiter`, `metadata`, `ret_config` and the like.
    pub kwargs: Map,
}

impl JobRequest {
    /// A job for the minions of a target, with a function that takes no arguments.
    #[must_use]
    pub fn new(tgt: impl Into<Value>, tgt_type: &str, fun: impl Into<Value>) -> Self {
        Self {
            tgt: tgt.into(),
            tgt_type: tgt_type.to_owned(),
            fun: fun.into(),
            arg: Vec::new(),
            ret: String::new(),
            jid: None,
            kwargs: Map::new(),
        }
    }

    /// Reads the load of a `publish`; `None` without a function or a target.
    #[must_use]
    pub fn from_load(load: &Map) -> Option<Self> {
        let kwargs = load.get("kwargs").and_then(Value::as_map);
        Some(Self {
            tgt: load.get("tgt")?.clone(),
            tgt_type: field::text(load, "tgt_type").unwrap_or("glob").to_owned(),
            fun: load.get("fun")?.clone(),
            arg: match load.get("arg") {
                Some(Value::Array(arg)) => arg.clone(),
                _ => Vec::new(),
            },
            ret: field::text(load, "ret").unwrap_or_default().to_owned(),
            jid: field::text(load, "jid").and_then(|jid| Jid::parse(jid).ok()),
            kwargs: kwargs.cloned().unwrap_or_default(),
        })
    }

    /// The load of a `publish` in Salt's order, with the user's name and key.
    #[must_use]
    pub fn to_load(&self, user: &str, key: &str) -> Map {
        let mut load = Map::new();
        load.insert("cmd", "publish");
        load.insert("tgt", self.tgt.clone());
        load.insert("fun", self.fun.clone());
        load.insert("arg", self.arg.clone());
        // Masters of Salt fire a request that they refuse as an event, with the key in it; whoever proves with a token or a
        // password who asks does not need it.
        let kwargs = &self.kwargs;
        if kwargs.get("token").or(kwargs.get("eauth")).is_none() {
            load.insert("key", key);
        }
        load.insert("tgt_type", self.tgt_type.as_str());
        load.insert("ret", self.ret.as_str());
        load.insert("jid", self.jid.as_ref().map_or("", Jid::as_str));
        load.insert("kwargs", self.kwargs.clone());
        load.insert("user", user);
        load
    }

    /// The separator of keys in a grain target.
    pub(crate) fn delimiter(&self) -> &str {
        field::text(&self.kwargs, "delimiter").unwrap_or(DELIMITER)
    }
}

/// A published job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its id; `None` if no minion matched, and nothing was sent.
    pub jid: Option<Jid>,
    /// The minions it was sent to.
    pub minions: Vec<MinionId>,
    /// Ids in a list target that have no accepted key.
    pub missing: Vec<MinionId>,
}

/// Why a job was not published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// `publisher_acl_blacklist` names the user or a function.
    #[error("publisher_acl_blacklist forbids this job")]
    Blacklisted,
    /// `publisher_acl` does not permit the job.
    #[error("publisher_acl does not permit this job")]
    NotPermitted,
    /// The job cache has a job of another user under this id.
    #[error("Authorization error occurred: another user's job has this job id")]
    JidInUse,
    /// The master is shutting down.
    #[error("the master is shutting down")]
    ShuttingDown,
}

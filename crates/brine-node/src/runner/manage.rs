//! `manage.*` and `jobs.active`: which minions answer now, and what they answer; and which are connected.
//!
//! Facts: Salt 3008.3 and 3006.28, by running them.

use std::time::Duration;

use brine_wire::network::MinionId;
use brine_wire::returns::Timeouts;
use brine_wire::{Map, Value};

use super::jobs;
use super::operator::{Minions, Operator};
use crate::client::{ClientError, MinionReply, ReplyKind};
use crate::job_request::JobRequest;

/// A question to minions.
#[derive(Debug, Clone, PartialEq)]
pub struct Inquiry {
    /// What is asked.
    pub what: What,
    /// Which minions are asked.
    pub tgt: Value,
    /// How `tgt` is to be read.
    pub tgt_type: String,
    /// Seconds, instead of the configured ones.
    pub timeout: Option<u64>,
    /// Seconds, instead of the configured ones.
    pub gather_job_timeout: Option<u64>,
}

/// What minions are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// `manage.up`
    Up,
    /// `manage.down`
    Down,
    /// `manage.status`
    Status,
    /// `jobs.active`
    Active,
}

/// Asks the minions; what the runner function returns.
pub(super) async fn answer(
    inquiry: &Inquiry,
    operator: &impl Operator,
) -> Result<Value, ClientError> {
    let fun = match inquiry.what {
        What::Active => "saltutil.running",
        What::Up | What::Down | What::Status => "test.ping",
    };
    let request = JobRequest::new(inquiry.tgt.clone(), &inquiry.tgt_type, fun);
    let configured = operator.timeouts();
    let timeouts = Timeouts {
        timeout: inquiry
            .timeout
            .map_or(configured.timeout, Duration::from_secs),
        gather: (inquiry.gather_job_timeout).map_or(configured.gather, Duration::from_secs),
    };
    let replies = operator.gather(request, timeouts).await?;
    let (up, down): (Vec<_>, Vec<_>) = replies
        .iter()
        .partition(|reply| reply.kind == ReplyKind::Returned);
    Ok(match inquiry.what {
        What::Active => jobs::active(&replies, operator.jobs()),
        What::Up => ids(&up),
        What::Down => ids(&down),
        What::Status => Map::from_iter([("up", ids(&up)), ("down", ids(&down))]).into(),
    })
}

/// A question which minions are connected: `manage.present` and its other names.
#[derive(Debug, Clone, PartialEq)]
pub struct Presence {
    /// Those that are, or those with accepted keys that are not.
    pub is_connected: bool,
    /// Of these ids only.
    pub subset: Option<Vec<String>>,
    /// Each with its address.
    pub show_ip: bool,
}

/// The ids, or a mapping of ids to addresses. Blocks on the disk.
pub(super) fn present(asked: &Presence, minions: &Minions) -> Value {
    let is_wanted = |id: &MinionId| {
        let subset = asked.subset.as_ref();
        subset.is_none_or(|subset| subset.iter().any(|wanted| wanted == id.as_str()))
    };
    let connected = minions.connected();
    if !asked.is_connected {
        let is_absent = |id: &MinionId| !connected.iter().any(|(own, _)| own == id);
        let absent = minions.cache.accepted().into_iter().filter(is_absent);
        let absent = absent.filter(is_wanted);
        return Value::Array(absent.map(|id| id.as_str().into()).collect());
    }
    let connected = connected.into_iter().filter(|(id, _)| is_wanted(id));
    match asked.show_ip {
        true => {
            let shown = connected.map(|(id, at)| {
                let at = at.map_or(Value::Nil, |at| at.to_string().into());
                (id.as_str().into(), at)
            });
            Map::from_pairs(shown.collect()).into()
        }
        false => Value::Array(connected.map(|(id, _)| id.as_str().into()).collect()),
    }
}

fn ids(replies: &[&MinionReply]) -> Value {
    let mut ids: Vec<_> = replies.iter().map(|reply| reply.id.as_str()).collect();
    ids.sort_unstable();
    Value::Array(ids.into_iter().map(Value::from).collect())
}

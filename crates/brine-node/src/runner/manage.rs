//! `manage.*` and `jobs.active`: which minions answer now, and what they answer; and which are connected.
//!
//! Facts: Salt 3008.3 and 3006.28, by running them.

use std::cmp::Ordering;
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
    /// `manage.versions`
    Versions,
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
        What::Versions => "test.version",
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
        What::Versions => versions(&replies, operator.release()),
    })
}

/// The minions' releases, by how they compare with the master's.
fn versions(replies: &[MinionReply], master: &str) -> Value {
    let own = Release::of(master);
    let mut by_kind: Vec<(&str, Vec<(&str, Value)>)> = Vec::new();
    for reply in replies {
        let has_returned = reply.kind == ReplyKind::Returned && reply.retcode == 0;
        let version = reply.ret.as_str().filter(|_| has_returned);
        let (kind, shown) = match (version, version.and_then(Release::of)) {
            (Some(version), Some(release)) => {
                let kind = match Some(release).cmp(&own) {
                    Ordering::Less => "Minion requires update",
                    Ordering::Equal => "Up to date",
                    Ordering::Greater => "Minion newer than master",
                };
                (kind, version.into())
            }
            _ => ("Minion offline", false.into()),
        };
        let minion = (reply.id.as_str(), shown);
        match by_kind.iter_mut().find(|(own, _)| *own == kind) {
            Some((_, minions)) => minions.push(minion),
            None => by_kind.push((kind, vec![minion])),
        }
    }
    let mut versions = Map::new();
    for (kind, mut minions) in by_kind {
        minions.sort_by_key(|(id, _)| *id);
        versions.insert(kind, minions.into_iter().collect::<Map>());
    }
    versions.insert("Master", master);
    versions.into()
}

/// A release of Salt, as far as it says which of two is newer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Release {
    numbers: Vec<u64>,
    stage: Stage,
}

/// What stands behind the numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// `3008.0rc1`
    Candidate,
    Final,
    /// `3008.3+12.g0123abc`
    Later,
}

impl Release {
    fn of(text: &str) -> Option<Self> {
        let text = text.trim_start_matches('v');
        let is_behind = |letter: char| !letter.is_ascii_digit() && letter != '.';
        let end = text.find(is_behind).unwrap_or(text.len());
        let numbers = text[..end].split('.').map(str::parse::<u64>);
        Some(Self {
            numbers: numbers.collect::<Result<_, _>>().ok()?,
            stage: match text[end..].chars().next() {
                None => Stage::Final,
                Some('+' | '-') => Stage::Later,
                Some(_) => Stage::Candidate,
            },
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minions_are_shown_by_how_their_release_compares_with_the_masters() {
        let reply = |id: &str, ret: Value, kind| MinionReply {
            id: id.to_owned(),
            ret,
            retcode: 0,
            out: None,
            kind,
        };
        let returned = |id: &str, version: &str| reply(id, version.into(), ReplyKind::Returned);
        let replies = [
            returned("same", "3008.3"),
            returned("old2", "3008.3rc1"),
            returned("old1", "2019.2.8"),
            returned("new", "3008.10"),
            returned("newer", "3008.3+12.g0123abc"),
            returned("odd", "?"),
            reply("off", Value::Nil, ReplyKind::NoResponse),
        ];
        let mut shown = String::new();
        brine_wire::json::to_line(&versions(&replies, "3008.3"), &mut shown);
        assert_eq!(
            shown,
            r#"{"Up to date": {"same": "3008.3"}, "Minion requires update": {"old1": "2019.2.8", "old2": "3008.3rc1"}, "Minion newer than master": {"new": "3008.10", "newer": "3008.3+12.g0123abc"}, "Minion offline": {"odd": false, "off": false}, "Master": "3008.3"}"#
        );
    }
}

//! A master that shares its bus with others: it passes jobs on to them, publishes theirs, and knows which minions
//! they have.
//!
//! The caller provides the transport ([`Peers`]); this file decides what its messages mean. Each master resolves a
//! target against its own keys and publishes to its own minions. The master that was asked waits a moment for the
//! others, so that its answer names all minions and clients wait for all of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use brine_bus::client::EventRef;
use brine_log::Events;
use brine_wire::network::job::ids;
use brine_wire::network::{Jid, MinionId};
use brine_wire::returns::JOB_TAG;
use brine_wire::{Map, Value, msgpack};
use tokio::task::spawn_blocking;

use super::access::acl::{self, Wanted};
use super::access::{Caller, Rights};
use super::context::Context;
use super::handle::MasterHandle;
use crate::job_request::JobRequest;

/// The other masters, whatever carries messages to them.
pub trait Peers: Send + Sync {
    /// Has them publish a job to their minions; returns the answers that arrive in time. Blocks.
    fn publish(&self, job: Vec<u8>) -> Vec<Vec<u8>>;

    /// The ids of the minions that are connected to them.
    fn present(&self) -> Vec<String>;
}

impl MasterHandle {
    /// From now on this master is one of several: jobs are passed on to the others, and what minions of theirs return
    /// is kept in the job cache here, too. Must be called within the runtime.
    pub fn join(&self, peers: Arc<dyn Peers>) {
        // A second one would be of the same masters.
        let _ = self.context.peers.set(peers);
        let context = Arc::clone(&self.context);
        let mut events = self.context.bus.follow();
        self.context.spawn(async move {
            loop {
                match events.ready().await {
                    Ok(run) => {
                        context.keep_jobs_of_others(&run).await;
                        events.advance(&run, run.len());
                    }
                    Err(gap) => events.skip(gap),
                }
            }
        });
    }

    /// Publishes a job that another master has passed on, to this one's minions; the answer for that master. Dropping
    /// the future does not take it back.
    pub async fn publish_for_peer(&self, master: String, job: Vec<u8>) -> Vec<u8> {
        let context = Arc::clone(&self.context);
        let published = spawn_blocking(move || context.publish_for_peer(&master, &job)).await;
        let mut answer = Map::new();
        answer.insert("minions", ids(&published.unwrap_or_default()));
        packed(&answer)
    }

    /// The minions that are connected now, to this master or to another of its site. May take milliseconds.
    #[must_use]
    pub fn connected_anywhere(&self) -> Vec<MinionId> {
        self.context.present_anywhere()
    }
}

impl Context {
    /// The minions that are connected now, to this master or to another of its site.
    pub(super) fn present_anywhere(&self) -> Vec<MinionId> {
        let mut present = self.present();
        if let Some(peers) = self.peers.get() {
            let known: BTreeSet<_> = present.iter().map(|id| id.as_str().to_owned()).collect();
            let others = peers.present().into_iter().filter(|id| !known.contains(id));
            present.extend(others.filter_map(|id| MinionId::parse(&id).ok()));
        }
        present
    }

    /// Has the other masters publish a job too; the minions they have sent it to.
    pub(super) fn pass_on(&self, request: &JobRequest, jid: &Jid, by: &Caller) -> Vec<MinionId> {
        let Some(peers) = self.peers.get() else {
            return Vec::new();
        };
        let mut load = request.to_load(&by.user, "");
        load.insert("jid", jid.as_str());
        let mut job = Map::new();
        job.insert("load", load);
        // Each master checks them against its own minions.
        if let Rights::Listed(entries) | Rights::External(entries) = &by.rights {
            job.insert("entries", Value::Array(entries.clone()));
        }
        let answers = peers.publish(packed(&job));
        let minions = answers.iter().flat_map(|answer| minions_of(answer));
        let minions: BTreeSet<_> = minions.collect();
        let parsed = minions.iter().filter_map(|id| MinionId::parse(id).ok());
        parsed.collect()
    }

    /// Publishes a job of another master to our own minions; to which.
    fn publish_for_peer(&self, master: &str, job: &[u8]) -> Vec<MinionId> {
        let Some(PeerJob {
            request,
            load,
            user,
            entries,
        }) = PeerJob::read(job)
        else {
            tracing::warn!(master, "a job of another master cannot be read");
            return Vec::new();
        };
        let minions = self.targets(&request).minions;
        if minions.is_empty() {
            return minions;
        }
        let by = match &entries {
            Some(entries) => Caller::external(user.clone(), entries.clone()),
            None => Caller::unrestricted(user.clone()),
        };
        let Some(_reserved) = self.reserve(request.jid.as_ref(), &by) else {
            return Vec::new();
        };
        if let Some(entries) = entries {
            let wanted = Wanted {
                fun: &request.fun,
                arg: &request.arg,
                minions: &minions,
            };
            let select = |target: &str| self.matching(&target.into(), "compound");
            if !acl::permits(&entries, &wanted, select) {
                tracing::warn!(
                    master,
                    user,
                    "job of another master refused: its user may not run it on this master's minions"
                );
                return Vec::new();
            }
        }
        self.publish_to(&request, &load, &user, &minions);
        minions
    }

    /// Keeps what an event of another master says about a job.
    async fn keep_jobs_of_others(&self, run: &Events) {
        let foreign = run.iter().filter(|event| event.origin.is_some());
        let of_jobs = foreign.filter(|event| event.event.starts_with(JOB_TAG.as_bytes()));
        let mut begun = Vec::new();
        for event in of_jobs.filter_map(|event| EventRef::parse(event.event)) {
            let mut parts = event.tag()[JOB_TAG.len()..].splitn(3, '/');
            let jid = parts.next().and_then(|jid| Jid::parse(jid).ok());
            let (Some(jid), Some(kind)) = (jid, parts.next()) else {
                continue;
            };
            let id = parts.next();
            if !matches!((kind, id), ("ret", Some(_)) | ("new", None)) {
                continue;
            }
            let Ok(Value::Map(data)) = event.decode() else {
                continue;
            };
            match id.map(MinionId::parse) {
                Some(Ok(id)) => self.returns.returned(jid, id, data),
                Some(Err(_)) => {}
                None => begun.push((jid, data)),
            }
        }
        if begun.is_empty() {
            return;
        }
        let jobs = self.jobs.clone();
        let kept = spawn_blocking(move || {
            for (jid, mut data) in begun {
                let minions: Vec<_> = texts(&data, "minions");
                let minions: Vec<_> = minions
                    .iter()
                    .filter_map(|id| MinionId::parse(id).ok())
                    .collect();
                data.remove("minions");
                data.remove("missing");
                let load = jobs.load(&jid).unwrap_or(data);
                if let Err(error) = jobs.begin(&jid, &load, &minions) {
                    tracing::error!(%error, %jid, "cannot write another master's job to the job cache");
                }
            }
        });
        let _ = kept.await; // a panic is printed
    }
}

/// A job as one master passes it on to others.
struct PeerJob {
    request: JobRequest,
    /// What the job cache keeps.
    load: Map,
    user: String,
    /// What the user may do, unless that is anything.
    entries: Option<Vec<Value>>,
}

impl PeerJob {
    fn read(job: &[u8]) -> Option<Self> {
        let Ok(Value::Map(mut job)) = msgpack::decode(job) else {
            return None;
        };
        let Some(Value::Map(load)) = job.remove("load") else {
            return None;
        };
        let entries = match job.remove("entries") {
            None => None,
            Some(Value::Array(entries)) => Some(entries),
            // Nobody's rights are everything by mistake.
            Some(_) => return None,
        };
        let request = JobRequest::from_load(&load)?;
        request.jid.as_ref()?;
        let user = load.get("user").and_then(Value::as_str)?.to_owned();
        Some(Self {
            request,
            load,
            user,
            entries,
        })
    }
}

/// The minions in an answer.
fn minions_of(answer: &[u8]) -> Vec<String> {
    match msgpack::decode(answer) {
        Ok(Value::Map(answer)) => texts(&answer, "minions"),
        _ => Vec::new(),
    }
}

fn texts(map: &Map, key: &str) -> Vec<String> {
    match map.get(key) {
        Some(Value::Array(ids)) => {
            let ids = ids.iter().filter_map(Value::as_str);
            ids.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

fn packed(map: &Map) -> Vec<u8> {
    let mut packed = Vec::new();
    msgpack::encode_map(map, &mut packed);
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_is_passed_on_is_read_as_it_was_written() {
        let mut request = JobRequest::new("web*", "glob", "test.ping");
        request.kwargs.insert("metadata", "x");
        let jid = Jid::parse("20261129080100000000").unwrap();
        let mut load = request.to_load("lars", "");
        load.insert("jid", jid.as_str());
        let mut job = Map::new();
        job.insert("load", load);
        let read = PeerJob::read(&packed(&job)).unwrap();
        request.jid = Some(jid);
        assert_eq!((read.request, read.user.as_str()), (request, "lars"));
        assert_eq!(read.entries, None);
        job.insert("entries", "everything");
        assert!(PeerJob::read(&packed(&job)).is_none());
    }

    #[test]
    fn a_job_without_an_id_or_a_user_is_none() {
        let request = JobRequest::new("*", "glob", "test.ping");
        for (name, value) in [("jid", ""), ("jid", "../x")] {
            let mut load = request.to_load("root", "");
            load.insert(name, value);
            let mut job = Map::new();
            job.insert("load", load);
            assert!(PeerJob::read(&packed(&job)).is_none(), "{name} {value}");
        }
        assert!(PeerJob::read(b"\x01").is_none());
    }
}

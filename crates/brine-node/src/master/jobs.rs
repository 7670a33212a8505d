//! Publishing jobs: who may, which minions a target selects, and what is sent.
//!
//! It checks a request against the access lists, resolves its target to minions with accepted keys, fires its events
//! on the bus, and sends one encrypted publish to the minions. It waits for the disk and for RSA, so threads that
//! read connections must not call it. Facts: `docs/protocol/network.md` §10, §12.

use std::sync::{Arc, PoisonError};

use brine_net::channel::{Audience, Publication};
use brine_wire::compat::Series;
use brine_wire::network::job::{Job, error_event, ids, stranger_error_event, without_secrets};
use brine_wire::network::payload::HANDLER_FAILED;
use brine_wire::network::{Jid, MinionId, field};
use brine_wire::{Map, Value, python_text};

use super::access::acl::{self, Wanted};
use super::access::{self, Caller, Rights};
use super::clear;
use super::context::Context;
use super::counters::add;
use super::external::too_many;
use super::maintenance;
use super::reserved::Reservation;
use crate::job_request::{JobRequest, PublishError, Published};
use crate::node_bus::since_epoch;
use crate::target::{Candidate, DELIMITER, Target};

/// Salt's name and message for a user who is known and not permitted.
const AUTHORIZATION: (&str, &str) = ("AuthorizationError", "Authorization error occurred.");

/// The options of a job that go to minions with it.
const JOB_OPTIONS: [&str; 5] = [
    "ret_config",
    "metadata",
    "module_executors",
    "executor_opts",
    "ret_kwargs",
];

/// Says what a caller may not do, and which option would permit it.
fn log_refusal(by: &Caller, request: &JobRequest) {
    /// As much of a function and a target as a line of the log takes.
    const MAX_SHOWN: usize = 100;
    let shown = |value: &Value| -> String {
        let text = python_text::str(value);
        text.chars().take(MAX_SHOWN).collect()
    };
    let option = match by.rights {
        Rights::External(_) => "external_auth",
        Rights::Everything | Rights::Listed(_) => "publisher_acl",
    };
    let (fun, tgt) = (shown(&request.fun), shown(&request.tgt));
    tracing::warn!(user = by.user, fun, tgt, "publish refused: {option}");
}

impl Context {
    /// Who sends this clear `publish`, by the key in its load; or the answer that refuses it.
    pub(super) fn caller(&self, load: &Map) -> Result<Caller, Value> {
        let (Some(user), Some(fun)) = (field::text(load, "user"), load.get("fun")) else {
            return Err(HANDLER_FAILED.into());
        };
        match self.access.caller(load, user, fun) {
            Ok(caller) => Ok(caller),
            Err(access::Refused::Blacklisted) => {
                tracing::warn!(user, "publish refused: publisher_acl_blacklist");
                Err(clear::error(AUTHORIZATION.0, AUTHORIZATION.1))
            }
            Err(access::Refused::Unknown) => {
                let (name, message) = ("AuthenticationError", "Authentication error occurred.");
                if self.refusal_events.allows() {
                    let (tag, data) = stranger_error_event(load, name, message);
                    self.fire(&tag, data);
                }
                Err(clear::error(name, message))
            }
        }
    }

    /// Who sends this clear `publish` and shows a token or logs in with it; or the answer that refuses it. Waits.
    pub(super) fn external_caller(
        &self,
        load: &Map,
        from: Option<std::net::IpAddr>,
    ) -> Result<Caller, Value> {
        let kwargs = load.get("kwargs").and_then(Value::as_map);
        let unknown = || clear::error("AuthenticationError", "Authentication error occurred.");
        let identified = self.external.identify(kwargs.ok_or_else(unknown)?, from);
        let caller = identified.map_err(|error| too_many(&error).unwrap_or_else(unknown))?;
        let fun = load.get("fun").unwrap_or(&Value::Nil);
        if self.access.is_blacklisted(&caller.user, fun) {
            tracing::warn!(
                user = caller.user,
                "publish refused: publisher_acl_blacklist"
            );
            return Err(clear::error(AUTHORIZATION.0, AUTHORIZATION.1));
        }
        Ok(caller)
    }

    /// Fires the event of a refusal; the answer to the client.
    fn refuse(&self, load: &Map, name: &str, message: &str) -> Value {
        if self.refusal_events.allows() {
            let (tag, data) = error_event(load, name, message);
            self.fire(&tag, data);
        }
        clear::error(name, message)
    }

    /// Answers a clear `publish` of a client whose key was checked.
    pub(super) fn answer_publish(&self, load: &Map, caller: &Caller) -> Value {
        let Some(request) = JobRequest::from_load(load) else {
            return HANDLER_FAILED.into();
        };
        if !self.permits(caller, &request) {
            log_refusal(caller, &request);
            return self.refuse(load, AUTHORIZATION.0, AUTHORIZATION.1);
        }
        let Some(_reserved) = self.reserve(request.jid.as_ref(), caller) else {
            return self.refuse(load, AUTHORIZATION.0, &PublishError::JidInUse.to_string());
        };
        answer(&request, &self.publish(&request, load, caller))
    }

    /// Publishes for a caller whose rights are known.
    pub(super) fn publish_for(
        &self,
        request: &JobRequest,
        by: &Caller,
    ) -> Result<Published, PublishError> {
        if self.access.is_blacklisted(&by.user, &request.fun) {
            tracing::warn!(user = by.user, "publish refused: publisher_acl_blacklist");
            return Err(PublishError::Blacklisted);
        }
        if !self.permits(by, request) {
            log_refusal(by, request);
            return Err(PublishError::NotPermitted);
        }
        let Some(_reserved) = self.reserve(request.jid.as_ref(), by) else {
            return Err(PublishError::JidInUse);
        };
        let load = request.to_load(&by.user, "");
        Ok(self.publish(request, &load, by))
    }

    fn permits(&self, caller: &Caller, request: &JobRequest) -> bool {
        let entries = match &caller.rights {
            Rights::Everything => return true,
            Rights::Listed(entries) | Rights::External(entries) => entries,
        };
        let wanted = Wanted {
            fun: &request.fun,
            arg: &request.arg,
            minions: &self.targets(request).minions,
        };
        acl::permits(entries, &wanted, |target| {
            self.matching(&target.into(), "compound")
        })
    }

    /// Reserves the id that a caller has chosen for a job, until the job is in the job cache; `None` if it may not use it:
    /// of the jobs there and of those that are being published only its own, which a batch adds to. Root and the master's
    /// user may, as in Salt everybody may, and pass on what syndics ask for.
    pub(super) fn reserve(&self, jid: Option<&Jid>, by: &Caller) -> Option<Reservation<'_>> {
        let is_master = self.access.is_master(by);
        let reservation = self.reserved.reserve(jid, &by.user, is_master);
        let reservation = reservation.filter(|_| {
            // Read after it is reserved: whoever had the id before has written the job by now.
            let known = jid.and_then(|jid| self.jobs.load(jid));
            is_master || known.is_none_or(|known| field::text(&known, "user") == Some(&by.user))
        });
        if reservation.is_none() {
            tracing::warn!(
                user = by.user,
                "publish refused: another user's job has this id"
            );
        }
        reservation
    }

    /// The minions with accepted keys that a target selects.
    pub(super) fn matching(&self, tgt: &Value, tgt_type: &str) -> Vec<MinionId> {
        self.select(tgt, tgt_type, DELIMITER, Trust::User).minions
    }

    /// The same for a target that a minion names.
    pub(super) fn matching_for_minion(&self, tgt: &Value, tgt_type: &str) -> Vec<MinionId> {
        self.select(tgt, tgt_type, DELIMITER, Trust::Minion).minions
    }

    /// Whether a target that a minion names selects this one.
    pub(super) fn matches_for_minion(&self, tgt: &Value, tgt_type: &str, id: &MinionId) -> bool {
        let target = self.parse_target(tgt, tgt_type, DELIMITER, Trust::Minion);
        target.is_some_and(|target| self.channel.is_accepted(id) && self.is_match(&target, id))
    }

    /// Publishes `test.ping` to all of this master's minions, so that they notice a new shared key and sign in again.
    pub(super) fn ping_all(&self) {
        let request = JobRequest::new("*", "glob", "test.ping");
        let user = &self.options.user;
        let Targets { minions, .. } = self.targets(&request);
        if !minions.is_empty() {
            let request = JobRequest {
                jid: Some(Jid::at(since_epoch())),
                ..request
            };
            self.publish_to(&request, &request.to_load(user, ""), user, &minions);
        }
    }

    /// Publishes a job that is permitted, on other masters of the site too. `load` is the request as the client sent it,
    /// which the job cache keeps.
    fn publish(&self, request: &JobRequest, load: &Map, by: &Caller) -> Published {
        let Targets {
            mut minions,
            mut missing,
        } = self.targets(request);
        let jid = request.jid.clone();
        let jid = jid.unwrap_or_else(|| Jid::at(since_epoch()));
        let own = minions.clone();
        let others = self.pass_on(request, &jid, by);
        if !others.is_empty() {
            missing.retain(|id| !others.contains(id));
            minions.extend(others);
            minions.sort();
            minions.dedup();
        }
        if minions.is_empty() {
            return Published {
                jid: None,
                minions,
                missing,
            };
        }
        let job = job(request, jid, &by.user);
        // Before it is sent: listeners may look the job up as soon as they see it.
        self.record(&job, load, &minions);
        self.announce(&job, &minions, &missing);
        if !own.is_empty() {
            self.send(&job, &own);
        }
        add(&self.counters.jobs_published, 1);
        Published {
            jid: Some(job.jid),
            minions,
            missing,
        }
    }

    /// Publishes a job that has an id to these minions, which are this master's.
    pub(super) fn publish_to(
        &self,
        request: &JobRequest,
        load: &Map,
        user: &str,
        minions: &[MinionId],
    ) {
        let Some(jid) = request.jid.clone() else {
            return;
        };
        let job = job(request, jid, user);
        self.record(&job, load, minions);
        self.announce(&job, minions, &[]);
        self.send(&job, minions);
        add(&self.counters.jobs_published, 1);
    }

    /// Writes the job to the job cache.
    fn record(&self, job: &Job, load: &Map, minions: &[MinionId]) {
        let mut kept = without_secrets(load);
        kept.insert("jid", job.jid.as_str());
        // The user who was authenticated, whatever the load says, as in Salt.
        kept.insert("user", job.user.as_str());
        if let Err(error) = self.jobs.begin(&job.jid, &kept, minions) {
            tracing::error!(%error, jid = %job.jid, "cannot write the job to the job cache");
        }
    }

    /// Fires the events of a new job. The client that asked for it connected to the bus before, so it gets them and
    /// all returns.
    fn announce(&self, job: &Job, minions: &[MinionId], missing: &[MinionId]) {
        let series = self.options.compat().series();
        if series != Series::S3008 {
            let (tag, data) = job.minions_event(minions);
            self.fire(&tag, data);
        }
        let (tag, data) = job.new_event(minions, missing);
        self.fire(&tag, data);
        if series != Series::S3006 {
            let (tag, data) = job.publish_event();
            self.fire(&tag, data);
        }
    }

    fn send(&self, job: &Job, minions: &[MinionId]) {
        maintenance::rotate_if_requested(self);
        let order = &self.publish_order;
        let _in_order = order.lock().unwrap_or_else(PoisonError::into_inner);
        match self.channel.publish(job.to_map()) {
            Ok(payload) => {
                // As Salt does: only these types are resolved for the transport. All others go to every
                // minion, and each decides for itself whether it is selected.
                let audience = match job.tgt_type.as_str() {
                    "glob" | "pcre" | "list" => Audience::Minions(minions.to_vec()),
                    _ => Audience::Everyone,
                };
                let publication = Publication {
                    payload: payload.into(),
                    audience,
                };
                self.publisher.publish(&publication);
            }
            Err(error) => tracing::error!(%error, jid = %job.jid, "job not published"),
        }
    }

    pub(super) fn targets(&self, request: &JobRequest) -> Targets {
        let delimiter = request.delimiter();
        self.select(&request.tgt, &request.tgt_type, delimiter, Trust::User)
    }

    fn select(&self, tgt: &Value, tgt_type: &str, delimiter: &str, trust: Trust) -> Targets {
        let Some(target) = self.parse_target(tgt, tgt_type, delimiter, trust) else {
            return Targets::default();
        };
        let named = target.named().unwrap_or_default().iter();
        let named = named.filter_map(|id| MinionId::parse(id).ok());
        let accepted = self.accepted().into_iter();
        let targets = Targets {
            missing: named.filter(|id| !self.channel.is_accepted(id)).collect(),
            minions: accepted.filter(|id| self.is_match(&target, id)).collect(),
        };
        if target.is_spent() && trust == Trust::User {
            let tgt = excerpt(&python_text::str(tgt));
            tracing::warn!(
                "target {tgt} takes too long to match: minions are missing from it; use fewer wildcards"
            );
        }
        targets
    }

    /// Reads a target. What a minion names must be short, and is not worth a line in the log.
    fn parse_target(
        &self,
        tgt: &Value,
        tgt_type: &str,
        delimiter: &str,
        trust: Trust,
    ) -> Option<Target> {
        if trust == Trust::Minion && !is_short(tgt) {
            return None;
        }
        match (
            Target::parse(tgt, tgt_type, delimiter, &self.options.nodegroups),
            trust,
        ) {
            (Ok(target), Trust::User) => Some(target),
            (Ok(target), Trust::Minion) => Some(target.for_minions()),
            (Err(error), Trust::User) => {
                tracing::warn!("{}; no minion matches", excerpt(&error.to_string()));
                None
            }
            (Err(_), Trust::Minion) => None,
        }
    }

    fn is_match(&self, target: &Target, id: &MinionId) -> bool {
        let grains = match target.needs_data() {
            true => self.minions.grains(id),
            false => Arc::default(),
        };
        target.matches(Candidate {
            id,
            grains: &grains,
            pillar: &Map::new(),
        })
    }
}

/// Whether a target that a minion names may be looked at: a master has better things to do than to compare a list of
/// a million ids.
fn is_short(tgt: &Value) -> bool {
    /// In bytes, without the ends of texts in a list.
    const MOST: usize = 64 * 1024;
    match tgt {
        Value::Str(text) => text.len() <= MOST,
        Value::Array(items) => {
            let size = |item: &Value| 1 + item.as_str().map_or(0, str::len);
            items.len() <= MOST && items.iter().map(size).sum::<usize>() <= MOST
        }
        _ => true,
    }
}

/// The beginning of a text for the log.
fn excerpt(text: &str) -> String {
    const MOST: usize = 512;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Who names a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// A user of the master.
    User,
    /// A minion: its patterns may not cost much.
    Minion,
}

/// The minions that a target selects.
#[derive(Debug, Default)]
pub(super) struct Targets {
    pub(super) minions: Vec<MinionId>,
    /// Ids that a list names and that have no accepted key.
    missing: Vec<MinionId>,
}

/// A request as the job that minions get.
fn job(request: &JobRequest, jid: Jid, user: &str) -> Job {
    let mut job = Job::new("", request.arg.clone(), request.tgt.clone(), jid, user);
    job.fun = request.fun.clone();
    job.delimiter = (request.delimiter() != DELIMITER).then(|| request.delimiter().to_owned());
    job.tgt_type.clone_from(&request.tgt_type);
    job.ret.clone_from(&request.ret);
    for name in JOB_OPTIONS {
        if let Some(value) = request.kwargs.get(name) {
            job.options.insert(name, value.clone());
        }
    }
    job
}

/// The answer to a clear `publish`.
fn answer(request: &JobRequest, published: &Published) -> Value {
    let mut load = Map::new();
    match &published.jid {
        Some(jid) => {
            load.insert("jid", jid.as_str());
            load.insert("minions", ids(&published.minions));
            load.insert("missing", ids(&published.missing));
        }
        None => {
            load.insert("jid", Value::Nil);
            load.insert("minions", Vec::<Value>::new());
            let tgt = python_text::str(&request.tgt);
            let text = format!("Master could not resolve minions for target {tgt}");
            load.insert("error", text);
        }
    }
    let mut reply = Map::new();
    reply.insert("enc", "clear");
    reply.insert("load", load);
    reply.into()
}

//! What a master sends out: events on its bus, jobs to its minions.
//!
//! A local client's `publish` is checked, given a job id, told on the bus and sealed for those it is for.
//! Facts: `docs/protocol/network.md` §10, §12.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use brine_net::channel::{Audience, Publication};
use brine_net::crypto;
use brine_net::keys::store::KeyState;
use brine_net::master::{MasterChannel, Seats};
use brine_wire::compat::Series;
use brine_wire::network::job::{Job, error_event, ids, without_secrets};
use brine_wire::network::payload::HANDLER_FAILED;
use brine_wire::network::{Jid, MinionId, field};
use brine_wire::{Map, Value};

use super::clear;
use super::connected;
use super::minion_data::MinionData;
use super::options::MasterOptions;
use super::ports::Publisher;
use crate::files::FileServer;
use crate::jobs::{JobCache, Writer};
use crate::own_bus::{OwnBus, since_epoch};
use crate::target::{Candidate, DELIMITER, Target};

/// A master, as far as it sends.
pub(super) struct Publishing {
    pub(super) options: Arc<MasterOptions>,
    pub(super) channel: Arc<MasterChannel>,
    pub(super) publisher: Publisher,
    pub(super) bus: OwnBus,
    /// What a local client shows to publish: the content of `.<user>_key`.
    pub(super) local_key: Option<String>,
    pub(super) jobs: JobCache,
    pub(super) returns: Writer,
    pub(super) minions: Arc<MinionData>,
    pub(super) files: Arc<FileServer>,
    pub(super) refusals: Refusals,
    /// Held from a publish's serial to its sending.
    pub(super) in_order: Mutex<()>,
}

/// How many refusals are told on the bus: anybody on the network can be refused, and nobody shall fill the
/// bus by it.
#[derive(Debug)]
pub(super) struct Refusals(Mutex<(Instant, u32)>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), 0)))
    }
}

impl Refusals {
    /// As many as are told in a second.
    const PER_SECOND: u32 = 10;

    fn may_be_told(&self) -> bool {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.elapsed() > Duration::from_secs(1) {
            *told = (Instant::now(), 0);
        }
        told.1 = told.1.saturating_add(1);
        told.1 <= Self::PER_SECOND
    }
}

impl Publishing {
    /// Fires on the master's own bus.
    pub(super) fn fire(&self, tag: &str, data: Map) {
        if let Err(error) = self.bus.fire(tag, data) {
            tracing::warn!(%error, "event not fired");
        }
    }

    /// The minions that are connected.
    pub(super) fn present(&self) -> Vec<MinionId> {
        if let Some(present) = self.publisher.present() {
            return present;
        }
        let connected = connected::addresses(self.options.channel.publish_port);
        if connected.is_empty() {
            return Vec::new();
        }
        let own = connected::own_addresses();
        let accepted = self
            .channel
            .store()
            .list(KeyState::Accepted)
            .unwrap_or_default();
        let is_present =
            |id: &MinionId| connected::is_present(&self.minions.grains(id), &connected, &own);
        accepted.into_iter().filter(is_present).collect()
    }

    /// Whether minions are connected that may never read again when they find the publish port open within a
    /// moment after their connection was lost: those of 3007, over tcp. Facts: `docs/protocol/network.md` §2.2.
    pub(super) fn has_hasty_minions(&self) -> bool {
        let present = self.publisher.present().unwrap_or_default();
        present.iter().any(|id| {
            let grains = self.minions.grains(id);
            field::text(&grains, "saltversion").is_some_and(|version| version.starts_with("3007."))
        })
    }

    /// How full the master is, for `max_minions`.
    pub(super) fn seats(&self, load: &Map) -> Seats {
        if self.options.channel.max_minions == 0 {
            return Seats::default();
        }
        let present = self.present();
        let id = field::text(load, "id");
        Seats {
            connected: present.len(),
            present: present.iter().any(|minion| Some(minion.as_str()) == id),
        }
    }

    /// Whether a local client's `publish` is to be followed: for which user, or the refusal.
    pub(super) fn may_publish<'load>(&self, load: &'load Map) -> Result<&'load str, Value> {
        let (Some(user), Some(fun)) = (field::text(load, "user"), load.get("fun")) else {
            return Err(HANDLER_FAILED.into());
        };
        let blacklist = self.options.opts.get("publisher_acl_blacklist");
        let blacklist = blacklist.and_then(Value::as_map);
        if blacklist.is_some_and(|blacklist| clear::is_blacklisted(blacklist, user, fun)) {
            tracing::warn!(user, "publish refused: publisher_acl_blacklist");
            let (name, message) = ("AuthorizationError", "Authorization error occurred.");
            return Err(clear::error(name, message));
        }
        if clear::is_external(load)
            || !self.is_own_key(field::text(load, "key").unwrap_or_default())
        {
            let (name, message) = ("AuthenticationError", "Authentication error occurred.");
            if self.refusals.may_be_told() {
                let (tag, data) = error_event(load, name, message);
                self.fire(&tag, data);
            }
            return Err(clear::error(name, message));
        }
        Ok(user)
    }

    fn is_own_key(&self, key: &str) -> bool {
        let known = self.local_key.as_ref();
        known.is_some_and(|known| crypto::same(known.as_bytes(), key.as_bytes()))
    }

    /// Publishes `test.ping` to everybody, so that they notice a new key.
    pub(super) fn ping_all(&self) {
        let pairs = [("tgt", "*"), ("fun", "test.ping"), ("tgt_type", "glob")];
        self.publish_as(&pairs.into_iter().collect(), &self.options.user);
    }

    /// Publishes for somebody who may; waits for the disk, and for RSA. Returns `enc` and `load` of the answer, or the text of a failure.
    pub(super) fn publish_as(&self, load: &Map, user: &str) -> Value {
        let (Some(fun), Some(tgt)) = (load.get("fun"), load.get("tgt")) else {
            return HANDLER_FAILED.into();
        };
        let tgt_type = field::text(load, "tgt_type").unwrap_or("glob").to_owned();
        let kwargs = load.get("kwargs").and_then(Value::as_map);
        let delimiter = kwargs
            .and_then(|kwargs| field::text(kwargs, "delimiter"))
            .unwrap_or(DELIMITER);
        let Targets { minions, missing } = self.targets(tgt, &tgt_type, delimiter);
        let jid = field::text(load, "jid").and_then(|jid| Jid::parse(jid).ok());
        let jid = jid.unwrap_or_else(|| Jid::at(since_epoch()));
        let arg = match load.get("arg") {
            Some(Value::Array(arg)) => arg.clone(),
            _ => Vec::new(),
        };
        let mut answer = Map::new();
        if minions.is_empty() {
            answer.insert("jid", Value::Nil);
            answer.insert("minions", Vec::<Value>::new());
            let text = format!(
                "Master could not resolve minions for target {}",
                tgt.as_str().unwrap_or_default()
            );
            answer.insert("error", text);
        } else {
            let mut job = Job::new("", arg, tgt.clone(), jid.clone(), user);
            job.fun = fun.clone();
            job.delimiter = (delimiter != DELIMITER).then(|| delimiter.to_owned());
            job.tgt_type = tgt_type;
            job.ret = field::text(load, "ret").unwrap_or_default().to_owned();
            for name in [
                "ret_config",
                "metadata",
                "module_executors",
                "executor_opts",
                "ret_kwargs",
            ] {
                if let Some(value) = kwargs.and_then(|kwargs| kwargs.get(name)) {
                    job.options.insert(name, value.clone());
                }
            }
            self.remember(&job, load, &minions);
            self.send(&job, &minions, &missing);
            answer.insert("jid", jid.as_str());
            answer.insert("minions", ids(&minions));
            answer.insert("missing", ids(&missing));
        }
        let mut reply = Map::new();
        reply.insert("enc", "clear");
        reply.insert("load", answer);
        reply.into()
    }

    /// Notes the job before anybody can ask for it.
    fn remember(&self, job: &Job, load: &Map, minions: &[MinionId]) {
        let mut kept = without_secrets(load);
        kept.insert("jid", job.jid.as_str());
        if let Err(error) = self.jobs.begin(&job.jid, &kept, minions) {
            tracing::error!(%error, jid = %job.jid, "job not kept");
        }
    }

    fn send(&self, job: &Job, minions: &[MinionId], missing: &[MinionId]) {
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
        // Minions drop what comes after a later serial.
        let _in_order = self.in_order.lock().unwrap_or_else(PoisonError::into_inner);
        match self.channel.publish(job.to_map()) {
            Ok(payload) => {
                // As Salt: only these types are resolved for the transport; all others go to everybody,
                // who match for themselves.
                let audience = match job.tgt_type.as_str() {
                    "glob" | "pcre" | "list" => Audience::Minions(minions.to_vec()),
                    _ => Audience::Everyone,
                };
                let publication = Publication {
                    payload: payload.into(),
                    audience,
                };
                if !self.publisher.publish(publication) {
                    tracing::error!(jid = %job.jid, "job not published: the port is closed or full");
                }
            }
            Err(error) => tracing::error!(%error, jid = %job.jid, "job not published"),
        }
    }

    /// Whom a target means, of the minions with accepted keys; of a list also those without.
    fn targets(&self, tgt: &Value, tgt_type: &str, delimiter: &str) -> Targets {
        let none = Map::new();
        let groups = self
            .options
            .opts
            .get("nodegroups")
            .and_then(Value::as_map)
            .unwrap_or(&none);
        let target = match Target::parse(tgt, tgt_type, delimiter, groups) {
            Ok(target) => target,
            Err(error) => {
                tracing::warn!(%error, "target means nobody");
                return Targets::default();
            }
        };
        let accepted = self
            .channel
            .store()
            .list(KeyState::Accepted)
            .unwrap_or_default();
        let is_meant = |id: &MinionId| {
            let grains = match target.needs_data() {
                true => self.minions.grains(id),
                false => Arc::default(),
            };
            target.matches(Candidate {
                id,
                grains: &grains,
                pillar: &none,
            })
        };
        let missing = target
            .named()
            .unwrap_or_default()
            .iter()
            .filter_map(|id| MinionId::parse(id).ok());
        let missing = missing.filter(|id| !self.channel.is_accepted(id)).collect();
        Targets {
            minions: accepted.into_iter().filter(is_meant).collect(),
            missing,
        }
    }
}

/// Whom a target means.
#[derive(Debug, Default)]
struct Targets {
    minions: Vec<MinionId>,
    /// Those that a list names and that have no accepted key.
    missing: Vec<MinionId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_the_bus_with_refusals() {
        let refusals = Refusals::default();
        let told = (0..1000).filter(|_| refusals.may_be_told()).count();
        assert!((10..=20).contains(&told), "{told}");
    }
}

//! What a master sends out: events on its bus, jobs to its minions.
//!
//! A local client's `publish` is checked, given a job id, told on the bus and sealed for those it is for.
//! Facts: `docs/protocol/network.md` §10, §12.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use brine_net::channel::{Audience, Publication};
use brine_net::keys::store::KeyState;
use brine_net::master::{MasterChannel, Seats};
use brine_wire::compat::Series;
use brine_wire::network::job::{Job, error_event, ids, without_secrets};
use brine_wire::network::payload::HANDLER_FAILED;
use brine_wire::network::{Jid, MinionId, field};
use brine_wire::{Map, Value, python_text};

use super::access::acl::Wanted;
use super::access::{self, Access, Caller};
use super::clear;
use super::connected;
use super::mine::Mine;
use super::minion_data::MinionData;
use super::options::MasterOptions;
use super::ports::Publisher;
use super::runner::{self, Runners};
use crate::files::FileServer;
use crate::jobs::{JobCache, Writer};
use crate::node_bus::{NodeBus, since_epoch};
use crate::options::Transport;
use crate::target::{self, Candidate, DELIMITER, Target};

/// Salt's name and words for somebody who is known and may not.
const AUTHORIZATION: (&str, &str) = ("AuthorizationError", "Authorization error occurred.");

/// A master, as far as it sends.
pub(super) struct Publishing {
    pub(super) options: Arc<MasterOptions>,
    pub(super) channel: Arc<MasterChannel>,
    pub(super) publisher: Publisher,
    pub(super) bus: NodeBus,
    /// How runner functions are run, if they can be.
    pub(super) runners: Option<Runners>,
    /// Who may publish.
    pub(super) access: Access,
    pub(super) jobs: JobCache,
    pub(super) returns: Writer,
    pub(super) minions: Arc<MinionData>,
    pub(super) mine: Mine,
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

    /// How much later than the request port the publish port is to open, over tcp: minions of 3007 that find it
    /// open before they have signed in again may never read again. Facts: `docs/protocol/network.md` §2.2.
    pub(super) fn opens_late(&self) -> Duration {
        /// They try every second.
        const LATE: Duration = Duration::from_millis(1500);
        if self.options.transport != Transport::Tcp {
            return Duration::ZERO;
        }
        let is_3007 = |id: &MinionId| {
            let grains = self.minions.grains(id);
            field::text(&grains, "saltversion").is_some_and(|version| version.starts_with("3007."))
        };
        let accepted = self.channel.store().list(KeyState::Accepted);
        match accepted.unwrap_or_default().iter().any(is_3007) {
            true => LATE,
            false => Duration::ZERO,
        }
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

    /// Who asks for a `publish`, and under which name; or the refusal.
    pub(super) fn caller<'load>(&self, load: &'load Map) -> Result<(Caller, &'load str), Value> {
        let (Some(user), Some(fun)) = (field::text(load, "user"), load.get("fun")) else {
            return Err(HANDLER_FAILED.into());
        };
        match self.access.caller(load, user, fun) {
            Ok(caller) => Ok((caller, user)),
            Err(access::Refused::Blacklisted) => {
                tracing::warn!(user, "publish refused: publisher_acl_blacklist");
                Err(clear::error(AUTHORIZATION.0, AUTHORIZATION.1))
            }
            Err(access::Refused::Unknown) => Err(self.refuse(
                load,
                "AuthenticationError",
                "Authentication error occurred.",
            )),
        }
    }

    /// Tells of a refusal; the answer to whom is refused.
    fn refuse(&self, load: &Map, name: &str, message: &str) -> Value {
        if self.refusals.may_be_told() {
            let (tag, data) = error_event(load, name, message);
            self.fire(&tag, data);
        }
        clear::error(name, message)
    }

    /// Publishes for somebody, as far as he may; waits for the disk, and for RSA.
    pub(super) fn publish_for(&self, load: &Map, caller: &Caller, user: &str) -> Value {
        if let Caller::Listed(entries) = caller
            && !self.permits(entries, load)
        {
            tracing::warn!(user, "publish refused: publisher_acl");
            return self.refuse(load, AUTHORIZATION.0, AUTHORIZATION.1);
        }
        self.publish_as(load, user)
    }

    fn permits(&self, entries: &[Value], load: &Map) -> bool {
        let (Some(fun), Some(asked)) = (load.get("fun"), Asked::of(load)) else {
            return false;
        };
        let minions = self.targets(&asked).minions;
        let wanted = Wanted {
            fun,
            arg: load
                .get("arg")
                .and_then(Value::as_array)
                .unwrap_or_default(),
            minions: &minions,
        };
        access::acl::permits(entries, &wanted, |target| {
            self.meant(&target.into(), "compound")
        })
    }

    /// Whom a target of a type means, of the minions with accepted keys.
    pub(super) fn meant(&self, tgt: &Value, tgt_type: &str) -> Vec<MinionId> {
        let asked = Asked {
            tgt,
            tgt_type,
            delimiter: DELIMITER,
        };
        self.targets(&asked).minions
    }

    /// Has a runner function run, and answers where its events will be.
    pub(super) fn run_runner(&self, load: &Map, user: &str) -> Value {
        let Some(runners) = self.runners.clone() else {
            return clear::refused(load);
        };
        let (call, answer) = runner::asked(load, user.to_owned());
        tokio::task::spawn_blocking(move || runners(call));
        answer
    }

    /// Publishes `test.ping` to everybody, so that they notice a new key.
    pub(super) fn ping_all(&self) {
        let pairs = [("tgt", "*"), ("fun", "test.ping"), ("tgt_type", "glob")];
        self.publish_as(&pairs.into_iter().collect(), &self.options.user);
    }

    /// Publishes for somebody who may do anything: `enc` and `load` of the answer, or the text of a failure.
    pub(super) fn publish_as(&self, load: &Map, user: &str) -> Value {
        let (Some(fun), Some(asked)) = (load.get("fun"), Asked::of(load)) else {
            return HANDLER_FAILED.into();
        };
        let Asked { tgt, delimiter, .. } = asked;
        let kwargs = load.get("kwargs").and_then(Value::as_map);
        let Targets { minions, missing } = self.targets(&asked);
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
            let tgt = python_text::str(tgt);
            let text = format!("Master could not resolve minions for target {tgt}");
            answer.insert("error", text);
        } else {
            let mut job = Job::new("", arg, tgt.clone(), jid.clone(), user);
            job.fun = fun.clone();
            job.delimiter = (delimiter != DELIMITER).then(|| delimiter.to_owned());
            job.tgt_type = asked.tgt_type.to_owned();
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
                self.publisher.publish(&publication);
            }
            Err(error) => tracing::error!(%error, jid = %job.jid, "job not published"),
        }
    }

    /// Whom a target means, of the minions with accepted keys; of a list also those without.
    fn targets(&self, asked: &Asked<'_>) -> Targets {
        let none = Map::new();
        let groups = target::nodegroups(self.options.opts.get("nodegroups"));
        let Asked {
            tgt,
            tgt_type,
            delimiter,
        } = *asked;
        let target = match Target::parse(tgt, tgt_type, delimiter, &groups) {
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

/// The target of a `publish`.
struct Asked<'a> {
    tgt: &'a Value,
    tgt_type: &'a str,
    delimiter: &'a str,
}

impl<'a> Asked<'a> {
    fn of(load: &'a Map) -> Option<Self> {
        let kwargs = load.get("kwargs").and_then(Value::as_map);
        let delimiter = kwargs.and_then(|kwargs| field::text(kwargs, "delimiter"));
        Some(Self {
            tgt: load.get("tgt")?,
            tgt_type: field::text(load, "tgt_type").unwrap_or("glob"),
            delimiter: delimiter.unwrap_or(DELIMITER),
        })
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

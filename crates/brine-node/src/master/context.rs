//! What all parts of a running master share: its keys, ports, bus, files and counters.
//!
//! Each subject has its own file: [`jobs`](super::jobs) publishes jobs, [`dispatch`](super::dispatch) answers
//! requests, [`wheel`](super::wheel) runs wheel functions. Outside this crate, a master is used through its
//! [`MasterHandle`](super::MasterHandle).

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use brine_log::Seq;
use brine_net::keys::store::KeyState;
use brine_net::master::{MasterChannel, Occupancy};
use brine_wire::network::{MinionId, field};
use brine_wire::{Map, Value};
use tokio::task::JoinSet;

use super::access::Access;
use super::counters::Counters;
use super::deliveries::Deliveries;
use super::external::External;
use super::mine::Mine;
use super::minion_data::MinionData;
use super::options::MasterOptions;
use super::peers::Peers;
use super::ports::Publisher;
use super::reserved::Reserved;
use super::sign_in_events::SignInEvents;
use crate::connected;
use crate::files::FileServer;
use crate::jobs::{FunctionJobs, JobCache, Writer};
use crate::node_bus::NodeBus;
use crate::options::Transport;
use crate::runner::AskReactor;

/// The shared state of a master.
pub(super) struct Context {
    pub(super) options: Arc<MasterOptions>,
    pub(super) channel: Arc<MasterChannel>,
    pub(super) publisher: Publisher,
    pub(super) bus: NodeBus,
    /// Which local users may publish what.
    pub(super) access: Access,
    /// Users of `external_auth`.
    pub(super) external: External,
    pub(super) jobs: JobCache,
    /// Records runner and wheel functions.
    pub(super) function_jobs: Arc<FunctionJobs>,
    /// The ids of jobs that are not in it yet.
    pub(super) reserved: Reserved,
    pub(super) returns: Writer,
    pub(super) minions: Arc<MinionData>,
    pub(super) mine: Mine,
    pub(super) files: Arc<FileServer>,
    /// What our minions have delivered.
    pub(super) deliveries: Deliveries,
    /// The other masters, if this is one of several.
    pub(super) peers: OnceLock<Arc<dyn Peers>>,
    pub(super) counters: Counters,
    /// Limits the events about refused requests.
    pub(super) refusal_events: RateLimit,
    /// Limits the events about sign-ins.
    pub(super) sign_in_events: SignInEvents,
    /// Locked from taking a publish's serial number until it is sent: minions drop a publish whose serial is lower
    /// than the last one they saw.
    pub(super) publish_order: Mutex<()>,
    /// Runner functions in progress; they end with the master.
    pub(super) tasks: Mutex<JoinSet<()>>,
    /// The reactor, once it runs.
    pub(super) reactor: OnceLock<Arc<dyn AskReactor>>,
}

impl Context {
    /// Runs a task that ends with the master. Must be called within the runtime.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        // Forget those that have ended, so that the set does not grow.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// Stops the tasks of [`Self::spawn`].
    pub(super) fn stop_tasks(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.abort_all();
    }

    /// Fires an event on the master's own bus.
    pub(super) fn fire(&self, tag: &str, data: Map) {
        if let Err(error) = self.bus.fire(tag, data) {
            tracing::warn!(%error, tag, "event not fired");
        }
    }

    /// The same without waking readers: [`NodeBus::wake_readers`] must follow soon.
    pub(super) fn fire_quietly(&self, tag: &str, data: Map) {
        if let Err(error) = self.bus.fire_quietly(tag, data) {
            tracing::warn!(%error, tag, "event not fired");
        }
    }

    /// Fires events of a minion, with whose key they came, all at one moment; their numbers.
    pub(super) fn fire_all_from(
        &self,
        minion: &MinionId,
        events: Vec<(String, Map)>,
    ) -> Range<Seq> {
        self.bus.fire_all_from(minion.as_str(), events)
    }

    /// The ids of all minions whose keys are accepted.
    pub(super) fn accepted(&self) -> Vec<MinionId> {
        let accepted = self.channel.store().list(KeyState::Accepted);
        accepted.unwrap_or_else(|error| {
            tracing::error!(%error, "cannot list the accepted keys");
            Vec::new()
        })
    }

    /// The minions that are connected now. Reads the kernel's tables over ZeroMQ, where connections have no names.
    pub(super) fn present(&self) -> Vec<MinionId> {
        if let Some(present) = self.publisher.present() {
            return present;
        }
        let connected = connected::addresses(self.options.channel.publish_port);
        if connected.is_empty() {
            return Vec::new();
        }
        let own = connected::own_addresses();
        let is_present = |id: &MinionId| {
            connected::present_at(&self.minions.grains(id), &connected, &own).is_some()
        };
        self.accepted().into_iter().filter(is_present).collect()
    }

    /// How much later than the request port the publish port opens. Over tcp a minion of 3007 that finds the
    /// publish port open before it has signed in again may never read from it again.
    /// Facts: `docs/protocol/network.md` §2.2.
    pub(super) fn publish_port_delay(&self) -> Duration {
        /// Longer than the second after which minions try again.
        const DELAY: Duration = Duration::from_millis(1500);
        if self.options.transport != Transport::Tcp {
            return Duration::ZERO;
        }
        let is_3007 = |id: &MinionId| {
            let grains = self.minions.grains(id);
            field::text(&grains, "saltversion").is_some_and(|version| version.starts_with("3007."))
        };
        match self.accepted().iter().any(is_3007) {
            true => DELAY,
            false => Duration::ZERO,
        }
    }

    /// How many minions are connected, and whether the one that signs in with this load is among them: what
    /// `max_minions` is compared with.
    pub(super) fn occupancy(&self, load: &Map) -> Occupancy {
        if self.options.channel.max_minions == 0 {
            return Occupancy::default();
        }
        let present = self.present();
        let id = load.get("id").and_then(Value::as_str);
        Occupancy {
            connected: present.len(),
            includes_sender: present.iter().any(|minion| Some(minion.as_str()) == id),
        }
    }
}

/// Limits events per second: anybody on the network can cause a refusal, which must not fill the bus.
#[derive(Debug)]
pub(super) struct RateLimit(Mutex<(Instant, u32)>);

impl Default for RateLimit {
    fn default() -> Self {
        Self(Mutex::new((Instant::now(), 0)))
    }
}

impl RateLimit {
    const PER_SECOND: u32 = 10;

    /// Counts one more; whether it is within the limit.
    pub(super) fn allows(&self) -> bool {
        let mut window = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if window.0.elapsed() > Duration::from_secs(1) {
            *window = (Instant::now(), 0);
        }
        window.1 = window.1.saturating_add(1);
        window.1 <= Self::PER_SECOND
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_the_bus_with_refusals() {
        let limit = RateLimit::default();
        let allowed = (0..1000).filter(|_| limit.allows()).count();
        assert!((10..=20).contains(&allowed), "{allowed}");
    }
}

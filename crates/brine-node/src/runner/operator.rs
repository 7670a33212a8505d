//! What runner functions work with: our own master from inside, or any master from beside it.

use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use brine_bus::client::PublishError;
use brine_bus::client::tokio::Publisher;
use brine_config::{ConfigError, Opts};
use brine_wire::Map;
use brine_wire::network::MinionId;
use brine_wire::returns::Timeouts;

use crate::client::{
    ClientConfig, ClientError, ClientOptionsError, LocalClient, MinionReply, OwnClient,
};
use crate::job_request::JobRequest;
use crate::jobs::JobCache;
use crate::master::{Caller, MasterHandle};
use crate::minion_cache::MinionCache;
use crate::options::{OptionsError, Reader};

/// How long an event waits for the bus to accept it, as in Salt.
const FIND_BUS_WITHIN: Duration = Duration::from_secs(1);

/// What runner functions work with.
pub enum Operator {
    /// Our own master, in this process.
    Own {
        /// The master.
        master: MasterHandle,
        /// Who calls.
        caller: Caller,
    },
    /// A master, ours or Salt's, in another process of this machine.
    Beside(Box<Beside>),
}

/// A master in another process of this machine.
pub struct Beside {
    bus: Publisher,
    client: ClientConfig,
    jobs: JobCache,
    minions: MinionCache,
    publish_port: u16,
}

impl Operator {
    /// The master that options describe, for a user of this machine; events are fired through `bus`.
    ///
    /// # Errors
    /// [`ClientOptionsError`].
    pub fn beside(opts: &Opts, user: &str, bus: Publisher) -> Result<Self, ClientOptionsError> {
        let option = |name| opts.text(name).map_err(OptionsError::from);
        let (cachedir, hash_type) = (Path::new(option("cachedir")?), option("hash_type")?);
        Ok(Self::Beside(Box::new(Beside {
            bus,
            client: ClientConfig::from_opts(opts, user)?,
            jobs: JobCache::open(cachedir, hash_type, None).map_err(OptionsError::from)?,
            minions: MinionCache::of(opts).map_err(OptionsError::from)?,
            publish_port: Reader(opts).port("publish_port", 4505)?,
        })))
    }

    /// Fires an event on the master's bus; afterwards `data` holds its stamp.
    pub(super) async fn fire(&mut self, tag: &str, data: &mut Map) -> Result<(), PublishError> {
        match self {
            Self::Own { master, .. } => Ok(master.fire_stamped(tag, data).map(drop)?),
            Self::Beside(beside) => {
                beside
                    .bus
                    .fire_event(tag, data, Some(FIND_BUS_WITHIN))
                    .await
            }
        }
    }

    /// Publishes a job and waits for all of its returns.
    pub(super) async fn gather(
        &self,
        request: JobRequest,
        timeouts: Timeouts,
    ) -> Result<Vec<MinionReply>, ClientError> {
        let mut replies = Vec::new();
        let report = |reply| {
            replies.push(reply);
            ControlFlow::Continue(())
        };
        match self {
            Self::Own { master, caller } => {
                let mut client = OwnClient::new(master.clone(), caller.clone());
                let job = client.publish(request).await?;
                client.wait(&job, timeouts, report).await?;
            }
            Self::Beside(beside) => {
                let mut client = LocalClient::open(beside.client.clone()).await?;
                let job = client.publish(&request).await?;
                client.wait(&job, timeouts, report).await?;
            }
        }
        Ok(replies)
    }

    /// The master's job cache.
    pub(super) fn jobs(&self) -> &JobCache {
        match self {
            Self::Own { master, .. } => master.jobs(),
            Self::Beside(beside) => &beside.jobs,
        }
    }

    /// What is known of the master's minions.
    pub(super) fn minions(&self) -> Result<Minions, ConfigError> {
        Ok(match self {
            Self::Own { master, .. } => Minions {
                cache: MinionCache::of(master.opts())?,
                publish_port: master.publish_port(),
                master: Some(master.clone()),
            },
            Self::Beside(beside) => Minions {
                cache: beside.minions.clone(),
                publish_port: beside.publish_port,
                master: None,
            },
        })
    }

    /// How long minions are waited for by default.
    pub(super) fn timeouts(&self) -> Timeouts {
        match self {
            Self::Own { master, .. } => master.timeouts(),
            Self::Beside(beside) => beside.client.timeouts,
        }
    }
}

/// What is known of a master's minions.
pub(super) struct Minions {
    pub(super) cache: MinionCache,
    publish_port: u16,
    /// The master in this process, which knows who is connected.
    master: Option<MasterHandle>,
}

impl Minions {
    /// The minions that are connected now, with their addresses where they can be told. Blocks on the disk.
    pub(super) fn connected(&self) -> Vec<(MinionId, Option<IpAddr>)> {
        let addressed = self.cache.connected(self.publish_port);
        let Some(master) = &self.master else {
            let connected = addressed.into_iter();
            return connected.map(|(id, at)| (id, Some(at))).collect();
        };
        let address = |id: &MinionId| {
            let known = addressed.iter().find(|(own, _)| own == id);
            known.map(|(_, at)| *at)
        };
        let connected = master.connected().into_iter();
        connected.map(|id| (id.clone(), address(&id))).collect()
    }
}

//! What a runner function needs from a master.
//!
//! Our own master implements [`Operator`] in-process (`master`); [`Beside`] is any master in another process of this
//! machine.

use std::future::Future;
use std::net::IpAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brine_bus::client::PublishError;
use brine_bus::client::tokio::Publisher;
use brine_config::Opts;
use brine_wire::Map;
use brine_wire::compat::Compat;
use brine_wire::network::MinionId;
use brine_wire::returns::Timeouts;

use super::reactor::AskReactor;
use crate::client::{ClientConfig, ClientError, ClientOptionsError, LocalClient, MinionReply};
use crate::functions::salt_release;
use crate::job_request::JobRequest;
use crate::jobs::{FOLDER, FunctionJobs, JobCache};
use crate::minion_cache::MinionCache;
use crate::options::{OptionsError, Reader};

/// How long an event waits for the bus to accept it, as in Salt.
const FIND_BUS_WITHIN: Duration = Duration::from_secs(1);

/// A master on whose behalf runner functions act.
pub trait Operator: Send + Sync {
    /// Fires an event on the master's bus; afterwards `data` holds its stamp.
    fn fire(
        &mut self,
        tag: &str,
        data: &mut Map,
    ) -> impl Future<Output = Result<(), PublishError>> + Send;

    /// Publishes a job and waits for all of its returns.
    fn gather(
        &self,
        request: JobRequest,
        timeouts: Timeouts,
    ) -> impl Future<Output = Result<Vec<MinionReply>, ClientError>> + Send;

    /// The master's job cache.
    fn jobs(&self) -> &JobCache;

    /// Where the master's own functions are recorded.
    fn function_jobs(&self) -> &Arc<FunctionJobs>;

    /// What is known of the master's minions.
    fn minions(&self) -> Minions;

    /// How long to wait for minions by default.
    fn timeouts(&self) -> Timeouts;

    /// The release of Salt that the master is, or is like.
    fn release(&self) -> &'static str;

    /// The master's reactor, if it has one that can be asked from here.
    fn reactor(&self) -> Option<Arc<dyn AskReactor>>;
}

/// A master, ours or Salt's, in another process of this machine.
pub struct Beside {
    bus: Publisher,
    client: ClientConfig,
    jobs: JobCache,
    functions: Arc<FunctionJobs>,
    minions: MinionCache,
    publish_port: u16,
    compat: Compat,
}

impl Beside {
    /// The master that options describe, for a user of this machine; events are fired through `bus`.
    ///
    /// # Errors
    /// [`ClientOptionsError`].
    pub fn new(
        opts: &Opts,
        compat: Option<Compat>,
        user: &str,
        bus: Publisher,
    ) -> Result<Self, ClientOptionsError> {
        let option = |name| opts.text(name).map_err(OptionsError::from);
        let (cachedir, hash_type) = (Path::new(option("cachedir")?), option("hash_type")?);
        let jobs = JobCache::open(cachedir, hash_type, None).map_err(OptionsError::from)?;
        // Without a master that has made the folder nobody would clean it.
        let is_kept = Reader(opts).flag("job_cache", true)? && cachedir.join(FOLDER).is_dir();
        let functions = FunctionJobs::new(is_kept.then(|| jobs.clone()), option("id")?);
        Ok(Self {
            bus,
            client: ClientConfig::from_opts(opts, user)?,
            jobs,
            functions: Arc::new(functions),
            minions: MinionCache::of(opts).map_err(OptionsError::from)?,
            publish_port: Reader(opts).port("publish_port", 4505)?,
            compat: compat.unwrap_or(Compat::NEWEST),
        })
    }
}

impl Beside {
    /// Records no function in the job cache: `runner_returns: False`, which is for `salt-run` alone.
    pub fn record_nothing(&mut self) {
        self.functions = Arc::new(FunctionJobs::new(None, ""));
    }

    /// Why the master will refuse this user's jobs, if that is known.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.client.refusal()
    }
}

impl Operator for Beside {
    async fn fire(&mut self, tag: &str, data: &mut Map) -> Result<(), PublishError> {
        self.bus.fire_event(tag, data, Some(FIND_BUS_WITHIN)).await
    }

    async fn gather(
        &self,
        request: JobRequest,
        timeouts: Timeouts,
    ) -> Result<Vec<MinionReply>, ClientError> {
        let mut client = LocalClient::open(self.client.clone()).await?;
        let job = client.publish(&request).await?;
        let mut replies = Vec::new();
        client
            .wait(&job, timeouts, |reply| {
                replies.push(reply);
                ControlFlow::Continue(())
            })
            .await?;
        Ok(replies)
    }

    fn jobs(&self) -> &JobCache {
        &self.jobs
    }

    fn function_jobs(&self) -> &Arc<FunctionJobs> {
        &self.functions
    }

    fn minions(&self) -> Minions {
        Minions {
            cache: self.minions.clone(),
            publish_port: self.publish_port,
            connected: None,
        }
    }

    fn timeouts(&self) -> Timeouts {
        self.client.timeouts
    }

    fn release(&self) -> &'static str {
        salt_release(self.compat)
    }

    /// Commands ask for it over the local socket.
    fn reactor(&self) -> Option<Arc<dyn AskReactor>> {
        None
    }
}

/// What is known of a master's minions.
pub struct Minions {
    /// What is on the master's disk.
    pub(super) cache: MinionCache,
    publish_port: u16,
    /// Asks the master itself, where it is in this process.
    connected: Option<Box<dyn Fn() -> Vec<MinionId> + Send>>,
}

impl Minions {
    /// The minions of a master in this process, which knows who is connected.
    pub(crate) fn of_master(
        cache: MinionCache,
        publish_port: u16,
        connected: impl Fn() -> Vec<MinionId> + Send + 'static,
    ) -> Self {
        Self {
            cache,
            publish_port,
            connected: Some(Box::new(connected)),
        }
    }

    /// The minions that are connected now, with their addresses where these are known. Blocks on the disk.
    pub(super) fn connected(&self) -> Vec<(MinionId, Option<IpAddr>)> {
        let addressed = self.cache.connected(self.publish_port);
        let Some(connected) = &self.connected else {
            let connected = addressed.into_iter();
            return connected.map(|(id, at)| (id, Some(at))).collect();
        };
        let address = |id: &MinionId| {
            let known = addressed.iter().find(|(own, _)| own == id);
            known.map(|(_, at)| *at)
        };
        let ids = connected().into_iter();
        ids.map(|id| (id.clone(), address(&id))).collect()
    }
}

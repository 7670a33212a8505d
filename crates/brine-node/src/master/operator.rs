//! What runner functions need from our own master: they publish through its handle and read its log, without a
//! socket.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use brine_bus::client::{self, EventRef};
use brine_log::{EventCursor, Events};
use brine_wire::returns::{JOB_TAG, Timeouts};
use brine_wire::{Map, Value};
use tokio::time::timeout_at;

use super::access::Caller;
use super::handle::MasterHandle;
use crate::client::batch::{self, BatchSize};
use crate::client::wait::{self, MasterLink};
use crate::client::{ClientError, MinionReply};
use crate::functions::salt_release;
use crate::job_request::{JobRequest, Published};
use crate::jobs::{FunctionJobs, JobCache};
use crate::runner::{AskReactor, Minions, Operator};

/// A master in this process, and who calls the runner function.
pub(super) struct OwnOperator {
    master: MasterHandle,
    caller: Caller,
}

impl OwnOperator {
    pub(super) const fn new(master: MasterHandle, caller: Caller) -> Self {
        Self { master, caller }
    }
}

impl Operator for OwnOperator {
    async fn fire(&mut self, tag: &str, data: &mut Map) -> Result<(), client::PublishError> {
        Ok(self.master.fire_stamped(tag, data).map(drop)?)
    }

    async fn gather(
        &self,
        request: JobRequest,
        timeouts: Timeouts,
    ) -> Result<Vec<MinionReply>, ClientError> {
        self.master.gather(request, timeouts, &self.caller).await
    }

    fn jobs(&self) -> &JobCache {
        self.master.jobs()
    }

    fn function_jobs(&self) -> &Arc<FunctionJobs> {
        &self.master.context.function_jobs
    }

    fn minions(&self) -> Minions {
        let master = self.master.clone();
        Minions::of_master(
            self.master.minion_cache().clone(),
            self.master.publish_port(),
            move || master.connected_anywhere(),
        )
    }

    fn timeouts(&self) -> Timeouts {
        self.master.timeouts()
    }

    fn release(&self) -> &'static str {
        salt_release(self.master.context.options.compat())
    }

    fn reactor(&self) -> Option<Arc<dyn AskReactor>> {
        self.master.reactor()
    }
}

impl MasterHandle {
    /// Publishes a job and waits for its returns and the minions that do not return. Dropping the future stops the
    /// waiting, not the job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn gather(
        &self,
        request: JobRequest,
        timeouts: Timeouts,
        by: &Caller,
    ) -> Result<Vec<MinionReply>, ClientError> {
        // Follows the log before it publishes, so that no return is missed.
        let mut client = OwnClient::new(self.clone(), by.clone());
        let job = client.publish(request).await?;
        let mut replies = Vec::new();
        let report = |reply| {
            replies.push(reply);
            ControlFlow::Continue(())
        };
        client.wait(&job, timeouts, report).await?;
        Ok(replies)
    }

    /// As [`LocalClient::batch_on_target`](crate::client::LocalClient::batch_on_target).
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batch_on_target(
        &self,
        request: &JobRequest,
        size: BatchSize,
        timeouts: Timeouts,
        by: &Caller,
    ) -> Result<Vec<(String, Option<MinionReply>)>, ClientError> {
        let mut client = OwnClient::new(self.clone(), by.clone());
        batch::run_on_target(&mut client, request, size, timeouts).await
    }
}

/// A client inside the master, for one caller: publishes jobs and waits for their returns.
struct OwnClient {
    master: MasterHandle,
    caller: Caller,
    events: EventCursor,
    /// Events of jobs that were read from the log and not returned yet.
    unread: VecDeque<(String, Map)>,
}

impl OwnClient {
    /// A client that reads the master's events from now on.
    fn new(master: MasterHandle, caller: Caller) -> Self {
        Self {
            events: master.follow(),
            master,
            caller,
            unread: VecDeque::new(),
        }
    }

    /// Publishes a job.
    ///
    /// # Errors
    /// [`ClientError::Publish`].
    async fn publish(&self, request: JobRequest) -> Result<Published, ClientError> {
        Ok(self.master.publish(request, &self.caller).await?)
    }

    /// Waits for the returns of a job, as [`LocalClient::wait`](crate::client::LocalClient::wait) does.
    ///
    /// # Errors
    /// [`ClientError`].
    async fn wait(
        &mut self,
        job: &Published,
        timeouts: Timeouts,
        report: impl FnMut(MinionReply) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        wait::wait(self, job, timeouts, report).await
    }

    /// Keeps the events of jobs in a run of the log.
    fn read(&mut self, run: &Events) {
        for event in run.iter() {
            if event.event.starts_with(JOB_TAG.as_bytes())
                && let Some(event) = EventRef::parse(event.event)
                && let Ok(Value::Map(data)) = event.decode()
            {
                self.unread.push_back((event.tag().to_owned(), data));
            }
        }
        self.events.advance(run, run.len());
    }
}

impl MasterLink for OwnClient {
    async fn publish(&mut self, request: JobRequest) -> Result<Published, ClientError> {
        Self::publish(self, request).await
    }

    async fn next_event(&mut self, until: Instant) -> Result<Option<(String, Map)>, ClientError> {
        loop {
            if let Some(event) = self.unread.pop_front() {
                return Ok(Some(event));
            }
            match timeout_at(until.into(), self.events.ready()).await {
                Err(_) => return Ok(None),
                Ok(Ok(run)) => self.read(&run),
                Ok(Err(gap)) => {
                    tracing::warn!(?gap, "returns may be missed: log_bytes is too small");
                    self.events.skip(gap);
                }
            }
        }
    }
}

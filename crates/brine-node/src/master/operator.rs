//! What runner functions of our own master work with: they publish through its handle and read its log, without any
//! socket.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Instant;

use brine_bus::client::{self, EventRef};
use brine_log::{EventCursor, Events};
use brine_wire::returns::{JOB_TAG, Timeouts};
use brine_wire::{Map, Value};
use tokio::time::timeout_at;

use super::access::Caller;
use super::handle::MasterHandle;
use crate::client::wait::{self, MasterLink};
use crate::client::{ClientError, MinionReply};
use crate::job_request::{JobRequest, Published};
use crate::jobs::JobCache;
use crate::runner::{Minions, Operator};

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

    fn minions(&self) -> Minions {
        let master = self.master.clone();
        Minions::of_master(
            self.master.minion_cache().clone(),
            self.master.publish_port(),
            move || master.connected(),
        )
    }

    fn timeouts(&self) -> Timeouts {
        self.master.timeouts()
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
        let mut link = OwnLink {
            master: self,
            caller: by,
            events: self.follow(),
            unread: VecDeque::new(),
        };
        let job = link.publish(request).await?;
        let mut replies = Vec::new();
        wait::wait(&mut link, &job, timeouts, |reply| {
            replies.push(reply);
            ControlFlow::Continue(())
        })
        .await?;
        Ok(replies)
    }
}

/// A client inside the master that waits for returns.
struct OwnLink<'a> {
    master: &'a MasterHandle,
    caller: &'a Caller,
    events: EventCursor,
    /// Events of jobs that were read from the log and not handed out yet.
    unread: VecDeque<(String, Map)>,
}

impl OwnLink<'_> {
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

impl MasterLink for OwnLink<'_> {
    async fn publish(&mut self, request: JobRequest) -> Result<Published, ClientError> {
        Ok(self.master.publish(request, self.caller).await?)
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

//! A client inside our own master: publishes through its handle and reads its log, without any socket.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Instant;

use brine_bus::client::EventRef;
use brine_log::{EventCursor, Events};
use brine_wire::returns::{JOB_TAG, Timeouts};
use brine_wire::{Map, Value};
use tokio::time::timeout_at;

use super::wait::{self, MasterLink};
use super::{ClientError, MinionReply};
use crate::job_request::{JobRequest, Published};
use crate::master::{Caller, MasterHandle};

/// A client inside our own master, for one caller.
pub struct OwnClient {
    master: MasterHandle,
    caller: Caller,
    events: EventCursor,
    /// Events of jobs that were read from the log and not handed out yet.
    unread: VecDeque<(String, Map)>,
}

impl OwnClient {
    /// A client that reads the master's events from now on.
    #[must_use]
    pub fn new(master: MasterHandle, caller: Caller) -> Self {
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
    pub async fn publish(&self, request: JobRequest) -> Result<Published, ClientError> {
        Ok(self.master.publish(request, &self.caller).await?)
    }

    /// Waits for the returns of a job, as [`LocalClient::wait`](super::LocalClient::wait) does.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn wait(
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

//! Requests of functions to the program they run in: a minion or `salt-call`.
//!
//! A host is the sending end of a channel. The minion answers through its sessions, `salt-call` through a sign-in of
//! its own, `--local` refuses. Every request is answered once; one that is dropped counts as refused.

use brine_wire::{Map, Value};
use tokio::sync::{mpsc, oneshot};

/// The most requests that wait.
const WAITING: usize = 256;

/// Sends functions' requests to their minion; cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    requests: mpsc::Sender<HostRequest>,
}

/// A request of a function.
#[derive(Debug)]
pub enum HostRequest {
    /// Fire an event on the minion's own bus.
    Fire {
        /// The tag.
        tag: String,
        /// The event's data.
        data: Map,
        /// Where the answer goes.
        answer: Answer<()>,
    },
    /// Send an event to every master: the load of a `_minion_event` without id, nonce and token.
    /// Answered when the minion has queued it, or with `salt-call` when each master has it.
    SendEvent {
        /// `tag`, `data`, `cmd` and other fields of the event.
        load: Map,
        /// Where the answer goes.
        answer: Answer<()>,
    },
    /// Send a request such as `_file_list` to the master; answered with its reply.
    Master {
        /// The load with its `cmd`, without id, nonce and token.
        load: Map,
        /// Where the answer goes.
        answer: Answer<Value>,
    },
    /// List the running jobs as `saltutil.running` does, and the waiting ones, with `queued`.
    Running {
        /// Where the answer goes.
        answer: Answer<Vec<Map>>,
    },
    /// End a running job (`saltutil.kill_job`); answers whether there was one.
    Kill {
        /// Which.
        jid: String,
        /// Where the answer goes.
        answer: Answer<bool>,
    },
}

/// Sends an answer back.
pub type Answer<T> = oneshot::Sender<Result<T, HostError>>;

/// The minion refuses a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There is no master to ask: `--local`, or none can be reached.
    #[error("no master answers: {why}")]
    NoMaster {
        /// What was tried, in one line.
        why: String,
    },
    /// The event cannot be fired.
    #[error(transparent)]
    Event(#[from] brine_wire::event::FireError),
    /// The minion is ending.
    #[error("the minion is shutting down")]
    Ending,
}

impl Host {
    /// A host, and the channel from which its minion takes requests.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<HostRequest>) {
        let (requests, taken) = mpsc::channel(WAITING);
        (Self { requests }, taken)
    }

    /// Fires on the minion's own bus.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn fire(&self, tag: impl Into<String>, data: Map) -> Result<(), HostError> {
        let tag = tag.into();
        self.ask(|answer| HostRequest::Fire { tag, data, answer })
            .await
    }

    /// Sends an event to every master.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn send_event(&self, load: Map) -> Result<(), HostError> {
        self.ask(|answer| HostRequest::SendEvent { load, answer })
            .await
    }

    /// Asks the master.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn master(&self, load: Map) -> Result<Value, HostError> {
        self.ask(|answer| HostRequest::Master { load, answer })
            .await
    }

    /// The jobs that run now, and those that wait, with `queued`.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn running(&self) -> Result<Vec<Map>, HostError> {
        self.ask(|answer| HostRequest::Running { answer }).await
    }

    /// Ends a job; whether there was one.
    ///
    /// # Errors
    /// [`HostError`].
    pub async fn kill(&self, jid: impl Into<String>) -> Result<bool, HostError> {
        let jid = jid.into();
        self.ask(|answer| HostRequest::Kill { jid, answer }).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Answer<T>) -> HostRequest) -> Result<T, HostError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(request(answer)).await;
        sent.map_err(|_| HostError::Ending)?;
        answered.await.map_err(|_| HostError::Ending)?
    }
}

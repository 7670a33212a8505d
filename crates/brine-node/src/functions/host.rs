//! What functions ask of the minion, or the `salt-call`, they run in.
//!
//! A host is the other end of a channel: the minion answers from its sessions, `salt-call` from a
//! sign-in of its own, `--local` with refusals. Every request is answered once; one dropped
//! unanswered is refused.

use brine_wire::{Map, Value};
use tokio::sync::{mpsc, oneshot};

/// Requests of functions that wait to be taken.
const WAITING: usize = 256;

/// The way from functions to their minion; cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    requests: mpsc::Sender<HostRequest>,
}

/// What is asked.
#[derive(Debug)]
pub enum HostRequest {
    /// Fire on the minion's own bus.
    Fire {
        /// The tag.
        tag: String,
        /// The event's data.
        data: Map,
        /// Where the answer goes.
        answer: Answer<()>,
    },
    /// Send an event to every master: the load of a `_minion_event` without id, nonce and token.
    /// Answered when it is in the minion's hands, or for `salt-call` when each master has it.
    SendEvent {
        /// `tag`, `data`, `cmd` and whatever else is to stand in the event.
        load: Map,
        /// Where the answer goes.
        answer: Answer<()>,
    },
    /// Ask the master something, such as `_file_list`; the answer is the master's.
    Master {
        /// The load with its `cmd`, without id, nonce and token.
        load: Map,
        /// Where the answer goes.
        answer: Answer<Value>,
    },
    /// The jobs that run now, as `saltutil.running` tells them, and those that wait, with `queued`.
    Running {
        /// Where the answer goes.
        answer: Answer<Vec<Map>>,
    },
    /// End a job that runs (`saltutil.kill_job`); whether there was one.
    Kill {
        /// Which.
        jid: String,
        /// Where the answer goes.
        answer: Answer<bool>,
    },
}

/// The way back of an answer.
pub type Answer<T> = oneshot::Sender<Result<T, HostError>>;

/// Why the minion does not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// There is no master to ask: `--local`, or none can be reached.
    #[error("expected a master that answers, found none: {why}")]
    NoMaster {
        /// What was tried, in one line.
        why: String,
    },
    /// The event cannot be fired.
    #[error(transparent)]
    Event(#[from] brine_wire::event::FireError),
    /// The minion is ending.
    #[error("expected the minion to answer, found it ending")]
    Ending,
}

impl Host {
    /// A host, and where its minion takes the requests.
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

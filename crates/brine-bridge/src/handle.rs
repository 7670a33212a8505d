//! A running sink as others see it: its name, its figures, and requests about its dead letters.

use std::path::PathBuf;
use std::sync::Arc;

use brine_log::history::ConsumerName;
use tokio::sync::{mpsc, oneshot};

use crate::dead::{Chosen, DeadError, Discard};
use crate::figures::{Counted, Figures};
use crate::sink::SinkError;

/// A sink that runs, for whoever asks how it is.
#[derive(Debug, Clone)]
pub struct SinkHandle {
    pub(crate) name: ConsumerName,
    pub(crate) dead_letters: PathBuf,
    pub(crate) counted: Arc<Counted>,
    pub(crate) requests: mpsc::Sender<Request>,
}

/// What is asked of a sink that runs, with where the answer goes.
#[derive(Debug)]
pub(crate) enum Request {
    /// To send the dead letters again.
    Resend(oneshot::Sender<Result<Resent, DeadError>>),
    /// To remove some for good.
    Discard(Discard, oneshot::Sender<Result<Chosen, DeadError>>),
}

/// What became of dead letters that were sent again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Resent {
    /// The other side has them now.
    pub delivered: u64,
    /// It refuses them still: they are kept.
    pub refused: u64,
    /// It answered with an error that may mean anything: they are kept.
    pub failed: u64,
    /// What it said, at the last of these.
    pub failure: Option<String>,
    /// The other side is down: the letters are kept.
    pub unsent: u64,
    /// How anybody knows.
    pub away: Option<String>,
}

impl Resent {
    /// How many are kept.
    #[must_use]
    pub const fn kept(&self) -> u64 {
        self.refused + self.failed + self.unsent
    }

    /// Counts one; once the other side is known to be down, the others stay where they are.
    pub(crate) fn count(&mut self, sent: Result<usize, SinkError>) {
        match sent {
            Ok(1..) => self.delivered += 1,
            Ok(0) => {
                self.unsent += 1;
                self.away = Some("it took nothing".to_owned());
            }
            Err(SinkError::Refused { .. }) => self.refused += 1,
            Err(SinkError::Uncertain { reason }) => {
                self.failed += 1;
                self.failure = Some(reason);
            }
            Err(SinkError::Unavailable { reason }) => {
                self.unsent += 1;
                self.away = Some(reason);
            }
        }
    }
}

/// Dead letters that could not be sent again, or discarded.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Their file.
    #[error(transparent)]
    Letters(#[from] DeadError),
    /// The sink does not run any more.
    #[error("the sink has ended")]
    Ended,
}

impl SinkHandle {
    /// The consumer.
    #[must_use]
    pub const fn name(&self) -> &ConsumerName {
        &self.name
    }

    /// What it has done.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.counted.figures()
    }

    /// The file of its dead letters; [`DeadLetters::read`](crate::DeadLetters::read) reads it.
    #[must_use]
    pub const fn dead_letters(&self) -> &PathBuf {
        &self.dead_letters
    }

    /// Sends the dead letters again, between two batches. Those the other side takes are removed.
    ///
    /// # Errors
    /// [`RequestError`]. Dropping the future does not stop it.
    pub async fn resend(&self) -> Result<Resent, RequestError> {
        self.ask(Request::Resend).await
    }

    /// Removes dead letters for good, between two batches.
    ///
    /// # Errors
    /// [`RequestError`]. Dropping the future does not stop it.
    pub async fn discard(&self, which: Discard) -> Result<Chosen, RequestError> {
        self.ask(|answer| Request::Discard(which, answer)).await
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, DeadError>>) -> Request,
    ) -> Result<T, RequestError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(request(answer)).await;
        sent.map_err(|_| RequestError::Ended)?;
        Ok(answered.await.map_err(|_| RequestError::Ended)??)
    }
}

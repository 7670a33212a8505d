//! A sink that runs, as others see it: its name, its figures, and the request to send dead letters again.

use std::path::PathBuf;
use std::sync::Arc;

use brine_log::history::ConsumerName;
use tokio::sync::{mpsc, oneshot};

use crate::dead::DeadError;
use crate::figures::{Counted, Figures};

/// A sink that runs, for whoever asks how it is.
#[derive(Debug, Clone)]
pub struct SinkHandle {
    pub(crate) name: ConsumerName,
    pub(crate) dead_letters: PathBuf,
    pub(crate) counted: Arc<Counted>,
    pub(crate) requests: mpsc::Sender<Request>,
}

/// To send the dead letters again.
pub(crate) type Request = oneshot::Sender<Result<Resent, DeadError>>;

/// What became of dead letters that were sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Resent {
    /// The other side has them now.
    pub delivered: u64,
    /// It still refuses them, or is away: they are kept.
    pub kept: u64,
}

/// Dead letters that could not be sent again.
#[derive(Debug, thiserror::Error)]
pub enum ResendError {
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
    /// [`ResendError`]. Dropping the future does not stop it.
    pub async fn resend(&self) -> Result<Resent, ResendError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(answer).await;
        sent.map_err(|_| ResendError::Ended)?;
        Ok(answered.await.map_err(|_| ResendError::Ended)??)
    }
}

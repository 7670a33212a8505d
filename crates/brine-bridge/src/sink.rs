//! The other side of a sink, as the pump sees it. It knows nothing of logs, retries or saved positions.

use std::future::Future;

use brine_log::{LogId, Position};

use crate::batch::Batch;

/// A system that takes events.
pub trait Sink: Send {
    /// Gets ready, and tells the last event of this log that the other side knows it has, if it keeps that together with
    /// the events. Called once before anything is delivered, and again until it succeeds.
    fn begin(
        &mut self,
        log: LogId,
    ) -> impl Future<Output = Result<Option<Position>, SinkError>> + Send;

    /// Delivers events, in their order. Returns how many of them, counted from the first, the other side certainly
    /// has: the others come again. Reconnects if the connection is gone. If the future is dropped, nobody knows what
    /// the other side has.
    fn deliver(
        &mut self,
        batch: &Batch<'_>,
    ) -> impl Future<Output = Result<usize, SinkError>> + Send;

    /// Whether the other side takes this event now. Asked when another one fails alone, again and again, with
    /// [`SinkError::Uncertain`]. The event is one that it took before, if there is one; a side that can look without
    /// keeping it does so.
    fn probe(&mut self, batch: &Batch<'_>) -> impl Future<Output = Result<(), SinkError>> + Send {
        let delivered = self.deliver(batch);
        async move { delivered.await.map(drop) }
    }

    /// Somebody has moved the consumer: the events after this one come next, again if they were there before. Only a
    /// sink that keeps a position itself has anything to do.
    fn move_to(
        &mut self,
        position: Position,
    ) -> impl Future<Output = Result<(), SinkError>> + Send {
        let _ = position;
        async { Ok(()) }
    }
}

/// Why the other side does not have a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// The other side is down, or cannot accept anything now: the batch is tried again until it can.
    #[error("{reason}")]
    Unavailable {
        /// What happened, and what to do where somebody must act.
        reason: String,
    },
    /// It answers that something went wrong, but not whether the events are at fault. They are tried again, then in
    /// smaller pieces; an event that fails alone while another one is accepted is at fault.
    #[error("{reason}")]
    Uncertain {
        /// What it says.
        reason: String,
    },
    /// It takes events, but not these: at least one of them is at fault.
    #[error("{reason}")]
    Refused {
        /// What is wrong, in the other side's words.
        reason: String,
    },
}

impl SinkError {
    /// The other side is down.
    #[allow(clippy::needless_pass_by_value)] // for map_err
    pub fn unavailable(reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self::Unavailable { reason }
    }

    /// The other side answers with an error that may have either cause.
    #[allow(clippy::needless_pass_by_value)] // for map_err
    pub fn uncertain(reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self::Uncertain { reason }
    }

    /// The other side does not take these events.
    #[allow(clippy::needless_pass_by_value)] // for map_err
    pub fn refused(reason: impl ToString) -> Self {
        let reason = reason.to_string();
        Self::Refused { reason }
    }
}

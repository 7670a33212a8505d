//! The tasks of jobs and local requests: who spawned them, how many run, and how they end with the minion.
//!
//! Does not know what a task does.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::JoinSet;

/// Owns tasks that nobody else waits for.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    /// Held to add, count or take the set, never across an await.
    running: Mutex<JoinSet<()>>,
}

impl Tasks {
    /// Runs a task, which ends with this owner at the latest.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.lock();
        // Results of ended tasks are kept until somebody takes them.
        while let Some(ended) = running.try_join_next() {
            report(ended);
        }
        running.spawn(task);
    }

    /// How many tasks run.
    pub(super) fn count(&self) -> usize {
        let mut running = self.lock();
        while let Some(ended) = running.try_join_next() {
            report(ended);
        }
        running.len()
    }

    /// Cancels all tasks and waits for them to end.
    pub(super) async fn shutdown(&self) {
        let mut running = std::mem::take(&mut *self.lock());
        running.shutdown().await;
    }

    fn lock(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && !error.is_cancelled()
    {
        tracing::error!(%error, "a task of the minion failed");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn tasks_are_counted_and_end_with_their_owner() {
        let tasks = Tasks::default();
        let (held, alive) = (Arc::new(()), Arc::new(tokio::sync::Notify::new()));
        for _ in 0..3 {
            let held = held.clone();
            tasks.spawn(async move {
                let _held = held;
                std::future::pending().await
            });
        }
        let ended = alive.clone();
        tasks.spawn(async move { ended.notify_one() });
        alive.notified().await;
        tokio::task::yield_now().await;
        assert_eq!(tasks.count(), 3);
        tasks.shutdown().await;
        assert_eq!((tasks.count(), Arc::strong_count(&held)), (0, 1));
    }
}

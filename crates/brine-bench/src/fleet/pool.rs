//! So many tasks at a time over all minions.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

/// Runs `work` for every item, `concurrency` at a time, and collects what comes of it in no
/// particular order. Each of the concurrent workers gets its number, for what it keeps open.
pub(super) async fn for_all<T, W, F, R>(items: &[Arc<T>], concurrency: usize, work: W) -> Vec<R>
where
    T: Send + Sync + 'static,
    W: Fn(usize, Arc<T>) -> F + Clone + Send + 'static,
    F: Future<Output = R> + Send,
    R: Send + 'static,
{
    let items: Arc<[Arc<T>]> = items.into();
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    for worker in 0..concurrency.min(items.len()) {
        let (items, next, work) = (items.clone(), next.clone(), work.clone());
        workers.spawn(async move {
            let mut results = Vec::new();
            while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                results.push(work(worker, item.clone()).await);
            }
            results
        });
    }
    workers.join_all().await.into_iter().flatten().collect()
}

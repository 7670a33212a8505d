//! Requests of accepted minions that wait for the disk, on their own threads.
//!
//! Files and mines are read here, so that minions can exhaust only these threads: requests of local clients run
//! elsewhere. The queue serves minions in turn, and counts the memory of a request as it is after decoding. A request
//! that it drops is answered as a bad load, and the minion tries again.

use std::sync::Arc;

use brine_net::channel::Incoming;
use brine_net::fair_queue::{FairQueue, Lane};
use brine_net::master::Request;
use brine_wire::network::MinionId;

use crate::weight::weight_of_map;

/// The most requests that wait for a thread.
const WAITING: usize = 16_384;

/// Their size when decoded, in bytes.
const WAITING_BYTES: usize = 128 * 1024 * 1024;

/// They wait for the disk more than for a processor.
const THREADS: usize = 8;

/// A request and what to do with it.
struct Work {
    incoming: Incoming,
    request: Box<Request>,
    act: Act,
}

/// Answers a request.
type Act = Box<dyn FnOnce(Incoming, &Request) + Send>;

/// The queue before the threads.
pub(super) struct MinionThreads(Arc<FairQueue<MinionId, Work>>);

impl MinionThreads {
    /// Starts the threads; they end when this is dropped. Must be called within a runtime.
    pub(super) fn start() -> Self {
        let queue = Arc::new(FairQueue::<MinionId, Work>::new(WAITING, WAITING_BYTES));
        for _ in 0..THREADS {
            let queue = queue.clone();
            tokio::task::spawn_blocking(move || {
                while let Some(work) = queue.pop() {
                    (work.act)(work.incoming, &work.request);
                }
            });
        }
        Self(queue)
    }

    /// Queues a request, which `act` answers.
    pub(super) fn hand_on(
        &self,
        incoming: Incoming,
        request: Request,
        act: impl FnOnce(Incoming, &Request) + Send + 'static,
    ) {
        let minion = request.minion.id().clone();
        let bytes = incoming.bytes.max(weight_of_map(&request.load.fields));
        let work = Work {
            incoming,
            request: Box::new(request),
            act: Box::new(act),
        };
        let dropped = self.0.push(&minion, Lane::Known, bytes, work);
        for work in dropped {
            tracing::warn!(id = %work.request.minion.id(), "too many requests wait for files: one is refused");
        }
    }
}

impl Drop for MinionThreads {
    fn drop(&mut self) {
        self.0.close();
    }
}

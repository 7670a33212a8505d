//! How many requests were answered, by listener and class of answer.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Listener {
    /// The local socket.
    Local,
    /// The network.
    Network,
}

const LISTENERS: [&str; 2] = ["local", "network"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// Requests answered so far.
#[derive(Debug, Default)]
pub(crate) struct Requests([[AtomicU64; CLASSES.len()]; LISTENERS.len()]);

impl Requests {
    /// Counts an answer. What switches to another protocol counts as success.
    pub(crate) fn count(&self, listener: Listener, status: StatusCode) {
        let class = match status.as_u16() {
            300..400 => 1,
            400..500 => 2,
            500.. => 3,
            _ => 0,
        };
        self.0[listener as usize][class].fetch_add(1, Ordering::Relaxed);
    }

    /// All of them: listener, class, number.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let rows = LISTENERS.into_iter().zip(&self.0);
        rows.flat_map(|(listener, counts)| {
            let counts = CLASSES.into_iter().zip(counts);
            counts.map(move |(class, count)| (listener, class, count.load(Ordering::Relaxed)))
        })
    }
}

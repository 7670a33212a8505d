//! Connections that come and go beside a load.

use core::time::Duration;
use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use crate::load::{Churn, ChurnOf};
use crate::publish::{Batch, send_all};
use crate::shared::Shared;
use crate::target::Target;

/// How long a paced subscriber stays.
const STAY: Duration = Duration::from_millis(100);

/// What came and went.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Churned {
    /// Connections made and closed.
    pub(crate) cycles: u64,
    /// Connections or sends that failed.
    pub(crate) failed: u64,
    /// Events that short-lived publishers handed to the kernel whole.
    pub(crate) sent: u64,
}

/// Connects and leaves until the run stops. `batch` is one event, numbered as the publisher that
/// all short-lived connections share.
pub(crate) fn run(target: &Target, churn: Churn, mut batch: Batch, shared: &Shared) -> Churned {
    let start = shared.now_ns();
    let mut done = Churned::default();
    let mut staying = VecDeque::new();
    for cycle in 0_u64.. {
        if let Some(per_second) = churn.per_second {
            shared.sleep_until(start + (cycle as f64 * 1e9 / per_second) as u64);
        }
        if shared.stopped() {
            break;
        }
        let went = match churn.of {
            ChurnOf::Subscribers => subscriber(target, churn, shared, &mut staying),
            ChurnOf::Publishers => {
                publisher(target, &mut batch, done.sent, shared).inspect(|()| done.sent += 1)
            }
        };
        match went {
            Ok(()) => done.cycles += 1,
            Err(_) => {
                done.failed += 1;
                // A bus whose backlog is full refuses at once; asking again at once would only
                // measure this loop.
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    done
}

fn subscriber(
    target: &Target,
    churn: Churn,
    shared: &Shared,
    staying: &mut VecDeque<(u64, OwnedFd)>,
) -> io::Result<()> {
    let socket = target.subscriber()?;
    if churn.per_second.is_some() {
        let now = shared.now_ns();
        staying.push_back((now + STAY.as_nanos() as u64, socket));
        while staying.front().is_some_and(|(until, _)| *until <= now) {
            staying.pop_front();
        }
    }
    Ok(())
}

fn publisher(target: &Target, batch: &mut Batch, next: u64, shared: &Shared) -> io::Result<()> {
    let socket = target.publisher()?;
    let now = shared.now_ns();
    send_all(&socket, batch.stamped(1, next, now, |_| now), shared).map(|_| ())
}

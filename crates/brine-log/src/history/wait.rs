//! Waiting on a thread that has no runtime: for a future, for an alarm, or for a time.
//!
//! The rest of the crate has no clock; history has one, because retention goes by age.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::position::Millis;

/// Wakes one thread. Rung before the thread waits, it is not lost.
#[derive(Default)]
pub(crate) struct Alarm {
    thread: OnceLock<Thread>,
    is_rung: AtomicBool,
}

impl Alarm {
    /// From now on it wakes the current thread.
    pub(crate) fn belongs_here(&self) {
        let _ = self.thread.set(thread::current());
    }

    pub(crate) fn ring(&self) {
        self.is_rung.store(true, Ordering::Release);
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    /// Waits without sleeping, for some hundred microseconds at most: to be woken takes longer than that. Other threads
    /// that want the processor get it.
    pub(crate) fn spin_until(&self, end: Instant) {
        while !self.is_rung.swap(false, Ordering::AcqRel) && Instant::now() < end {
            thread::yield_now();
        }
    }

    /// Waits until it is rung, or until a time.
    pub(crate) fn wait_until(&self, end: Instant) {
        while !self.is_rung.swap(false, Ordering::AcqRel) {
            let Some(left) = end
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())
            else {
                return;
            };
            thread::park_timeout(left);
        }
    }
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// Looks whether a future is ready; if not, the alarm rings when it is worth looking again.
pub(crate) fn poll<T>(future: Pin<&mut impl Future<Output = T>>, alarm: &Arc<Alarm>) -> Poll<T> {
    let waker = Waker::from(Arc::clone(alarm));
    future.poll(&mut Context::from_waker(&waker))
}

/// Waits for a future on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let alarm = Arc::new(Alarm::default());
    alarm.belongs_here();
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(output) = poll(future.as_mut(), &alarm) {
            return output;
        }
        while !alarm.is_rung.swap(false, Ordering::AcqRel) {
            thread::park();
        }
    }
}

/// Looks for something until it is there or the time is over, without sleeping: whatever else the runtime has to do is
/// done in between.
pub(crate) async fn look_until<T>(end: Instant, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    poll_fn(|cx| match look() {
        Some(found) => Poll::Ready(Some(found)),
        None if Instant::now() >= end => Poll::Ready(None),
        None => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// The time.
pub(crate) fn now() -> Millis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

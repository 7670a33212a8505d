//! What the API has counted since it started.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::StatusCode;

/// What the API has counted since it started: for metrics and `/stats`.
#[derive(Debug, Default)]
pub struct Counters {
    logins: AtomicU64,
    failed_logins: AtomicU64,
    commands: AtomicU64,
    webhooks: AtomicU64,
    /// By the first digit of the status, from 1.
    answers: [AtomicU64; 5],
}

/// The counts at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins that failed.
    pub failed_logins: u64,
    /// Commands that were run.
    pub commands: u64,
    /// Webhooks that were fired.
    pub webhooks: u64,
    /// Answers by the first digit of the status, from 1.
    pub answers: [u64; 5],
}

impl Counters {
    /// The counts now.
    #[must_use]
    pub fn now(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            logins: load(&self.logins),
            failed_logins: load(&self.failed_logins),
            commands: load(&self.commands),
            webhooks: load(&self.webhooks),
            answers: std::array::from_fn(|at| load(&self.answers[at])),
        }
    }

    pub(crate) fn logged_in(&self) {
        self.logins.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn login_failed(&self) {
        self.failed_logins.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn command(&self) {
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn webhook(&self) {
        self.webhooks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer; a stream that takes its connection over counts as the status it writes.
    pub(crate) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5);
        self.answers[class - 1].fetch_add(1, Ordering::Relaxed);
    }
}

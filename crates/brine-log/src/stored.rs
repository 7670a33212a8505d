//! What cursors request from a history: the segments that are neither in memory nor in the overflow.
//!
//! A cursor sends a request and waits for the answer of the history's thread ([`history::reader`](crate::history)),
//! so that waiting for the disk does not delay the bus. This file knows neither that thread nor the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use crate::gap::GapReason;
use crate::position::{Millis, Seq};
use crate::segment::Segment;
use crate::tags::TagQuery;

/// The stored part of a log.
///
/// Whatever the log drops from memory is stored by then, or missing for good: the history's writer
/// keeps a cursor in the log before everything that is not committed.
pub(crate) struct StoredSegments {
    requests: mpsc::Sender<Request>,
    /// The oldest event that may be stored; `next` if there is none.
    oldest: AtomicU64,
    /// The first event that is not stored.
    next: AtomicU64,
}

/// What a cursor asks for. It may have left by the time of the answer.
pub(crate) enum Request {
    /// What there is at a number, or behind what has none of these tags.
    Load(Seq, Arc<TagQuery>, oneshot::Sender<(Seq, Loaded)>),
    /// The first event received at this time or later.
    Find(Millis, oneshot::Sender<Option<Seq>>),
}

/// What there is at a number.
#[derive(Clone)]
pub(crate) enum Loaded {
    /// A segment that holds it.
    Segment(Arc<Segment>),
    /// It is not stored; this is the next event that may be.
    Gap(Seq, Option<GapReason>),
    /// Nothing that late is stored.
    NotStored,
    /// Nothing before it has the tags; asking again continues from there.
    PassedOver,
    /// The store could not be read.
    Unreadable,
}

/// Requests that wait for the reading thread before those who ask wait too.
const WAITING_REQUESTS: usize = 64;

impl StoredSegments {
    /// The stored events `oldest..next`, and where requests for them arrive.
    pub(crate) fn new(oldest: Seq, next: Seq) -> (Arc<Self>, mpsc::Receiver<Request>) {
        let (requests, arriving) = mpsc::channel(WAITING_REQUESTS);
        let stored = Self {
            requests,
            oldest: oldest.0.into(),
            next: next.0.into(),
        };
        (Arc::new(stored), arriving)
    }

    /// The oldest event that may be stored, without looking.
    pub(crate) fn oldest(&self) -> Option<Seq> {
        let oldest = self.oldest.load(Ordering::Acquire);
        (oldest < self.next.load(Ordering::Acquire)).then_some(Seq(oldest))
    }

    /// Every event below `next` is stored or missing, and the newly stored ones begin with `first`.
    pub(crate) fn committed(&self, first: Option<Seq>, next: Seq) {
        if self.oldest().is_none() {
            let oldest = first.unwrap_or(next);
            self.oldest.store(oldest.0, Ordering::Release);
        }
        self.next.store(next.0, Ordering::Release);
    }

    /// Retention has removed what is older; `None` if nothing is left.
    pub(crate) fn set_oldest(&self, oldest: Option<Seq>) {
        let oldest = oldest.map_or_else(|| self.next.load(Ordering::Acquire), |oldest| oldest.0);
        self.oldest.store(oldest, Ordering::Release);
    }

    /// What there is at a number, or at the first one from there on that may have these tags.
    pub(crate) async fn load(&self, at: Seq, tags: &Arc<TagQuery>) -> (Seq, Loaded) {
        let (answer, answered) = oneshot::channel();
        let request = Request::Load(at, Arc::clone(tags), answer);
        let answer = self.ask(request, answered).await;
        answer.unwrap_or((at, Loaded::Unreadable))
    }

    /// The first stored event received at this time or later, as far as that can be read.
    pub(crate) async fn find(&self, at: Millis) -> Option<Seq> {
        let (answer, answered) = oneshot::channel();
        self.ask(Request::Find(at, answer), answered).await?
    }

    /// `None` if the reading thread has ended.
    async fn ask<T>(&self, request: Request, answered: oneshot::Receiver<T>) -> Option<T> {
        self.requests.send(request).await.ok()?;
        answered.await.ok()
    }
}

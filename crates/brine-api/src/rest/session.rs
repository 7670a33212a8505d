//! Who is logged in: tokens, what they stand for, and the moment they die.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::sleep;

use crate::subject::Subject;

/// Somebody who is logged in.
#[derive(Debug)]
pub struct Session {
    subject: Subject,
    expires: SystemTime,
    has_ended: watch::Sender<bool>,
}

impl Session {
    /// A session that ends at a moment, if not before.
    #[must_use]
    pub fn new(subject: Subject, expires: SystemTime) -> Self {
        Self {
            subject,
            expires,
            has_ended: watch::Sender::new(false),
        }
    }

    /// Who it is.
    #[must_use]
    pub const fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Whether its token is still valid.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        !*self.has_ended.borrow() && SystemTime::now() < self.expires
    }

    /// Done the moment the token dies: it expires, or is cleared.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut has_ended = self.has_ended.subscribe();
        let left = self.expires.duration_since(SystemTime::now());
        let left = left.unwrap_or(Duration::ZERO);
        async move {
            tokio::select! {
                () = sleep(left) => {}
                // An error means that the session itself is gone.
                _ = has_ended.wait_for(|has_ended| *has_ended) => {}
            }
        }
    }

    fn end(&self) {
        self.has_ended.send_replace(true);
    }
}

/// All sessions.
#[derive(Debug, Default)]
pub struct Sessions {
    by_token: Mutex<HashMap<String, Arc<Session>>>,
}

impl Sessions {
    /// The session of a token that is valid now.
    pub async fn find(&self, token: &str) -> Option<Arc<Session>> {
        let session = self.lock().get(token).cloned()?;
        session.is_alive().then_some(session)
    }

    /// Keeps a session.
    pub fn insert(&self, token: String, session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        self.lock().insert(token, Arc::clone(&session));
        session
    }

    /// Ends a session: whatever streams under it stops.
    pub fn end(&self, token: &str) {
        if let Some(session) = self.lock().remove(token) {
            session.end();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        // Whole after every operation, whoever panicked.
        self.by_token.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! What an audit of a bus records: who subscribes, and who fires events with reserved tags.
//!
//! Off until somebody asks for it ([`crate::BusHandle::audit`]). Then the bus compares each publisher's tags as they
//! arrive. The receiver decides what to do with the records.

use std::sync::OnceLock;

use tokio::sync::mpsc;

use crate::stream::Peer;

/// One thing noticed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Noticed {
    /// This peer has subscribed.
    Subscribed(Peer),
    /// This peer has fired an event with a reserved tag.
    Fired {
        /// Who.
        peer: Peer,
        /// The tag.
        tag: String,
    },
}

/// What waits to be read; beyond it, events are noticed no more and a warning is logged.
const WAITING: usize = 1024;

/// The audit of a bus, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Audit(OnceLock<Notices>);

#[derive(Debug)]
struct Notices {
    is_reserved: fn(&str) -> bool,
    to: mpsc::Sender<Noticed>,
}

impl Audit {
    /// Begins it. Only the first call counts; the receiver of any other gets nothing.
    pub(crate) fn begin(&self, is_reserved: fn(&str) -> bool) -> mpsc::Receiver<Noticed> {
        let (to, noticed) = mpsc::channel(WAITING);
        let _ = self.0.set(Notices { is_reserved, to });
        noticed
    }

    pub(crate) fn subscribed(&self, peer: Peer) {
        if let Some(notices) = self.0.get() {
            notices.note(Noticed::Subscribed(peer));
        }
    }

    #[inline]
    pub(crate) fn fired(&self, peer: Peer, tag: &str) {
        if let Some(notices) = self.0.get()
            && (notices.is_reserved)(tag)
        {
            let tag = tag.to_owned();
            notices.note(Noticed::Fired { peer, tag });
        }
    }
}

impl Notices {
    fn note(&self, noticed: Noticed) {
        if let Err(mpsc::error::TrySendError::Full(lost)) = self.to.try_send(noticed) {
            tracing::warn!(
                ?lost,
                "too many audit records at once: this one is not fired as an event"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_audit_that_has_begun_notices_what_is_reserved() {
        let audit = Audit::default();
        audit.subscribed(Peer::Unknown);
        let mut noticed = audit.begin(|tag| tag.starts_with("salt/"));
        audit.subscribed(Peer::Unknown);
        for tag in ["my/tag", "salt/key"] {
            audit.fired(Peer::Unknown, tag);
        }
        let fired = Noticed::Fired {
            peer: Peer::Unknown,
            tag: "salt/key".into(),
        };
        assert_eq!(noticed.try_recv(), Ok(Noticed::Subscribed(Peer::Unknown)));
        assert_eq!(noticed.try_recv(), Ok(fired));
        assert!(noticed.try_recv().is_err());
    }
}

//! Whether a client still sends and listens, as far as its socket tells before anything is written to it.
//!
//! A client that has closed its sending half still gets the answers to its requests. Only a stream of events, which
//! has no end, must notice that. A client that has closed both halves gets nothing more, and work that runs only for
//! it may end.

use std::future::pending;

use hyper::http::Extensions;
use tokio::sync::watch;

/// What a client can still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Peer {
    SendsAndListens,
    /// It sends nothing more. Over TCP it may also have gone.
    Listens,
    Gone,
}

/// What a request knows of the client it came from.
#[derive(Debug, Clone)]
pub(crate) struct HangUp(Option<watch::Receiver<Peer>>);

impl HangUp {
    /// For the requests of one connection, and what tells them.
    pub(crate) fn channel() -> (watch::Sender<Peer>, Self) {
        let (sender, receiver) = watch::channel(Peer::SendsAndListens);
        (sender, Self(Some(receiver)))
    }

    /// The one that the listener gave to a request. On listeners that do not watch their clients it never happens.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or(Self(None))
    }

    /// Done when the client sends nothing more.
    pub(crate) async fn happens(&mut self) {
        self.reaches(Peer::Listens).await;
    }

    /// Done when the client has disconnected.
    pub(crate) async fn is_complete(&mut self) {
        self.reaches(Peer::Gone).await;
    }

    async fn reaches(&mut self, state: Peer) {
        if let Some(peer) = &mut self.0
            && peer.wait_for(|peer| *peer >= state).await.is_ok()
        {
            return;
        }
        pending().await
    }
}

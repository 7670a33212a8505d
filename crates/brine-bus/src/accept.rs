//! Accepts subscribers, on whichever thread gets there first.
//!
//! A subscriber gets every event that is appended after its connection was accepted. A client connects and then does
//! something that causes events, and threads other than the bus's may append those while its connection still waits
//! to be accepted. So every thread accepts waiting connections before it appends
//! ([`BusHandle::append`](crate::BusHandle::append)), which costs one system call if none waits. The bus's own thread
//! then serves them. This module does not know what is written to a subscriber.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use brine_log::{FrameCursor, Log, Start};
use brine_wire::frame::Framing;
use tokio::sync::mpsc;

use crate::handle::{CountedSubscriber, Registry};
use crate::listen::{Listener, Readers};
use crate::registration::Registered;
use crate::stream::Peer;

/// The most connections that are accepted and not served yet: as many as can wait to be accepted.
const ACCEPTED: usize = 4096;

/// One publish socket, for any thread that wants its waiting connections accepted.
pub(crate) struct Acceptor {
    listener: Listener,
    readers: Readers,
    framing: Framing,
    log: Arc<Log>,
    registry: Arc<Registry>,
    /// Held from accepting a connection until its position in the log is known: a thread that finds no connection
    /// waiting can append.
    accepted: Mutex<mpsc::Sender<Accepted>>,
}

/// A connection that was accepted and is not served yet.
pub(crate) struct Accepted {
    pub(crate) socket: OwnedFd,
    /// `None` for a user who may not subscribe.
    pub(crate) subscriber: Option<(FrameCursor, CountedSubscriber)>,
}

impl Acceptor {
    /// Accepts from a socket, and where to take what was accepted. The connections of one log, in one framing.
    pub(crate) fn new(
        (listener, readers): (Listener, Readers),
        framing: Framing,
        log: Arc<Log>,
        registry: &Arc<Registry>,
    ) -> (Arc<Self>, mpsc::Receiver<Accepted>) {
        let (accepted, served) = mpsc::channel(ACCEPTED);
        let acceptor = Arc::new(Self {
            listener,
            readers,
            framing,
            log,
            registry: Arc::clone(registry),
            accepted: Mutex::new(accepted),
        });
        registry.accepts(&acceptor);
        (acceptor, served)
    }

    /// Accepts the connections that wait, and waits for none. `false` if there may be more.
    ///
    /// # Errors
    /// What the system says when it has no more descriptors.
    pub(crate) fn accept_waiting(&self) -> io::Result<bool> {
        let accepted = self.accepted.lock();
        let accepted = accepted.unwrap_or_else(PoisonError::into_inner);
        // An error: too many are not served yet, or none is served any more.
        while let Ok(place) = accepted.try_reserve() {
            match self.listener.accept() {
                Ok(socket) => place.send(self.admit(socket)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Ok(true),
                    // The peer was gone before it was accepted: nothing is wrong here.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(false)
    }

    /// Tells the runtime this is called in when connections wait.
    pub(crate) fn readiness(&self) -> io::Result<Registered> {
        self.listener.readiness()
    }

    fn admit(&self, socket: OwnedFd) -> Accepted {
        let peer = Peer::of(&socket);
        let subscriber = self.readers.admit(peer).then(|| {
            let cursor = self.log.frames(self.framing, Start::Tail);
            let entry = self.registry.subscriber(peer, cursor.seq());
            (cursor, entry)
        });
        Accepted { socket, subscriber }
    }
}

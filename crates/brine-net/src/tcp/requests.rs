//! The request port over tcp.
//!
//! Requests go to a handler and their answers come back to the connection they are of, in whatever
//! order they are ready. A connection reads no further while its share of requests is under way, and
//! is a stranger's until somebody says otherwise ([`crate::channel::Peer::trust`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use brine_wire::network::tcp::{self, Message};
use brine_wire::{Map, Value};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Listener;
use super::connection::{ConnectionError, Reader, send};
use crate::channel::{Handler, Incoming, Limits, Peer};
use crate::quota::{Place, Quota};
use crate::tls::TlsServer;

/// How long requests under way may take at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// The longest head, in bytes: a UUID and room to spare. It is kept until the answer goes.
const MAX_HEAD_BYTES: usize = 256;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("expected a head of at most {MAX_HEAD_BYTES} bytes, found a larger one")]
    Head,
    #[error(
        "expected large messages of strangers to leave room for one of {bytes} bytes, found none"
    )]
    NoRoom { bytes: usize },
}

/// Takes requests until `shutdown`, and then answers those under way.
pub async fn serve(
    listener: impl Into<Listener>,
    limits: Limits,
    handler: Handler,
    shutdown: impl Future<Output = ()>,
) {
    let listener = listener.into();
    let quota = Quota::new(&limits);
    let limits = Arc::new(limits);
    let (open, closing) = watch::channel(());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            () = &mut shutdown => break,
        };
        let Some(place) = quota.enter(peer.ip()) else {
            tracing::debug!(%peer, "too many connections that have shown nothing yet; closed");
            continue;
        };
        let connection = Connection {
            peer: Peer::new(Some(peer.ip())),
            handler: handler.clone(),
            limits: limits.clone(),
            quota: quota.clone(),
            place: Some(place),
            room: None,
            under_way: 0,
        };
        let (closing, tls) = (closing.clone(), listener.tls.clone());
        connections.spawn(async move {
            if let Err(err) = connection.run(stream, tls, closing).await {
                tracing::debug!(%peer, %err, "request connection closed");
            }
        });
    }
    drop((listener, open));
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, drained).await; // what is left ends with the set
}

/// An answer, and the head of the request it is to.
type Answered = (Map, Value);

struct Connection {
    peer: Peer,
    handler: Handler,
    limits: Arc<Limits>,
    quota: Arc<Quota>,
    /// While it is a stranger's.
    place: Option<Place>,
    /// What a stranger's large message under way takes.
    room: Option<OwnedSemaphorePermit>,
    under_way: usize,
}

impl Connection {
    async fn run(
        mut self,
        stream: TcpStream,
        tls: Option<TlsServer>,
        mut closing: watch::Receiver<()>,
    ) -> Result<(), Ended> {
        let patience = self.limits.patience;
        let (reader, mut writer) = super::open(stream, tls.as_ref(), patience)
            .await
            .map_err(ConnectionError::from)?;
        let mut reader = Reader::new(reader, self.limits.max_message_bytes, patience);
        let most = self.limits.requests_per_connection.max(1);
        let (answer, mut answers) = mpsc::channel(most);
        let mut due = Instant::now() + patience;
        let mut reading = true;
        while reading || self.under_way > 0 {
            tokio::select! {
                Some((head, body)) = answers.recv() => {
                    self.under_way -= 1;
                    self.recognize();
                    send(&mut writer, &tcp::encode(&head, &body), patience).await?;
                    due = Instant::now() + patience;
                }
                read = reader.advance(), if reading && self.under_way < most => match read {
                    Ok(Some(message)) => self.hand_over(message, &answer)?,
                    Ok(None) => self.make_room(reader.wanted())?,
                    Err(ConnectionError::Closed) => reading = false,
                    Err(error) => return Err(error.into()),
                },
                () = sleep_until(due), if self.place.is_some() && self.under_way == 0 => {
                    return Err(ConnectionError::TooSlow { after: patience }.into());
                }
                // Only ever an error: the port is gone.
                _ = closing.changed(), if reading => reading = false,
            }
        }
        Ok(())
    }

    fn hand_over(
        &mut self,
        message: Message,
        answer: &mpsc::Sender<Answered>,
    ) -> Result<(), Ended> {
        let Message { head, body } = message;
        if tcp::encode(&head, &Value::Nil).len() > MAX_HEAD_BYTES {
            return Err(Ended::Head);
        }
        self.room = None;
        self.under_way += 1;
        let answer = answer.clone();
        // There is room for an answer to every request under way; without it the peer is gone.
        let way_back = Box::new(move |body| drop(answer.try_send((head, body))));
        let incoming = Incoming::new(self.peer.clone(), body, way_back);
        (self.handler)(incoming);
        Ok(())
    }

    /// Ends the limits for strangers once somebody has vouched for the peer.
    fn recognize(&mut self) {
        if self.peer.is_trusted() {
            self.place = None;
            self.room = None;
        }
    }

    /// Charges a stranger for what the message under way is known to need.
    fn make_room(&mut self, wanted: usize) -> Result<(), Ended> {
        if self.place.is_none() || wanted <= self.limits.max_stranger_bytes {
            return Ok(());
        }
        if !self.quota.extend(&mut self.room, wanted) {
            return Err(Ended::NoRoom { bytes: wanted });
        }
        Ok(())
    }
}

//! A port for requests, over either transport.
//!
//! Requests go to a handler and their answers come back to the connection they are of, in whatever
//! order they are ready. A connection reads no further while its share of requests is under way, and
//! is a stranger's until its peer is trusted ([`crate::channel::Peer::trust`]).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use brine_wire::Value;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::channel::{Handler, Incoming, Limits, Peer};
use crate::connection::{ConnectionError, Decode, Reader, send};
use crate::heartbeat::Heartbeat;
use crate::listener::{self, Accepted, Listener};
use crate::quota::{Quota, Slot};

/// How long requests under way may take at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// How a transport's requests and answers look.
pub(crate) trait Dialect: Decode<Item = Received<Self::ReplyTo>> + Send + 'static {
    /// What an answer must repeat of its request; bounded by the decoder.
    type ReplyTo: Send + 'static;
    /// What a server sends first.
    const GREETING: &'static [u8] = b"";
    /// What it sends now and then to learn whether the peer is still there.
    const PING: Option<&'static [u8]> = None;

    /// For a new connection.
    fn new(limits: &Limits) -> Self;

    /// The bytes of an answer.
    fn encode(reply_to: &Self::ReplyTo, body: &Value) -> Vec<u8>;
}

/// What arrives from a peer.
pub(crate) enum Received<W> {
    /// Nothing of interest.
    Nothing,
    /// Something that is answered at once.
    Reply(Vec<u8>),
    /// A request.
    Request {
        /// What its answer must repeat.
        reply_to: W,
        /// The request, not interpreted yet.
        payload: Value,
        /// How many bytes it came in.
        bytes: usize,
    },
}

/// Serves requests until `shutdown`, and then answers those under way.
pub(crate) async fn serve<D: Dialect>(
    listener: Listener,
    limits: Limits,
    handler: Handler,
    shutdown: impl Future<Output = ()>,
) {
    let quota = Quota::of_strangers(&limits);
    let limits = Arc::new(limits);
    let (open, closing) = watch::channel(());
    let mut connections = listener
        .serve(&quota, shutdown, |accepted| {
            let connection = Connection {
                peer: Peer::new(Some(accepted.peer.ip())),
                handler: handler.clone(),
                limits: limits.clone(),
                quota: quota.clone(),
                slot: None,
                room: None,
                under_way: 0,
            };
            connection.run::<D>(accepted, closing.clone())
        })
        .await;
    drop(open);
    let drained = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(DRAIN, drained).await; // what is left ends with the set
}

/// An answer, and what it must repeat of its request.
type Answered<D> = (<D as Dialect>::ReplyTo, Value);

struct Connection {
    peer: Peer,
    handler: Handler,
    limits: Arc<Limits>,
    quota: Arc<Quota>,
    /// While it is a stranger's.
    slot: Option<Slot>,
    /// What a stranger's large message under way takes.
    room: Option<OwnedSemaphorePermit>,
    under_way: usize,
}

impl Connection {
    async fn run<D: Dialect>(
        mut self,
        accepted: Accepted,
        mut closing: watch::Receiver<()>,
    ) -> Result<(), ConnectionError> {
        let patience = self.limits.patience;
        let ((reader, mut writer), slot) = listener::open(accepted, patience).await?;
        self.slot = Some(slot);
        if !D::GREETING.is_empty() {
            send(&mut writer, D::GREETING, patience).await?;
        }
        let mut reader = Reader::new(reader, D::new(&self.limits), patience);
        let mut heartbeat = Heartbeat::new(D::PING);
        let most = self.limits.requests_per_connection.max(1);
        let (answer, mut answers) = mpsc::channel(most);
        // Answers in clear do not extend it: anyone can ask for them.
        let due = Instant::now() + patience;
        let mut reading = true;
        while reading || self.under_way > 0 {
            let listening = reading && self.under_way < most;
            if !listening {
                heartbeat.received(); // nothing is read now, so nothing can be missing
            }
            tokio::select! {
                Some((reply_to, body)) = answers.recv() => {
                    self.under_way -= 1;
                    self.recognize();
                    send(&mut writer, &D::encode(&reply_to, &body), patience).await?;
                }
                read = reader.advance(), if listening => {
                    heartbeat.received();
                    match read {
                        Ok(Some(Received::Request { reply_to, payload, bytes })) => {
                            self.hand_over::<D>(reply_to, payload, bytes, &answer);
                        }
                        Ok(Some(Received::Reply(bytes))) => {
                            send(&mut writer, &bytes, patience).await?;
                        }
                        Ok(Some(Received::Nothing)) => {}
                        Ok(None) => self.make_room(reader.wanted())?,
                        Err(ConnectionError::Closed) => reading = false,
                        Err(error) => return Err(error),
                    }
                }
                () = sleep_until(due), if self.slot.is_some() && self.under_way == 0 => {
                    return Err(ConnectionError::TooSlow { after: patience });
                }
                ping = heartbeat.next_ping(), if listening => send(&mut writer, ping?, patience).await?,
                // Only ever an error: the port is gone.
                _ = closing.changed(), if reading => reading = false,
            }
        }
        Ok(())
    }

    fn hand_over<D: Dialect>(
        &mut self,
        reply_to: D::ReplyTo,
        payload: Value,
        bytes: usize,
        answer: &mpsc::Sender<Answered<D>>,
    ) {
        self.room = None;
        self.under_way += 1;
        let answer = answer.clone();
        // There is room for an answer to every request under way; without it the peer is gone.
        let send = Box::new(move |body| drop(answer.try_send((reply_to, body))));
        (self.handler)(Incoming::new(self.peer.clone(), payload, bytes, send));
    }

    /// Ends the limits for strangers once the peer has authenticated.
    fn recognize(&mut self) {
        if self.peer.is_trusted() {
            self.slot = None;
            self.room = None;
        }
    }

    /// Charges a stranger for what the message under way is known to need.
    fn make_room(&mut self, wanted: usize) -> Result<(), ConnectionError> {
        if self.slot.is_none() || wanted <= self.limits.max_stranger_bytes {
            return Ok(());
        }
        if !self.quota.extend(&mut self.room, wanted) {
            return Err(ConnectionError::NoRoom { bytes: wanted });
        }
        Ok(())
    }
}

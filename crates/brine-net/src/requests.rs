//! Serves a port for requests, over either transport.
//!
//! Requests go to a handler; answers return to the request's connection in the order in which they become
//! ready. A connection with too many requests in progress stops reading. It counts as a stranger's until
//! its peer is trusted ([`crate::channel::Peer::trust`]).

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

/// How long requests in progress may take at shutdown.
const DRAIN: Duration = Duration::from_secs(5);

/// A transport's encoding of requests and answers.
pub(crate) trait Dialect: Decode<Item = Received<Self::ReplyTo>> + Send + 'static {
    /// The part of a request that its answer repeats; limited by the decoder.
    type ReplyTo: Send + 'static;
    /// The server's greeting.
    const GREETING: &'static [u8] = b"";
    /// The server's ping.
    const PING: Option<&'static [u8]> = None;

    /// For a new connection.
    fn new(limits: &Limits) -> Self;

    /// The bytes of an answer.
    fn encode(reply_to: &Self::ReplyTo, body: &Value) -> Vec<u8>;
}

/// A message from a peer.
pub(crate) enum Received<W> {
    /// To be ignored.
    Nothing,
    /// To be answered with these bytes at once.
    Reply(Vec<u8>),
    /// A request.
    Request {
        /// The part that the answer repeats.
        reply_to: W,
        /// The request, not yet interpreted.
        payload: Value,
        /// Its size on the wire, in bytes.
        bytes: usize,
    },
}

/// Serves requests until `shutdown`, then answers those in progress.
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
    let _ = timeout(DRAIN, drained).await; // the rest is cancelled with the set
}

/// An answer, and the part of its request that it repeats.
type Answered<D> = (<D as Dialect>::ReplyTo, Value);

struct Connection {
    peer: Peer,
    handler: Handler,
    limits: Arc<Limits>,
    quota: Arc<Quota>,
    /// The slot of an unauthenticated connection.
    slot: Option<Slot>,
    /// The memory charged for a stranger's large message.
    room: Option<OwnedSemaphorePermit>,
    under_way: usize,
}

impl Connection {
    async fn run<D: Dialect>(
        mut self,
        accepted: Accepted,
        mut closing: watch::Receiver<()>,
    ) -> Result<(), ConnectionError> {
        let io_timeout = self.limits.io_timeout;
        let ((reader, mut writer), slot) = listener::open(accepted, io_timeout).await?;
        self.slot = Some(slot);
        if !D::GREETING.is_empty() {
            send(&mut writer, D::GREETING, io_timeout).await?;
        }
        let mut reader = Reader::new(reader, D::new(&self.limits), io_timeout);
        let mut heartbeat = Heartbeat::new(D::PING);
        let most = self.limits.requests_per_connection.max(1);
        let (answer, mut answers) = mpsc::channel(most);
        // Clear answers do not extend it: anyone can request them.
        let due = Instant::now() + io_timeout;
        let mut reading = true;
        while reading || self.under_way > 0 {
            let listening = reading && self.under_way < most;
            if !listening {
                heartbeat.received(); // reading is paused, so the peer cannot be late
            }
            tokio::select! {
                Some((reply_to, body)) = answers.recv() => {
                    self.under_way -= 1;
                    self.recognize();
                    send(&mut writer, &D::encode(&reply_to, &body), io_timeout).await?;
                }
                read = reader.advance(), if listening => {
                    heartbeat.received();
                    match read {
                        Ok(Some(Received::Request { reply_to, payload, bytes })) => {
                            self.hand_over::<D>(reply_to, payload, bytes, &answer);
                        }
                        Ok(Some(Received::Reply(bytes))) => {
                            send(&mut writer, &bytes, io_timeout).await?;
                        }
                        Ok(Some(Received::Nothing)) => {}
                        Ok(None) => self.make_room(reader.wanted())?,
                        Err(ConnectionError::Closed) => reading = false,
                        Err(error) => return Err(error),
                    }
                }
                () = sleep_until(due), if self.slot.is_some() && self.under_way == 0 => {
                    return Err(ConnectionError::TooSlow { after: io_timeout });
                }
                ping = heartbeat.next_ping(), if listening => send(&mut writer, ping?, io_timeout).await?,
                // Returns only with an error: the peer is gone.
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
        // The channel has room for an answer to every request in progress; sending fails only if the peer is gone.
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

    /// Charges a stranger for the known size of the message that is arriving.
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

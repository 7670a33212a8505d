//! Serves a port for requests, over any transport.
//!
//! Requests go to a handler; answers return to the request's connection in the order in which they become
//! ready. A connection with too many requests in progress stops reading. It counts as a stranger's until
//! its peer is trusted ([`crate::channel::Peer::trust_minion`]), and then as that minion's.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use brine_wire::network::tcp;
use brine_wire::{Value, msgpack};
use tokio::io::AsyncRead;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::accounts::{Accounts, Charge, Full, Membership};
use crate::channel::{Handler, Incoming, Limits, Peer, Room};
use crate::connection::{ConnectionError, Decode, Reader, send};
use crate::heartbeat::Heartbeat;
use crate::limits::UNIT;
use crate::listener::{self, Accepted, Listener};
use crate::quota::{Eviction, Quota, Slot};

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
    /// How many requests of one connection may be in progress.
    const AT_ONCE: usize = usize::MAX;

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
    /// The peer ends the connection, and is sent these bytes.
    Last(Vec<u8>),
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

/// What a message holds as a request: a single map within the limits.
pub(crate) fn read_payload(body: &[u8], max_bytes: usize) -> Option<Value> {
    let length = tcp::Decoder::new(max_bytes).next(body).ok()??;
    (length == body.len()).then_some(())?;
    msgpack::decode_network(body).ok()
}

/// Serves requests until `shutdown`, then answers those in progress.
pub(crate) async fn serve<D: Dialect>(
    listener: Listener,
    limits: Limits,
    handler: Handler,
    shutdown: impl Future<Output = ()>,
) {
    let quota = Quota::of_strangers(&limits);
    let accounts = Accounts::new(&limits);
    let limits = Arc::new(limits);
    let (open, closing) = watch::channel(());
    let mut connections = listener
        .serve(&quota, shutdown, |accepted| {
            let connection = Connection {
                peer: Peer::new(Some(accepted.peer.ip()), &limits.known),
                handler: handler.clone(),
                limits: limits.clone(),
                accounts: accounts.clone(),
                eviction: accepted.eviction.clone(),
                standing: None,
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

/// What becomes of a request.
enum Answered<W> {
    /// It is answered.
    Answer {
        /// The part of the request that the answer repeats.
        reply_to: W,
        body: Value,
        /// What the answer is charged to, until it is sent.
        _charge: Option<Charge>,
    },
    /// The peer does not read the answers before this one, and there is no room for it.
    NoRoom {
        /// Its size.
        bytes: usize,
    },
}

struct Connection {
    peer: Peer,
    handler: Handler,
    limits: Arc<Limits>,
    accounts: Arc<Accounts>,
    eviction: Eviction,
    /// `None` until the connection is open.
    standing: Option<Standing>,
    /// The room of the message that is arriving, if it is large.
    room: Option<Room>,
    under_way: usize,
}

/// Whose limits apply.
enum Standing {
    Stranger(Slot),
    Member(Membership),
}

impl Connection {
    async fn run<D: Dialect>(
        mut self,
        accepted: Accepted,
        mut closing: watch::Receiver<()>,
    ) -> Result<(), ConnectionError> {
        let io_timeout = self.limits.io_timeout;
        let ((reader, mut writer), slot) = listener::open(accepted, io_timeout).await?;
        let turns = slot.turns();
        self.standing = Some(Standing::Stranger(slot));
        if !D::GREETING.is_empty() {
            send(&mut writer, D::GREETING, io_timeout).await?;
        }
        let reader = Reader::new(reader, D::new(&self.limits), io_timeout);
        let mut reader = reader.in_turns(turns.clone());
        let mut heartbeat = Heartbeat::new(D::PING);
        let most = self.limits.requests_per_connection.clamp(1, D::AT_ONCE);
        let (answer, mut answers) = mpsc::channel(most);
        // Clear answers do not extend it: anyone can request them.
        let due = Instant::now() + io_timeout;
        let mut reading = true;
        while reading || self.under_way > 0 {
            let starved = self.wanted(&reader);
            let listening = reading && self.under_way < most && starved.is_none();
            if !listening {
                heartbeat.received(); // reading is paused, so the peer cannot be late
            }
            tokio::select! {
                // Not waited for without need: an answer that the handler gives at once would wake this very task.
                Some(answered) = answers.recv(), if self.under_way > 0 => {
                    self.under_way -= 1;
                    self.recognize();
                    turns.use_one().await;
                    match answered {
                        Answered::Answer { reply_to, body, _charge } => {
                            send(&mut writer, &D::encode(&reply_to, &body), io_timeout).await?;
                        }
                        Answered::NoRoom { bytes } => return Err(ConnectionError::NoRoom { bytes }),
                    }
                }
                read = reader.advance(), if listening => {
                    heartbeat.received();
                    match read {
                        Ok(Some(Received::Request { reply_to, payload, bytes })) => {
                            turns.use_up();
                            self.hand_over::<D>(reply_to, payload, bytes, &answer);
                            self.recognize();
                        }
                        Ok(Some(Received::Reply(bytes))) => {
                            turns.use_up();
                            send(&mut writer, &bytes, io_timeout).await?;
                        }
                        Ok(Some(Received::Last(bytes))) => {
                            send(&mut writer, &bytes, io_timeout).await?;
                            reading = false;
                        }
                        Ok(Some(Received::Nothing) | None) => self.make_room(reader.wanted())?,
                        Err(ConnectionError::Closed) => reading = false,
                        Err(error) => return Err(error),
                    }
                }
                () = self.wait_for_room(starved), if starved.is_some() => {}
                () = sleep_until(due), if self.is_stranger() && self.under_way == 0 => {
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
        answer: &mpsc::Sender<Answered<D::ReplyTo>>,
    ) {
        self.under_way += 1;
        let answer = answer.clone();
        let (peer, accounts) = (self.peer.clone(), self.accounts.clone());
        let send = Box::new(move |body: Value| {
            let charged = match peer.holder() {
                Some(holder) => accounts.charge_answer(holder, size(&body)),
                None => Ok(None),
            };
            let answered = match charged {
                Ok(charge) => Answered::Answer {
                    reply_to,
                    body,
                    _charge: charge,
                },
                Err(Full) => Answered::NoRoom { bytes: size(&body) },
            };
            // The channel has room for an answer to every request in progress; sending fails only if the peer is gone.
            drop(answer.try_send(answered));
        });
        let room = self.room.take();
        (self.handler)(Incoming::new(self.peer.clone(), payload, bytes, send, room));
    }

    fn is_stranger(&self) -> bool {
        matches!(self.standing, Some(Standing::Stranger(_)))
    }

    /// Ends the limits for strangers once the peer has authenticated; those for minions begin.
    fn recognize(&mut self) {
        let (Some(Standing::Stranger(_)), Some(holder)) = (&self.standing, self.peer.holder())
        else {
            return;
        };
        let holder = holder.clone();
        if let Some(address) = self.peer.address {
            self.limits.known.note(address);
        }
        let membership = self.accounts.enter(holder, self.eviction.clone());
        if let Some(Standing::Stranger(slot)) = self.standing.replace(Standing::Member(membership))
        {
            slot.admit();
        }
    }

    /// Charges a stranger for the known size of the message that is arriving.
    fn make_room(&mut self, wanted: usize) -> Result<(), ConnectionError> {
        let Some(Standing::Stranger(slot)) = &self.standing else {
            return Ok(());
        };
        if wanted <= slot.free_bytes() {
            return Ok(());
        }
        let mut held = match self.room.take() {
            Some(Room::Stranger(held)) => Some(held),
            Some(Room::Charge(_)) | None => None,
        };
        let has_room = slot.extend(&mut held, wanted);
        self.room = held.map(Room::Stranger);
        match has_room {
            true => Ok(()),
            false => Err(ConnectionError::NoRoom { bytes: wanted }),
        }
    }

    /// The known size of a minion's message that is arriving, while that has no room.
    fn wanted<R: AsyncRead + Unpin, D: Decode>(&self, reader: &Reader<R, D>) -> Option<usize> {
        let Some(Standing::Member(membership)) = &self.standing else {
            return None;
        };
        let wanted = reader.wanted();
        let held = match &self.room {
            Some(Room::Stranger(held)) => held.num_permits().saturating_mul(UNIT),
            Some(Room::Charge(charge)) => charge.bytes(),
            None => membership.free_bytes(),
        };
        (wanted > held).then_some(wanted)
    }

    /// Waits until a minion's message has room. Dropping the future loses nothing.
    async fn wait_for_room(&mut self, wanted: Option<usize>) {
        if let (Some(Standing::Member(membership)), Some(wanted)) = (&self.standing, wanted) {
            // Given back first: two of a minion's messages that wait for each other would wait for ever.
            self.room = None;
            self.room = membership.charge(wanted).await.map(Room::Charge);
        }
    }
}

/// The bytes of an answer that count: an encrypted one, or a map with such ones.
fn size(body: &Value) -> usize {
    match body {
        Value::Bin(bytes) => bytes.len(),
        Value::Map(map) => map.iter().map(|(_, value)| size(value)).sum(),
        _ => 0,
    }
}

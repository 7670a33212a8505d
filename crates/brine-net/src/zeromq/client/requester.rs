//! Requests to a master, one at a time, from a thread that owns the socket.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brine_wire::network::payload;
use brine_wire::network::tcp::FrameError;
use brine_wire::{Value, msgpack};
use tokio::sync::{mpsc, oneshot};
use zmq::{DONTWAIT, POLLIN, Socket};

use super::{ClientConfig, OpenError, check_values, connection_event, monitor};
use crate::tcp::client::MAX_UNTRUSTED_BYTES;

/// A request got no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// No reply in time. The request may have arrived.
    #[error("no reply from {master} within {after:?}")]
    NoReply {
        /// The master.
        master: String,
        /// The time it had.
        after: Duration,
    },
    /// The reply is not msgpack.
    #[error("the reply is not msgpack: {0}")]
    NotMsgpack(#[from] msgpack::DecodeError),
    /// The reply is too large, or too deep.
    #[error("reply refused: {0}")]
    Limits(#[from] FrameError),
    /// The connection ended before the reply. The request may have arrived.
    #[error("the connection to {master} was lost before its reply")]
    Lost {
        /// The master.
        master: String,
    },
    /// libzmq failed, or the requester's thread is gone.
    #[error("the connection to {master} cannot be used")]
    Gone {
        /// The master.
        master: String,
    },
}

/// Sends requests to a master; libzmq connects, and connects again, by itself.
#[derive(Debug)]
pub struct Requester {
    jobs: mpsc::Sender<Job>,
    master: String,
    trusted: AtomicBool,
}

struct Job {
    bytes: Vec<u8>,
    wait: Duration,
    reply: oneshot::Sender<Outcome>,
}

enum Outcome {
    Reply(Vec<u8>),
    Late,
    Lost,
    Failed,
}

impl Requester {
    /// Opens a requester. Succeeds whether or not the master is there.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: ClientConfig) -> Result<Self, OpenError> {
        let context = zmq::Context::new();
        // Opened here once, so that the caller gets the error for a wrong address.
        let connection = Connection::open(&config, &context)?;
        let (jobs, waiting) = mpsc::channel(1);
        let master = config.master.clone();
        // Ends when its requester is dropped: the channel closes.
        std::thread::Builder::new()
            .name("brine-zmq-req".into())
            .spawn(move || run_requests(&config, &context, connection, waiting))?;
        Ok(Self {
            jobs,
            master,
            trusted: AtomicBool::new(true),
        })
    }

    /// For a master that has not proved its key: replies are limited to [`MAX_UNTRUSTED_BYTES`] until
    /// [`Requester::trust`].
    #[must_use]
    pub fn untrusted(self) -> Self {
        self.trusted.store(false, Ordering::Relaxed);
        self
    }

    /// The master has proved its key.
    pub fn trust(&self) {
        self.trusted.store(true, Ordering::Relaxed);
    }

    fn read(&self, reply: &[u8]) -> Result<Value, RequestError> {
        if reply.len() > MAX_UNTRUSTED_BYTES && !self.trusted.load(Ordering::Relaxed) {
            let declared = reply.len();
            return Err(RequestError::Limits(FrameError::TooLarge {
                declared,
                limit: MAX_UNTRUSTED_BYTES,
            }));
        }
        check_values(reply)?;
        Ok(msgpack::decode_network(reply)?)
    }

    /// Sends a payload and waits for its reply. Dropping the future gives the request up; whether
    /// it arrives is not known then.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, payload: &Value, wait: Duration) -> Result<Value, RequestError> {
        let (reply, replied) = oneshot::channel();
        let bytes = payload::clear_reply(payload);
        let gone = || RequestError::Gone {
            master: self.master.clone(),
        };
        let job = Job { bytes, wait, reply };
        self.jobs.send(job).await.map_err(|_| gone())?;
        match replied.await.map_err(|_| gone())? {
            Outcome::Reply(bytes) => self.read(&bytes),
            Outcome::Late => Err(RequestError::NoReply {
                master: self.master.clone(),
                after: wait,
            }),
            Outcome::Lost => Err(RequestError::Lost {
                master: self.master.clone(),
            }),
            Outcome::Failed => Err(gone()),
        }
    }
}

fn run_requests(
    config: &ClientConfig,
    context: &zmq::Context,
    connection: Connection,
    mut jobs: mpsc::Receiver<Job>,
) {
    let mut connection = Some(connection);
    while let Some(job) = jobs.blocking_recv() {
        let Some(open) = connection
            .take()
            .or_else(|| Connection::open(config, context).ok())
        else {
            let _ = job.reply.send(Outcome::Failed);
            continue;
        };
        let outcome = open.exchange(&job);
        // A REQ socket that waits for a reply cannot send: it is reused only after a reply.
        if matches!(outcome, Outcome::Reply(_)) {
            connection = Some(open);
        }
        let _ = job.reply.send(outcome);
    }
}

/// How often to check whether the caller still waits.
const LOOK: Duration = Duration::from_millis(50);

/// A socket for requests, and a socket on which libzmq reports the state of its connection.
struct Connection {
    socket: Socket,
    monitor: Socket,
}

impl Connection {
    fn open(config: &ClientConfig, context: &zmq::Context) -> Result<Self, OpenError> {
        let socket = config.socket(context, zmq::REQ)?;
        // Do not queue requests while there is no connection: libzmq may lose them silently.
        socket.set_immediate(true)?;
        let monitor = monitor(context, &socket)?;
        config.connect_to(&socket)?;
        Ok(Self { socket, monitor })
    }

    fn exchange(&self, job: &Job) -> Outcome {
        let due = Instant::now() + job.wait;
        let mut outcome = self.wait(job, due, zmq::POLLOUT, &mut || {
            self.is_lost(); // discards reports about earlier connections
            false
        });
        if outcome.is_none() {
            self.is_lost();
            if self.socket.send(&job.bytes[..], DONTWAIT).is_err() {
                return Outcome::Lost;
            }
            outcome = self.wait(job, due, POLLIN, &mut || self.is_lost());
        }
        outcome.unwrap_or_else(|| {
            let received = self.socket.recv_multipart(DONTWAIT).ok();
            let reply = received.and_then(|frames| frames.into_iter().next_back());
            reply.map_or(Outcome::Failed, Outcome::Reply)
        })
    }

    /// Waits until the socket is ready; `None` then.
    fn wait(
        &self,
        job: &Job,
        due: Instant,
        ready: zmq::PollEvents,
        is_lost: &mut dyn FnMut() -> bool,
    ) -> Option<Outcome> {
        while !job.reply.is_closed() {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let wait = i64::try_from(left.min(LOOK).as_millis().max(1)).unwrap_or(1);
            let mut items = [
                self.socket.as_poll_item(ready),
                self.monitor.as_poll_item(POLLIN),
            ];
            match zmq::poll(&mut items, wait) {
                Ok(_) | Err(zmq::Error::EINTR) => {}
                Err(_) => return Some(Outcome::Failed),
            }
            if items[0].get_revents().contains(ready) {
                return None;
            }
            if is_lost() {
                return Some(Outcome::Lost);
            }
        }
        Some(Outcome::Late)
    }

    /// Whether libzmq has reported a lost connection since the last call.
    fn is_lost(&self) -> bool {
        let mut lost = false;
        while let Some(is_connected) = connection_event(&self.monitor) {
            lost |= !is_connected;
        }
        lost
    }
}

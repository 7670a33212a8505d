//! Requests to a master, one at a time, from a task that owns the connection.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brine_wire::network::tcp::{Decoder, FrameError, MAX_VALUES};
use brine_wire::network::zmtp::{self, Socket, ZmtpError};
use brine_wire::{Value, msgpack, network::payload};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout_at};

use super::ClientConfig;
use super::connection::Connection;
use crate::connection::ConnectionError;
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
    /// No connection in time.
    #[error("cannot connect to {master} within {after:?}: {source}")]
    Unconnected {
        /// The master.
        master: String,
        /// The time it had.
        after: Duration,
        /// Why the last attempt failed.
        source: ConnectionError,
    },
    /// The reply is not msgpack.
    #[error("the reply is not msgpack: {0}")]
    NotMsgpack(#[from] msgpack::DecodeError),
    /// The reply has too many values, or is too deep.
    #[error("reply refused: {0}")]
    Limits(#[from] FrameError),
    /// The reply is too large, or no ZMTP.
    #[error("reply refused: {0}")]
    Frame(#[from] ZmtpError),
    /// The connection ended before the reply. The request may have arrived.
    #[error("the connection to {master} was lost before its reply")]
    Lost {
        /// The master.
        master: String,
    },
    /// The runtime that carried the connection has ended.
    #[error("the connection to {master} cannot be used")]
    Gone {
        /// The master.
        master: String,
    },
}

/// Sends requests to a master; connects when necessary.
#[derive(Debug)]
pub struct Requester {
    jobs: mpsc::Sender<Job>,
    master: String,
    trusted: AtomicBool,
    max_message_bytes: usize,
    /// Ends when it is dropped.
    _task: JoinSet<()>,
}

#[derive(Debug)]
struct Job {
    bytes: Vec<u8>,
    /// The largest reply accepted.
    max_bytes: usize,
    wait: Duration,
    reply: oneshot::Sender<Outcome>,
}

#[derive(Debug)]
enum Outcome {
    Reply(Vec<u8>),
    Late,
    Unconnected(ConnectionError),
    Lost,
    Refused(ZmtpError),
}

impl Requester {
    /// A requester for a master, whether or not that is there. Needs a tokio runtime.
    #[must_use]
    pub fn open(config: ClientConfig) -> Self {
        let (jobs, waiting) = mpsc::channel(1);
        let (master, max_message_bytes) = (config.master.clone(), config.max_message_bytes);
        let mut task = JoinSet::new();
        task.spawn(run(config, waiting));
        Self {
            jobs,
            master,
            trusted: AtomicBool::new(true),
            max_message_bytes,
            _task: task,
        }
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

    fn max_bytes(&self) -> usize {
        match self.trusted.load(Ordering::Relaxed) {
            true => self.max_message_bytes,
            false => MAX_UNTRUSTED_BYTES.min(self.max_message_bytes),
        }
    }

    /// Sends a payload and waits for its reply. Dropping the future gives the request up; whether
    /// it arrives is not known then.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, payload: &Value, wait: Duration) -> Result<Value, RequestError> {
        let (reply, replied) = oneshot::channel();
        let gone = || RequestError::Gone {
            master: self.master.clone(),
        };
        let job = Job {
            bytes: zmtp::encode_request(&payload::clear_reply(payload)),
            max_bytes: self.max_bytes(),
            wait,
            reply,
        };
        self.jobs.send(job).await.map_err(|_| gone())?;
        match replied.await.map_err(|_| gone())? {
            Outcome::Reply(bytes) => read(&bytes),
            Outcome::Late => Err(RequestError::NoReply {
                master: self.master.clone(),
                after: wait,
            }),
            Outcome::Unconnected(source) => Err(RequestError::Unconnected {
                master: self.master.clone(),
                after: wait,
                source,
            }),
            Outcome::Lost => Err(RequestError::Lost {
                master: self.master.clone(),
            }),
            Outcome::Refused(error) => Err(RequestError::Frame(error)),
        }
    }
}

/// A reply within the limits of clear messages: each decoded value takes about 70 bytes of memory.
fn read(reply: &[u8]) -> Result<Value, RequestError> {
    Decoder::of_value(reply.len(), MAX_VALUES).next(reply)?;
    Ok(msgpack::decode_network(reply)?)
}

async fn run(config: ClientConfig, mut jobs: mpsc::Receiver<Job>) {
    let mut connection = None;
    loop {
        let job = match &mut connection {
            None => jobs.recv().await,
            Some(open) => tokio::select! {
                job = jobs.recv() => job,
                () = is_over(open) => {
                    connection = None;
                    continue;
                }
            },
        };
        let Some(mut job) = job else { return };
        // A connection on which a reply is outstanding is not used again: the next request would get it.
        let kept = connection.take();
        let due = Instant::now() + job.wait;
        let mut failure = None;
        let exchange = exchange(&config, kept, &job.bytes, job.max_bytes, &mut failure);
        let answered = tokio::select! {
            answered = timeout_at(due, exchange) => answered,
            () = job.reply.closed() => continue,
        };
        let outcome = match answered {
            Ok(Ok((reply, open))) => {
                connection = Some(open);
                Outcome::Reply(reply)
            }
            Ok(Err(ConnectionError::Zmtp(error))) => Outcome::Refused(error),
            Ok(Err(_)) => Outcome::Lost,
            Err(_) => failure.map_or(Outcome::Late, Outcome::Unconnected),
        };
        let _ = job.reply.send(outcome);
    }
}

/// Waits until a connection without a request has ended. Nothing may come on it but pings.
async fn is_over(connection: &mut Connection) {
    let _ = connection.next().await;
}

async fn exchange(
    config: &ClientConfig,
    kept: Option<Connection>,
    request: &[u8],
    max_bytes: usize,
    failure: &mut Option<ConnectionError>,
) -> Result<(Vec<u8>, Connection), ConnectionError> {
    let mut connection = match kept {
        Some(open) => open,
        None => connect(config, failure).await,
    };
    *failure = None;
    connection.set_max_bytes(max_bytes);
    connection.send(request).await?;
    let (_, reply) = connection.next().await?;
    Ok((reply, connection))
}

/// Tries until it succeeds: the master may be about to start. Leaves why the last attempt failed in `failure`.
async fn connect(config: &ClientConfig, failure: &mut Option<ConnectionError>) -> Connection {
    let mut wait = config.recon_default;
    loop {
        match Connection::open(config, Socket::Req).await {
            Ok(connection) => return connection,
            Err(err) => {
                tracing::debug!(master = %config.master, %err, "cannot connect; retrying");
                *failure = Some(err);
            }
        }
        sleep(wait).await;
        wait = config.next_wait(wait);
    }
}

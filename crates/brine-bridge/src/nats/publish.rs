//! Publishing events to a stream, in order and with many acknowledgements outstanding.
//!
//! When a connection breaks, some of what was sent is lost. A client that reconnects by itself continues with later
//! messages, and the stream would have a hole that is filled later, out of order. So a session is one connection: it
//! ends with the first fault, together with its runtime, and the next begins after the last event up to which the
//! server has acknowledged everything. The server recognises messages that it already has by their ids.

use std::io;
use std::sync::Arc;
use std::thread;

use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use brine_log::history::History;
use brine_log::{LogId, Position, Seq};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot};

use super::connect::{Link, Unavailable};
use super::message::Outgoing;
use super::options::{Connection, StreamOptions};
use crate::batch::Batch;
use crate::sink::{Sink, SinkError};

/// What a publisher is made from.
#[derive(Debug, Clone)]
pub struct PublishOptions {
    /// How to reach NATS.
    pub connection: Connection,
    /// The stream.
    pub stream: StreamOptions,
    /// The id of the master whose events these are.
    pub master: String,
}

/// NATS JetStream as the other side of a sink.
pub struct NatsSink {
    options: Arc<PublishOptions>,
    /// Events are published once this has them on disk: what a crash takes from there was never sent to others.
    durable: Option<History>,
    session: Option<Session>,
    /// The last event of this log that the stream is known to have; `None` after a start.
    last: Option<Seq>,
}

/// A thread with a connection.
struct Session {
    batches: mpsc::Sender<Request>,
}

struct Request {
    messages: Vec<Outgoing>,
    answer: oneshot::Sender<Answer>,
}

/// How many messages are stored, counted from the first, and what happened to the one after them.
struct Answer {
    stored: usize,
    fault: Option<SinkError>,
}

impl NatsSink {
    /// A sink that is not connected yet.
    #[must_use]
    pub fn new(options: PublishOptions, durable: Option<History>) -> Self {
        Self {
            options: Arc::new(options),
            durable,
            session: None,
            last: None,
        }
    }

    async fn session(&mut self) -> Result<&Session, SinkError> {
        if self.session.is_none() {
            self.session = Some(Session::open(Arc::clone(&self.options)).await?);
        }
        self.session
            .as_ref()
            .ok_or_else(|| SinkError::unavailable("no connection"))
    }

    /// The batch as messages, each of which names the one before it.
    fn messages(&self, batch: &Batch<'_>) -> Vec<Outgoing> {
        let PublishOptions { stream, master, .. } = &*self.options;
        let prefix = stream.events();
        let mut after = self.last.filter(|_| !batch.is_resent());
        let messages = batch.events().map(|event| {
            let message = Outgoing::of(&prefix, master, &event, after);
            // Those sent once more stand alone.
            after = message.own.filter(|_| !batch.is_resent()).or(after);
            message
        });
        messages.collect()
    }
}

impl Sink for NatsSink {
    async fn begin(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        self.session().await?;
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        if let Some(history) = &self.durable
            && let (Some(first), Some(last)) = (batch.events().next(), batch.events().last())
        {
            let events = first.position.seq..Seq(last.position.seq.0 + 1);
            // What cannot be stored is on the bus all the same, and others may have it.
            let _ = history.durable(events).await;
        }
        let messages = self.messages(batch);
        let own: Vec<_> = messages.iter().map(|message| message.own).collect();
        let (answer, answered) = oneshot::channel();
        let request = Request { messages, answer };
        let sent = self.session().await?.batches.send(request).await;
        let answer = match sent {
            Ok(()) => answered.await.ok(),
            Err(_) => None,
        };
        let Some(Answer { stored, fault }) = answer else {
            self.session = None;
            return Err(SinkError::unavailable("the connection to NATS was lost"));
        };
        if !batch.is_resent() {
            let stored = own.iter().take(stored).rev();
            self.last = stored.flatten().next().copied().or(self.last);
        }
        match fault {
            Some(fault) => {
                if matches!(fault, SinkError::Unavailable { .. }) {
                    // Whatever is on its way must not come behind what is sent next.
                    self.session = None;
                }
                match stored {
                    0 => Err(fault),
                    stored => Ok(stored),
                }
            }
            None => Ok(stored),
        }
    }

    async fn move_to(&mut self, _position: Position) -> Result<(), SinkError> {
        self.last = None;
        Ok(())
    }
}

impl Session {
    /// Connects on its own thread.
    async fn open(options: Arc<PublishOptions>) -> Result<Self, SinkError> {
        let (batches, requests) = mpsc::channel(1);
        let (opened, is_open) = oneshot::channel();
        let thread = thread::Builder::new().name("brine-nats".to_owned());
        let spawned = thread.spawn(move || {
            match runtime::Builder::new_current_thread().enable_all().build() {
                // When it ends, the runtime does, and with it all that the client still holds.
                Ok(runtime) => runtime.block_on(run(&options, requests, opened)),
                Err(error) => drop(opened.send(Err(no_thread(&error)))),
            }
        });
        spawned.map_err(|error| SinkError::unavailable(no_thread(&error)))?;
        match is_open.await {
            Ok(Ok(())) => Ok(Self { batches }),
            Ok(Err(error)) => Err(SinkError::unavailable(error)),
            Err(_) => Err(SinkError::unavailable("the connection to NATS was lost")),
        }
    }
}

fn no_thread(error: &io::Error) -> Unavailable {
    Unavailable::new("cannot start a thread", error)
}

/// A session: ends with the first fault, or when nobody can publish any more.
async fn run(
    options: &PublishOptions,
    mut requests: mpsc::Receiver<Request>,
    opened: oneshot::Sender<Result<(), Unavailable>>,
) {
    let name = format!("brine {} publisher", options.master);
    let link = async {
        let link = Link::open(&options.connection, &name).await?;
        link.stream(&options.stream).await?;
        Ok(link)
    };
    let link = match link.await {
        Ok(link) => link,
        Err(error) => return drop(opened.send(Err(error))),
    };
    if opened.send(Ok(())).is_err() {
        return;
    }
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = link.lost() => return,
        };
        let Some(Request { messages, answer }) = request else {
            return;
        };
        let answered = tokio::select! {
            biased;
            answered = publish(&link, messages) => answered,
            // What was stored of it is not known: all of it is sent again.
            () = link.lost() => return,
        };
        let is_over = matches!(answered.fault, Some(SinkError::Unavailable { .. }));
        if answer.send(answered).is_err() || is_over {
            return;
        }
    }
}

/// Publishes messages, then waits for their acknowledgements in order.
async fn publish(link: &Link, messages: Vec<Outgoing>) -> Answer {
    let mut acks = Vec::with_capacity(messages.len());
    let mut fault = None;
    for message in messages {
        match send(link, message).await {
            Ok(ack) => acks.push(ack),
            Err(error) => {
                fault = Some(judge(&error));
                break;
            }
        }
    }
    let mut stored = 0;
    for ack in acks {
        match ack.await {
            Ok(_) => stored += 1,
            Err(error) => {
                fault = Some(judge(&error));
                break;
            }
        }
    }
    Answer { stored, fault }
}

async fn send(link: &Link, message: Outgoing) -> Result<PublishAckFuture, PublishError> {
    let Outgoing {
        subject,
        headers,
        payload,
        ..
    } = message;
    let jetstream = &link.jetstream;
    jetstream
        .publish_with_headers(subject, headers, payload)
        .await
}

/// Whether the message is at fault, or the server is down or full.
fn judge(error: &PublishError) -> SinkError {
    /// The server's number for a message larger than the stream takes.
    const TOO_LARGE: u64 = 10054;
    let is_refused = match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => true,
        PublishErrorKind::Other => {
            let source = std::error::Error::source(error);
            let source =
                source.and_then(|source| source.downcast_ref::<async_nats::jetstream::Error>());
            source.is_some_and(|error| error.error_code().0 == TOO_LARGE)
        }
        _ => false,
    };
    match is_refused {
        true => SinkError::refused(error),
        false => SinkError::unavailable(error),
    }
}

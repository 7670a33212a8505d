//! The publish port over WebSockets.
//!
//! Subscribers neither identify themselves nor say what they want: each gets everything, and looks at the target itself.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use brine_wire::{Value, msgpack};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::Messages;
use super::protocol::{Decoder, End, Step, encode_message};
use crate::channel::{Limits, Publication};
use crate::connection::{ConnectionError, Reader, send};
use crate::listener::{self, Accepted, Listener};
use crate::quota::Quota;
use crate::stream::{Incoming, Outgoing};
use crate::subscribers::Subscribers;

/// The largest message of a subscriber, in bytes: Salt's send none but the text `close`.
const MAX_BYTES: usize = 1024;

/// The subscribers of one port; cheap to clone.
#[derive(Clone, Default)]
pub struct Publisher {
    subscribers: Arc<Subscribers<()>>,
}

impl fmt::Debug for Publisher {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Publisher")
    }
}

impl Publisher {
    /// Sends to all subscribers; returns for how many it was dropped because they do not read.
    #[must_use]
    pub fn publish(&self, publication: &Publication) -> usize {
        // Salt packs what is packed already once more.
        let mut body = Vec::with_capacity(publication.payload.len() + 5);
        msgpack::encode(&Value::Bin(publication.payload.to_vec()), &mut body);
        let message: Arc<[u8]> = encode_message(body, End::Server).into();
        self.subscribers
            .publish(|(), chosen| chosen.push(message.clone()))
    }
}

/// Serves subscribers until `shutdown`.
pub async fn serve(
    listener: impl Into<Listener>,
    limits: Limits,
    publisher: Publisher,
    shutdown: impl Future<Output = ()>,
) {
    let quota = Quota::of_strangers(&limits);
    let subscribers = Quota::of_subscribers(&limits);
    let limits = Arc::new(limits);
    let connections = listener.into().serve(&quota, shutdown, |accepted| {
        deliver(
            accepted,
            publisher.clone(),
            limits.clone(),
            subscribers.clone(),
        )
    });
    drop(connections.await); // ends them
}

type Half = Reader<Incoming, Messages>;

/// Serves one subscriber, which is a stranger until its handshake is done.
async fn deliver(
    accepted: Accepted,
    publisher: Publisher,
    limits: Arc<Limits>,
    subscribers: Arc<Quota>,
) -> Result<(), ConnectionError> {
    let (address, eviction) = (accepted.peer.ip(), accepted.eviction.clone());
    let ((reader, mut writer), slot) = listener::open(accepted, limits.identification).await?;
    let messages = Messages(Decoder::server(MAX_BYTES));
    let mut reader = Reader::new(reader, messages, limits.io_timeout).in_turns(slot.turns());
    let after = limits.identification;
    let opened = timeout(after, handshake(&mut reader)).await;
    let response = opened.map_err(|_| ConnectionError::TooSlow { after })??;
    // Before it knows that it is connected: from then on it may miss nothing.
    let (_entry, publications) = publisher.subscribers.enter(limits.publish_queue);
    let _subscriber = subscribers.enter(address, eviction);
    slot.admit();
    send(&mut writer, &response, limits.io_timeout).await?;
    carry(reader, writer, publications, &limits).await
}

/// The answer to a subscriber's handshake, once that has come.
async fn handshake(reader: &mut Half) -> Result<Vec<u8>, ConnectionError> {
    loop {
        if let Step::Opened(response) = reader.next().await? {
            return Ok(response);
        }
    }
}

async fn carry(
    mut reader: Half,
    mut writer: Outgoing,
    mut publications: mpsc::Receiver<Arc<[u8]>>,
    limits: &Limits,
) -> Result<(), ConnectionError> {
    let io_timeout = limits.io_timeout;
    loop {
        tokio::select! {
            Some(message) = publications.recv() => send(&mut writer, &message, io_timeout).await?,
            read = reader.advance() => match read? {
                Some(Step::Reply(bytes)) => send(&mut writer, &bytes, io_timeout).await?,
                Some(Step::Close(bytes)) => return send(&mut writer, &bytes, io_timeout).await,
                Some(Step::Nothing | Step::Opened(_) | Step::Message(_)) | None => {}
            },
        }
    }
}

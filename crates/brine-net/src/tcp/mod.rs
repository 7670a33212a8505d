//! The tcp transport: messages of `{head, body}` on both ports.
//!
//! Facts: `docs/protocol/network.md` §2.2.

pub mod client;
pub mod publish;

use std::future::Future;

use brine_wire::network::tcp::{self, Decoder, Message};
use brine_wire::{Map, Value};

use crate::channel::{Handler, Limits};
use crate::connection::{ConnectionError, Decode};
use crate::listener::Listener;
use crate::requests::{self, Dialect, Received};

/// The longest head, in bytes: a UUID with room to spare. It is kept until the answer is sent.
const MAX_HEAD_BYTES: usize = 256;

/// Serves requests until `shutdown`, then answers those in progress.
pub async fn serve_requests(
    listener: impl Into<Listener>,
    limits: Limits,
    handler: Handler,
    shutdown: impl Future<Output = ()>,
) {
    requests::serve::<Requests>(listener.into(), limits, handler, shutdown).await;
}

/// Messages of either port.
struct Messages(Decoder);

impl Messages {
    const fn new(max_bytes: usize) -> Self {
        Self(Decoder::new(max_bytes))
    }

    const fn set_max_bytes(&mut self, max_bytes: usize) {
        self.0.set_max_bytes(max_bytes);
    }
}

impl Decode for Messages {
    type Item = Message;

    fn wanted(&self) -> usize {
        self.0.wanted()
    }

    fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, Message)>, ConnectionError> {
        let Some(length) = self.0.next(buffer)? else {
            return Ok(None);
        };
        Ok(Some((length, Message::parse(&buffer[..length])?)))
    }
}

/// Messages that are requests.
struct Requests(Messages);

impl Decode for Requests {
    type Item = Received<Map>;

    fn wanted(&self) -> usize {
        self.0.wanted()
    }

    fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, Received<Map>)>, ConnectionError> {
        let Some((length, Message { head, body })) = self.0.next(buffer)? else {
            return Ok(None);
        };
        let bytes = tcp::encode(&head, &Value::Nil).len();
        if bytes > MAX_HEAD_BYTES {
            let limit = MAX_HEAD_BYTES;
            return Err(ConnectionError::Head { bytes, limit });
        }
        let request = Received::Request {
            reply_to: head,
            payload: body,
            bytes: length,
        };
        Ok(Some((length, request)))
    }
}

impl Dialect for Requests {
    type ReplyTo = Map;

    fn new(limits: &Limits) -> Self {
        Self(Messages::new(limits.max_message_bytes))
    }

    fn encode(head: &Map, body: &Value) -> Vec<u8> {
        tcp::encode(head, body)
    }
}

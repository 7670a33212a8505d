//! The ZeroMQ transport: a master's ports, and a minion's connections to them.
//!
//! Neither end uses libzmq: the other side can make it hold any amount of memory, since it keeps the parts of a message
//! until the last arrives. Facts: `docs/protocol/network.md` §2.1.

pub mod client;
pub mod publish;

use std::future::Future;

use brine_wire::Value;
use brine_wire::network::payload;
use brine_wire::network::zmtp::{self, Decoder, Socket, Step};

use crate::channel::{Handler, Limits};
use crate::connection::{ConnectionError, Decode};
use crate::listener::Listener;
use crate::requests::{self, Dialect, Received, read_payload};

/// Serves requests until `shutdown`, then answers those in progress.
pub async fn serve_requests(
    listener: impl Into<Listener>,
    limits: Limits,
    handler: Handler,
    shutdown: impl Future<Output = ()>,
) {
    requests::serve::<Requests>(listener.into(), limits, handler, shutdown).await;
}

struct Requests {
    frames: Decoder,
    max_bytes: usize,
}

impl Decode for Requests {
    type Item = Received<Vec<u8>>;

    fn wanted(&self) -> usize {
        self.frames.wanted()
    }

    fn next(
        &mut self,
        buffer: &[u8],
    ) -> Result<Option<(usize, Received<Vec<u8>>)>, ConnectionError> {
        let Some((length, step)) = self.frames.next(buffer)? else {
            return Ok(None);
        };
        let received = match step {
            Step::Reply(bytes) => Received::Reply(bytes),
            Step::Message { envelope, body } => match read_payload(body, self.max_bytes) {
                Some(payload) => Received::Request {
                    reply_to: envelope,
                    payload,
                    bytes: length,
                },
                None => Received::Reply(Self::encode(&envelope, &payload::BAD_LOAD.into())),
            },
            _ => Received::Nothing,
        };
        Ok(Some((length, received)))
    }
}

impl Dialect for Requests {
    type ReplyTo = Vec<u8>;
    const GREETING: &'static [u8] = &zmtp::GREETING;
    const PING: Option<&'static [u8]> = Some(zmtp::PING);

    fn new(limits: &Limits) -> Self {
        Self {
            frames: Decoder::new(Socket::Router, limits.max_message_bytes),
            max_bytes: limits.max_message_bytes,
        }
    }

    fn encode(envelope: &Vec<u8>, body: &Value) -> Vec<u8> {
        zmtp::encode_reply(envelope, &payload::clear_reply(body))
    }
}

//! The `ws` transport: on both ports WebSockets whose binary messages are payloads.
//!
//! Facts: `docs/protocol/network.md` §2.3.

pub mod client;
mod protocol;
pub mod publish;

use std::future::Future;

use brine_wire::Value;
use brine_wire::network::payload;

pub use self::protocol::WsError;
#[doc(hidden)]
pub use self::protocol::fuzz_websocket;
use self::protocol::{Decoder, End, Step, encode_message};
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

/// Either end of either port.
struct Messages(Decoder);

impl Decode for Messages {
    type Item = Step;

    fn wanted(&self) -> usize {
        self.0.wanted()
    }

    fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, Step)>, ConnectionError> {
        Ok(self.0.next(buffer)?)
    }
}

struct Requests {
    messages: Messages,
    max_bytes: usize,
}

impl Decode for Requests {
    type Item = Received<()>;

    fn wanted(&self) -> usize {
        self.messages.wanted()
    }

    fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, Received<()>)>, ConnectionError> {
        let Some((length, step)) = self.messages.next(buffer)? else {
            return Ok(None);
        };
        let received = match step {
            Step::Nothing => Received::Nothing,
            Step::Opened(bytes) | Step::Reply(bytes) => Received::Reply(bytes),
            Step::Close(bytes) => Received::Last(bytes),
            Step::Message(body) => match read_payload(&body, self.max_bytes) {
                Some(payload) => Received::Request {
                    reply_to: (),
                    payload,
                    bytes: body.len(),
                },
                None => Received::Reply(Self::encode(&(), &payload::BAD_LOAD.into())),
            },
        };
        Ok(Some((length, received)))
    }
}

impl Dialect for Requests {
    type ReplyTo = ();
    /// A reply does not say which request it answers.
    const AT_ONCE: usize = 1;

    fn new(limits: &Limits) -> Self {
        Self {
            messages: Messages(Decoder::server(limits.max_message_bytes)),
            max_bytes: limits.max_message_bytes,
        }
    }

    fn encode((): &(), body: &Value) -> Vec<u8> {
        encode_message(payload::clear_reply(body), End::Server)
    }
}

//! What the generator must know of a bus's protocol: how to open a connection, and how an event
//! looks on the way in and on the way out.
//!
//! Every event of a run has the same size, so a protocol is a few byte strings: no parser, and
//! no trait. Salt's dialects are here; those of other buses stand with their peers in `benches/`.

use brine_wire::compat::Compat;
use brine_wire::frame::{Framing, encode_frame};
use brine_wire::scan;

/// A bus protocol.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// What it is called in messages.
    pub name: &'static str,
    /// How a publisher's connection begins.
    pub publisher_hello: Hello,
    /// How a subscriber's connection begins.
    pub subscriber_hello: Hello,
    /// The bytes a publisher writes for an event.
    pub publish: fn(event: &[u8]) -> Vec<u8>,
    /// The bytes a subscriber reads for it.
    pub deliver: fn(event: &[u8]) -> Vec<u8>,
    /// What else may come to a subscriber: other programs' events, keep-alives.
    pub skip: fn(bytes: &[u8]) -> Skip,
}

/// The start of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Hello {
    /// What is sent.
    pub send: &'static [u8],
    /// How the answer ends; empty if none comes.
    pub answer_ends: &'static [u8],
}

impl Hello {
    /// Salt's: a connection is all there is.
    pub const NONE: Self = Self {
        send: b"",
        answer_ends: b"",
    };
}

/// The start of some bytes that are not the run's own event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// Something of this many bytes, complete.
    Bytes(usize),
    /// Its end has not come yet.
    More,
    /// Nothing this protocol has.
    Wrong,
}

impl Dialect {
    /// The local bus of a Salt release.
    #[must_use]
    pub fn salt(compat: Compat) -> Self {
        Self::framed("salt", compat.pull_framing(), compat.publish_framing())
    }

    /// A forwarder that takes prefixed frames and passes them on as they are.
    #[must_use]
    pub const fn prefixed_relay() -> Self {
        Self::framed("relay", Framing::Prefixed, Framing::Prefixed)
    }

    const fn framed(name: &'static str, pull: Framing, publish: Framing) -> Self {
        Self {
            name,
            publisher_hello: Hello::NONE,
            subscriber_hello: Hello::NONE,
            publish: encoder(pull),
            deliver: encoder(publish),
            skip: match publish {
                Framing::Bare => skip_bare,
                Framing::Prefixed => skip_prefixed,
            },
        }
    }
}

const fn encoder(framing: Framing) -> fn(&[u8]) -> Vec<u8> {
    match framing {
        Framing::Bare => bare,
        Framing::Prefixed => prefixed,
    }
}

fn bare(event: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(Framing::Bare, event, &mut frame);
    frame
}

fn prefixed(event: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    encode_frame(Framing::Prefixed, event, &mut frame);
    frame
}

fn skip_bare(bytes: &[u8]) -> Skip {
    match scan::skip_value(bytes) {
        Ok(Some(length)) => Skip::Bytes(length),
        Ok(None) => Skip::More,
        Err(_) => Skip::Wrong,
    }
}

fn skip_prefixed(bytes: &[u8]) -> Skip {
    let Some((length, rest)) = bytes.split_first_chunk() else {
        return Skip::More;
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > brine_wire::frame::MAX_FRAME_BYTES {
        Skip::Wrong
    } else if rest.len() < length {
        Skip::More
    } else {
        Skip::Bytes(4 + length)
    }
}

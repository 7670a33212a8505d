//! Salt's event formats and rules as pure functions over bytes.
//!
//! What two Salt programs must agree on lives here: the msgpack values, the event envelope, the
//! framing of the local bus, tags and how listeners match them, trimming, stamps. This crate does
//! no I/O, reads no clock, takes no randomness and knows nothing of sockets, logs or files: time
//! and bytes are arguments. Facts and their sources: `docs/protocol/ipc.md`.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod build;
pub mod compat;
pub mod decimal;
pub mod envelope;
pub mod event;
pub mod event_line;
pub mod field_filter;
pub mod frame;
#[doc(hidden)]
pub mod fuzzing;
pub mod json;
pub mod matching;
pub mod msgpack;
pub mod nats_subject;
pub mod network;
pub mod nodegroup;
pub mod python_regex;
pub mod python_text;
pub mod record;
pub mod ret_load;
pub mod returns;
pub mod scan;
pub mod stamp;
pub mod tag;
pub mod time;
pub mod trim;
pub mod value;

pub use value::{Map, Value};

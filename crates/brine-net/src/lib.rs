//! Keys, cryptography and channels between Salt minions and masters.
//!
//! Everything that touches a key or the network between machines is here, and nothing else is: no
//! configuration file, no local bus, no job. The messages themselves are defined in `brine_wire::network`.
//! The rule of this crate: a peer that has not authenticated has a fixed cost. Nothing it sends is trusted, stored or
//! waited for beyond a limit, and every request gets an answer.
//! Facts: `docs/protocol/network.md`.

mod accounts;
pub mod backoff;
pub mod channel;
pub mod client;
mod connection;
pub mod crypto;
mod dial;
pub mod fair_queue;
#[doc(hidden)]
pub mod fuzzing;
mod heartbeat;
pub mod keys;
pub mod known;
mod limits;
pub mod listener;
mod log_text;
pub mod master;
pub mod minion;
mod quota;
pub mod replay;
mod requester;
mod requests;
pub mod serials;
mod stream;
mod subscribers;
pub mod tcp;
pub mod tls;
mod turns;
pub mod ws;
pub mod zeromq;

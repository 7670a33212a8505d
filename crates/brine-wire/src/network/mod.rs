//! The messages between minions, masters and local clients on the network, as pure functions.
//!
//! Layouts, orders and decisions that follow from bytes alone. The cryptographic operations, keys,
//! clocks and sockets are `brine-net`'s: where a message holds a ciphertext or a signature, this
//! module says where it stands and over which bytes. Nothing here trusts its input; everything that
//! becomes a path or a tag has a type that only a check makes ([`MinionId`], [`Jid`]).
//! Facts: `docs/protocol/network.md`.

pub mod algorithm;
pub mod auth;
pub mod crypticle;
pub mod delivery;
pub mod events;
pub mod field;
#[doc(hidden)]
pub mod fuzzing;
pub mod jid;
pub mod job;
pub mod job_return;
pub mod key_text;
pub mod minion_event;
pub mod minion_id;
pub mod nonce;
pub mod payload;
pub mod pillar;
pub mod publish;
pub mod request;
pub mod tag_policy;
pub mod tcp;
pub mod x931;
pub mod zmtp;

pub use jid::Jid;
pub use minion_id::MinionId;
pub use nonce::Nonce;

/// The protocol version that all current releases speak.
pub const VERSION: u32 = 3;

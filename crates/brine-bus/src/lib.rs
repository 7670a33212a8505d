//! The sockets of one event bus, both ends.
//!
//! The server: [`Sockets::bind`] takes a bus's sockets and [`serve()`] serves them over a
//! [`brine_log::Log`]. The client: [`client`] listens to and fires on any bus that speaks Salt's
//! local protocol, ours or Salt's own. Both find a bus by its [`Address`].
//!
//! The path of an event through this crate: `serve` accepts, `pull` reads and appends to the log,
//! `publish` writes from it. Nothing here knows the network between minions and masters,
//! configuration files, or what an event means.

pub mod address;
mod allocator;
pub mod client;
mod listen;
mod publish;
mod pull;
mod quota;
mod registration;
mod serve;
mod stream;

pub use address::Address;
pub use listen::{BindError, Modes, Sockets};
pub use serve::{BusConfig, Served, serve};

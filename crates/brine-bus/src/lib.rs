//! The sockets of one event bus, both ends.
//!
//! The server: [`Sockets::bind`] takes a bus's sockets, and a [`Bus`] serves them over a [`brine_log::Log`]; its
//! [`BusHandle`] fires and listens in process and has the statistics. The client: [`client`] listens to and fires on
//! any bus that speaks Salt's local protocol, ours or Salt's own. Both find a bus by its [`Address`].
//!
//! The path of an event through this crate: `bus` and `accept` accept, `pull` reads and appends to the log, `publish`
//! writes from it. Nothing here knows the network between minions and masters, configuration files, or what an event
//! means.

mod accept;
pub mod address;
mod allocator;
mod audit;
mod bus;
pub mod client;
mod clock;
mod delay;
pub mod front;
#[doc(hidden)]
pub mod fuzzing;
mod handle;
pub mod join;
mod listen;
mod publish;
mod pull;
mod quota;
mod registration;
mod relay;
mod stream;
mod watch;

pub use address::Address;
pub use audit::Noticed;
pub use bus::{Bus, BusConfig, BusThread, Served, runtime};
pub use delay::{DELAY_BOUNDS_MS, DeliveryDelay};
pub use handle::{BusHandle, BusStats, SubscriberStats};
pub use listen::{BindError, Modes, Readers, SocketName, Sockets, bind_named};
pub use relay::{Relay, RelayError};
pub use stream::Peer;
pub use watch::SocketWatch;

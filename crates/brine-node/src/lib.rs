//! What a master and a minion do.
//!
//! `brine-net` authenticates and `brine-bus` carries events inside a machine; this crate joins them: events of a
//! minion become events on its master's bus, jobs go to minions, returns come back, functions run. All of it is visible
//! on the node's own bus ([`node_bus`]). Command lines and printing belong to the program.
//! Facts: `docs/protocol/network.md` §8 to §12.

mod bus_address;
mod call;
pub mod client;
mod clock;
mod connected;
mod file;
pub mod files;
pub mod functions;
#[doc(hidden)]
pub mod fuzzing;
mod job_request;
pub mod jobs;
pub mod keys;
pub mod master;
pub mod minion;
mod minion_cache;
pub mod node_bus;
pub mod options;
mod python;
pub mod runner;
mod shutdown;
pub mod target;
mod traverse;
mod weight;
mod wheel_help;

pub use bus_address::{BusAddressError, bus_address, own_minion, uses_tcp};
pub use job_request::{JobRequest, PublishError, Published};
pub use minion_cache::MinionCache;

//! What a master and a minion do.
//!
//! `brine-net` says who speaks and `brine-bus` carries events inside a machine; this crate joins
//! them: events a minion sends become events on its master's bus, jobs go down and returns come up,
//! functions run. A node's own bus ([`node_bus`]) is where all of it is seen. What the command line
//! looks like, and what is printed, is the program's.
//! Facts: `docs/protocol/network.md` §8 to §12.

mod clock;
mod file;
pub mod files;
pub mod functions;
pub mod jobs;
pub mod keys;
pub mod master;
pub mod minion;
pub mod node_bus;
pub mod options;
mod python;
mod shutdown;
pub mod target;
mod traverse;

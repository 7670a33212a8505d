//! NATS JetStream: events as a stream that anybody reads, and several masters as one bus on it.
//!
//! [`NatsSink`] publishes: for a stream that others read, and for a master that shares its bus. [`Intake`] takes in what
//! other masters have published, [`Control`] passes jobs on to them and tells who is connected where. How it works and
//! what a message looks like: `docs/cluster.md`. Placement, replication and retention are the server's.

mod connect;
mod control;
mod intake;
mod message;
mod options;
mod order;
mod publish;
mod state;

pub use control::{Control, ControlOptions, OnJob, PeerStatus, Peers, Present};
pub use intake::{Intake, IntakeFigures, IntakeOptions};
pub use options::{BadFile, Connection, Login, StreamOptions};
pub use publish::{NatsSink, PublishOptions};

//! NATS JetStream: events as a stream that anybody can read, and several masters on one bus.
//!
//! [`NatsSink`] publishes, to a stream for other readers or for masters that share their bus. [`Intake`] takes in
//! what other masters have published; [`Control`] passes jobs on to them and says which minions are connected where.
//! How it works and what a message looks like: `docs/cluster.md`. Placement, replication and retention are left to
//! the server.

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

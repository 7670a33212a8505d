//! Brine over HTTP.
//!
//! The local socket, `brine.sock`, is beside Salt's sockets: HTTP/1.1 where the kernel identifies the peer instead of
//! a login. `GET /events` streams and replays events, `POST /events` fires them and answers once they are safe,
//! `/consumers` keeps named positions, `GET /status` describes the running bus, and `POST /run` has the node run a
//! command. Endpoints, with examples: `docs/local-socket.md`. On the network, [`network`] serves Salt's HTTP API:
//! `docs/api.md`.
//!
//! [`respond`] answers a request from an [`ApiState`] and a [`Subject`], who asks. Only the listener ([`local`] here)
//! knows the transport and how the subject was authenticated, so that others can be added beside it. Every stream of
//! events is a cursor over the log; events for a client that does not read wait in the log and in no queue of ours.
//!
//! This crate decides no permissions of Salt's and runs no commands: [`RunCommand`] does.

mod accept;
pub mod acl;
mod body;
mod command;
mod connection;
mod consumers;
mod counters;
mod error;
mod events;
mod exposition;
mod figures;
mod fired_by;
#[doc(hidden)]
pub mod fuzzing;
mod hang_up;
mod health;
mod incoming;
mod limits;
pub mod local;
pub mod metrics;
pub mod network;
mod openapi;
mod page;
mod query;
mod respond;
pub mod rest;
mod router;
mod run;
mod salt_exporter;
mod seldom;
mod sinks;
mod state;
mod status;
pub mod stream;
mod subject;

pub use acl::{Acl, AclError};
pub use body::ResponseBody;
pub use command::{Command, CommandClient, RunCommand, RunError};
pub use consumers::Consumers;
pub use error::ApiError;
pub use respond::respond;
pub use sinks::{Discarded, SinkFigures, Sinks};
pub use state::{
    ApiConfig, ApiState, Audit, Durability, NodeInfo, Noticed, ReadinessCheck, StatusPart,
};
pub use subject::{Origin, Subject};

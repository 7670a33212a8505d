//! The local socket and the network listener over real sockets: what is answered, to whom, and what hostile clients achieve.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod captures;
mod client;
mod consumers;
mod corpus;
mod events;
mod fire;
mod history;
mod hostile;
mod metrics;
mod network;
mod page;
mod permissions;
mod recorded;
mod rest;
mod run;
mod streams;
mod support;
mod tls;

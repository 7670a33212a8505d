//! Tests over golden vectors, sockets and real Salt.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking"
)]

mod accounts;
mod corpus;
mod crypto_vectors;
mod requests;
mod salt_crypt;
mod salt_master;
mod salt_minion;
mod salt_zeromq;
mod sign_in;
mod tcp;
mod tls;
mod vectors;
mod ws;
mod zeromq;
mod zeromq_server;

//! What strangers and liars can do at the master's two ports: nothing that anybody notices.
//!
//! Each file is about one kind of them. The master here is this crate's part of one: what passes
//! sign-in or a session key is written down and answered, so that tests can say who got through.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod before_sign_in;
mod crowd;
mod cve;
mod honest;
mod identity;
mod key_text;
mod master;
mod publishes;
mod replay;
#[path = "../it/requests.rs"]
mod requests;
mod scanners;
mod slow;
mod tampering;
mod versions;
#[path = "../it/zeromq_server.rs"]
#[allow(dead_code, reason = "the tests use parts of it")]
mod zeromq_server;

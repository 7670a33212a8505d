//! Test parts shared by the crates: real Salt, databases and a nats-server to test against, certificates, a proxy that
//! loses answers, how long to wait, and the pages of the book that are made from the program.
//!
//! A dev-dependency only; it imports none of the other crates.

pub mod allocations;
#[cfg(feature = "certificates")]
pub mod certificates;
pub mod database;
pub mod nats;
pub mod program;
pub mod proxy;
pub mod reference;
pub mod salt;
pub mod user;
mod wait;

pub use wait::{DEADLINE, wait_until};

/// A port of this machine that nobody uses now.
fn free_port() -> u16 {
    let socket = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0));
    let address = socket.and_then(|socket| socket.local_addr());
    address.expect("a free port").port()
}

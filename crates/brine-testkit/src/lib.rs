//! Test parts shared by the crates: real Salt, databases and a nats-server to test against, how long to wait, and
//! the pages of the book that are made from the program.
//!
//! A dev-dependency only; it imports none of the other crates.

pub mod allocations;
pub mod database;
pub mod nats;
pub mod program;
pub mod reference;
pub mod salt;
pub mod user;
mod wait;

pub use wait::{DEADLINE, wait_until};

//! Test parts shared by the crates: real Salt to test against.
//!
//! A dev-dependency only; it imports none of the other crates.

pub mod allocations;
pub mod program;
pub mod salt;
pub mod user;

//! The crate from outside: real Salt's readings row by row, what users are told, what always holds.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod arguments;
mod documents;
mod opts;
mod properties;
mod remarks;
mod typed;

//! Placeholder.

pub mod address;

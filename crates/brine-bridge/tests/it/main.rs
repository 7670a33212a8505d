//! Sinks over a log with history: the pump against a scripted other side, and each sink against a real one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod file;
mod mysql;
mod otlp;
mod postgres;
mod pump;
mod support;
mod tls;
mod webhook;

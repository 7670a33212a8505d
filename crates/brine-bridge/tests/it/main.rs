//! Sinks over a log with history: the pump against a scripted other side, and each sink against a real one.

mod file;
mod mysql;
mod postgres;
mod pump;
mod support;
mod webhook;

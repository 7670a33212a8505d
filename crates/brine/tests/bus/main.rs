//! The bus that `brine bus` runs, seen from outside: by real Salt's programs, by strangers who send
//! anything at all, and by other users.
//!
//! Nothing here knows how the bus works inside; facts are of `docs/protocol/ipc.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod attach;
mod history;
mod hostile;
mod malformed;
mod peers;
mod process;
mod salt;
mod sockets;

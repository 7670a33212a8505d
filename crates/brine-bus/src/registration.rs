//! Registers a socket with the runtime for one kind of readiness.
//!
//! The only unsafe code of this crate. Tokio's own streams are always registered for reading and
//! writing; then the kernel wakes the bus each time a subscriber has read something, which at ten
//! subscribers doubled the bus's processor time per event (`docs/benchmarks.md`).
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Must be called inside a tokio runtime.
pub(crate) fn register(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor must stay open and the same while it is registered. `OwnedFd` owns its
    // descriptor, returns the same number every time, and is moved into the `AsyncFd`, which hands
    // it out by shared reference only and deregisters it before it gives it back or drops it.
    let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
    Ok(registered?)
}

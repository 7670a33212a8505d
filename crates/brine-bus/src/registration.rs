//! Registers a socket with the runtime for one kind of readiness.
//!
//! Tokio's own streams are always registered for reading and writing. The kernel then wakes the bus each time a
//! subscriber has read something, which doubled the bus's processor time per event with ten subscribers
//! (`docs/benchmarks.md`).
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that is registered with the runtime. It gives out the registration by shared reference
/// only: `AsyncFd::get_mut` would let safe code put another socket in its place.
#[derive(Debug)]
pub(crate) struct Registered(AsyncFd<OwnedFd>);

impl Registered {
    /// Registers a socket. Must be called inside a tokio runtime.
    pub(crate) fn new(socket: OwnedFd, interest: Interest) -> io::Result<Self> {
        // SAFETY: the descriptor must stay open and the same while it is registered. `OwnedFd` owns
        // its descriptor, returns the same number every time, and is moved into the `AsyncFd`,
        // which deregisters it before it gives it back or drops it. Nobody can replace or close it
        // before that: the `AsyncFd` is private to this type, which never lends it mutably.
        let registered = unsafe { AsyncFd::register_with_interest(socket, interest) };
        Ok(Self(registered?))
    }

    /// The socket, no longer registered.
    pub(crate) fn into_inner(self) -> OwnedFd {
        self.0.into_inner()
    }
}

impl Deref for Registered {
    type Target = AsyncFd<OwnedFd>;

    fn deref(&self) -> &AsyncFd<OwnedFd> {
        &self.0
    }
}

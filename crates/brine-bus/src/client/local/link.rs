//! A connection to a local socket: bytes to write, bytes read, and the head of the answer.
//!
//! It decides nothing; the drivers beside it decide what follows from an end or an error.

use std::io;
use std::time::Instant;

use super::address::LocalAddress;
use super::error::LocalError;
use super::http::{self, Body, Head};
use crate::address::Endpoint;
use crate::client::driver::{Call, Connection, Step};

/// What one read takes at most, in bytes.
const READ_BYTES: usize = 64 << 10;

/// A connection, or the pause before the next attempt to make one.
#[derive(Debug)]
pub(super) struct Link<S> {
    address: LocalAddress,
    token: Option<String>,
    connection: Connection<S>,
    out: Vec<u8>,
    written: usize,
    input: Input,
}

/// Bytes that were read and are not used yet.
#[derive(Debug, Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl<S> Link<S> {
    pub(super) fn new(address: LocalAddress) -> Self {
        let (endpoint, token) = address.resolve();
        Self {
            address,
            token,
            connection: Connection::new(endpoint),
            out: Vec::new(),
            written: 0,
            input: Input::default(),
        }
    }

    pub(super) const fn address(&self) -> &LocalAddress {
        &self.address
    }

    pub(super) const fn endpoint(&self) -> &Endpoint {
        self.connection.endpoint()
    }

    pub(super) const fn socket(&self) -> Option<&S> {
        self.connection.socket()
    }

    /// What to do while there is no connection.
    pub(super) fn connect(&mut self, call: &Call, now: Instant) -> Step<'_, S> {
        if matches!(self.address, LocalAddress::TokenFile(_)) {
            let (endpoint, token) = self.address.resolve();
            self.connection.set_endpoint(endpoint);
            self.token = token;
        }
        self.connection.step(call, now)
    }

    /// An attempt to connect ended; the error comes back if it was the last one of the call.
    pub(super) fn handle_connect(
        &mut self,
        attempt: io::Result<S>,
        call: &Call,
        now: Instant,
    ) -> Result<(), io::Error> {
        self.connection.handle_connect(attempt, call, now)
    }

    /// Begins a request: its head, with the token, is the first that is written.
    pub(super) fn begin(&mut self, request: &http::Request<'_>) {
        self.out.clear();
        self.written = 0;
        request.write(self.token.as_deref(), &mut self.out);
    }

    /// More to be written.
    pub(super) const fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    pub(super) fn unwritten(&self) -> &[u8] {
        &self.out[self.written..]
    }

    /// So many bytes of it are in the socket.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
        if self.written == self.out.len() {
            self.out.clear();
            self.out.shrink_to(READ_BYTES);
            self.written = 0;
        }
    }

    /// The step that writes what is left, or else reads; there is a connection.
    pub(super) fn transfer(&mut self) -> Option<Step<'_, S>> {
        let socket = self.connection.socket()?;
        if self.written < self.out.len() {
            return Some(Step::Write(socket, &self.out[self.written..]));
        }
        Some(Step::Read(socket, self.input.room()))
    }

    /// The step that writes and reads, whichever is possible first; there is a connection.
    pub(super) fn exchange(&mut self) -> Option<Step<'_, S>> {
        let socket = self.connection.socket()?;
        let bytes = &self.out[self.written..];
        Some(Step::Exchange(socket, self.input.room(), bytes))
    }

    /// So many bytes were read.
    pub(super) fn filled(&mut self, bytes: usize) {
        self.input.end += bytes;
        self.connection.made_progress();
    }

    /// The head of the answer, if it is there.
    pub(super) fn head(&mut self) -> Result<Option<Head>, LocalError> {
        let found = http::head(self.input.bytes());
        let found = found.map_err(|source| self.not_brine(source))?;
        Ok(found.map(|(head, length)| {
            self.input.start += length;
            head
        }))
    }

    /// Moves what belongs to a body to `out`.
    pub(super) fn body(&mut self, body: &mut Body, out: &mut Vec<u8>) -> Result<(), LocalError> {
        let used = body.take(self.input.bytes(), out);
        self.input.start += used.map_err(|source| self.not_brine(source))?;
        Ok(())
    }

    fn not_brine(&self, source: http::HttpError) -> LocalError {
        LocalError::Http {
            endpoint: self.endpoint().clone(),
            source,
        }
    }

    /// Nothing of an answer has been read.
    pub(super) fn is_unanswered(&self) -> bool {
        self.input.bytes().is_empty()
    }

    /// The connection is over; the next attempt waits a little.
    pub(super) fn lost(&mut self, now: Instant) {
        self.connection.lost(now);
        self.clear();
    }

    /// Drops the connection; the next attempt is due at once.
    pub(super) fn forget(&mut self) {
        self.connection.forget();
        self.clear();
    }

    fn clear(&mut self) {
        self.out.clear();
        self.written = 0;
        self.input = Input::default();
    }
}

impl Input {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Room for a read; what is not used yet stays.
    fn room(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.buffer.len() < self.end + READ_BYTES / 2 {
            self.buffer.resize(self.end + READ_BYTES, 0);
        }
        &mut self.buffer[self.end..]
    }
}

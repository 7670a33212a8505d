//! A stream's connection, wherever the stream is at the moment: reading through the log, or with the others at its
//! tail. It knows how to send bytes, and when the stream is over.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Duration;

use super::form::Form;
use super::window::{LAST_CHUNK, Wire, push_framed};
use crate::events::filter::Filter;
use crate::state::Entry;

/// What a stream is written to: a socket, or the pipe to whatever puts it into other frames.
pub(super) trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Socket for T {}

/// Done when a stream must end.
pub(super) type Ends = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What counts a stream somewhere, until it is dropped.
pub(super) type Guard = Box<dyn Send>;

/// What a stream shows. Streams that show the same are rendered once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) form: Form,
    pub(super) wire: Wire,
    pub(super) filter: Filter,
    /// After so long without an event something is sent all the same.
    pub(super) heartbeat: Duration,
}

/// Why a stream is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The client has gone.
    Gone,
    /// The client may not read any longer.
    Ended,
}

/// One stream.
pub(super) struct Subscriber {
    socket: Box<dyn Socket>,
    ends: Ends,
    pub(super) view: Arc<View>,
    pub(super) entry: Entry,
    _guard: Guard,
    /// What is to be sent before any event: what begins a stream, or the rest of a heartbeat.
    pub(super) pending: Vec<u8>,
    /// What the client has sent since: it has nothing to say.
    received: usize,
}

/// More than any client sends by mistake, in bytes.
const MAX_RECEIVED: usize = 64 << 10;

impl Subscriber {
    /// A stream that is sent `head` and a preface before any event.
    pub(super) fn new(
        socket: Box<dyn Socket>,
        view: Arc<View>,
        entry: Entry,
        ends: Ends,
        guard: Guard,
        head: Vec<u8>,
        preface: &[u8],
    ) -> Self {
        let mut pending = head;
        push_framed(view.wire, preface, &mut pending);
        Self {
            socket,
            ends,
            view,
            entry,
            _guard: guard,
            pending,
            received: 0,
        }
    }

    /// Sends bytes from `sent` on and counts them there. Ready when all of them are in the socket.
    pub(super) fn poll_send(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
        sent: &mut usize,
    ) -> Poll<io::Result<()>> {
        while let Some(rest) = bytes.get(*sent..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.socket).poll_write(context, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => *sent += written,
            }
        }
        // What TLS has encrypted and the socket has not yet taken.
        Pin::new(&mut self.socket).poll_flush(context)
    }

    /// Sends what is pending.
    pub(super) fn poll_send_pending(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pending = std::mem::take(&mut self.pending);
        let mut sent = 0;
        let result = self.poll_send(context, &pending, &mut sent);
        if sent < pending.len() {
            self.pending = pending;
            self.pending.drain(..sent);
        }
        result
    }

    /// Whether the stream is over; looks at both reasons, and wakes for both.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> Poll<Over> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(Over::Ended);
        }
        let mut buffer = [0; 256];
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut self.socket).poll_read(context, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() && self.received < MAX_RECEIVED => {
                    self.received += buffer.filled().len();
                }
                _ => return Poll::Ready(Over::Gone),
            }
        }
    }

    /// Ends the stream, so that the client sees a whole body. Only between two records.
    pub(super) fn finish(mut self) {
        let mut context = Context::from_waker(Waker::noop());
        let end = match self.view.wire {
            Wire::Chunks => LAST_CHUNK,
            Wire::Bare => b"",
        };
        // A socket that has no room for five bytes is closed without them.
        let is_sent = self.poll_send(&mut context, end, &mut 0).is_ready();
        if is_sent {
            let _ = Pin::new(&mut self.socket).poll_shutdown(&mut context);
        }
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Subscriber")
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

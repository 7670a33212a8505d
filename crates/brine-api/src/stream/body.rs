//! A stream as the body of an answer that hyper sends: through a pipe, so that it is written like any
//! other.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};

use super::Prepared;

/// What waits in the pipe of a stream that hyper sends, in bytes.
const PIPE_BYTES: usize = 16 << 10;

/// The body of a stream.
pub(crate) struct StreamBody(State);

enum State {
    /// Not asked for yet.
    Prepared(Box<Prepared>),
    /// Written into this pipe.
    Piped(DuplexStream),
    Over,
}

impl StreamBody {
    pub(super) fn new(prepared: Prepared) -> Self {
        Self(State::Prepared(Box::new(prepared)))
    }

    /// The next piece of the body.
    pub(crate) fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match std::mem::replace(&mut self.0, State::Over) {
                State::Prepared(prepared) => {
                    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                    // hyper's connection counts it.
                    prepared.start(Box::new(theirs), Vec::new(), Box::new(()));
                    self.0 = State::Piped(ours);
                }
                State::Piped(mut pipe) => {
                    let piece = poll_pipe(&mut pipe, context);
                    if !matches!(piece, Poll::Ready(None)) {
                        self.0 = State::Piped(pipe);
                    }
                    return piece;
                }
                State::Over => return Poll::Ready(None),
            }
        }
    }
}

fn poll_pipe(pipe: &mut DuplexStream, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
    let mut piece = BytesMut::zeroed(PIPE_BYTES);
    let mut buffer = ReadBuf::new(&mut piece);
    let read = ready!(Pin::new(pipe).poll_read(context, &mut buffer));
    let length = buffer.filled().len();
    if read.is_err() || length == 0 {
        return Poll::Ready(None);
    }
    piece.truncate(length);
    Poll::Ready(Some(piece.freeze()))
}

impl fmt::Debug for StreamBody {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("StreamBody").finish_non_exhaustive()
    }
}

//! The bodies of answers: complete, or streamed.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

/// The type of answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of an answer.
#[derive(Debug)]
pub struct ResponseBody(Kind);

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    /// What a separate task writes; the task ends with the body.
    Stream {
        chunks: mpsc::Receiver<Bytes>,
        writer: AbortOnDropHandle<Result<(), CutShort>>,
        /// Nothing more comes, and what came has gone out.
        is_over: bool,
    },
    Piped(Pipe),
}

/// A body ends before it is complete: the connection is closed, and the last chunk is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the answer ends before it is complete")]
pub struct CutShort;

impl ResponseBody {
    /// A whole body.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(Some(bytes.into())))
    }

    /// What is written into a pipe. `start` gets the writing end when the body is first read; once the client has disconnected,
    /// writes fail.
    pub(crate) fn piped(start: impl FnOnce(DuplexStream) + Send + 'static) -> Self {
        Self(Kind::Piped(Pipe::Waiting(Box::new(start))))
    }

    /// A body that `write` sends piece by piece. One piece at a time waits for the connection. If it fails, or panics,
    /// the client sees that the body is not whole.
    pub(crate) fn stream<W: Future<Output = Result<(), CutShort>> + Send + 'static>(
        write: impl FnOnce(mpsc::Sender<Bytes>) -> W,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        let writer = AbortOnDropHandle::new(tokio::spawn(write(sender)));
        Self(Kind::Stream {
            chunks,
            writer,
            is_over: false,
        })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = CutShort;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, CutShort>>> {
        let next = match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take()),
            Kind::Stream {
                chunks,
                writer,
                is_over,
            } => match ready!(chunks.poll_recv(context)) {
                Some(bytes) => Poll::Ready(Some(bytes)),
                None if !std::mem::replace(is_over, true) => {
                    // An error ends the connection at once: what was sent before it goes out first.
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                None => {
                    let ended = ready!(Pin::new(writer).poll(context));
                    return Poll::Ready(ended.unwrap_or(Err(CutShort)).err().map(Err));
                }
            },
            Kind::Piped(pipe) => pipe.poll_piece(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Stream { .. } | Kind::Piped(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Kind::Stream { .. } | Kind::Piped(_) => SizeHint::default(),
        }
    }
}

/// What waits in a pipe, in bytes.
const PIPE_BYTES: usize = 16 << 10;

/// A pipe that others write a body into.
enum Pipe {
    /// Not asked for yet.
    Waiting(Box<dyn FnOnce(DuplexStream) + Send>),
    Open(DuplexStream),
    Over,
}

impl Pipe {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match std::mem::replace(self, Self::Over) {
                Self::Waiting(start) => {
                    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
                    start(theirs);
                    *self = Self::Open(ours);
                }
                Self::Open(mut pipe) => {
                    let piece = poll_pipe(&mut pipe, context);
                    if !matches!(piece, Poll::Ready(None)) {
                        *self = Self::Open(pipe);
                    }
                    return piece;
                }
                Self::Over => return Poll::Ready(None),
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

impl fmt::Debug for Pipe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pipe").finish_non_exhaustive()
    }
}

//! Bodies: the answer's, whole or as it comes; and the request's, read within limits.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::HeaderValue;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::error::ApiError;
use crate::stream::StreamBody;

/// The type of answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The body of an answer.
#[derive(Debug)]
pub struct ResponseBody(Kind);

#[derive(Debug)]
enum Kind {
    Full(Option<Bytes>),
    /// What a task of its own writes; the task ends with the body.
    Stream {
        chunks: mpsc::Receiver<Bytes>,
        _writer: AbortOnDrop,
    },
    /// A stream of events, which ends when nobody reads it any more.
    Events(StreamBody),
}

/// A task that ends when nobody wants its work any more.
#[derive(Debug)]
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ResponseBody {
    /// A whole body.
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self(Kind::Full(Some(bytes.into())))
    }

    /// A stream of events.
    pub(crate) const fn events(stream: StreamBody) -> Self {
        Self(Kind::Events(stream))
    }

    /// A body that `write` sends piece by piece. One piece at a time waits for the connection.
    pub(crate) fn stream<W: Future<Output = ()> + Send + 'static>(
        write: impl FnOnce(mpsc::Sender<Bytes>) -> W,
    ) -> Self {
        let (sender, chunks) = mpsc::channel(1);
        let writer = AbortOnDrop(tokio::spawn(write(sender)));
        Self(Kind::Stream {
            chunks,
            _writer: writer,
        })
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match &mut self.0 {
            Kind::Full(bytes) => Poll::Ready(bytes.take()),
            Kind::Stream { chunks, .. } => chunks.poll_recv(context),
            Kind::Events(stream) => stream.poll_piece(context),
        };
        next.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Full(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Kind::Stream { .. } | Kind::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Full(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Kind::Stream { .. } | Kind::Events(_) => SizeHint::default(),
        }
    }
}

/// How long a client may take between two pieces of a body that it announced as whole.
const BETWEEN_PIECES: Duration = Duration::from_secs(30);

/// The next piece of a request's body; `None` at its end.
pub(crate) async fn piece(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    loop {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => return Some(Ok(data)),
            Ok(Err(_trailers)) => {}
            Err(error) => return Some(Err(error)),
        }
    }
}

/// All of a request's body.
pub(crate) async fn whole(mut body: Incoming, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::BodyTooLarge { limit };
    if body.size_hint().lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    loop {
        let piece = timeout(BETWEEN_PIECES, piece(&mut body));
        match piece.await.map_err(|_| ApiError::BodyTimeout)? {
            None if all.is_empty() => return Ok(first),
            None => return Ok(all.freeze()),
            Some(Ok(data)) if first.is_empty() && all.is_empty() => first = data,
            Some(Ok(data)) => {
                if all.is_empty() {
                    all.extend_from_slice(&first);
                }
                all.extend_from_slice(&data);
            }
            Some(Err(error)) => return Err(ApiError::BadRequest(format!("body: {error}"))),
        }
        if first.len().max(all.len()) > limit {
            return Err(too_large());
        }
    }
}

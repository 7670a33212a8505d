//! One connection: HTTP/1 until a handler takes it over.

use std::convert::Infallible;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::body::ResponseBody;
use crate::connection::{Connection, Io, TakeOver};
use crate::limits::Held;
use crate::rest::{Answer, RestState, Transport};
use crate::router;

/// Serves a connection to its end.
pub(super) async fn serve(
    io: Io,
    peer: SocketAddr,
    held: Held,
    state: &Arc<RestState>,
    closing: watch::Receiver<bool>,
) {
    let slot = Slot::default();
    let service = Handler {
        state: Arc::clone(state),
        transport: Transport {
            peer,
            can_take_over: true,
            is_tls: matches!(io, Io::Right(_)),
        },
        slot: slot.clone(),
    };
    let limits = &state.options.limits;
    let io = TokioIo::new(Watched::new(io));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head_timeout)
        .max_buf_size(limits.head_bytes)
        .max_headers(limits.head_fields)
        // A reader that is gone and one that has closed its half look the same; both end.
        .half_close(false)
        .serve_connection(io, service);
    let mut is_closing = Box::pin({
        let mut closing = closing.clone();
        async move {
            let _ = closing.wait_for(|closing| *closing).await; // a server that is gone closes, too
        }
    });
    let mut has_closed = false;
    let ended = poll_fn(|context| {
        if !has_closed && is_closing.as_mut().poll(context).is_ready() {
            has_closed = true;
            Pin::new(&mut connection).graceful_shutdown();
        }
        match Pin::new(&mut connection).poll(context) {
            Poll::Ready(ended) => Poll::Ready(Some(ended)),
            // The handler was called by this very poll, so nothing else needs to wake us.
            Poll::Pending if slot.is_filled() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%peer, err = %error, "HTTP API: connection ended"),
        None => {
            let parts = connection.into_parts();
            let io = parts.io.into_inner();
            let Some(take_over) = slot.take().filter(|_| !io.is_behind) else {
                return; // earlier answers are still unsent: nothing may follow half of one
            };
            take_over(Connection {
                io: io.io,
                read: parts.read_buf,
                closing,
                held,
            })
            .await;
        }
    }
}

/// Serves a connection of HTTP/2 to its end. Its requests share it, so that none takes it over.
pub(super) async fn serve_http2(
    io: Io,
    peer: SocketAddr,
    held: Held,
    state: &Arc<RestState>,
    mut closing: watch::Receiver<bool>,
) {
    /// The most requests of one connection at a time.
    const MOST_STREAMS: u32 = 64;
    /// How long an idle client has to take leave.
    const LAST_WORD: Duration = Duration::from_secs(1);
    let service = Handler {
        state: Arc::clone(state),
        transport: Transport {
            peer,
            can_take_over: false,
            is_tls: matches!(io, Io::Right(_)),
        },
        slot: Slot::default(),
    };
    let (asked, open) = (Arc::new(AtomicU64::new(0)), Arc::new(()));
    let (seen, is_open) = (Arc::clone(&asked), Arc::downgrade(&open));
    let service = service_fn(move |request| {
        asked.fetch_add(1, Ordering::Relaxed);
        let (answer, open) = (service.call(request), Arc::clone(&open));
        async move {
            answer
                .await
                .map(|answer| answer.map(|body| Counted { body, _open: open }))
        }
    });
    let limits = &state.options.limits;
    let idle = limits.head_timeout;
    // A client that answers pings and asks nothing, or has not even begun to speak HTTP.
    let is_idle = async move {
        let mut before = None;
        loop {
            let now = seen.load(Ordering::Relaxed);
            // The service itself has one.
            if is_open.strong_count() <= 1 && before == Some(now) {
                return;
            }
            before = Some(now);
            sleep(idle).await;
        }
    };
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(head_bytes)
        .max_local_error_reset_streams(Some(128))
        .keep_alive_interval(Some(limits.head_timeout))
        .keep_alive_timeout(limits.head_timeout)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = async { let _ = closing.wait_for(|closing| *closing).await; } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = is_idle => {
            connection.as_mut().graceful_shutdown();
            // It may be busy with a client that says nothing.
            timeout(LAST_WORD, connection).await.unwrap_or(Ok(()))
        }
    };
    drop(held);
    if let Err(error) = ended {
        tracing::debug!(%peer, err = %error, "HTTP API: connection ended");
    }
}

/// The body of an answer, which counts as long as it is sent.
struct Counted {
    body: ResponseBody,
    _open: Arc<()>,
}

impl Body for Counted {
    type Data = <ResponseBody as Body>::Data;
    type Error = <ResponseBody as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Where a handler puts what is to be done with its connection.
#[derive(Clone, Default)]
struct Slot(Arc<Mutex<Option<TakeOver>>>);

impl Slot {
    fn fill(&self, take_over: TakeOver) {
        *self.lock() = Some(take_over);
    }

    fn is_filled(&self) -> bool {
        self.lock().is_some()
    }

    fn take(&self) -> Option<TakeOver> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<TakeOver>> {
        // Filled or not, even if a thread panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers the requests of one connection.
struct Handler {
    state: Arc<RestState>,
    transport: Transport,
    slot: Slot,
}

impl Service<Request<Incoming>> for Handler {
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (state, transport) = (Arc::clone(&self.state), self.transport.clone());
        let slot = self.slot.clone();
        Box::pin(async move {
            match router::respond(&state, transport, request).await {
                Answer::Response(response) => Ok(response),
                Answer::TakeOver(take_over) => {
                    slot.fill(take_over);
                    // Dropped with the connection's HTTP half.
                    pending().await
                }
            }
        })
    }
}

/// A connection of which is known whether what was written has been sent.
struct Watched {
    io: Io,
    /// The last write was not taken.
    is_behind: bool,
}

impl Watched {
    const fn new(io: Io) -> Self {
        Self {
            io,
            is_behind: false,
        }
    }

    fn note<T>(&mut self, written: Poll<T>) -> Poll<T> {
        self.is_behind = written.is_pending();
        written
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, pieces);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

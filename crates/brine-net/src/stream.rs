//! One tcp connection, plain or TLS, in two halves.
//!
//! The halves of a plain connection share nothing; those of a TLS connection share its state.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsStream;
use tokio_util::either::Either;

/// The reading half, plain or within TLS.
pub(crate) type Incoming = Either<OwnedReadHalf, ReadHalf<TlsStream<TlsSocket>>>;

/// The writing half, plain or within TLS.
pub(crate) type Outgoing = Either<OwnedWriteHalf, WriteHalf<TlsStream<TlsSocket>>>;

pub(crate) fn plain(stream: TcpStream) -> (Incoming, Outgoing) {
    let (incoming, outgoing) = stream.into_split();
    (Incoming::Left(incoming), Outgoing::Left(outgoing))
}

pub(crate) fn within_tls(stream: TlsStream<TlsSocket>) -> (Incoming, Outgoing) {
    let (incoming, outgoing) = tokio::io::split(stream);
    (Incoming::Right(incoming), Outgoing::Right(outgoing))
}

/// The most bytes that the other side may send in a handshake of TLS: chains of certificates have a few thousand. The
/// library alone would keep 64 KiB for each of thousands of strangers.
const MAX_HANDSHAKE_BYTES: usize = 16 * 1024;

/// The socket under TLS, which brings no more than a handshake takes until there has been one.
pub(crate) struct TlsSocket {
    stream: TcpStream,
    /// How many bytes the handshake may still bring; `None` once it is done.
    left: Option<usize>,
}

impl TlsSocket {
    pub(crate) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            left: Some(MAX_HANDSHAKE_BYTES),
        }
    }

    /// The handshake is done.
    pub(crate) const fn open(&mut self) {
        self.left = None;
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.left == Some(0) {
            let limit = format!("a handshake of TLS of more than {MAX_HANDSHAKE_BYTES} bytes");
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, limit)));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let came = buffer.filled().len() - before;
        this.left = this.left.map(|left| left.saturating_sub(came));
        read
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

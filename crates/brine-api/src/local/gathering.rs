//! Gathers the answers of one turn, to write them together.
//!
//! A client that sends many requests without waiting gets many small answers. Each would cost a system call; here
//! they gather until the connection has nothing more to do, and go out in one. Their size is limited: when a client
//! sends and does not read, the server stops reading from it too. This file does not know what is written.

use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::hang_up::Peer;

/// How many bytes wait at most before more is taken: the answers to a thousand fires and more.
const MAX_UNWRITTEN: usize = 256 << 10;
/// From this many bytes on, a write goes to the stream at once: copying it would cost more than a separate write.
const LARGE: usize = 16 << 10;

/// A stream whose small writes gather until [`Gathering::drive`] writes them.
pub(super) struct Gathering<S>(Arc<Mutex<Inner<S>>>);

struct Inner<S> {
    stream: S,
    unwritten: BytesMut,
}

impl<S: AsyncWrite + Unpin> Gathering<S> {
    pub(super) fn new(stream: S) -> Self {
        let unwritten = BytesMut::new();
        Self(Arc::new(Mutex::new(Inner { stream, unwritten })))
    }

    /// Another handle to the same stream, for [`Gathering::drive`].
    pub(super) fn handle(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Runs what reads and writes the stream to its end, and writes what has gathered after each of its turns.
    pub(super) async fn drive<T>(&self, connection: impl Future<Output = T>) -> T {
        let mut connection = pin!(connection);
        let output = poll_fn(|cx| {
            let ended = connection.as_mut().poll(cx);
            // What does not go out now wakes this task; the next write tells the connection of an error.
            let _ = self.inner().poll_write_all(cx);
            ended
        })
        .await;
        // If the client does not take the rest, it may have gone: an error also means the end.
        let _ = poll_fn(|cx| self.inner().poll_write_all(cx)).await;
        output
    }

    /// Waits until the client has closed its sending half. Requests that have not been read yet can hide this; then it
    /// shows only when a write fails.
    pub(super) async fn hang_up(&self) -> Peer
    where
        S: Socket,
    {
        poll_fn(|cx| self.inner().stream.poll_hang_up(cx)).await
    }

    fn inner(&self) -> MutexGuard<'_, Inner<S>> {
        // Nothing panics while it holds the lock with a write half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that tells which of its halves the other end has closed.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Ready once the other end sends nothing more.
    fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<Peer>;
}

macro_rules! sockets {
    ($($socket:ty),*) => {$(
        impl Socket for $socket {
            fn poll_hang_up(&self, cx: &mut Context<'_>) -> Poll<Peer> {
                // Readable is also what has been closed. This wakes the task that reads, which is the same.
                if ready!(self.poll_read_ready(cx)).is_err() {
                    return Poll::Ready(Peer::Gone);
                }
                let ready = self.ready(Interest::READABLE | Interest::WRITABLE);
                match pin!(ready).poll(cx) {
                    Poll::Ready(Ok(ready)) if ready.is_write_closed() => Poll::Ready(Peer::Gone),
                    Poll::Ready(Ok(ready)) if ready.is_read_closed() => Poll::Ready(Peer::Listens),
                    _ => Poll::Pending,
                }
            }
        }
    )*};
}

sockets!(UnixStream, TcpStream);

impl<S: AsyncWrite + Unpin> Inner<S> {
    fn poll_write_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unwritten.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.unwritten))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.unwritten.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_take(&mut self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let bytes = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        if self.unwritten.len() + bytes > MAX_UNWRITTEN || bytes >= LARGE {
            ready!(self.poll_write_all(cx))?;
        }
        if bytes >= LARGE {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        }
        for buf in bufs {
            self.unwritten.extend_from_slice(buf);
        }
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Gathering<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gathering<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_take(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.inner().poll_take(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner().stream.is_write_vectored()
    }

    /// What is gathered goes out at the end of the turn; see [`Gathering::drive`].
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.inner();
        ready!(inner.poll_write_all(cx))?;
        Pin::new(&mut inner.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn small_writes_of_a_turn_are_one() {
        let (ours, mut theirs) = duplex(1 << 20);
        let stream = Gathering::new(ours);
        let mut writer = stream.handle();
        let writing = async move {
            for _ in 0..100 {
                writer.write_all(b"answer\n").await.unwrap();
                writer.flush().await.unwrap();
            }
            // It goes on, and what was written before is out.
            std::future::pending::<()>().await;
        };
        let driving = tokio::spawn(async move { stream.drive(writing).await });
        let mut read = vec![0; 1 << 16];
        assert_eq!(theirs.read(&mut read).await.unwrap(), 700);
        driving.abort();
    }

    #[tokio::test]
    async fn what_waits_is_bounded_and_nothing_is_lost() {
        let (ours, mut theirs) = duplex(1000);
        let stream = Gathering::new(ours);
        let mut writer = stream.handle();
        let taken = Arc::new(Mutex::new(0));
        let count = Arc::clone(&taken);
        let writing = async move {
            for n in 0..10_000_u32 {
                let bytes = vec![b'x'; if n % 100 == 99 { 40_000 } else { 100 }];
                writer.write_all(&bytes).await.unwrap();
                *count.lock().unwrap() += bytes.len();
            }
        };
        let driving = tokio::spawn(async move { stream.drive(writing).await });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(*taken.lock().unwrap() <= MAX_UNWRITTEN + 1000);
        let mut all = Vec::new();
        theirs.read_to_end(&mut all).await.unwrap();
        driving.await.unwrap();
        assert_eq!(all.len(), 9_900 * 100 + 100 * 40_000);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_ends_it() {
        let (ours, theirs) = duplex(1000);
        let stream = Gathering::new(ours);
        let mut writer = stream.handle();
        drop(theirs);
        let failed = stream.drive(async move {
            loop {
                writer.write_all(&[0; 1000]).await?;
            }
        });
        let failed: io::Result<()> = failed.await;
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}

//! Reading and writing messages on one connection, within limits.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use brine_wire::network::tcp::{FrameError, MessageError};
use brine_wire::network::zmtp::ZmtpError;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout, timeout_at};

use crate::crypto::NoRandom;
use crate::quota::SlotTurns;
use crate::ws::WsError;

/// The reason for the end of a connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer closed it.
    #[error("the connection was closed by the other side")]
    Closed,
    /// An error of the system.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not messages.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A message of the wrong form.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// The bytes are no WebSocket's.
    #[error(transparent)]
    WebSocket(#[from] WsError),
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// The bytes are not ZMTP.
    #[error(transparent)]
    Zmtp(#[from] ZmtpError),
    /// The head, which the answer must repeat, is too long to keep.
    #[error("head of {bytes} bytes; at most {limit} are allowed")]
    Head {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A subscriber wants too many topics.
    #[error("more than {limit} topics, or a topic that is too long")]
    Topics {
        /// The most topics allowed.
        limit: usize,
    },
    /// Another connection needed the room, and this address held most.
    #[error("closed to make room for a connection from another address")]
    Evicted,
    /// There is no room for a large message of a stranger, or for an answer to a minion that reads none.
    #[error("no room for a message of {bytes} bytes")]
    NoRoom {
        /// Its size.
        bytes: usize,
    },
    /// A message was not received or sent in time.
    #[error("no complete message within {after:?}")]
    TooSlow {
        /// The time limit.
        after: Duration,
    },
}

/// Decodes the bytes of a connection, for one transport.
pub(crate) trait Decode {
    /// The type of a decoded message.
    type Item;

    /// The known size of the message that is arriving, in bytes.
    fn wanted(&self) -> usize;

    /// The message at the start of the buffer and its size in bytes; `None` if it is incomplete.
    fn next(&mut self, buffer: &[u8]) -> Result<Option<(usize, Self::Item)>, ConnectionError>;
}

/// The reading half: buffer and decoder.
pub(crate) struct Reader<R, D> {
    stream: R,
    buffer: Vec<u8>,
    decoder: D,
    io_timeout: Duration,
    /// The deadline for the message that is arriving.
    due: Option<Instant>,
    /// The decoder has not seen all of the buffer.
    is_new: bool,
    /// Set for a stranger.
    turns: Option<SlotTurns>,
}

/// How much is read at once.
const CHUNK: usize = 8 * 1024;

impl<R: AsyncRead + Unpin, D: Decode> Reader<R, D> {
    pub(crate) const fn new(stream: R, decoder: D, io_timeout: Duration) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            decoder,
            io_timeout,
            due: None,
            is_new: false,
            turns: None,
        }
    }

    /// The same for a stranger, whose messages wait for their turns.
    pub(crate) fn in_turns(self, turns: SlotTurns) -> Self {
        Self {
            turns: Some(turns),
            ..self
        }
    }

    /// The decoder, to change its limits between messages.
    pub(crate) const fn decoder_mut(&mut self) -> &mut D {
        &mut self.decoder
    }

    /// The known size of the message that is arriving, in bytes.
    pub(crate) fn wanted(&self) -> usize {
        self.decoder.wanted()
    }

    /// The next message, `None` if bytes arrived and it is still incomplete. Dropping the future loses
    /// nothing.
    pub(crate) async fn advance(&mut self) -> Result<Option<D::Item>, ConnectionError> {
        if self.is_new
            && let Some(message) = self.cut().await?
        {
            return Ok(Some(message));
        }
        let due = self.due;
        let read = match due {
            None => self.read().await?,
            Some(due) => match timeout_at(due, self.read()).await {
                Ok(read) => read?,
                Err(_) => {
                    return Err(ConnectionError::TooSlow {
                        after: self.io_timeout,
                    });
                }
            },
        };
        if read == 0 {
            return Err(ConnectionError::Closed);
        }
        if self.due.is_none() {
            self.due = Some(Instant::now() + self.io_timeout);
        }
        self.is_new = true;
        self.cut().await
    }

    /// Reads what has arrived into the buffer. A connection that waits for its next message holds no
    /// buffer: most connections of a master do nothing but wait.
    async fn read(&mut self) -> io::Result<usize> {
        if !self.buffer.is_empty() {
            self.buffer.reserve(CHUNK);
            return self.stream.read_buf(&mut self.buffer).await;
        }
        poll_fn(|context| {
            let mut space = [MaybeUninit::uninit(); CHUNK];
            let mut space = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut space))?;
            self.buffer.extend_from_slice(space.filled());
            Poll::Ready(Ok(space.filled().len()))
        })
        .await
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<D::Item, ConnectionError> {
        loop {
            if let Some(message) = self.advance().await? {
                return Ok(message);
            }
        }
    }

    /// The message at the start of the buffer.
    async fn cut(&mut self) -> Result<Option<D::Item>, ConnectionError> {
        if let Some(turns) = &self.turns {
            turns.use_step().await;
        }
        let Some((length, message)) = self.decoder.next(&self.buffer)? else {
            self.is_new = false;
            return Ok(None);
        };
        self.buffer.drain(..length);
        self.is_new = !self.buffer.is_empty();
        if !self.is_new {
            self.buffer = Vec::new();
        }
        self.due = self.is_new.then(|| Instant::now() + self.io_timeout);
        Ok(Some(message))
    }
}

/// Writes a whole message in time.
pub(crate) async fn send<W: AsyncWrite + Unpin>(
    stream: &mut W,
    bytes: &[u8],
    io_timeout: Duration,
) -> Result<(), ConnectionError> {
    let write = async {
        stream.write_all(bytes).await?;
        // TLS may buffer; plain connections do not.
        stream.flush().await
    };
    match timeout(io_timeout, write).await {
        Ok(written) => Ok(written?),
        Err(_) => Err(ConnectionError::TooSlow { after: io_timeout }),
    }
}

//! The way out: writes the log to one subscriber, from its cursor to the tail.
//!
//! Waiting events go out in one write, however many they are. A subscriber that does not read costs only its cursor,
//! until the log has moved past it; then it is closed. This module knows nothing of publishers.

use std::io;

use brine_log::{FrameCursor, Gap, Next};

use crate::handle::CountedSubscriber;
use crate::stream::{Peer, Stream};

/// How a subscriber's connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// It has gone, or its connection broke.
    Gone,
    /// It did not read and the log has moved past it.
    Overrun(Gap),
}

/// One subscriber's connection.
pub(crate) struct Subscriber {
    stream: Stream,
    cursor: FrameCursor,
    progress: CountedSubscriber,
}

/// How many chunks one subscriber may be given before others have their turn.
const CHUNKS_PER_TURN: usize = 4;

impl Subscriber {
    pub(crate) const fn new(
        stream: Stream,
        cursor: FrameCursor,
        progress: CountedSubscriber,
    ) -> Self {
        Self {
            stream,
            cursor,
            progress,
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.progress.peer()
    }

    /// Writes events as they arrive, until the subscriber has gone or fallen behind. Dropping the future may leave it
    /// with part of a frame.
    pub(crate) async fn run(&mut self) -> End {
        loop {
            if let Err(end) = self.write_to_tail().await {
                return end;
            }
            tokio::select! {
                biased;
                () = self.cursor.readable() => {}
                () = self.stream.closed() => return End::Gone,
            }
        }
    }

    /// Writes until the cursor has caught up.
    pub(crate) async fn write_to_tail(&mut self) -> Result<(), End> {
        let mut waited = false;
        for turn in 1.. {
            let chunk = match self.cursor.next() {
                Next::Ready(chunk) => chunk,
                Next::Tail => break,
                Next::Stored => {
                    self.cursor.load().await;
                    continue;
                }
                Next::Gap(gap) => return Err(End::Overrun(gap)),
            };
            match self.stream.try_write(chunk.bytes()) {
                Ok(written) => {
                    let first = self.cursor.seq();
                    self.cursor.advance(&chunk, written);
                    let taken = || chunk.taken_in(first);
                    self.progress.wrote(self.cursor.seq(), taken);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The chunk pins its segment in memory; release it before waiting.
                    drop(chunk);
                    self.writable_or_overrun().await?;
                    waited = true;
                }
                Err(_) => return Err(End::Gone),
            }
            if turn % CHUNKS_PER_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        if !waited {
            self.stream.forget_writable().map_err(|_| End::Gone)?;
        }
        Ok(())
    }

    /// Waits for room in the socket, but no longer once the log has moved past the cursor.
    async fn writable_or_overrun(&mut self) -> Result<(), End> {
        tokio::select! {
            biased;
            writable = self.stream.writable() => writable.map_err(|_| End::Gone),
            () = self.cursor.overrun() => Ok(()),
        }
    }
}

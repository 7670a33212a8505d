//! A publisher: one connection, one thread, stamped events in a loop.

use core::time::Duration;
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;

use crate::cut::stamp_at;
use crate::dialect::Dialect;
use crate::load::Pace;
use crate::process::thread_cpu;
use crate::shared::Shared;
use crate::stamp::{self, Stamp};

/// What one publisher did.
#[derive(Debug)]
pub(crate) struct Published {
    /// Events handed to the kernel whole.
    pub(crate) sent: u64,
    /// The bus ended the connection.
    pub(crate) closed_by_bus: bool,
    /// Processor time of the thread.
    pub(crate) cpu: Duration,
}

/// Some events in one buffer, stamped anew for each write.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    frame_bytes: usize,
    stamp_at: usize,
    publisher: u32,
    run: u32,
}

impl Batch {
    pub(crate) fn new(
        dialect: &Dialect,
        event: &[u8],
        events: usize,
        publisher: u32,
        run: u32,
    ) -> Self {
        let frame = (dialect.publish)(event);
        let stamp_at = stamp_at(&frame);
        Self {
            bytes: frame.repeat(events),
            frame_bytes: frame.len(),
            stamp_at,
            publisher,
            run,
        }
    }

    /// Stamps the first `events` of it, numbered from `first`, and gives their bytes.
    #[inline]
    pub(crate) fn stamped(
        &mut self,
        events: usize,
        first: u64,
        sent_ns: u64,
        due_ns: impl Fn(u64) -> u64,
    ) -> &[u8] {
        let used = &mut self.bytes[..events * self.frame_bytes];
        for (frame, sequence) in used.chunks_exact_mut(self.frame_bytes).zip(first..) {
            let stamp = Stamp {
                due_ns: due_ns(sequence),
                sent_ns,
                sequence,
                publisher: self.publisher,
                run: self.run,
            };
            frame[self.stamp_at..self.stamp_at + stamp::LEN].copy_from_slice(&stamp.to_bytes());
        }
        used
    }
}

/// A publisher ready to run.
#[derive(Debug)]
pub(crate) struct Publisher {
    pub(crate) socket: OwnedFd,
    pub(crate) number: usize,
    pub(crate) batch: Batch,
    pub(crate) events_per_write: usize,
    /// Of this publisher alone.
    pub(crate) window: u64,
    /// Of this publisher alone.
    pub(crate) pace: Pace,
}

impl Publisher {
    /// Publishes until the run stops or the bus closes the connection.
    pub(crate) fn run(mut self, shared: &Shared) -> Published {
        let mut sent = 0;
        let end = match self.pace {
            Pace::Closed => self.run_closed(shared, &mut sent),
            Pace::Rate(per_second) => self.run_open(shared, per_second, &mut sent),
        };
        Published {
            sent,
            closed_by_bus: end.is_err(),
            cpu: thread_cpu(),
        }
    }

    fn run_closed(&mut self, shared: &Shared, sent: &mut u64) -> io::Result<()> {
        let count = self.events_per_write;
        while shared.wait_for_room(self.number, *sent + count as u64, self.window) {
            let now = shared.now_ns();
            let bytes = self.batch.stamped(count, *sent, now, |_| now);
            if !send_all(&self.socket, bytes, shared)? {
                break;
            }
            *sent += count as u64;
        }
        Ok(())
    }

    fn run_open(&mut self, shared: &Shared, per_second: f64, sent: &mut u64) -> io::Result<()> {
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let start = shared.now_ns();
        let due = |sequence: u64| start + (sequence as f64 * 1e9 / per_second) as u64;
        let count = self.events_per_write;
        while !shared.stopped() {
            shared.sleep_until(due(*sent + count as u64 - 1));
            let bytes = self.batch.stamped(count, *sent, shared.now_ns(), due);
            if !send_all(&self.socket, bytes, shared)? {
                break;
            }
            *sent += count as u64;
        }
        Ok(())
    }
}

/// Writes all of `bytes`; `false` if the run stopped while the bus took no more.
///
/// The socket has a send timeout, or a bus that hangs would hang the generator.
pub(crate) fn send_all(socket: &OwnedFd, mut bytes: &[u8], shared: &Shared) -> io::Result<bool> {
    while !bytes.is_empty() {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if shared.stopped() => return Ok(false),
            Err(Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

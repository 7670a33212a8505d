//! The reader: one thread that reads all its subscribers and checks every event.

use core::time::Duration;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::cut::Expected;
use crate::histogram::Histogram;
use crate::ledger::{Ledger, Wrongs};
use crate::process::thread_cpu;
use crate::shared::Shared;
use crate::stamp::{PROBE, Stamp};

/// Bytes per read: more than a UNIX socket's default buffer holds.
const READ_BYTES: usize = 256 * 1024;

/// How often the reader looks whether the run is over.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

/// After the publishers have ended: how long nothing may come, and how long all may take.
const QUIET_FOR: Duration = Duration::from_millis(700);
const DRAIN_FOR: Duration = Duration::from_secs(3);

/// What one reader saw.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Faults over all its subscribers.
    pub(crate) wrongs: Wrongs,
    /// Events whose bytes had changed.
    pub(crate) corrupt: u64,
    /// Subscribers that the bus closed, or whose bytes made no sense.
    pub(crate) disconnected: u64,
    /// Events read, over all its subscribers.
    pub(crate) deliveries: u64,
    /// Latencies since the events were due.
    pub(crate) from_due: Histogram,
    /// Latencies since the events were written.
    pub(crate) from_send: Histogram,
    /// Processor time of the thread.
    pub(crate) cpu: Duration,
}

/// Which events' latencies are recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// All of them.
    Every,
    /// One in sixteen, where the reader must not become the bottleneck.
    Sixteenth,
}

/// A reader and its subscribers.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    shared: &'a Shared,
    expected: &'a Expected,
    number: usize,
    publishers: usize,
    sample_mask: u64,
    epoll: OwnedFd,
    subscribers: Vec<Subscriber>,
    buffer: Buffer,
    seen: Seen,
}

#[derive(Debug)]
struct Subscriber {
    socket: OwnedFd,
    ledger: Ledger,
    /// The start of an event, while another subscriber uses the buffer.
    carried: Vec<u8>,
    hears: bool,
    open: bool,
}

/// The one read buffer. An unfinished event stays in it until another subscriber needs it: a
/// single subscriber's bytes are never copied.
#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    owner: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(
        shared: &'a Shared,
        expected: &'a Expected,
        number: usize,
        publishers: usize,
        sample: Sample,
        sockets: Vec<OwnedFd>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (at, socket) in sockets.iter().enumerate() {
            rustix::io::ioctl_fionbio(socket, true)?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&epoll, socket, data, epoll::EventFlags::IN)?;
        }
        let subscribers = sockets
            .into_iter()
            .map(|socket| Subscriber {
                socket,
                ledger: Ledger::new(publishers),
                carried: Vec::new(),
                hears: false,
                open: true,
            })
            .collect();
        let bytes = vec![0; 2 * READ_BYTES + expected.frame_bytes()];
        Ok(Self {
            shared,
            expected,
            number,
            publishers,
            sample_mask: match sample {
                Sample::Every => 0,
                Sample::Sixteenth => 15,
            },
            epoll,
            subscribers,
            buffer: Buffer {
                bytes,
                start: 0,
                end: 0,
                owner: 0,
            },
            seen: Seen::default(),
        })
    }

    /// Reads until everything sent has come, or nothing comes any more.
    pub(crate) fn run(mut self) -> Seen {
        let mut events = Vec::with_capacity(256);
        let mut last_came = Instant::now();
        let mut drain_since = None;
        loop {
            events.clear();
            let found = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, found, Some(&TICK)) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => break,
            }
            for event in &events {
                self.read(event.data.u64() as usize);
            }
            if !events.is_empty() {
                self.report();
                last_came = Instant::now();
            }
            if let Some(totals) = self.shared.totals() {
                let since = *drain_since.get_or_insert_with(Instant::now);
                if self.all_have_reached(totals)
                    || last_came.max(since).elapsed() > QUIET_FOR
                    || since.elapsed() > DRAIN_FOR
                {
                    break;
                }
            }
        }
        self.close()
    }

    fn read(&mut self, at: usize) {
        let Self {
            shared,
            expected,
            sample_mask,
            subscribers,
            buffer,
            seen,
            ..
        } = self;
        buffer.hand_to(at, subscribers);
        let subscriber = &mut subscribers[at];
        if !subscriber.open {
            return;
        }
        match rustix::io::read(&subscriber.socket, &mut buffer.bytes[buffer.end..]) {
            Ok(0) => return self.disconnect(at),
            Ok(count) => buffer.end += count,
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => return self.disconnect(at),
        }
        let now = shared.now_ns();
        let measured = shared.measured();
        let cut = expected.cut(&buffer.bytes[buffer.start..buffer.end], |stamp| {
            let Stamp {
                publisher,
                sequence,
                due_ns,
                sent_ns,
                ..
            } = stamp;
            if !subscriber.hears {
                subscriber.hears = true;
                shared.hears();
            }
            if publisher == PROBE || !subscriber.ledger.take(publisher, sequence) {
                return;
            }
            if sequence & *sample_mask == 0 && measured.contains(&due_ns) {
                seen.from_due.record(now.saturating_sub(due_ns));
                seen.from_send.record(now.saturating_sub(sent_ns));
            }
        });
        buffer.start += cut.used;
        seen.corrupt += cut.corrupt;
        if cut.nonsense {
            self.disconnect(at);
        }
    }

    fn disconnect(&mut self, at: usize) {
        let subscriber = &mut self.subscribers[at];
        subscriber.open = false;
        let _ = epoll::delete(&self.epoll, &subscriber.socket);
        self.seen.disconnected += 1;
        self.shared.closed_by_bus();
    }

    /// Tells the publishers how far everybody has got.
    fn report(&self) {
        for publisher in 0..self.publishers {
            let open = self.subscribers.iter().filter(|subscriber| subscriber.open);
            match open
                .map(|subscriber| subscriber.ledger.next(publisher))
                .min()
            {
                Some(least) => self.shared.set_reached(publisher, self.number, least),
                // Nobody waits for subscribers that are gone, unless there are no others.
                None if self.shared.deserted() => {}
                None => self.shared.set_reached(publisher, self.number, u64::MAX),
            }
        }
    }

    fn all_have_reached(&self, totals: &[u64]) -> bool {
        let mut open = self.subscribers.iter().filter(|subscriber| subscriber.open);
        open.all(|subscriber| subscriber.ledger.has_reached(totals))
    }

    fn close(mut self) -> Seen {
        let totals = self.shared.totals().unwrap_or_default();
        for subscriber in &self.subscribers {
            let wrongs = subscriber.ledger.close(totals, !subscriber.open);
            self.seen.wrongs.add(wrongs);
            self.seen.deliveries += subscriber.ledger.taken();
        }
        self.seen.cpu = thread_cpu();
        self.seen
    }
}

impl Buffer {
    /// Makes the buffer that of subscriber `at`, with room to read into.
    fn hand_to(&mut self, at: usize, subscribers: &mut [Subscriber]) {
        /// An unfinished event up to this size goes to the front at once: the next read then
        /// lands on memory that is still in the cache.
        const CHEAP_TO_MOVE: usize = 4096;
        if self.owner != at {
            subscribers[self.owner]
                .carried
                .extend_from_slice(&self.bytes[self.start..self.end]);
            let carried = &mut subscribers[at].carried;
            // An event of another program may be larger than all of ours.
            self.bytes
                .resize(self.bytes.len().max(carried.len() + READ_BYTES), 0);
            self.bytes[..carried.len()].copy_from_slice(carried);
            (self.start, self.end, self.owner) = (0, carried.len(), at);
            carried.clear();
        }
        let unfinished = self.end - self.start;
        if unfinished <= CHEAP_TO_MOVE || self.bytes.len() - self.end < READ_BYTES {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, unfinished);
            self.bytes
                .resize(self.bytes.len().max(unfinished + READ_BYTES), 0);
        }
    }
}

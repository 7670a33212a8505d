//! The readers: one thread reads every stream and checks every event of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use brine_bench::Histogram;
use rustix::event::epoll::{self, EventData, EventFlags};

/// What every record of an event holds, before its number.
const MARK: &[u8] = b"{\"data\": {\"n\": ";
/// What stands between the number and the time.
const SENT: &[u8] = b", \"sent\": ";
/// Bytes read at once.
const READ_BYTES: usize = 256 << 10;

/// One stream.
struct Reader {
    socket: TcpStream,
    /// The beginning of a line that has not come whole.
    rest: Vec<u8>,
    /// The number of the event that is due.
    next: u64,
    is_open: bool,
}

/// All streams.
pub(crate) struct Readers {
    epoll: OwnedFd,
    readers: Vec<Reader>,
    buffer: Vec<u8>,
    epoch: Instant,
    pub(crate) seen: Seen,
}

/// What came.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) delivered: u64,
    pub(crate) missed: u64,
    pub(crate) repeated: u64,
    pub(crate) closed: u64,
    pub(crate) bytes: u64,
    pub(crate) latency: Histogram,
    pub(crate) last: Option<Instant>,
}

impl Readers {
    /// Opens so many streams with this request.
    pub(crate) fn open(port: u16, count: usize, request: &str, epoch: Instant) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut readers = Vec::with_capacity(count);
        for nth in 0..count {
            let mut socket = connect(port)?;
            socket.write_all(request.as_bytes())?;
            socket.set_nonblocking(true)?;
            let data = EventData::new_u64(nth as u64);
            epoll::add(&epoll, &socket, data, EventFlags::IN)?;
            readers.push(Reader {
                socket,
                rest: Vec::new(),
                next: 0,
                is_open: true,
            });
        }
        Ok(Self {
            epoll,
            readers,
            buffer: vec![0; READ_BYTES],
            epoch,
            seen: Seen::default(),
        })
    }

    /// Reads until every stream has got to event `number`, or until `deadline`; says whether they did.
    pub(crate) fn read_until(&mut self, number: u64, deadline: Instant) -> Result<bool> {
        let mut behind = self
            .readers
            .iter()
            .filter(|reader| reader.next <= number)
            .count();
        let mut ready = Vec::with_capacity(1024);
        while behind > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = left.min(Duration::from_millis(100));
            ready.clear();
            let timeout = rustix::event::Timespec::try_from(left)?;
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut ready),
                Some(&timeout),
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                let nth = usize::try_from(event.data.u64())?;
                let before = self.readers[nth].next;
                self.read(nth)?;
                let after = self.readers[nth].next;
                if before <= number && after > number {
                    behind -= 1;
                }
            }
        }
        Ok(true)
    }

    fn read(&mut self, nth: usize) -> Result<()> {
        let reader = &mut self.readers[nth];
        let kept = reader.rest.len();
        self.buffer[..kept].copy_from_slice(&reader.rest);
        let read = match reader.socket.read(&mut self.buffer[kept..]) {
            Ok(0) => {
                reader.is_open = false;
                self.seen.closed += 1;
                epoll::delete(&self.epoll, &reader.socket)?;
                return Ok(());
            }
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("a stream broke off"),
        };
        let now = self.epoch.elapsed();
        self.seen.bytes += read as u64;
        self.seen.last = Some(Instant::now());
        let all = &self.buffer[..kept + read];
        let end = all
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let mut lines = &all[..end];
        while let Some(at) = find(lines, MARK) {
            lines = &lines[at + MARK.len()..];
            let (number, after) = digits(lines);
            let (sent, after) = digits(after.strip_prefix(SENT).unwrap_or_default());
            lines = after;
            if number == 0 {
                reader.next = reader.next.max(1); // only asks whether the stream is heard
                continue;
            }
            self.seen.delivered += 1;
            self.seen
                .latency
                .record(u64::try_from(now.as_nanos())?.saturating_sub(sent));
            if number > reader.next && reader.next > 0 {
                self.seen.missed += number - reader.next;
            } else if number < reader.next {
                self.seen.repeated += 1;
            }
            reader.next = reader.next.max(number + 1);
        }
        reader.rest.clear();
        reader.rest.extend_from_slice(&all[end..]);
        Ok(())
    }

    /// How many events streams are short of `end`.
    pub(crate) fn undelivered(&self, end: u64) -> u64 {
        self.readers
            .iter()
            .map(|reader| end.saturating_sub(reader.next.max(1)))
            .sum()
    }
}

/// Streams that are opened and never read.
pub(crate) fn open_stuck(port: u16, count: usize, request: &str) -> Result<Vec<TcpStream>> {
    let open = || {
        let mut socket = connect(port)?;
        socket.write_all(request.as_bytes())?;
        Ok(socket)
    };
    (0..count).map(|_| open()).collect()
}

fn connect(port: u16) -> Result<TcpStream> {
    TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("cannot connect to {port}"))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // Every event's object begins a line; looking at line beginnings is cheaper than at every byte.
    let mut at = 0;
    loop {
        let line = &bytes[at..];
        let object = line.strip_prefix(b"data: ").map_or(0, |_| 6);
        if line[object..].starts_with(wanted) {
            return Some(at + object);
        }
        at += memchr(line)? + 1;
    }
}

fn memchr(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|byte| *byte == b'\n')
}

fn digits(bytes: &[u8]) -> (u64, &[u8]) {
    let count = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let number = bytes[..count].iter().fold(0, |number: u64, digit| {
        number
            .wrapping_mul(10)
            .wrapping_add(u64::from(digit - b'0'))
    });
    (number, &bytes[count..])
}

/// Asks for something and gives the answer's head and body.
pub(crate) fn ask(port: u16, request: &str) -> Result<String> {
    let mut socket = connect(port)?;
    socket.write_all(request.as_bytes())?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "refused: {answer}");
    Ok(answer)
}

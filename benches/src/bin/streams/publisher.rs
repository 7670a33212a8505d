//! The publisher: one event at a time, each at its due time or as soon after as it can.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use brine_wire::compat::Compat;
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use brine_wire::frame::Header;
use brine_wire::{Map, json};

/// The tag of every event.
const TAG: &str = "salt/job/20261129120000000001/ret/minion-0042.example";

/// Where events go.
#[derive(Debug, Clone)]
pub(crate) enum Bus {
    /// A pull socket that takes Salt's frames.
    Pull(PathBuf),
    /// A publishing address of nchan.
    Post(u16),
}

/// The data of an event: a job return with its number and the time it was sent.
fn data(number: u64, sent: Duration) -> Map {
    let mut data = Map::new();
    data.insert("n", number);
    data.insert("sent", u64::try_from(sent.as_nanos()).unwrap_or(u64::MAX));
    data.insert("cmd", "_return");
    data.insert("id", "minion-0042.example");
    data.insert("jid", "20261129120000000001");
    data.insert("retcode", 0_i64);
    data.insert("success", true);
    data.insert("fun", "test.ping");
    data.insert("return", "x".repeat(100));
    data
}

/// A connection to a bus.
pub(crate) enum Publisher {
    Pull(UnixStream),
    Post(TcpStream),
}

impl Publisher {
    pub(crate) fn connect(bus: &Bus) -> Result<Self> {
        Ok(match bus {
            Bus::Pull(path) => Self::Pull(
                UnixStream::connect(path).with_context(|| format!("{}", path.display()))?,
            ),
            Bus::Post(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                Self::Post(stream)
            }
        })
    }

    /// Sends one event.
    pub(crate) fn send(&mut self, number: u64, sent: Duration) -> Result<()> {
        let mut data = data(number, sent);
        match self {
            Self::Pull(stream) => {
                let stamp = "2026-11-29T12:00:00.000001+00:00";
                let event = encode_event(TAG, &mut data, stamp, MAX_EVENT_SIZE)?;
                let header = Header::new(Compat::NEWEST.pull_framing(), event.len());
                let mut frame = header.as_bytes().to_vec();
                frame.extend_from_slice(&event);
                stream.write_all(&frame)?;
            }
            Self::Post(stream) => {
                data.insert("_stamp", "2026-11-29T12:00:00.000001+00:00");
                let mut body = String::from("{\"data\": ");
                json::to_line(&data.into(), &mut body);
                body.push_str(&format!(", \"tag\": \"{TAG}\"}}"));
                let request = format!(
                    "POST /pub HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(request.as_bytes())?;
                // Answers are read as they come; an open loop does not wait for them.
                stream.set_nonblocking(true)?;
                let mut answers = [0; 64 << 10];
                let _ = stream.read(&mut answers);
                stream.set_nonblocking(false)?;
            }
        }
        Ok(())
    }

    /// Sends the events from `first` on at a rate for a while, and gives the number of the next.
    pub(crate) fn run(
        &mut self,
        first: u64,
        rate: u64,
        time: Duration,
        epoch: Instant,
    ) -> Result<u64> {
        let begin = Instant::now();
        let count = rate * time.as_secs();
        for nth in 0..count {
            let due = begin + Duration::from_nanos(nth * 1_000_000_000 / rate);
            if let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::sleep(left);
            }
            self.send(first + nth, epoch.elapsed())?;
        }
        Ok(first + count)
    }
}

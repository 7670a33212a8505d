//! Acknowledged fires: Brine's local socket beside Redis and a plain file, in one run.
//!
//! One connection keeps 1, 32 or 1,000 events in flight: as many are sent as were acknowledged. Each
//! peer acknowledges every event: Brine by its position, Redis by the id of an `XADD`. The plain file
//! is the machine's limit: as many appends as are in flight, then one `fdatasync` where that is asked
//! for. Prints events per second.
//!
//!     fires BRINE [EVENTS]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use brine_wire::record::Record;
use brine_wire::{Map, json, msgpack};

const IN_FLIGHT: [usize; 3] = [1, 32, 1000];
/// Events with one in flight, where every one is a round trip.
const FEW: usize = 20_000;
const REPETITIONS: usize = 3;

#[expect(clippy::print_stdout, reason = "the table is this program's output")]
fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let brine: PathBuf = arguments
        .next()
        .context("usage: fires BRINE [EVENTS]")?
        .into();
    let events = match arguments.next() {
        Some(count) => count.to_string_lossy().parse().context("EVENTS")?,
        None => 500_000,
    };
    let directory = tempfile::tempdir()?;
    println!(
        "{:<34}{:>12}{:>12}{:>12}",
        "events/s, in flight", 1, 32, 1000
    );
    for synced in [false, true] {
        for way in Way::ALL {
            let mut rates = Vec::new();
            for in_flight in IN_FLIGHT {
                let count = if in_flight == 1 {
                    FEW.min(events)
                } else {
                    events
                };
                let mut all = (0..REPETITIONS)
                    .map(|_| way.measure(&brine, directory.path(), synced, in_flight, count))
                    .collect::<Result<Vec<f64>>>()?;
                all.sort_by(f64::total_cmp);
                rates.push(all[REPETITIONS / 2]);
            }
            let name = format!("{}{}", way.name(), if synced { ", synced" } else { "" });
            println!(
                "{name:<34}{:>12.0}{:>12.0}{:>12.0}",
                rates[0], rates[1], rates[2]
            );
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    File,
    Redis,
    /// One request whose body never ends, in lines of JSON.
    Lines,
    /// The same in records.
    Records,
    /// A request for each event, many in flight on one connection.
    Requests,
}

impl Way {
    const ALL: [Self; 5] = [
        Self::File,
        Self::Redis,
        Self::Lines,
        Self::Records,
        Self::Requests,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::File => "plain file",
            Self::Redis => "Redis, XADD pipelined",
            Self::Lines => "Brine, one stream of JSON lines",
            Self::Records => "Brine, one stream of records",
            Self::Requests => "Brine, one request per event",
        }
    }

    fn measure(
        self,
        brine: &Path,
        directory: &Path,
        synced: bool,
        in_flight: usize,
        count: usize,
    ) -> Result<f64> {
        let home = directory.join("run");
        let _ = fs::remove_dir_all(&home);
        fs::create_dir(&home)?;
        if self == Self::File {
            return plain_file(&home, synced, in_flight, count);
        }
        let (peer, socket) = match self {
            Self::Redis => Peer::redis(&home, synced)?,
            _ => Peer::brine(brine, &home)?,
        };
        let mut connection = peer.connect(&socket)?;
        let begin = match self {
            Self::Lines => head(synced, "application/x-ndjson", "transfer-encoding: chunked"),
            Self::Records => head(
                synced,
                "application/x-msgpack",
                "transfer-encoding: chunked",
            ),
            Self::Redis | Self::Requests | Self::File => String::new(),
        };
        connection.write_all(begin.as_bytes())?;
        let pieces: Vec<Vec<u8>> = (0..count).map(|n| self.event(n, synced)).collect();
        let mut acknowledgements = Acknowledgements::new(self);
        let (mut sent, mut done) = (0, 0);
        let started = Instant::now();
        while done < count {
            let free = (in_flight - (sent - done)).min(count - sent);
            if free > 0 {
                let batch = pieces[sent..sent + free].concat();
                connection.write_all(&self.framed(batch))?;
                sent += free;
            }
            done += acknowledgements.read(&mut connection)?;
        }
        #[allow(clippy::cast_precision_loss)]
        Ok(count as f64 / started.elapsed().as_secs_f64())
    }

    /// An event as it is sent.
    fn event(self, number: usize, synced: bool) -> Vec<u8> {
        let tag = format!("salt/job/2026112912{:08}/ret/m{}", number, number % 997);
        let data: Map = [
            ("id", format!("m{}", number % 997)),
            ("jid", format!("2026112912{number:08}")),
            ("fun", "state.apply".to_owned()),
            (
                "return",
                format!("{number:x} ").repeat(160 / (number.max(1).ilog(16) as usize + 2)),
            ),
        ]
        .into_iter()
        .collect();
        let mut line = format!("{{\"tag\": \"{tag}\", \"data\": ");
        json::to_line(&data.clone().into(), &mut line);
        line.push_str("}\n");
        match self {
            Self::Lines => line.into_bytes(),
            Self::Requests => {
                let length = format!("content-length: {}", line.len());
                let mut request = head(synced, "application/x-ndjson", &length);
                request.push_str(&line);
                request.into_bytes()
            }
            Self::Records => {
                let mut packed = Vec::new();
                msgpack::encode_map(&data, &mut packed);
                let event = brine_wire::event::join(&tag, &packed);
                let mut record = Vec::new();
                Record::Fire { event: &event }.encode(&mut record);
                record
            }
            Self::Redis | Self::File => {
                let mut command = b"*5\r\n$4\r\nXADD\r\n$1\r\ne\r\n$1\r\n*\r\n$1\r\nd\r\n".to_vec();
                command.extend_from_slice(format!("${}\r\n{line}\r\n", line.len()).as_bytes());
                command
            }
        }
    }

    /// Events that are sent together.
    fn framed(self, batch: Vec<u8>) -> Vec<u8> {
        match self {
            Self::Lines | Self::Records => {
                let mut chunk = format!("{:x}\r\n", batch.len()).into_bytes();
                chunk.extend_from_slice(&batch);
                chunk.extend_from_slice(b"\r\n");
                chunk
            }
            Self::Redis | Self::Requests | Self::File => batch,
        }
    }
}

fn head(synced: bool, content_type: &str, length: &str) -> String {
    let target = if synced {
        "/events"
    } else {
        "/events?durable=false"
    };
    format!("POST {target} HTTP/1.1\r\nhost: x\r\ncontent-type: {content_type}\r\n{length}\r\n\r\n")
}

/// Counts what the peer acknowledges.
struct Acknowledgements {
    way: Way,
    buffer: Vec<u8>,
    /// Bytes that were read and may be the beginning of another.
    unread: Vec<u8>,
}

impl Acknowledgements {
    fn new(way: Way) -> Self {
        Self {
            way,
            buffer: vec![0; 256 << 10],
            unread: Vec::new(),
        }
    }

    fn read(&mut self, connection: &mut UnixStream) -> Result<usize> {
        // What begins, and how long it is at least, an acknowledgement.
        let mark: &[u8] = match self.way {
            Way::Redis => b"\r\n$",
            Way::Records => &[0x92, 4, 0xcf, 0, 0],
            _ => b"\"position\"",
        };
        let read = connection.read(&mut self.buffer)?;
        ensure!(read > 0, "the peer closed the connection");
        if self.way == Way::Redis && self.unread.is_empty() {
            self.unread.extend_from_slice(b"\r\n");
        }
        self.unread.extend_from_slice(&self.buffer[..read]);
        let text = &self.unread;
        ensure!(
            !contains(text, b"\"error\"") && !contains(text, b"\r\n-"),
            "refused: {}",
            String::from_utf8_lossy(text)
        );
        let (mut count, mut at) = (0, 0);
        while let Some(found) = find(&text[at..], mark) {
            count += 1;
            at += found + mark.len();
        }
        let keep = at.max(text.len().saturating_sub(mark.len() - 1));
        self.unread.drain(..keep);
        Ok(count)
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    memchr::memmem::find(text, wanted)
}

fn contains(text: &[u8], wanted: &[u8]) -> bool {
    find(text, wanted).is_some()
}

fn plain_file(home: &Path, synced: bool, in_flight: usize, count: usize) -> Result<f64> {
    let mut file = File::create(home.join("file"))?;
    let events: Vec<Vec<u8>> = (0..count).map(|n| Way::Lines.event(n, synced)).collect();
    let started = Instant::now();
    for batch in events.chunks(in_flight) {
        file.write_all(&batch.concat())?;
        if synced {
            file.sync_data()?;
        }
    }
    #[allow(clippy::cast_precision_loss)]
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// A server that ends with its value.
struct Peer(Child);

impl Peer {
    fn brine(program: &Path, home: &Path) -> Result<(Self, PathBuf)> {
        let mut command = Command::new(program);
        command.arg("bus").arg("--sock-dir").arg(home);
        command.arg("--history").arg(home.join("history"));
        Ok((Self::start(&mut command)?, home.join("brine.sock")))
    }

    fn redis(home: &Path, synced: bool) -> Result<(Self, PathBuf)> {
        let socket = home.join("redis.sock");
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--appendonly", "yes", "--save", ""]);
        command.args(["--appendfsync", if synced { "always" } else { "everysec" }]);
        command
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--dir")
            .arg(home);
        Ok((Self::start(&mut command)?, socket))
    }

    fn start(command: &mut Command) -> Result<Self> {
        let command = command.stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self(
            command.spawn().with_context(|| format!("{command:?}"))?,
        ))
    }

    fn connect(&self, socket: &Path) -> Result<UnixStream> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > until => {
                    return Err(error).with_context(|| socket.display().to_string());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill(); // it may have ended by itself
        let _ = self.0.wait();
    }
}

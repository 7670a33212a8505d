//! The machine's limit: one thread, each record built once, one send per stream and turn.
//!
//! It serves a pull socket and a port in one process, parses only as much of HTTP as the generator
//! sends, and knows no streams that cannot take what they are sent: it closes them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::Result;
use brine_wire::envelope::Envelope;
use brine_wire::frame::Decoder;
use brine_wire::{json, msgpack};
use rustix::event::epoll::{self, EventData, EventFlags};

const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Transfer-Encoding: chunked\r\n\r\nb\r\nretry: 400\n\r\n";

/// Serves until it is killed.
pub(crate) fn serve(dir: &Path) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let pull = UnixListener::bind(dir.join("master_event_pull.ipc"))?;
    let http = TcpListener::bind("127.0.0.1:0")?;
    std::fs::write(dir.join("port.new"), http.local_addr()?.port().to_string())?;
    std::fs::rename(dir.join("port.new"), dir.join("port"))?;
    watch(&epoll, &pull)?;
    watch(&epoll, &http)?;
    let mut publishers: Vec<Publisher> = Vec::new();
    let (mut asking, mut streams): (Vec<TcpStream>, Vec<TcpStream>) = (Vec::new(), Vec::new());
    let mut ready = Vec::with_capacity(256);
    let (mut buffer, mut out) = (vec![0; 256 << 10], Vec::new());
    loop {
        ready.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut ready), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &ready {
            let name = event.data.u64();
            if name == name_of(&pull) {
                let (socket, _) = pull.accept()?;
                socket.set_nonblocking(true)?;
                watch(&epoll, &socket)?;
                publishers.push(Publisher {
                    socket,
                    decoder: Decoder::new(16 << 20),
                    bytes: Vec::new(),
                });
            } else if name == name_of(&http) {
                let (socket, _) = http.accept()?;
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                watch(&epoll, &socket)?;
                asking.push(socket);
            } else if let Some(at) = asking.iter().position(|socket| name_of(socket) == name) {
                let mut socket = asking.swap_remove(at);
                if socket.read(&mut buffer)? > 0 {
                    epoll::delete(&epoll, &socket)?;
                    socket.write_all(HEAD)?;
                    streams.push(socket);
                }
            } else if let Some(at) = publishers
                .iter()
                .position(|one| name_of(&one.socket) == name)
            {
                let publisher = &mut publishers[at];
                match publisher.socket.read(&mut buffer) {
                    Ok(0) | Err(_) => drop(publishers.swap_remove(at)),
                    Ok(read) => {
                        publisher.bytes.extend_from_slice(&buffer[..read]);
                        publisher.render(&mut out)?;
                    }
                }
            }
        }
        if !out.is_empty() {
            streams
                .retain_mut(|stream| matches!(stream.write(&out), Ok(sent) if sent == out.len()));
            out.clear();
        }
    }
}

/// Who publishes, and what it has sent of an event that is not whole.
struct Publisher {
    socket: UnixStream,
    decoder: Decoder,
    bytes: Vec<u8>,
}

impl Publisher {
    /// Renders the events that have come whole.
    fn render(&mut self, out: &mut Vec<u8>) -> Result<()> {
        let mut used = 0;
        while let Some(frame) = self.decoder.next(&self.bytes[used..])? {
            used += frame.length;
            let envelope = Envelope::parse(frame.event)?;
            let mut text = String::from("{\"data\": ");
            json::to_line(&msgpack::decode(envelope.data())?, &mut text);
            let tag = envelope.tag();
            let record = format!("tag: {tag}\ndata: {text}, \"tag\": \"{tag}\"}}\n\n");
            write!(out, "{:x}\r\n{record}\r\n", record.len())?;
        }
        self.bytes.drain(..used);
        Ok(())
    }
}

fn watch(epoll: &OwnedFd, socket: &impl AsFd) -> Result<()> {
    let name = EventData::new_u64(name_of(socket));
    Ok(epoll::add(epoll, socket, name, EventFlags::IN)?)
}

fn name_of(socket: &impl AsFd) -> u64 {
    u64::from(socket.as_fd().as_raw_fd().unsigned_abs())
}

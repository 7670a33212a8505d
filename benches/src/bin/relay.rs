//! The limit: a relay that parses nothing.
//!
//! It serves Salt's socket names in a directory and forwards what publishers write to every
//! subscriber: one thread, epoll, reads of up to 256 KiB, a hop over the length prefixes to find
//! where the last whole frame ends, and one blocking write of the whole chunk per subscriber. No
//! bus that does these system calls can be much faster, so the comparison states its figures as
//! shares of this one's. It is no bus: a subscriber that does not read stalls everybody.
//!
//!     relay DIR

use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::event::epoll::{self, EventData, EventFlags};

const READ_BYTES: usize = 256 * 1024;

fn main() -> Result<()> {
    let dir: PathBuf = std::env::args_os()
        .nth(1)
        .context("usage: relay DIR")?
        .into();
    Relay::bind(&dir)?.run()
}

struct Relay {
    epoll: OwnedFd,
    publish: UnixListener,
    pull: UnixListener,
    publishers: HashMap<u64, Publisher>,
    subscribers: Vec<UnixStream>,
}

struct Publisher {
    socket: UnixStream,
    bytes: Vec<u8>,
    used: usize,
}

impl Relay {
    fn bind(dir: &std::path::Path) -> Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let listen = |name: &str| {
            let path = dir.join(name);
            let _ = fs::remove_file(&path);
            let listener = UnixListener::bind(&path)
                .with_context(|| format!("{}: cannot listen", path.display()))?;
            watch(&epoll, &listener, EventFlags::IN)?;
            Ok::<_, anyhow::Error>(listener)
        };
        Ok(Self {
            publish: listen("master_event_pub.ipc")?,
            pull: listen("master_event_pull.ipc")?,
            publishers: HashMap::new(),
            subscribers: Vec::new(),
            epoll,
        })
    }

    fn run(mut self) -> Result<()> {
        let (publish, pull) = (name_of(&self.publish), name_of(&self.pull));
        let mut ready = Vec::with_capacity(64);
        loop {
            ready.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut ready),
                None,
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in &ready {
                match event.data.u64() {
                    name if name == publish => self.accept_subscriber()?,
                    name if name == pull => self.accept_publisher()?,
                    name if self.publishers.contains_key(&name) => self.forward(name),
                    name => self.subscribers.retain(|socket| name_of(socket) != name),
                }
            }
        }
    }

    fn accept_subscriber(&mut self) -> Result<()> {
        let (socket, _) = self.publish.accept()?;
        // Nothing is read from it: this only shows when it leaves.
        watch(&self.epoll, &socket, EventFlags::RDHUP)?;
        self.subscribers.push(socket);
        Ok(())
    }

    fn accept_publisher(&mut self) -> Result<()> {
        let (socket, _) = self.pull.accept()?;
        watch(&self.epoll, &socket, EventFlags::IN)?;
        let publisher = Publisher {
            bytes: vec![0; READ_BYTES],
            used: 0,
            socket,
        };
        self.publishers
            .insert(name_of(&publisher.socket), publisher);
        Ok(())
    }

    fn forward(&mut self, name: u64) {
        let Some(publisher) = self.publishers.get_mut(&name) else {
            return;
        };
        match publisher.read() {
            Ok(whole) => {
                let chunk = &publisher.bytes[..whole];
                self.subscribers
                    .retain_mut(|socket| socket.write_all(chunk).is_ok());
                publisher.bytes.copy_within(whole..publisher.used, 0);
                publisher.used -= whole;
            }
            Err(_) => {
                self.publishers.remove(&name);
            }
        }
    }
}

impl Publisher {
    /// Reads what is there; returns how many bytes of it are whole frames.
    fn read(&mut self) -> io::Result<usize> {
        match self.socket.read(&mut self.bytes[self.used..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => self.used += count,
        }
        let mut whole = 0;
        while let Some(prefix) = self.bytes[whole..self.used].first_chunk() {
            let end = whole + 4 + u32::from_be_bytes(*prefix) as usize;
            if end > self.used {
                if end - whole > self.bytes.len() {
                    self.bytes.resize(end - whole, 0);
                }
                break;
            }
            whole = end;
        }
        Ok(whole)
    }
}

/// What epoll calls a socket: its descriptor, unique while it is open.
fn name_of(socket: &impl AsFd) -> u64 {
    u64::try_from(socket.as_fd().as_raw_fd()).unwrap_or(0)
}

fn watch(epoll: &OwnedFd, socket: &impl AsFd, events: EventFlags) -> Result<()> {
    epoll::add(epoll, socket, EventData::new_u64(name_of(socket)), events)?;
    Ok(())
}

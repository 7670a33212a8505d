//! The client of Brine's own socket, `brine.sock`: events from any start with filters, fired with
//! acknowledgement; status and commands.
//!
//! HTTP/1.1 over the socket, in exact records (`brine_wire::record`), so that nothing of an event is
//! lost. No runtime and no thread. A stream that is cut is taken up again at its position; what is
//! missing then is a [`Delivery::Gap`], never silence. What the server answers, with examples:
//! `docs/local-socket.md`.

mod http;
mod stream;

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use brine_log::{LogId, Position, Seq};
use brine_wire::event::FireError;
use brine_wire::record::{self, Record, RecordError};
use brine_wire::{Map, Value, json, msgpack};

use self::http::{Body, Head};
use super::PublisherConfig;

pub use self::http::{HttpError, fuzz_answer};
pub use self::stream::{Delivery, EventStream};

/// The longest record that is read, in bytes: an event of the bus's largest frame.
const MAX_RECORD: usize = 128 << 20;
/// The longest whole answer, in bytes.
const MAX_ANSWER: usize = 256 << 20;

/// Where a local socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalAddress {
    /// A UNIX socket.
    Socket(PathBuf),
    /// A file that names a loopback port and its token (`ipc_mode: tcp`).
    TokenFile(PathBuf),
}

/// Why a request to the local socket failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalError {
    /// Nobody answers there.
    #[error("{}: {error}", path.display())]
    Connect {
        /// The socket, or the file of the token.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The server refused.
    #[error("{message}")]
    Refused {
        /// The status of HTTP.
        status: u16,
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
    /// The answer is not the server's.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The stream is not the server's.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The answer is not what was asked for.
    #[error("expected {expected} from the local socket, found something else")]
    Unexpected {
        /// What was expected.
        expected: &'static str,
    },
    /// The connection broke, or the time is over.
    #[error("connection to the local socket: {0}")]
    Io(#[from] io::Error),
    /// The event itself cannot be fired.
    #[error(transparent)]
    Event(#[from] FireError),
}

impl LocalError {
    /// Whether nobody listens there, so that a caller may try something else.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }
}

/// What became of an event that was fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fired {
    /// It has this position.
    At(Position),
    /// It was not taken.
    Refused {
        /// A word for programs.
        code: String,
        /// A sentence for people.
        message: String,
    },
}

/// When a fire is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acknowledge {
    /// Once the events are on disk; refused by a bus without history.
    Durable,
    /// Once subscribers can read them.
    Appended,
}

/// Which events a stream is about. As text each field is a parameter of `GET /events`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Patterns of tags; none for every tag.
    pub tags: Vec<String>,
    /// How tags are compared: `glob`, `startswith`, `endswith`, `find` or `regex`; `glob` if empty.
    pub match_type: String,
    /// Patterns of tags that are left out.
    pub excludes: Vec<String>,
    /// Terms such as `minion:web* ok:false`.
    pub filter: String,
    /// `earliest`, `new`, a sequence, a position or a time; empty for `new`.
    pub from: String,
    /// A time to begin at, instead of `from`.
    pub since: String,
    /// A time to end at.
    pub until: String,
    /// Only the last so many, and what comes after.
    pub last: Option<u64>,
    /// The most events.
    pub limit: Option<u64>,
    /// Whether the stream ends with what is there now.
    pub ends: bool,
}

impl EventQuery {
    fn target(&self) -> String {
        let mut target = String::from("/events?");
        let mut add = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = write!(target, "{name}="); // writing to memory does not fail
                http::escape(value, &mut target);
                target.push('&');
            }
        };
        self.tags.iter().for_each(|tag| add("tag", tag));
        self.excludes.iter().for_each(|tag| add("exclude", tag));
        let count = |count: Option<u64>| count.map_or_else(String::new, |count| count.to_string());
        add("match", &self.match_type);
        add("filter", &self.filter);
        add("from", &self.from);
        add("since", &self.since);
        add("until", &self.until);
        add("last", &count(self.last));
        add("limit", &count(self.limit));
        add("follow", if self.ends { "false" } else { "true" });
        target
    }
}

/// A client of a local socket. Connects when it is needed, and again when the connection is gone.
#[derive(Debug)]
pub struct LocalClient {
    address: LocalAddress,
    config: PublisherConfig,
    connection: Option<Connection>,
}

impl LocalClient {
    /// A client that is not connected. `config` says how events that it fires are stamped and how
    /// large they may be.
    #[must_use]
    pub const fn new(address: LocalAddress, config: PublisherConfig) -> Self {
        Self {
            address,
            config,
            connection: None,
        }
    }

    /// What runs, as `GET /status` says it.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn status(&mut self, timeout: Option<Duration>) -> Result<Value, LocalError> {
        let body = self.request("GET", "/status", &[], timeout)?;
        let status = json::parse(&body);
        status.map_err(|_| LocalError::Unexpected { expected: "JSON" })
    }

    /// Has the node run a command: `client`, `fun` and whatever the client takes.
    ///
    /// # Errors
    /// [`LocalError::Refused`] with the name of Salt's exception as code when the command failed.
    pub fn run(&mut self, command: Map, timeout: Option<Duration>) -> Result<Value, LocalError> {
        let mut body = Vec::new();
        msgpack::encode(&command.into(), &mut body);
        let answer = self.request("POST", "/run", &body, timeout)?;
        let expected = LocalError::Unexpected {
            expected: "a return",
        };
        match msgpack::decode(&answer) {
            Ok(Value::Map(mut answer)) => answer.remove("return").ok_or(expected),
            _ => Err(expected),
        }
    }

    /// Fires events and waits until they are acknowledged; gives what became of each. Their data get
    /// their `_stamp`.
    ///
    /// # Errors
    /// [`LocalError`]. When the connection breaks meanwhile, nobody knows which events were taken.
    pub fn fire(
        &mut self,
        events: impl IntoIterator<Item = (String, Map)>,
        acknowledge: Acknowledge,
        timeout: Option<Duration>,
    ) -> Result<Vec<Fired>, LocalError> {
        let mut body = Vec::new();
        let mut count = 0;
        for (tag, mut data) in events {
            let event = self.encode(&tag, &mut data)?;
            Record::Fire { event: &event }.encode(&mut body);
            count += 1;
        }
        if count == 0 {
            return Ok(Vec::new());
        }
        let target = match acknowledge {
            Acknowledge::Durable => "/events",
            Acknowledge::Appended => "/events?durable=false",
        };
        let answer = self.request("POST", target, &body, timeout)?;
        let answers = fired(&answer)?;
        if answers.len() == count {
            Ok(answers)
        } else {
            Err(LocalError::Unexpected {
                expected: "an answer for each event",
            })
        }
    }

    /// Events, from wherever `query` says.
    ///
    /// # Errors
    /// [`LocalError`].
    pub fn events(&self, query: &EventQuery) -> Result<EventStream, LocalError> {
        EventStream::open(self.address.clone(), query)
    }

    fn encode(&self, tag: &str, data: &mut Map) -> Result<Vec<u8>, FireError> {
        self.config.encode(tag, data)
    }

    /// One request with a whole answer.
    fn request(
        &mut self,
        method: &str,
        target: &str,
        body: &[u8],
        timeout: Option<Duration>,
    ) -> Result<Vec<u8>, LocalError> {
        // A duration too long to be a moment is for ever.
        let deadline = timeout.and_then(|time| Instant::now().checked_add(time));
        let was_open = self.connection.is_some();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(&self.address)?,
        };
        let mut answered = connection.exchange(method, target, body, deadline);
        // Closed while it was idle: the server has read nothing of this request.
        if was_open
            && let Err(LocalError::Io(error)) = &answered
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            connection = Connection::open(&self.address)?;
            answered = connection.exchange(method, target, body, deadline);
        }
        let head = answered?;
        let bytes = connection.body(head, deadline)?;
        if head.status != 200 {
            return Err(refused(head.status, &bytes));
        }
        self.connection = Some(connection);
        Ok(bytes)
    }
}

/// The answers to events that were fired.
fn fired(mut bytes: &[u8]) -> Result<Vec<Fired>, LocalError> {
    let (mut log, mut answers) = (LogId(0), Vec::new());
    while let Some((record, length)) = record::next(bytes, MAX_RECORD)? {
        match record {
            Record::Log { log: id } => log = LogId(id),
            Record::Fired { sequence } => answers.push(Fired::At(Position {
                log,
                seq: Seq(sequence),
            })),
            Record::Refused { code, message } => answers.push(Fired::Refused { code, message }),
            _ => {
                return Err(LocalError::Unexpected {
                    expected: "answers to events",
                });
            }
        }
        bytes = &bytes[length..];
    }
    Ok(answers)
}

/// What an answer with an error says.
fn refused(status: u16, body: &[u8]) -> LocalError {
    let value = json::parse(body).unwrap_or(Value::Nil);
    let error = value.as_map().and_then(|outer| outer.get("error"));
    let text = |key| {
        let text = error
            .and_then(Value::as_map)
            .and_then(|error| error.get(key));
        text.and_then(Value::as_str).map(str::to_owned)
    };
    LocalError::Refused {
        status,
        code: text("code").unwrap_or_default(),
        message: text("message").unwrap_or_else(|| format!("the local socket answered {status}")),
    }
}

/// A connection and what was read from it and not yet used.
#[derive(Debug)]
struct Connection {
    socket: Socket,
    token: Option<String>,
    read: Vec<u8>,
}

#[derive(Debug)]
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Connection {
    fn open(address: &LocalAddress) -> Result<Self, LocalError> {
        let (path, opened) = match address {
            LocalAddress::Socket(path) => {
                let socket = UnixStream::connect(path);
                (path, socket.map(|socket| (Socket::Unix(socket), None)))
            }
            LocalAddress::TokenFile(path) => (path, open_by_token(path)),
        };
        let (socket, token) = opened.map_err(|error| LocalError::Connect {
            path: path.clone(),
            error,
        })?;
        Ok(Self {
            socket,
            token,
            read: Vec::new(),
        })
    }

    /// Sends a request and reads the head of its answer.
    fn exchange(
        &mut self,
        method: &str,
        target: &str,
        body: &[u8],
        deadline: Option<Instant>,
    ) -> Result<Head, LocalError> {
        let head = http::request(method, target, self.token.as_deref(), None, body.len());
        self.send(&head, body, deadline)?;
        self.head(deadline)
    }

    fn send(
        &mut self,
        head: &str,
        body: &[u8],
        deadline: Option<Instant>,
    ) -> Result<(), LocalError> {
        self.set_timeout(deadline)?;
        let mut bytes = Vec::with_capacity(head.len() + body.len());
        bytes.extend_from_slice(head.as_bytes());
        bytes.extend_from_slice(body);
        let written = match &mut self.socket {
            Socket::Unix(socket) => socket.write_all(&bytes),
            Socket::Tcp(socket) => socket.write_all(&bytes),
        };
        Ok(written?)
    }

    fn head(&mut self, deadline: Option<Instant>) -> Result<Head, LocalError> {
        loop {
            if let Some((head, length)) = http::head(&self.read)? {
                self.read.drain(..length);
                return Ok(head);
            }
            self.fill(deadline)?;
        }
    }

    fn body(&mut self, head: Head, deadline: Option<Instant>) -> Result<Vec<u8>, LocalError> {
        let (mut body, mut out) = (Body::new(head.body), Vec::new());
        loop {
            let used = body.take(&self.read, &mut out)?;
            self.read.drain(..used);
            if body.is_done() {
                return Ok(out);
            }
            if out.len() > MAX_ANSWER {
                return Err(LocalError::Unexpected {
                    expected: "a shorter answer",
                });
            }
            self.fill(deadline)?;
        }
    }

    /// Reads more; a closed connection is an error.
    fn fill(&mut self, deadline: Option<Instant>) -> Result<(), LocalError> {
        self.set_timeout(deadline)?;
        let mut buffer = [0; 64 << 10];
        let read = match &mut self.socket {
            Socket::Unix(socket) => socket.read(&mut buffer),
            Socket::Tcp(socket) => socket.read(&mut buffer),
        };
        match read {
            Ok(0) => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            Ok(read) => {
                self.read.extend_from_slice(&buffer[..read]);
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The time that is left; at least a millisecond, since zero means for ever.
    fn set_timeout(&self, deadline: Option<Instant>) -> io::Result<()> {
        let left = deadline.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            left.max(Duration::from_millis(1))
        });
        match &self.socket {
            Socket::Unix(socket) => {
                socket.set_read_timeout(left)?;
                socket.set_write_timeout(left)
            }
            Socket::Tcp(socket) => {
                socket.set_read_timeout(left)?;
                socket.set_write_timeout(left)
            }
        }
    }
}

/// Connects to the port that a file names, with the token it holds.
fn open_by_token(path: &Path) -> io::Result<(Socket, Option<String>)> {
    let line = fs::read_to_string(path)?;
    let parts = line.trim_end().split_once(' ');
    let parts = parts.and_then(|(address, token)| {
        let address: SocketAddr = address.parse().ok()?;
        let is_token = token.bytes().all(|byte| byte.is_ascii_hexdigit());
        (address.ip().is_loopback() && is_token).then(|| (address, token.to_owned()))
    });
    let (address, token) = parts.ok_or(io::ErrorKind::InvalidData)?;
    let socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    Ok((Socket::Tcp(socket), Some(token)))
}

//! A local socket in a directory of its own, and a client that speaks plain HTTP on it.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use brine_api::{Acl, ApiConfig, ApiState, NodeInfo, local};
use brine_log::{Incoming, Log, LogConfig, LogId, Millis};
pub(crate) use brine_testkit::DEADLINE;
use brine_wire::event::{MAX_EVENT_SIZE, encode_event};
use brine_wire::{Map, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub(crate) const LOG: LogId = LogId(0x7f3a);

/// A served socket. Dropping it ends the server.
pub(crate) struct Api {
    pub(crate) state: Arc<ApiState>,
    pub(crate) path: PathBuf,
    shutdown: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
    _directory: TempDir,
}

pub(crate) struct Setup {
    pub(crate) config: ApiConfig,
    pub(crate) acl: &'static str,
    pub(crate) change: Box<dyn FnOnce(&mut ApiState)>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            config: ApiConfig::default(),
            acl: "[]",
            change: Box::new(|_| {}),
        }
    }
}

impl Api {
    pub(crate) fn start() -> Self {
        Self::with(Setup::default())
    }

    pub(crate) fn with(setup: Setup) -> Self {
        let directory = tempfile::tempdir().unwrap();
        open_to_all(directory.path());
        let path = directory.path().join("brine.sock");
        let owner = rustix::process::geteuid().as_raw();
        let acl = Acl::parse(Some(&json::parse(setup.acl.as_bytes()).unwrap()), owner).unwrap();
        let node = NodeInfo {
            kind: "bus",
            id: String::new(),
            version: "0.1.0",
        };
        let log = Log::new(LogConfig::new(LOG));
        let mut state = ApiState::new(log, acl, node, setup.config);
        (setup.change)(&mut state);
        let state = Arc::new(state);
        let listener = local::Listener::bind(&path, &state).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (shutdown, ended) = oneshot::channel();
        let ended = async {
            let _ = ended.await;
        };
        runtime.spawn(local::serve(listener, Arc::clone(&state), ended));
        Self {
            state,
            path,
            shutdown: Some(shutdown),
            runtime: Some(runtime),
            _directory: directory,
        }
    }

    /// Appends an event with these data.
    pub(crate) fn fire(&self, tag: &str, data: &str) {
        self.fire_at(tag, data, 1_795_939_260_000);
    }

    pub(crate) fn fire_at(&self, tag: &str, data: &str, at: u64) {
        let mut data: Map = json::parse(data.as_bytes())
            .unwrap()
            .as_map()
            .unwrap()
            .clone();
        let event = encode_event(tag, &mut data, "now", MAX_EVENT_SIZE).unwrap();
        let incoming = Incoming {
            event: &event,
            tag_bytes: tag.len(),
        };
        self.state.log.append([incoming], Millis(at));
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Connection {
            stream,
            read: Vec::new(),
        }
    }

    /// A whole answer: status and body.
    pub(crate) fn request(&self, head: &str, body: &str) -> (u16, String) {
        let mut connection = self.connect();
        connection.send(&format!(
            "{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        connection.answer()
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!("GET {path}"), "")
    }

    /// Ends the server and waits for it.
    pub(crate) fn end(&mut self) {
        self.shut_down();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    pub(crate) fn shut_down(&mut self) {
        drop(self.shutdown.take());
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.end();
    }
}

/// A new state over the same log.
pub(crate) fn state_of(old: &ApiState) -> Arc<ApiState> {
    let log = Arc::clone(&old.log);
    let (acl, node) = (old.acl.clone(), old.node.clone());
    Arc::new(ApiState::new(log, acl, node, old.config))
}

/// Lets other users reach the socket, so that it alone decides.
fn open_to_all(directory: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// A connection of a client that writes what it likes.
pub(crate) struct Connection {
    pub(crate) stream: UnixStream,
    read: Vec<u8>,
}

impl Connection {
    /// Writes as much as the server takes: it may answer and close before all is written.
    pub(crate) fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    pub(crate) fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads until `end` has come and gives what came with it.
    pub(crate) fn until(&mut self, end: &str) -> String {
        // Only what is new is searched: there may be megabytes before it.
        let mut searched = 0;
        loop {
            let found = self.read[searched..]
                .windows(end.len())
                .position(|window| window == end.as_bytes());
            if let Some(at) = found.map(|at| searched + at) {
                let rest = self.read.split_off(at + end.len());
                let taken = std::mem::replace(&mut self.read, rest);
                return String::from_utf8(taken).unwrap();
            }
            searched = (self.read.len() + 1).saturating_sub(end.len());
            let mut buffer = [0; 64 << 10];
            let read = self
                .stream
                .read(&mut buffer)
                .expect("an answer comes in time");
            assert_ne!(
                read,
                0,
                "closed before {end:?}: {:?}",
                String::from_utf8_lossy(&self.read)
            );
            self.read.extend_from_slice(&buffer[..read]);
        }
    }

    /// All that comes until the server closes.
    pub(crate) fn rest(&mut self) -> String {
        let mut all = std::mem::take(&mut self.read);
        match self.stream.read_to_end(&mut all) {
            Ok(_) => {}
            // Closed while something of ours had not been read.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!(
                "not closed in time: {error}; {:?}",
                String::from_utf8_lossy(&all)
            ),
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Status and body of an answer after which the server closes.
    pub(crate) fn answer(&mut self) -> (u16, String) {
        let all = self.rest();
        let (head, body) = all
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {all:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let is_chunked = head
            .to_ascii_lowercase()
            .contains("transfer-encoding: chunked");
        (
            status,
            if is_chunked {
                dechunked(body)
            } else {
                body.to_owned()
            },
        )
    }
}

fn dechunked(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        out.push_str(&rest[..size]);
        body = &rest[size + 2..];
    }
    out
}

/// A value of a JSON answer, by pointer.
pub(crate) fn at(text: &str, pointer: &str) -> serde_json::Value {
    let value: serde_json::Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    value
        .pointer(pointer)
        .unwrap_or_else(|| panic!("no {pointer} in {text}"))
        .clone()
}

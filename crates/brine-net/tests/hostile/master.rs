//! The master's side that is attacked, over any transport, and raw ways to it.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use crate::zeromq_server::{Server, ServerConfig};
use brine_net::channel::{Incoming, Limits, Presence};
use brine_net::master::{MasterChannel, MasterConfig, Occupancy};
use brine_net::replay::Seen;
use brine_net::tcp::publish::{self, Publisher};
use brine_net::zeromq::client::ClientConfig;
use brine_net::{tcp, ws, zeromq};
use brine_wire::network::payload::{self, Payload};
use brine_wire::{Map, Value};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// What a loaded machine may need for one answer.
pub(crate) use brine_testkit::DEADLINE;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    ZeroMq,
    Ws,
}

pub(crate) const ALL: [Transport; 3] = [Transport::Tcp, Transport::ZeroMq, Transport::Ws];

/// The handshake of a WebSocket client, and the bytes of its answer.
pub(crate) const WS_OPENING: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
      Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
pub(crate) const WS_OPENED: &[u8] =
    b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
      sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A frame of a WebSocket client, with a mask that changes nothing.
pub(crate) fn ws_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_be_bytes();
    [&[first, 0xff], &length[..], &[0; 4], payload].concat()
}

/// The first byte of a frame that is a whole message, that begins one, and that goes on with it.
pub(crate) const WS_WHOLE: u8 = 0x82;
pub(crate) const WS_BEGIN: u8 = 0x02;
pub(crate) const WS_MORE: u8 = 0x00;

/// A request that got through to whoever acts on requests.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reached {
    pub(crate) cmd: String,
    pub(crate) fields: Map,
    pub(crate) seen: Option<Seen>,
}

pub(crate) struct Master {
    pub(crate) root: TempDir,
    pub(crate) transport: Transport,
    pub(crate) ret_port: u16,
    pub(crate) publish_port: u16,
    pub(crate) channel: Arc<MasterChannel>,
    reached: Arc<Mutex<Vec<Reached>>>,
    _presence: Option<mpsc::Receiver<Presence>>,
    _server: Option<Server>,
}

impl Master {
    pub(crate) async fn start(transport: Transport) -> Self {
        Self::with(transport, Limits::default(), |config| {
            config.rules.auto_accept = true;
        })
        .await
    }

    pub(crate) async fn with(
        transport: Transport,
        limits: Limits,
        change: impl FnOnce(&mut MasterConfig),
    ) -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("cache");
        std::fs::create_dir(&cache).unwrap();
        let mut config = MasterConfig::new(root.path().join("pki"), cache);
        change(&mut config);
        let (handler, incoming) = crate::requests::channel();
        let (mut server, mut listeners) = (None, None);
        let (ret_port, publish_port) = match transport {
            Transport::ZeroMq => {
                let config = ServerConfig {
                    limits: limits.clone(),
                    ..ServerConfig::default()
                };
                let started = Server::start(&config, handler.clone()).await;
                let ports = (started.ret_port, started.publish_port);
                server = Some(started);
                ports
            }
            Transport::Tcp | Transport::Ws => {
                let ret = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let publishing = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
                let ports = (port(&ret), port(&publishing));
                listeners = Some((ret, publishing));
                ports
            }
        };
        config.publish_port = publish_port;
        let channel = Arc::new(MasterChannel::open(config).unwrap());
        let mut presence = None;
        let pending = std::future::pending;
        if let Some((ret, publishing)) = listeners.take_if(|_| transport == Transport::Ws) {
            tokio::spawn(ws::serve_requests(
                ret,
                limits.clone(),
                handler.clone(),
                pending(),
            ));
            let publisher = ws::publish::Publisher::default();
            tokio::spawn(ws::publish::serve(
                publishing,
                limits.clone(),
                publisher,
                pending(),
            ));
        }
        if let Some((ret, publishing)) = listeners {
            tokio::spawn(tcp::serve_requests(ret, limits.clone(), handler, pending()));
            let (changes, changed) = mpsc::channel(256);
            presence = Some(changed);
            let identifying = channel.clone();
            tokio::spawn(publish::serve(
                publishing,
                limits,
                Publisher::default(),
                Arc::new(move |body: &Value| identifying.identify(body)),
                changes,
                pending(),
            ));
        }
        let reached = Arc::<Mutex<Vec<Reached>>>::default();
        tokio::spawn(answer_all(channel.clone(), incoming, reached.clone()));
        Self {
            root,
            transport,
            ret_port,
            publish_port,
            channel,
            reached,
            _presence: presence,
            _server: server,
        }
    }

    /// A way to send any value as a request.
    pub(crate) fn requester(&self) -> Requester {
        match self.transport {
            Transport::Tcp => {
                let address = format!("127.0.0.1:{}", self.ret_port);
                Requester::Tcp(tcp::client::Requester::new(address))
            }
            Transport::Ws => {
                let address = format!("127.0.0.1:{}", self.ret_port);
                Requester::Ws(ws::client::Requester::new(address))
            }
            Transport::ZeroMq => {
                let config = ClientConfig::requests("127.0.0.1", self.ret_port);
                Requester::ZeroMq(zeromq::client::Requester::open(config))
            }
        }
    }

    /// A bare connection to a port.
    pub(crate) fn connect(port: u16) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Takes what has got through since the last call.
    pub(crate) fn reached(&self) -> Vec<Reached> {
        std::mem::take(&mut *self.reached.lock().unwrap())
    }

    /// Every file below `pki_dir` and `cachedir`.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut files = Vec::new();
        let mut folders = vec![self.root.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push(path.display().to_string());
                }
            }
        }
        files.sort();
        files
    }
}

pub(crate) enum Requester {
    Tcp(tcp::client::Requester),
    ZeroMq(zeromq::client::Requester),
    Ws(ws::client::Requester),
}

impl Requester {
    pub(crate) async fn request(&self, payload: &Value) -> Value {
        match self {
            Self::Tcp(requester) => requester.request(payload, DEADLINE).await.unwrap(),
            Self::ZeroMq(requester) => requester.request(payload, DEADLINE).await.unwrap(),
            Self::Ws(requester) => requester.request(payload, DEADLINE).await.unwrap(),
        }
    }
}

/// What minions get as theirs.
pub(crate) fn pillar() -> Map {
    [("secret", "of this minion")].into_iter().collect()
}

async fn answer_all(
    channel: Arc<MasterChannel>,
    mut incoming: mpsc::Receiver<Incoming>,
    reached: Arc<Mutex<Vec<Reached>>>,
) {
    while let Some(mut request) = incoming.recv().await {
        let value = request.take_payload();
        let answer = match Payload::from_value(value, channel.minimum_version()) {
            Ok(Payload::Clear { load, .. }) if load.get("cmd") == Some(&"_auth".into()) => {
                let now = SystemTime::now();
                channel
                    .sign_in(&load, Occupancy::default(), now)
                    .unwrap()
                    .reply
            }
            Ok(Payload::Encrypted(sealed)) => {
                match channel.open_request(&sealed, SystemTime::now()) {
                    Ok(opened) => {
                        request.peer.trust_minion(opened.minion.id());
                        reached.lock().unwrap().push(Reached {
                            cmd: opened.load.cmd.clone().unwrap_or_default(),
                            fields: opened.load.fields.clone(),
                            seen: Some(opened.seen),
                        });
                        match opened.load.cmd.as_deref() {
                            Some("_pillar") => channel.seal_pillar(&opened, pillar()).unwrap(),
                            _ => opened.seal(&Value::Nil).unwrap(),
                        }
                    }
                    Err(refused) => refused.reply().into(),
                }
            }
            _ => payload::BAD_LOAD.into(),
        };
        request.answer(answer);
    }
}

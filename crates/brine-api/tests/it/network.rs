//! The network listener on a port of its own, with sessions put there by the test.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use brine_api::rest::{Low, Operator, OperatorError, RestOptions, RestState, Session, Sessions};
use brine_api::stream::{StreamConfig, Streams};
use brine_api::{Acl, ApiConfig, ApiState, NodeInfo, Origin, Subject, network};
use brine_log::{Log, LogConfig};
use brine_wire::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::support::{LOG, SOON};

/// The token of the session that [`Network::with`] opens for user `fred`.
pub(crate) const TOKEN: &str = "a39cb3efe4ac7f5ac22c4613cc4e087fd97dad21";

/// A served port. Dropping it ends the server.
pub(crate) struct Network {
    pub(crate) state: Arc<RestState>,
    pub(crate) address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
}

/// A master that runs nothing.
pub(crate) struct Nobody;

impl Operator for Nobody {
    fn run<'a>(
        &'a self,
        low: Low,
        _by: &'a Session,
    ) -> Pin<Box<dyn Future<Output = Result<Value, OperatorError>> + Send + 'a>> {
        Box::pin(async move { Err(OperatorError::Failed(low.client)) })
    }
}

impl Network {
    pub(crate) fn start() -> Self {
        Self::with("[]", RestOptions::default(), Arc::new(Nobody))
    }

    pub(crate) fn with(acl: &str, options: RestOptions, operator: Arc<dyn Operator>) -> Self {
        let owner = rustix::process::geteuid().as_raw();
        let acl = Acl::parse(Some(&json::parse(acl.as_bytes()).unwrap()), owner).unwrap();
        let node = NodeInfo {
            kind: "master",
            id: String::new(),
            version: "0.1.0",
        };
        let log = Log::new(LogConfig::new(LOG));
        let api = Arc::new(ApiState::new(log, acl, node, ApiConfig::default()));
        let streams = Streams::start(&api, StreamConfig::default()).unwrap();
        let state = Arc::new(RestState {
            api,
            streams,
            options,
            sessions: Sessions::default(),
            operator,
        });
        let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let (shutdown, ended) = oneshot::channel();
        let ended = async {
            let _ = ended.await;
        };
        runtime.spawn(network::serve(socket, Arc::clone(&state), ended));
        let network = Self {
            state,
            address,
            shutdown: Some(shutdown),
            runtime: Some(runtime),
        };
        network.log_in(TOKEN, "fred", Duration::from_secs(3600));
        network
    }

    /// Opens a session.
    pub(crate) fn log_in(&self, token: &str, user: &str, lives: Duration) -> Arc<Session> {
        let subject = Subject {
            origin: Origin::Login,
            user: user.to_owned(),
            groups: Vec::new(),
        };
        let session = Session::new(subject, SystemTime::now() + lives);
        self.state.sessions.insert(token.to_owned(), session)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// All that comes back for these bytes until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(SOON);
        }
    }
}

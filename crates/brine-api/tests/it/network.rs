//! The network listener on a port of its own, with sessions put there by the test.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_api::rest::{
    Credential, Low, Operator, OperatorError, Pending, RestOptions, RestState, Session,
};
use brine_api::stream::{StreamConfig, Streams};
use brine_api::{Acl, ApiConfig, ApiState, NodeInfo, network};
use brine_auth::{Login, Token};
use brine_log::{Log, LogConfig};
use brine_wire::{Map, Value, json};
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};

use crate::support::{DEADLINE, LOG};

/// The token of the session that [`Network::with`] opens for user `fred`.
pub(crate) const TOKEN: &str = "a39cb3efe4ac7f5ac22c4613cc4e087fd97dad21";

/// The token of Salt's behind it.
const SALT_TOKEN: &str = "9b861a77bd2a1d4233be2014a0fb0d82350f69cb593664bb4a113bf6adf47551";

/// A served port. Dropping it ends the server.
pub(crate) struct Network {
    pub(crate) state: Arc<RestState>,
    /// Where another log takes the place of the first.
    pub(crate) api: watch::Sender<Arc<ApiState>>,
    pub(crate) address: SocketAddr,
    shutdown: Option<oneshot::Sender<()>>,
    runtime: Option<Runtime>,
    served: Option<tokio::task::JoinHandle<std::io::Result<()>>>,
}

/// A master that runs nothing and knows nobody.
pub(crate) struct Nobody;

impl Operator for Nobody {
    fn is_running(&self) -> bool {
        true
    }

    fn log_in(&self, login: Login, _from: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
        Box::pin(async move { Err(OperatorError::NotAuthenticated(login.username)) })
    }

    fn token<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>> {
        // Sessions that tests open rely on this one.
        let token = (text == SALT_TOKEN).then(|| token("fred", Duration::from_secs(3600)));
        Box::pin(async { Ok(token) })
    }

    fn revoke<'a>(&'a self, _text: &'a str) -> Pending<'a, ()> {
        Box::pin(async {})
    }

    fn run(&self, _low: Low, _by: Credential) -> Pending<'_, Result<Value, OperatorError>> {
        Box::pin(async { Err(OperatorError::Failed("nothing is run".to_owned())) })
    }

    fn fire<'a>(&'a self, _tag: &'a str, _data: Map) -> Pending<'a, bool> {
        Box::pin(async { false })
    }
}

/// A token of Salt's for a user, that lives for a while.
pub(crate) fn token(user: &str, lives: Duration) -> Token {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Token {
        token: SALT_TOKEN.to_owned(),
        start: now.as_secs_f64(),
        expire: (now + lives).as_secs_f64(),
        name: user.to_owned(),
        eauth: "sharedsecret".to_owned(),
        groups: Vec::new(),
        auth_list: None,
    }
}

fn api_state(acl: &str, log: Arc<Log>) -> ApiState {
    let owner = rustix::process::geteuid().as_raw();
    let acl = Acl::parse(Some(&json::parse(acl.as_bytes()).unwrap()), owner).unwrap();
    let node = NodeInfo {
        kind: "master",
        id: String::new(),
        version: "0.1.0",
    };
    ApiState::new(log, acl, node, ApiConfig::default())
}

impl Network {
    pub(crate) fn start() -> Self {
        Self::with("[]", RestOptions::default(), Arc::new(Nobody))
    }

    pub(crate) fn with_acl(acl: &str) -> Self {
        Self::with(acl, RestOptions::default(), Arc::new(Nobody))
    }

    /// A server whose idle streams show soon that they live.
    pub(crate) fn with_heartbeat(heartbeat: Duration) -> Self {
        let config = StreamConfig {
            heartbeat,
            ..StreamConfig::default()
        };
        let log = Log::new(LogConfig::new(LOG));
        Self::with_streams("[]", RestOptions::default(), Arc::new(Nobody), config, log)
    }

    /// A server over this log.
    pub(crate) fn with_log(log: Arc<Log>) -> Self {
        let config = StreamConfig::default();
        Self::with_streams("[]", RestOptions::default(), Arc::new(Nobody), config, log)
    }

    pub(crate) fn with(acl: &str, options: RestOptions, operator: Arc<dyn Operator>) -> Self {
        Self::over(acl, options, operator, None)
    }

    /// A server over TLS.
    pub(crate) fn over(
        acl: &str,
        options: RestOptions,
        operator: Arc<dyn Operator>,
        tls: Option<network::Tls>,
    ) -> Self {
        let log = Log::new(LogConfig::new(LOG));
        Self::serve(acl, options, operator, (StreamConfig::default(), log), tls)
    }

    pub(crate) fn with_streams(
        acl: &str,
        options: RestOptions,
        operator: Arc<dyn Operator>,
        config: StreamConfig,
        log: Arc<Log>,
    ) -> Self {
        Self::serve(acl, options, operator, (config, log), None)
    }

    fn serve(
        acl: &str,
        options: RestOptions,
        operator: Arc<dyn Operator>,
        (config, log): (StreamConfig, Arc<Log>),
        tls: Option<network::Tls>,
    ) -> Self {
        let api = Arc::new(api_state(acl, log));
        let (current, api) = watch::channel(api);
        let streams = Streams::start(api.clone(), config).unwrap();
        let state = Arc::new(RestState::new(api, streams, options, operator));
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
        let served = runtime.spawn(network::serve(socket, tls, Arc::clone(&state), ended));
        let network = Self {
            state,
            api: current,
            address,
            shutdown: Some(shutdown),
            runtime: Some(runtime),
            served: Some(served),
        };
        network.log_in(TOKEN, "fred", Duration::from_secs(3600));
        network
    }

    /// Another log takes the place of the one that is served.
    pub(crate) fn replace_log(&self, log: Arc<Log>) {
        let mut state = api_state("[]", log);
        state.continues(&self.api.borrow());
        self.api.send_replace(Arc::new(state));
    }

    /// Opens a session.
    pub(crate) fn log_in(&self, token: &str, user: &str, lives: Duration) -> Arc<Session> {
        let session = Session::new(&self::token(user, lives));
        self.state.sessions.insert(token, session)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// All that comes back for these bytes until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(request); // refused before it was read
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer); // it may be reset while we still send
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Network {
    /// Ends the server and waits for it.
    pub(crate) fn end(&mut self) {
        drop(self.shutdown.take());
        if let (Some(runtime), Some(served)) = (self.runtime.take(), self.served.take()) {
            runtime.block_on(served).unwrap().unwrap();
            runtime.shutdown_timeout(DEADLINE);
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.end();
    }
}

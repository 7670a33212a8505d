//! Brine's bus and its streams in one process, as `brine up` and `brine salt-master` have them, without
//! a master and with one user who is logged in.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use brine_api::rest::{
    Credential, Low, Operator, OperatorError, Pending, RestOptions, RestState, Session,
};
use brine_api::stream::{StreamConfig, Streams};
use brine_api::{Acl, ApiConfig, ApiState, NodeInfo, network};
use brine_auth::{Login, Token};
use brine_bus::address::{Address, Node};
use brine_bus::{Bus, BusConfig, Modes, Served, Sockets};
use brine_log::{Log, LogConfig, LogId, OverflowConfig};
use brine_wire::compat::Compat;
use brine_wire::{Map, Value};
use tokio::sync::watch;

/// The token of the user.
pub(crate) const TOKEN: &str = "a39cb3efe4ac7f5ac22c4613cc4e087fd97dad21";

/// Serves until it is killed.
pub(crate) fn serve(dir: &Path) -> Result<()> {
    let modes = Modes {
        publish: 0o600,
        pull: 0o600,
    };
    let served = Served {
        sockets: Sockets::bind(&Address::ipc(dir, &Node::Master)?, modes)?,
        framing: Compat::NEWEST.publish_framing(),
    };
    let mut config = LogConfig::new(LogId(0x7f3a));
    config.overflow = Some(OverflowConfig {
        directory: dir.to_owned(),
        max_bytes: OverflowConfig::MAX_BYTES,
    });
    let log = Log::new(config);
    let (bus, _handle) = Bus::new(vec![served], Arc::clone(&log), BusConfig::default());
    let _bus = bus.spawn(std::future::pending())?;
    let node = NodeInfo {
        kind: "bus",
        id: String::new(),
        version: "0",
    };
    let owner = rustix::process::geteuid().as_raw();
    let api = ApiState::new(log, Acl::closed(owner), node, ApiConfig::default());
    // This API keeps its log.
    let (_keep, api) = watch::channel(Arc::new(api));
    let streams = Streams::start(api.clone(), StreamConfig::default())?;
    let state = RestState::new(api, streams, RestOptions::default(), Arc::new(Nobody));
    state.sessions.insert(TOKEN, Session::new(&token()));
    let state = Arc::new(state);
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::fs::write(dir.join("port.new"), port)?;
    std::fs::rename(dir.join("port.new"), dir.join("port"))?;
    Ok(runtime.block_on(network::serve(socket, None, state, std::future::pending()))?)
}

/// The token of Salt's behind the session.
fn token() -> Token {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Token {
        token: "0".repeat(64),
        start: now.as_secs_f64(),
        expire: (now + Duration::from_secs(86_400)).as_secs_f64(),
        name: "bench".to_owned(),
        eauth: "auto".to_owned(),
        groups: Vec::new(),
        auth_list: None,
    }
}

/// A master that runs nothing and knows that user alone.
struct Nobody;

impl Operator for Nobody {
    fn is_running(&self) -> bool {
        true
    }

    fn log_in(&self, login: Login, _from: IpAddr) -> Pending<'_, Result<Token, OperatorError>> {
        Box::pin(async move { Err(OperatorError::NotAuthenticated(login.username)) })
    }

    fn token<'a>(&'a self, _text: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>> {
        Box::pin(async { Ok(Some(token())) })
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

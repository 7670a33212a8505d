//! Brine's bus and its streams in one process, as `brine up` and `brine salt-master` have them, without
//! a master and with one user who is logged in.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use brine_api::rest::{Low, Operator, OperatorError, RestOptions, RestState, Session, Sessions};
use brine_api::stream::{StreamConfig, Streams};
use brine_api::{Acl, ApiConfig, ApiState, NodeInfo, Origin, Subject, network};
use brine_bus::address::{Address, Node};
use brine_bus::{Bus, BusConfig, Modes, Served, Sockets};
use brine_log::{Log, LogConfig, LogId, OverflowConfig};
use brine_wire::Value;
use brine_wire::compat::Compat;

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
    let api = Arc::new(ApiState::new(log, Acl::closed(owner), node, ApiConfig::default()));
    let sessions = Sessions::default();
    let subject = Subject {
        origin: Origin::Login,
        user: "bench".to_owned(),
        groups: Vec::new(),
    };
    let expires = SystemTime::now() + Duration::from_secs(86_400);
    sessions.insert(TOKEN.to_owned(), Session::new(subject, expires));
    let state = Arc::new(RestState {
        streams: Streams::start(&api, StreamConfig::default())?,
        api,
        options: RestOptions::default(),
        sessions,
        operator: Arc::new(Nobody),
    });
    let socket = TcpListener::bind("127.0.0.1:0")?;
    let port = socket.local_addr()?.port().to_string();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::fs::write(dir.join("port.new"), port)?;
    std::fs::rename(dir.join("port.new"), dir.join("port"))?;
    Ok(runtime.block_on(network::serve(socket, state, std::future::pending()))?)
}

/// A master that runs nothing.
struct Nobody;

impl Operator for Nobody {
    fn run<'a>(
        &'a self,
        low: Low,
        _by: &'a Session,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Value, OperatorError>> + Send + 'a>> {
        Box::pin(async move { Err(OperatorError::Failed(low.client)) })
    }
}

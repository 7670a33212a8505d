//! Both ZeroMQ ports in the test's process.

use std::net::SocketAddr;

use brine_net::channel::{Handler, Limits};
use brine_net::zeromq::publish::{self, Publisher, Topics};
use brine_net::zeromq::serve_requests;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

#[derive(Debug, Clone, Default)]
pub(crate) struct ServerConfig {
    /// 0 for any.
    pub(crate) ret_port: u16,
    pub(crate) publish_port: u16,
    pub(crate) topics: Topics,
    pub(crate) limits: Limits,
}

pub(crate) struct Server {
    pub(crate) ret_port: u16,
    pub(crate) publish_port: u16,
    pub(crate) publisher: Publisher,
    /// They end when it is dropped.
    ports: JoinSet<()>,
    running: watch::Sender<()>,
}

impl Server {
    pub(crate) async fn start(config: &ServerConfig, handler: Handler) -> Self {
        let bind = async |port| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            TcpListener::bind(address).await.unwrap()
        };
        let (ret, publishes) = (bind(config.ret_port).await, bind(config.publish_port).await);
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let (ret_port, publish_port) = (port(&ret), port(&publishes));
        let publisher = Publisher::new(config.topics);
        let limits = config.limits.clone();
        let (running, _) = watch::channel(());
        let ended = || {
            let mut running = running.subscribe();
            async move { drop(running.changed().await) } // only ever an error: it is gone
        };
        let mut ports = JoinSet::new();
        ports.spawn(serve_requests(ret, limits.clone(), handler, ended()));
        ports.spawn(publish::serve(
            publishes,
            limits,
            publisher.clone(),
            ended(),
        ));
        Self {
            ret_port,
            publish_port,
            publisher,
            ports,
            running,
        }
    }

    /// Closes both ports and all their connections, when requests under way are answered.
    pub(crate) async fn end(self) {
        drop(self.running);
        self.ports.join_all().await;
    }
}

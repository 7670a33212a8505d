//! Both ZeroMQ ports in the test's process.

use std::net::SocketAddr;

use brine_net::channel::{Handler, Limits};
use brine_net::zeromq::publish::{self, Publisher, Topics};
use brine_net::zeromq::serve_requests;
use tokio::net::TcpListener;
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
        let (limits, pending) = (config.limits.clone(), std::future::pending);
        let mut ports = JoinSet::new();
        ports.spawn(serve_requests(ret, limits.clone(), handler, pending()));
        ports.spawn(publish::serve(
            publishes,
            limits,
            publisher.clone(),
            pending(),
        ));
        Self {
            ret_port,
            publish_port,
            publisher,
            ports,
        }
    }

    /// Closes both ports and all their connections.
    pub(crate) async fn end(mut self) {
        self.ports.shutdown().await;
    }
}

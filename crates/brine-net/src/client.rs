//! A minion's or program's connections to a master, over any transport.
//!
//! Opening them differs and is done by the transports; afterwards they behave the same.

use std::future::{Future, pending};
use std::time::Duration;

use brine_wire::Value;
use brine_wire::network::publish::Publish;

use crate::connection::ConnectionError;
use crate::ws::WsError;
use crate::{tcp, ws, zeromq};

/// A request got no reply.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Over tcp or WebSockets.
    #[error(transparent)]
    Tcp(#[from] tcp::client::RequestError),
    /// Over ZeroMQ.
    #[error(transparent)]
    ZeroMq(#[from] zeromq::client::RequestError),
}

impl RequestError {
    /// Whether the master will not take this request, however often it comes, because it is too large.
    #[must_use]
    pub const fn is_too_large(&self) -> bool {
        matches!(
            self,
            Self::Tcp(tcp::client::RequestError::Connection {
                source: ConnectionError::WebSocket(WsError::RefusedAsTooLarge),
                ..
            })
        )
    }
}

/// Sends requests to a master, one at a time.
#[derive(Debug)]
pub enum Requester {
    /// Over tcp.
    Tcp(tcp::client::Requester),
    /// Over WebSockets.
    Ws(ws::client::Requester),
    /// Over ZeroMQ.
    ZeroMq(zeromq::client::Requester),
}

impl Requester {
    /// For a master that has not proved its key: replies must be small until
    /// [`Requester::trust`].
    #[must_use]
    pub fn untrusted(self) -> Self {
        match self {
            Self::Tcp(requester) => Self::Tcp(requester.untrusted()),
            Self::Ws(requester) => Self::Ws(requester.untrusted()),
            Self::ZeroMq(requester) => Self::ZeroMq(requester.untrusted()),
        }
    }

    /// The master has proved its key.
    pub fn trust(&self) {
        match self {
            Self::Tcp(requester) => requester.trust(),
            Self::Ws(requester) => requester.trust(),
            Self::ZeroMq(requester) => requester.trust(),
        }
    }

    /// Sends a payload and waits for its reply. Dropping the future abandons the request, which may still arrive.
    ///
    /// # Errors
    /// [`RequestError`].
    pub async fn request(&self, payload: &Value, wait: Duration) -> Result<Value, RequestError> {
        Ok(match self {
            Self::Tcp(requester) => requester.request(payload, wait).await?,
            Self::Ws(requester) => requester.request(payload, wait).await?,
            Self::ZeroMq(requester) => requester.request(payload, wait).await?,
        })
    }
}

/// The subscription ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SubscriptionError {
    /// Over tcp or WebSockets: connect again after a while.
    #[error(transparent)]
    Tcp(#[from] tcp::client::SubscriptionError),
    /// Over ZeroMQ, which otherwise connects again by itself.
    #[error("the subscription is closed")]
    Closed,
}

/// A subscription to a master's publishes.
#[derive(Debug)]
pub enum Subscription {
    /// Over tcp.
    Tcp(tcp::client::Subscription),
    /// Over WebSockets.
    Ws(ws::client::Subscription),
    /// Over ZeroMQ.
    ZeroMq(zeromq::client::Subscription),
}

impl Subscription {
    /// Waits until publishes can arrive; but for ZeroMQ they can from the start.
    pub async fn ready(&self) {
        if let Self::ZeroMq(subscription) = self {
            let mut connected = subscription.connected();
            let _ = connected.wait_for(|connected| *connected).await;
        }
    }

    /// Waits until the connection is lost, where [`Subscription::next`] does not report it.
    pub fn lost(&self) -> impl Future<Output = ()> + use<> {
        let connected = match self {
            Self::Tcp(_) | Self::Ws(_) => None,
            Self::ZeroMq(subscription) => Some(subscription.connected()),
        };
        async move {
            match connected {
                Some(mut connected) => {
                    let _ = connected.wait_for(|connected| !connected).await;
                }
                None => pending().await,
            }
        }
    }

    /// Waits until the connection has been lost and made again without [`Subscription::next`] reporting it.
    pub fn reconnected(&self) -> impl Future<Output = ()> + use<> {
        let lost = self.lost();
        let connected = match self {
            Self::Tcp(_) | Self::Ws(_) => None,
            Self::ZeroMq(subscription) => Some(subscription.connected()),
        };
        async move {
            lost.await;
            if let Some(mut connected) = connected {
                let _ = connected.wait_for(|connected| *connected).await;
            }
        }
    }

    /// The next publish. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`SubscriptionError`].
    pub async fn next(&mut self) -> Result<Publish, SubscriptionError> {
        match self {
            Self::Tcp(subscription) => Ok(subscription.next().await?),
            Self::Ws(subscription) => Ok(subscription.next().await?),
            Self::ZeroMq(subscription) => {
                let publish = subscription.next().await;
                publish.ok_or(SubscriptionError::Closed)
            }
        }
    }
}

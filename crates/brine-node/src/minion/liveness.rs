//! Checks while connected: whether the master still answers, and whether the first master of the list is back.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them (`status.master`, `status.ping_master`, `minion_ping`).

use std::future::pending;
use std::time::Duration;

use brine_wire::Map;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::master_client::MasterClient;
use super::retry_options::{ALIVE_INTERVAL, random_up_to};
use super::sign_in_loop::{MasterConnection, connect};
use super::start_events::event;
use super::{Node, Uplink};

/// How long a master's port may take to answer.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// Waits until a master does not answer any more: asked from time to time, and when its connection is `lost`.
/// Over zeromq the subscription connects again by itself, for ever; a minion with one master leaves it to that, one with
/// several has another to turn to.
pub(super) async fn until_unreachable(uplink: &Uplink, at: usize, lost: impl Future<Output = ()>) {
    let every = match uplink.node.options.master_alive_interval {
        every if !every.is_zero() => every,
        _ if uplink.clients.len() > 1 => ALIVE_INTERVAL,
        _ => return pending().await,
    };
    let master = uplink.client(at).master();
    let address = master.with_port(master.port);
    let mut lost = std::pin::pin!(lost);
    let mut is_lost = false;
    loop {
        tokio::select! {
            () = sleep(every) => {}
            () = &mut lost, if !is_lost => is_lost = true,
        }
        let connected = timeout(ALIVE_WITHIN, TcpStream::connect(&address)).await;
        if !matches!(connected, Ok(Ok(_))) {
            tracing::warn!(master = %address, "the master's request port no longer accepts connections");
            return;
        }
    }
}

/// Waits until the connection has come back to a master that does not accept the minion's session.
///
/// Over zeromq the subscription reconnects by itself, perhaps to a master that was rebuilt: the minion would keep
/// waiting for jobs that it cannot decrypt. Signing in again reveals that at once.
pub(super) async fn until_another_master(
    node: &Node,
    client: &MasterClient,
    reconnected: impl Future<Output = ()>,
) {
    reconnected.await;
    sleep(random_up_to(node.options.retry.random_reauth_delay)).await;
    let Some(session) = client.session() else {
        return;
    };
    match client.sign_in(Some(&session)).await {
        // Whatever else happens to this connection, jobs and requests notice.
        Ok(_) => pending().await,
        Err(error) => tracing::debug!(%error, "the session ended with the connection"),
    }
}

/// Sends `minion_ping` every `ping_interval`. Ends when one is not answered and `auth_safemode` has the minion sign in
/// again then.
pub(super) async fn send_pings(uplink: &Uplink, at: usize) {
    let tries = &uplink.node.options.retry;
    let Some(every) = tries.ping_every else {
        return pending().await;
    };
    loop {
        sleep(every).await;
        let ping = event(&uplink.node, "minion_ping", "ping");
        let Err(error) = uplink.client(at).request(ping).await else {
            continue;
        };
        tracing::warn!(master = %uplink.client(at).master().host, %error, "the master did not answer minion_ping");
        if tries.auth_safemode {
            return;
        }
    }
}

/// Waits until the minion is connected to the first master of the list (`master_failback`). It leaves the other only
/// then, so that a master that answers but does not accept the minion costs nothing.
pub(super) async fn failback(uplink: &Uplink, at: usize) -> MasterConnection {
    let Some(every) = uplink.node.options.retry.failback_every.filter(|_| at > 0) else {
        return pending().await;
    };
    loop {
        sleep(every).await;
        if !uplink.client(0).answers().await {
            continue;
        }
        let host = uplink.client(0).master().host.as_str();
        tracing::info!(
            master = host,
            "the first master answers again; failing back to it"
        );
        let data: Map = [("master", host)].into_iter().collect();
        uplink.node.fire("__master_failback", data);
        match connect(uplink, 0).await {
            Ok(connection) => return connection,
            Err(error) => {
                tracing::warn!(master = host, %error, "failback failed; staying with the current master")
            }
        }
    }
}

//! What a minion that is in with a master looks for meanwhile: that it still is, and whether the first of its
//! list is there again.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them (`status.master`, `status.ping_master`, `minion_ping`).

use std::future::pending;
use std::time::Duration;

use brine_wire::Map;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::find::{Place, enter};
use super::tries::ALIVE_INTERVAL;
use super::{Way, connection};

/// How long a master's port may take to answer.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// Waits until a master does not answer any more: asked from time to time, and when its connection is `lost`.
/// Over zeromq libzmq connects again by itself, for ever; a minion with one master leaves it to that, one with
/// several has another to turn to.
pub(super) async fn until_gone(way: &Way, at: usize, lost: impl Future<Output = ()>) {
    let every = match way.node.options.master_alive_interval {
        every if !every.is_zero() => every,
        _ if way.links.len() > 1 => ALIVE_INTERVAL,
        _ => return pending().await,
    };
    let master = way.link(at).master();
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
            tracing::warn!(master = %address, "the master does not answer any more");
            return;
        }
    }
}

/// Sends `minion_ping` every `ping_interval`. Ends when one is not answered and `auth_safemode` wants the minion
/// to begin anew then.
pub(super) async fn pinging(way: &Way, at: usize) {
    let tries = &way.node.options.tries;
    let Some(every) = tries.ping_every else {
        return pending().await;
    };
    loop {
        sleep(every).await;
        let ping = connection::event(&way.node, "minion_ping", "ping");
        let Err(error) = way.link(at).request(ping).await else {
            continue;
        };
        tracing::warn!(master = %way.link(at).master().host, %error, "the master does not answer a ping");
        if tries.auth_safemode {
            return;
        }
    }
}

/// Waits for a place with the first master of the list (`master_failback`). The minion has it before it leaves
/// the other, so that one that answers and does not let it in costs nothing.
pub(super) async fn first_again(way: &Way, at: usize) -> Place {
    let Some(every) = way.node.options.tries.failback_every.filter(|_| at > 0) else {
        return pending().await;
    };
    loop {
        sleep(every).await;
        if !way.link(0).answers().await {
            continue;
        }
        let host = way.link(0).master().host.as_str();
        tracing::info!(master = host, "the first master is there again");
        let told: Map = [("master", host)].into_iter().collect();
        way.node.fire("__master_failback", told);
        match enter(way, 0).await {
            Ok(place) => return place,
            Err(error) => {
                tracing::warn!(master = host, %error, "not back with the first master")
            }
        }
    }
}

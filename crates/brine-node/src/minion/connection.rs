//! One uplink's life: sign in, send the start events, receive jobs, and sign in again when the connection is lost.
//!
//! Facts: `docs/protocol/network.md` §2.2, §6.4, §11.

use brine_net::minion::{MustBeSigned, OpenReplyError, Session};
use brine_wire::network::publish::Publish;
use brine_wire::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::master_client::{MasterClient, RequestError, SignInError};
use super::retry_options::random_up_to;
use super::sign_in_loop::{ConnectError, MasterConnection, SignInLoop, SignInResult, log};
use super::start_events::send_start_events;
use super::{Node, Uplink, jobs, liveness};

/// Keeps the minion connected to one of the uplink's masters; returns only if it must give up.
pub(super) async fn run(uplink: Uplink, rejected: mpsc::Sender<()>) {
    sleep(random_up_to(uplink.node.options.retry.random_startup_delay)).await;
    let mut search = SignInLoop::new(&uplink);
    loop {
        let connection = match search.run().await {
            SignInResult::Connected(connection) => connection,
            SignInResult::Rejected => {
                tracing::error!("{}", SignInError::Rejected);
                let _ = rejected.send(()).await;
                return;
            }
            SignInResult::UnknownHost => {
                return tracing::error!(
                    "{}; giving up after retry_dns_count lookups",
                    ConnectError::UnknownHost
                );
            }
        };
        let since = Instant::now();
        let at = stay(&uplink, connection).await;
        search.lost(at, since.elapsed()).await;
    }
}

/// Why the minion leaves a connection.
enum Left {
    /// The connection is lost.
    Lost,
    /// The first master of the list answers again, and the minion is connected to it.
    FailedBack(MasterConnection),
}

/// Stays connected until the connection is lost, failing back to the first master when it returns; gives the index
/// of the master that was lost.
async fn stay(uplink: &Uplink, mut connection: MasterConnection) -> usize {
    loop {
        let at = connection.at;
        if let Err(error) = begin(uplink, &connection).await {
            let master = &connection.client.master().host;
            tracing::warn!(%master, %error, "the master did not take the start event; reconnecting");
            uplink.set_current(None);
            return at;
        }
        let left = until_left(uplink, &mut connection).await;
        if matches!(left, Left::Lost) {
            uplink.set_current(None);
        }
        uplink
            .node
            .fire("__master_disconnected", master_of(&connection.client));
        match left {
            Left::Lost => return at,
            Left::FailedBack(first) => connection = first,
        }
    }
}

/// Announces the connection: on the minion's bus and to the master, which must take it.
async fn begin(uplink: &Uplink, connection: &MasterConnection) -> Result<(), RequestError> {
    let (node, client) = (&uplink.node, &connection.client);
    fire_credentials(node, &connection.session);
    send_start_events(node, client).await?;
    uplink.set_current(Some(client.clone()));
    tracing::info!(master = %client.master().host, "connected to the master");
    node.fire("__master_connected", master_of(client));
    Ok(())
}

async fn until_left(uplink: &Uplink, connection: &mut MasterConnection) -> Left {
    let at = connection.at;
    let lost = connection.subscription.lost();
    let reconnected = connection.subscription.reconnected();
    let client = connection.client.clone();
    tokio::select! {
        () = take_jobs(uplink, connection) => Left::Lost,
        () = liveness::until_unreachable(uplink, at, lost) => Left::Lost,
        () = liveness::send_pings(uplink, at) => Left::Lost,
        () = liveness::until_another_master(&uplink.node, &client, reconnected) => Left::Lost,
        first = liveness::failback(uplink, at) => Left::FailedBack(first),
    }
}

fn master_of(client: &MasterClient) -> Map {
    [("master", client.master().host.as_str())]
        .into_iter()
        .collect()
}

/// `salt/auth/creds`, for programs of the minion's own user only: not where others can read the bus.
fn fire_credentials(node: &Node, session: &Session) {
    if node.options.bus_is_open_to_all {
        return;
    }
    let creds: Map = [("aes", session.aes())].into_iter().collect();
    let mut data: Map = [("key", Value::from(session.id().as_str()))]
        .into_iter()
        .collect();
    data.insert("creds", creds);
    node.fire("salt/auth/creds", data);
}

/// Takes publishes until the subscription is over.
async fn take_jobs(uplink: &Uplink, connection: &mut MasterConnection) {
    let client = &connection.client;
    loop {
        match connection.subscription.next().await {
            Ok(publish) => {
                if let Some(job) = open(&uplink.node, client, &publish).await {
                    jobs::take(&uplink.node, uplink.number, client, &job);
                }
            }
            Err(error) => {
                tracing::warn!(master = %client.master().host, %error, "connection to the master lost; reconnecting");
                return;
            }
        }
    }
}

/// Opens a publish; signs in again if its key is new, so that no job is lost with a rotation.
async fn open(node: &Node, client: &MasterClient, publish: &Publish) -> Option<Map> {
    let must_be_signed = match node.options.sign_pub_messages {
        true => MustBeSigned::Yes,
        false => MustBeSigned::No,
    };
    let session = client.session()?;
    match session.open_publish(publish, must_be_signed) {
        Ok(job) => return Some(job),
        Err(OpenReplyError::SignInAgain { .. }) => {}
        Err(error) => {
            tracing::error!(%error, "publish dropped");
            return None;
        }
    }
    // What is published meanwhile waits behind this.
    sleep(random_up_to(node.options.retry.random_reauth_delay)).await;
    let again = match client.sign_in(Some(&session)).await {
        Ok(again) => again,
        Err(error) => {
            tracing::warn!("job dropped: {error}");
            log(client, &ConnectError::SignIn(error));
            return None;
        }
    };
    fire_credentials(node, &again);
    match again.open_publish(publish, must_be_signed) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!(%error, "publish dropped");
            None
        }
    }
}

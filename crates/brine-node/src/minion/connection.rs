//! Being in with a master: signing in, the start events, jobs as they come, and again when it is gone.
//!
//! Facts: `docs/protocol/network.md` §2.2, §6.4, §11.

use std::sync::Arc;
use std::time::Duration;

use brine_net::backoff::Backoff;
use brine_net::minion::{MustBeSigned, OpenReplyError, Session};
use brine_wire::network::publish::Publish;
use brine_wire::network::{events, minion_event};
use brine_wire::{Map, Value};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use super::link::{Link, NotIn, RequestError};
use super::transport::Subscription;
use super::{Node, jobs};

/// The first wait before a master that does not answer is tried again, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// A connection that lasted this long begins anew without a longer wait.
const SETTLED: Duration = Duration::from_secs(10);
/// How often a master of several is asked whether it is there, if `master_alive_interval` does not say.
const ALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// How long the publish port may take to answer before the minion starts all the same.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How long it may take to answer.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

/// Why the minion is not in with a master any more.
enum Out {
    NotIn(NotIn),
    NoPillar(RequestError),
    /// It was in.
    Lost,
}

/// Stays in with one of these masters, for ever; the first that lets the minion in.
pub(super) async fn run(node: Arc<Node>, way: usize, links: Vec<Link>, rejected: mpsc::Sender<()>) {
    let mut retry = Backoff::new(RETRY.0, RETRY.1);
    let mut pending = node.options.acceptance_wait_time;
    loop {
        let mut all_reject = true;
        for link in &links {
            let began = Instant::now();
            let out = be_in(&node, way, link, links.len() > 1).await;
            if began.elapsed() > SETTLED {
                retry.reset();
                pending = node.options.acceptance_wait_time;
            }
            let host = &link.master().host;
            all_reject &= matches!(out, Out::NotIn(NotIn::Rejected));
            match out {
                Out::NotIn(waits @ NotIn::Pending { .. }) => {
                    tracing::warn!(master = %host, "{waits}");
                    sleep(pending).await;
                    pending = (pending * 2).min(node.options.acceptance_wait_time_max);
                    continue;
                }
                Out::NotIn(error) => tracing::warn!(master = %host, %error, "not in; trying again"),
                Out::NoPillar(error) => {
                    tracing::warn!(master = %host, %error, "no pillar; trying again")
                }
                Out::Lost => {}
            }
            sleep(retry.wait()).await;
        }
        if all_reject && !node.options.rejected_retry {
            tracing::error!("{}", NotIn::Rejected);
            let _ = rejected.send(()).await;
            return;
        }
    }
}

/// In with a master until its connection is lost.
async fn be_in(node: &Arc<Node>, way: usize, link: &Link, has_others: bool) -> Out {
    let (session, mut subscription) = match enter(node, link).await {
        Ok(entered) => entered,
        Err(out) => return out,
    };
    tell_of_sign_in(node, &session);
    let host: Map = [("master", link.master().host.as_str())]
        .into_iter()
        .collect();
    send_start_events(node, link).await;
    if let Some(up) = node.up.get(way) {
        up.send_replace(Some(link.clone()));
    }
    tracing::info!(master = %link.master().host, "in with the master");
    node.fire("__master_connected", host.clone());
    let gone = until_gone(node, link, has_others, subscription.lost());
    tokio::select! {
        () = take_jobs(node, way, link, &mut subscription) => {}
        () = gone => {}
    }
    if let Some(up) = node.up.get(way) {
        up.send_replace(None);
    }
    node.fire("__master_disconnected", host);
    Out::Lost
}

/// Signs in, takes the pillar and subscribes.
async fn enter(node: &Node, link: &Link) -> Result<(Arc<Session>, Subscription), Out> {
    let session = link
        .sign_in(link.session().as_ref())
        .await
        .map_err(Out::NotIn)?;
    let grains = Map::clone(&node.functions.grains());
    let pillar = link.pillar(grains).await.map_err(Out::NoPillar)?;
    node.functions.set_pillar(pillar);
    // A request may have signed in again.
    let session = link.session().unwrap_or(session);
    let subscription = link.subscribe(&session).await;
    let subscription = subscription.map_err(|error| Out::NotIn(error.into()))?;
    // A job that is published when the start event is seen must find it open.
    if timeout(READY_WITHIN, subscription.ready()).await.is_err() {
        tracing::warn!(master = %link.master().host, "the publish port does not answer yet");
    }
    Ok((session, subscription))
}

/// Waits until a master does not answer any more: asked from time to time, and when its connection is `lost`.
/// Over zeromq libzmq connects again by itself, for ever; a minion with one master leaves it to that, one with
/// several has another to turn to.
async fn until_gone(node: &Node, link: &Link, has_others: bool, lost: impl Future<Output = ()>) {
    let every = match node.options.master_alive_interval {
        every if !every.is_zero() => every,
        _ if has_others => ALIVE_INTERVAL,
        _ => return std::future::pending().await,
    };
    let mut lost = std::pin::pin!(lost);
    let mut is_lost = false;
    loop {
        tokio::select! {
            () = sleep(every) => {}
            () = &mut lost, if !is_lost => is_lost = true,
        }
        let address = link.master().with_port(link.master().port);
        let connected = timeout(ALIVE_WITHIN, TcpStream::connect(&address)).await;
        if !matches!(connected, Ok(Ok(_))) {
            tracing::warn!(master = %address, "the master does not answer any more");
            return;
        }
    }
}

/// `salt/auth/creds`, for local programs only.
fn tell_of_sign_in(node: &Node, session: &Session) {
    let creds: Map = [("aes", session.aes())].into_iter().collect();
    let mut data: Map = [("key", Value::from(session.id().as_str()))]
        .into_iter()
        .collect();
    data.insert("creds", creds);
    node.fire("salt/auth/creds", data);
}

/// Takes publishes until the subscription is over.
async fn take_jobs(node: &Arc<Node>, way: usize, link: &Link, subscription: &mut Subscription) {
    loop {
        match subscription.next().await {
            Ok(publish) => {
                if let Some(job) = open(node, link, &publish).await {
                    jobs::take(node, way, &job);
                }
            }
            Err(error) => {
                tracing::warn!(master = %link.master().host, %error, "connection to the master lost");
                return;
            }
        }
    }
}

/// Opens a publish; signs in again if its key is new, so that no job is lost with a rotation.
async fn open(node: &Node, link: &Link, publish: &Publish) -> Option<Map> {
    let must_be_signed = match node.options.sign_pub_messages {
        true => MustBeSigned::Yes,
        false => MustBeSigned::No,
    };
    let session = link.session()?;
    match session.open_publish(publish, must_be_signed) {
        Ok(job) => return Some(job),
        Err(OpenReplyError::SignInAgain { .. }) => {}
        Err(error) => {
            tracing::error!(%error, "publish dropped");
            return None;
        }
    }
    let again = match link.sign_in(Some(&session)).await {
        Ok(again) => again,
        Err(error) => {
            tracing::warn!(%error, "publish dropped: not in any more");
            return None;
        }
    };
    tell_of_sign_in(node, &again);
    match again.open_publish(publish, must_be_signed) {
        Ok(job) => Some(job),
        Err(error) => {
            tracing::error!(%error, "publish dropped");
            None
        }
    }
}

/// The start events go before whatever waits.
async fn send_start_events(node: &Node, link: &Link) {
    let id = &node.options.id;
    let text = format!("Minion {id} started at {}", asctime());
    let mut tags = vec![events::start_tag(id)];
    if node.options.enable_legacy_startup_events {
        tags.insert(0, "minion_start".to_owned());
    }
    for tag in tags {
        let mut load: Map = [("cmd", minion_event::CMD)].into_iter().collect();
        load.insert("pretag", Value::Nil);
        load.insert("data", text.as_str());
        load.insert("tag", tag);
        if !node.options.start_event_grains.is_empty() {
            let wanted = &node.options.start_event_grains;
            let grains = node.functions.grains();
            let shown = wanted
                .iter()
                .filter_map(|name| Some((name.as_str(), grains.get(name)?.clone())));
            load.insert("grains", shown.collect::<Map>());
        }
        if let Err(error) = link.request(load).await {
            tracing::warn!(%error, "start event not sent");
        }
    }
}

/// The time as C's `asctime` writes it.
fn asctime() -> String {
    crate::clock::asctime(crate::own_bus::since_epoch())
}

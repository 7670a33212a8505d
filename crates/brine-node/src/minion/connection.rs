//! Being in with a master: the start events, jobs as they come, and again when it is gone.
//!
//! Facts: `docs/protocol/network.md` §2.2, §6.4, §11.

use brine_net::minion::{MustBeSigned, OpenReplyError, Session};
use brine_wire::network::publish::Publish;
use brine_wire::network::{events, minion_event};
use brine_wire::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::find::{Found, Place, Refusal, Search};
use super::link::{Link, NotIn};
use super::tries::random_up_to;
use super::{Node, Way, jobs, lookout};

/// Stays in with one of the way's masters, for ever.
pub(super) async fn run(way: Way, rejected: mpsc::Sender<()>) {
    sleep(random_up_to(way.node.options.tries.random_startup_delay)).await;
    let mut search = Search::new(&way);
    loop {
        let place = match search.find().await {
            Found::In(place) => place,
            Found::Rejected => {
                tracing::error!("{}", NotIn::Rejected);
                let _ = rejected.send(()).await;
                return;
            }
            Found::NoName => {
                return tracing::error!("{}: given up, as retry_dns_count says", Refusal::NoName);
            }
        };
        let since = Instant::now();
        let at = stay(&way, place).await;
        search.lost(at, since.elapsed()).await;
    }
}

/// Why the minion leaves a place.
enum Left {
    /// The connection is lost.
    Lost,
    /// The first master of the list is there again.
    For(Place),
}

/// In with a master until its connection is lost; meanwhile perhaps with the first of the list again. Which was
/// lost.
async fn stay(way: &Way, mut place: Place) -> usize {
    loop {
        begin(way, &place).await;
        let at = place.at;
        let left = until_left(way, &mut place).await;
        if matches!(left, Left::Lost) {
            way.set_up(None);
        }
        way.node.fire("__master_disconnected", who(&place.link));
        match left {
            Left::Lost => return at,
            Left::For(first) => place = first,
        }
    }
}

/// Tells everybody that the minion is in.
async fn begin(way: &Way, place: &Place) {
    let (node, link) = (&way.node, &place.link);
    tell_of_sign_in(node, &place.session);
    send_start_events(node, link).await;
    way.set_up(Some(link.clone()));
    tracing::info!(master = %link.master().host, "in with the master");
    node.fire("__master_connected", who(link));
}

async fn until_left(way: &Way, place: &mut Place) -> Left {
    let at = place.at;
    let lost = place.subscription.lost();
    tokio::select! {
        () = take_jobs(way, place) => Left::Lost,
        () = lookout::until_gone(way, at, lost) => Left::Lost,
        () = lookout::pinging(way, at) => Left::Lost,
        first = lookout::first_again(way, at) => Left::For(first),
    }
}

fn who(link: &Link) -> Map {
    [("master", link.master().host.as_str())]
        .into_iter()
        .collect()
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
async fn take_jobs(way: &Way, place: &mut Place) {
    let link = &place.link;
    loop {
        match place.subscription.next().await {
            Ok(publish) => {
                if let Some(job) = open(&way.node, link, &publish).await {
                    jobs::take(&way.node, way.number, link, &job);
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
    // What is published meanwhile waits behind this.
    sleep(random_up_to(node.options.tries.random_reauth_delay)).await;
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
        let mut load = event(node, &tag, &text);
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

/// The load of an event of the minion's own.
pub(super) fn event(node: &Node, tag: &str, text: &str) -> Map {
    let mut load: Map = [("id", node.options.id.as_str()), ("cmd", minion_event::CMD)]
        .into_iter()
        .collect();
    load.insert("pretag", Value::Nil);
    load.insert("data", text);
    load.insert("tag", tag);
    load
}

/// The time as C's `asctime` writes it.
fn asctime() -> String {
    crate::clock::asctime(crate::node_bus::since_epoch())
}

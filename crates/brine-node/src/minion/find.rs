//! Finding a master that lets the minion in: the list from its first to its last, round after round.
//!
//! The minion never ends for want of a master. Two things end the search: every master rejects its key (and
//! `rejected_retry` is off), and a name that does not resolve has been looked up `retry_dns_count` times before
//! the minion was ever in. Facts: `docs/protocol/network.md` §6.4; Salt 3006.28 and 3008.3, by running them.

use std::sync::Arc;
use std::time::Duration;

use brine_net::minion::Session;
use brine_wire::Map;
use tokio::net::lookup_host;
use tokio::time::{sleep, timeout};

use super::link::{Link, NotIn, RequestError};
use super::options::MasterAddress;
use super::transport::Subscription;
use super::waits::{Next, Round, Waits};
use super::{Node, Way};

/// How long the publish port may take to answer before the minion starts all the same.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// A place with a master: signed in, with its pillar, subscribed.
pub(super) struct Place {
    /// Which of the list.
    pub(super) at: usize,
    pub(super) link: Link,
    pub(super) session: Arc<Session>,
    pub(super) subscription: Subscription,
}

/// What the search comes to.
pub(super) enum Found {
    /// A master that lets the minion in.
    In(Place),
    /// All reject its key.
    Rejected,
    /// No name of a master's is known, however often it was looked up.
    NoName,
}

/// Why a master does not let the minion in.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error(transparent)]
    NotIn(NotIn),
    #[error("no pillar: {0}")]
    NoPillar(RequestError),
    #[error("expected a name that stands for an address, found none")]
    NoName,
}

/// The search for one of a way's masters.
pub(super) struct Search<'a> {
    way: &'a Way,
    waits: Waits,
    /// The master that was lost: it is asked after the others.
    lost: Option<usize>,
}

impl<'a> Search<'a> {
    pub(super) fn new(way: &'a Way) -> Self {
        Self {
            waits: Waits::new(way.node.options.clone()),
            way,
            lost: None,
        }
    }

    /// Asks until a master lets the minion in.
    pub(super) async fn find(&mut self) -> Found {
        loop {
            let mut round = Round::default();
            for at in order(self.way.links.len(), self.lost) {
                match enter(self.way, at).await {
                    Ok(place) => {
                        self.waits.is_in();
                        return Found::In(place);
                    }
                    Err(refusal) => {
                        tell(&self.way.link(at).master().host, &refusal);
                        round.note(&refusal);
                    }
                }
            }
            match self.waits.after(&round) {
                Next::Wait(wait) => sleep(wait).await,
                Next::Rejected => return Found::Rejected,
                Next::GiveUp => return Found::NoName,
            }
        }
    }

    /// The place is lost that was held so long.
    pub(super) async fn lost(&mut self, at: usize, held: Duration) {
        self.lost = Some(at);
        let wait = self.waits.after_loss(held);
        sleep(wait).await;
    }
}

/// All masters of a list, the lost one last.
fn order(masters: usize, lost: Option<usize>) -> impl Iterator<Item = usize> {
    let others = (0..masters).filter(move |at| Some(*at) != lost);
    others.chain(lost)
}

/// Signs in, takes the pillar and subscribes.
pub(super) async fn enter(way: &Way, at: usize) -> Result<Place, Refusal> {
    let (node, link) = (&way.node, way.link(at));
    if !is_known(link.master()).await {
        return Err(Refusal::NoName);
    }
    let session = link.sign_in(link.session().as_ref()).await;
    let session = session.map_err(Refusal::NotIn)?;
    take_pillar(node, link).await.map_err(Refusal::NoPillar)?;
    // A request may have signed in again.
    let session = link.session().unwrap_or(session);
    let subscription = link.subscribe(&session).await;
    let subscription = subscription.map_err(|error| Refusal::NotIn(error.into()))?;
    // A job that is published when the start event is seen must find it open.
    if timeout(READY_WITHIN, subscription.ready()).await.is_err() {
        tracing::warn!(master = %link.master().host, "the publish port does not answer yet");
    }
    Ok(Place {
        at,
        link: link.clone(),
        session,
        subscription,
    })
}

async fn take_pillar(node: &Node, link: &Link) -> Result<(), RequestError> {
    let grains = Map::clone(&node.functions.grains());
    node.functions.set_pillar(link.pillar(grains).await?);
    Ok(())
}

/// Whether a master's name stands for an address.
async fn is_known(master: &MasterAddress) -> bool {
    let found = lookup_host((master.host.as_str(), master.port)).await;
    found.is_ok_and(|mut addresses| addresses.next().is_some())
}

fn tell(master: &str, refusal: &Refusal) {
    match refusal {
        Refusal::NotIn(waits @ NotIn::Pending { .. }) => tracing::warn!(%master, "{waits}"),
        error => tracing::warn!(%master, %error, "not in; trying again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lost_master_is_asked_after_the_others() {
        assert_eq!(order(3, None).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(order(3, Some(0)).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(order(3, Some(1)).collect::<Vec<_>>(), [0, 2, 1]);
        assert_eq!(order(1, Some(0)).collect::<Vec<_>>(), [0]);
    }
}

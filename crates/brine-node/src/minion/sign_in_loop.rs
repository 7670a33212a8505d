//! Signing in: tries the masters of an uplink in order, round after round, until one accepts the minion.
//!
//! Only two things end the loop: every master rejects the minion's key (and `rejected_retry` is off), or no host name
//! has resolved after `retry_dns_count` lookups and the minion was never connected. Facts: `docs/protocol/network.md` §6.4; Salt 3006.28 and 3008.3, by running them.

use std::sync::Arc;
use std::time::Duration;

use brine_net::client::Subscription;
use brine_net::minion::{Distrust, Session};
use brine_wire::Map;
use brine_wire::network::auth::Ret;
use tokio::time::{sleep, timeout};

use super::master_client::{Advice, MasterClient, RequestError, SignInError};
use super::retry::{Next, Refused, RetryTimer, Round};
use super::standing::Standing;
use super::{Node, Uplink};

/// How long the publish port may take to answer before the minion starts all the same.
const READY_WITHIN: Duration = Duration::from_secs(5);

/// A master the minion is connected to: signed in, with its pillar, subscribed to its publishes.
pub(super) struct MasterConnection {
    /// The master's index in the uplink's list.
    pub(super) at: usize,
    pub(super) client: MasterClient,
    pub(super) session: Arc<Session>,
    pub(super) subscription: Subscription,
}

/// How the loop ended.
pub(super) enum SignInResult {
    /// A master accepted the minion.
    Connected(MasterConnection),
    /// All masters rejected its key.
    Rejected,
    /// No master's host name resolves.
    UnknownHost,
}

/// Why the minion is not connected to a master.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    SignIn(SignInError),
    #[error("cannot get the pillar: {0}")]
    NoPillar(RequestError),
    #[error("cannot resolve the master's host name")]
    UnknownHost,
}

/// Connects to one of an uplink's masters, as often as needed.
pub(super) struct SignInLoop<'a> {
    uplink: &'a Uplink,
    retry: RetryTimer,
    /// The master whose connection was lost last: it is tried after the others.
    lost: Option<usize>,
}

impl<'a> SignInLoop<'a> {
    pub(super) fn new(uplink: &'a Uplink) -> Self {
        Self {
            retry: RetryTimer::new(uplink.node.options.clone()),
            uplink,
            lost: None,
        }
    }

    /// Tries until a master accepts the minion.
    pub(super) async fn run(&mut self) -> SignInResult {
        let mut has_warned = false;
        loop {
            let mut round = Round::default();
            let mut standing = Standing::Rejected;
            for at in order(self.uplink.clients.len(), self.lost) {
                match connect(self.uplink, at).await {
                    Ok(connection) => {
                        self.retry.connected();
                        if has_warned {
                            // Those who have read the warnings should also read that the trouble is over.
                            let host = &connection.client.master().host;
                            tracing::warn!("master \"{host}\" has accepted this minion");
                        }
                        return SignInResult::Connected(connection);
                    }
                    Err(refusal) => {
                        log(self.uplink.client(at), &refusal);
                        has_warned = true;
                        round.note(refusal.kind());
                        standing = standing.max(refusal.standing());
                    }
                }
            }
            let _ = self.uplink.node.standings.set(self.uplink.number, standing);
            match self.retry.after(&round) {
                Next::Wait(wait) => sleep(wait).await,
                Next::Rejected => return SignInResult::Rejected,
                Next::GiveUp => return SignInResult::UnknownHost,
            }
        }
    }

    /// Waits after a connection that lasted for `held` was lost.
    pub(super) async fn lost(&mut self, at: usize, held: Duration) {
        self.lost = Some(at);
        let wait = self.retry.after_loss(held);
        sleep(wait).await;
    }
}

/// All masters of a list, the lost one last.
fn order(masters: usize, lost: Option<usize>) -> impl Iterator<Item = usize> {
    let others = (0..masters).filter(move |at| Some(*at) != lost);
    others.chain(lost)
}

/// Signs in, takes the pillar and subscribes.
pub(super) async fn connect(uplink: &Uplink, at: usize) -> Result<MasterConnection, ConnectError> {
    let (node, client) = (&uplink.node, uplink.client(at));
    if !client.master().resolves().await {
        return Err(ConnectError::UnknownHost);
    }
    let session = client.sign_in(client.session().as_ref()).await;
    let session = session.map_err(ConnectError::SignIn)?;
    take_pillar(node, client)
        .await
        .map_err(ConnectError::NoPillar)?;
    // A request may have signed in again.
    let session = client.session().unwrap_or(session);
    let subscription = client.subscribe(&session).await;
    let subscription = subscription.map_err(|error| ConnectError::SignIn(error.into()))?;
    node.standings.signed_in(uplink.number);
    // A job that is published when the start event is seen must find it open.
    if timeout(READY_WITHIN, subscription.ready()).await.is_err() {
        tracing::warn!(master = %client.master().host, "the master's publish port does not answer yet");
    }
    Ok(MasterConnection {
        at,
        client: client.clone(),
        session,
        subscription,
    })
}

async fn take_pillar(node: &Node, client: &MasterClient) -> Result<(), RequestError> {
    let grains = Map::clone(&node.functions.grains());
    node.functions.set_pillar(client.pillar(grains).await?);
    Ok(())
}

/// Tells the administrator why the minion is not connected to a master.
pub(super) fn log(client: &MasterClient, error: &ConnectError) {
    let master = &client.master().host;
    let ConnectError::SignIn(refusal) = error else {
        return match error {
            ConnectError::UnknownHost => {
                tracing::warn!("cannot resolve master \"{master}\"; retrying");
            }
            error => tracing::warn!("cannot sign in to master \"{master}\": {error}; retrying"),
        };
    };
    let Advice { what, remedy } = client.advice(refusal);
    match refusal {
        // Someone must act, and the message says how.
        SignInError::Distrust(Distrust::KeyChanged | Distrust::Signature) => {
            tracing::error!("master \"{master}\" {what}: {remedy}; retrying");
        }
        SignInError::Distrust(why) => {
            tracing::error!("cannot trust the answer of master \"{master}\": {why}; retrying");
        }
        SignInError::Pending { .. } | SignInError::Full => {
            tracing::warn!("master \"{master}\" {what}; {remedy}; retrying");
        }
        SignInError::Rejected | SignInError::Unproven { ret: Ret::Rejected } => {
            tracing::warn!("master \"{master}\" {what}: {remedy}");
        }
        refusal => tracing::warn!("cannot sign in to master \"{master}\": {refusal}; retrying"),
    }
}

impl ConnectError {
    /// What the master said of the key, signed or not.
    pub(super) const fn standing(&self) -> Standing {
        match self {
            Self::SignIn(SignInError::Rejected | SignInError::Unproven { ret: Ret::Rejected }) => {
                Standing::Rejected
            }
            Self::SignIn(SignInError::Distrust(_)) => Standing::Untrusted,
            Self::SignIn(
                SignInError::Pending { .. } | SignInError::Unproven { ret: Ret::Pending },
            ) => Standing::Pending,
            Self::SignIn(_) | Self::NoPillar(_) | Self::UnknownHost => Standing::Good,
        }
    }

    /// What it means for the next try.
    const fn kind(&self) -> Refused {
        match self {
            Self::SignIn(SignInError::Pending { .. }) => Refused::Pending,
            Self::SignIn(SignInError::Rejected) => Refused::Rejected,
            Self::UnknownHost => Refused::UnknownHost,
            Self::SignIn(_) | Self::NoPillar(_) => Refused::Otherwise,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lost_master_is_tried_after_the_others() {
        assert_eq!(order(3, None).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!(order(3, Some(0)).collect::<Vec<_>>(), [1, 2, 0]);
        assert_eq!(order(3, Some(1)).collect::<Vec<_>>(), [0, 2, 1]);
        assert_eq!(order(1, Some(0)).collect::<Vec<_>>(), [0]);
    }
}

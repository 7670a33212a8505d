//! How the parts of a node learn that it is shutting down: one watch channel, set to `true` once.

use tokio::sync::watch;

/// Waits until shutdown is requested, or until nobody is left who could request it.
pub(crate) async fn requested(mut shutdown: watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|requested| *requested).await;
}

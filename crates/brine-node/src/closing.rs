//! How the parts of a node are told that it ends.

use tokio::sync::watch;

/// Waits until `closing` says so, or whoever would say it is gone.
pub(crate) async fn told(mut closing: watch::Receiver<bool>) {
    let _ = closing.wait_for(|closing| *closing).await;
}

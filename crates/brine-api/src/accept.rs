//! What listeners do while the system gives them no further connection.

use std::io;
use std::time::Duration;

use tokio::time::sleep;

use crate::seldom::Seldom;

/// How long to wait then.
const PAUSE: Duration = Duration::from_millis(50);

/// Waits after a connection could not be accepted, and reports it for a listener; nothing is wrong if its client has gone.
pub(crate) async fn pause(listener: &str, error: &io::Error, warned: &Seldom) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        if warned.may_be_told() {
            tracing::warn!(err = %error, "{listener}: cannot accept connections for now");
        }
        sleep(PAUSE).await;
    }
}

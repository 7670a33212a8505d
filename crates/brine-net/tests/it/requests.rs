//! A request port's handler whose requests come out of a channel.

use std::sync::Arc;

use brine_net::channel::{Handler, Incoming};
use tokio::sync::mpsc;

/// More than any test leaves unanswered; what comes beyond is answered as a bad load.
const WAITING: usize = 8192;

pub(crate) fn channel() -> (Handler, mpsc::Receiver<Incoming>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let handler = move |incoming| drop(sender.try_send(incoming));
    (Arc::new(handler), receiver)
}

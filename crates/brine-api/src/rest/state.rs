//! What requests over the network are answered from.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::operator::Operator;
use super::options::RestOptions;
use super::session::Sessions;
use crate::counters::Counters;
use crate::limits::Limits;
use crate::seldom::Seldom;
use crate::state::ApiState;
use crate::stream::Streams;

/// How many large bodies are read at a time; each takes up to twice `max_request_body_size`.
const BODIES: usize = 256;
/// The same of one address.
const BODIES_OF_ADDRESS: usize = 64;

/// What requests over the network are answered from: one for all connections.
pub struct RestState {
    api: watch::Receiver<Arc<ApiState>>,
    /// The configuration.
    pub options: RestOptions,
    /// Who is logged in.
    pub sessions: Sessions,
    /// The streams of events.
    pub streams: Arc<Streams>,
    /// The master.
    pub operator: Arc<dyn Operator>,
    /// What was counted.
    pub counters: Arc<Counters>,
    /// The large bodies that are being read.
    pub(super) bodies: Limits,
    /// Reports logins that are not looked at, because too many failed.
    pub(super) limited_logins: Seldom,
    /// Reports clients whose address `authorized_ips` does not list.
    pub(crate) foreign_addresses: Seldom,
    /// A permit for each command that may run at a time.
    pub(super) commands: Semaphore,
}

impl RestState {
    /// The state of an API for a master. `api` may get another log while requests are answered.
    #[must_use]
    pub fn new(
        api: watch::Receiver<Arc<ApiState>>,
        streams: Arc<Streams>,
        options: RestOptions,
        operator: Arc<dyn Operator>,
    ) -> Self {
        let counters = Arc::clone(&api.borrow().counters);
        Self {
            sessions: Sessions::in_directory(options.session_directory.clone()),
            bodies: Limits::new(BODIES, BODIES_OF_ADDRESS),
            limited_logins: Seldom::default(),
            foreign_addresses: Seldom::default(),
            commands: Semaphore::new(options.limits.commands.clamp(1, Semaphore::MAX_PERMITS)),
            counters,
            api,
            streams,
            options,
            operator,
        }
    }

    /// The log, the permissions by tag, and what `/status` shows: shared with the local socket.
    #[must_use]
    pub fn api(&self) -> Arc<ApiState> {
        Arc::clone(&self.api.borrow())
    }
}

impl std::fmt::Debug for RestState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RestState")
            .field("api", &self.api())
            .finish_non_exhaustive()
    }
}

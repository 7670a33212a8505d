//! What requests over the network are answered from.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::operator::Operator;
use super::options::RestOptions;
use super::session::Sessions;
use crate::counters::Counters;
use crate::state::ApiState;
use crate::stream::Streams;

/// What requests over the network are answered from: one for all connections.
pub struct RestState {
    /// The log, the permissions by tag, and what `/status` shows: shared with the local socket.
    pub api: Arc<ApiState>,
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
    /// A permit for each command that may run at a time.
    pub(super) commands: Semaphore,
}

impl RestState {
    /// The state of an API for a master.
    #[must_use]
    pub fn new(
        api: Arc<ApiState>,
        streams: Arc<Streams>,
        options: RestOptions,
        operator: Arc<dyn Operator>,
    ) -> Self {
        Self {
            sessions: Sessions::in_directory(options.session_directory.clone()),
            commands: Semaphore::new(options.limits.commands.clamp(1, Semaphore::MAX_PERMITS)),
            counters: Arc::clone(&api.counters),
            api,
            streams,
            options,
            operator,
        }
    }
}

impl std::fmt::Debug for RestState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RestState")
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

//! What requests over the network are answered from.

use std::sync::Arc;

use super::operator::Operator;
use super::options::RestOptions;
use super::session::Sessions;
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
}

impl std::fmt::Debug for RestState {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("RestState")
            .field("api", &self.api)
            .finish_non_exhaustive()
    }
}

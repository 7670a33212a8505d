//! What the API is configured to do: `rest_cherrypy` and what goes with it, checked.

use std::time::Duration;

/// The API's options.
#[derive(Debug, Clone, Default)]
pub struct RestOptions {
    /// What one client may take.
    pub limits: Limits,
}

/// What clients may take of connections, bytes and time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The most connections together.
    pub connections: usize,
    /// The most connections of one address.
    pub connections_per_address: usize,
    /// The largest head of a request, in bytes.
    pub head_bytes: usize,
    /// The most fields of a head.
    pub head_fields: usize,
    /// How long a client may take to send a head, and how long a connection may be idle between two.
    pub head_timeout: Duration,
    /// The largest body, in bytes: `max_request_body_size`.
    pub body_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 65_536,
            connections_per_address: 16_384,
            head_bytes: 16 << 10,
            head_fields: 64,
            head_timeout: Duration::from_secs(30),
            body_bytes: 1 << 20,
        }
    }
}

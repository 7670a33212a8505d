//! What a master's ports take from all peers together, from one address and on one connection.
//!
//! Numbers only: [`quota`](crate::quota) applies them to strangers, [`accounts`](crate::accounts) to minions and local
//! users.

use std::time::Duration;

use crate::known::KnownAddresses;

/// Bytes are counted in units of this size.
pub(crate) const UNIT: usize = 1024;

/// The largest message of a subscriber, which sends topics or an identification.
pub(crate) const MAX_SUBSCRIBER_BYTES: usize = 8 * 1024;

/// Limits for a connection, an address and the server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest message, in bytes.
    pub max_message_bytes: usize,
    /// The largest message that nobody is charged for. A larger one of a connection that has not authenticated counts
    /// against `large_message_bytes`, and an eighth of it does where no minion ever has: thousands of strangers may be
    /// connected.
    pub max_stranger_bytes: usize,
    /// The bytes that all large messages of strangers may take together: one half from addresses of minions, one from
    /// all others.
    pub large_message_bytes: usize,
    /// The most connections for requests of one accepted minion or local user. Beyond it the oldest is closed.
    pub connections_per_minion: usize,
    /// The bytes that the large messages of one of them may take until they are answered, and its answers until they
    /// are sent; at least one message.
    pub bytes_per_minion: usize,
    /// The bytes that the large messages of all of them may take together.
    pub minion_bytes: usize,
    /// The most unauthenticated connections of one address.
    pub strangers_per_address: usize,
    /// The most unauthenticated connections in all. Beyond it the oldest of the address that has most is closed.
    pub strangers: usize,
    /// The most subscribers of one address over ZeroMQ, where they do not identify themselves.
    pub subscribers_per_address: usize,
    /// The most such subscribers in all.
    pub subscribers: usize,
    /// The most such subscribers of this machine, which are counted apart.
    pub local_subscribers: usize,
    /// The time limit for a message to arrive, an answer to be sent, and a stranger to authenticate.
    pub io_timeout: Duration,
    /// The most requests in progress per connection; further ones wait in the socket.
    pub requests_per_connection: usize,
    /// Messages that wait for one subscriber (`pub_hwm`); newer ones are dropped beyond.
    pub publish_queue: usize,
    /// How long a subscriber may take to identify itself, or over ZeroMQ to subscribe.
    pub identification: Duration,
    /// Where minions have authenticated. Clones of the limits share it, so that both ports know.
    pub known: KnownAddresses,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_message_bytes: 64 * 1024 * 1024,
            max_stranger_bytes: 64 * 1024,
            large_message_bytes: 256 * 1024 * 1024,
            connections_per_minion: 256,
            bytes_per_minion: 64 * 1024 * 1024,
            minion_bytes: 512 * 1024 * 1024,
            strangers_per_address: 1024,
            strangers: 8192,
            subscribers_per_address: usize::MAX,
            subscribers: usize::MAX,
            local_subscribers: usize::MAX,
            io_timeout: Duration::from_secs(60),
            requests_per_connection: 32,
            publish_queue: 1000,
            identification: Duration::from_secs(30),
            known: KnownAddresses::default(),
        }
    }
}

impl Limits {
    /// The defaults, within shares of the files that this process may open.
    #[must_use]
    pub fn for_this_process() -> Self {
        let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        Self::default().within_open_files(files.unwrap_or(u64::MAX))
    }

    /// The defaults, within shares of this many open files, so that strangers and subscribers leave an eighth for what
    /// minions ask for, the local bus and the command line, whatever they do: on each of the two ports an eighth for
    /// strangers and a sixteenth for those of one address, as many for those of this machine; three eighths for
    /// subscribers, a quarter for those of one address, behind which there may be many minions, and an eighth for those
    /// of this machine.
    #[must_use]
    pub fn within_open_files(self, files: u64) -> Self {
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        Self {
            strangers_per_address: self.strangers_per_address.min(files / 16),
            strangers: self.strangers.min(files / 8),
            subscribers_per_address: self.subscribers_per_address.min(files / 4),
            subscribers: self.subscribers.min(files / 8 * 3),
            local_subscribers: self.local_subscribers.min(files / 8),
            ..self
        }
    }

    /// The most connections that have not authenticated, and subscribers over ZeroMQ, that both ports together have
    /// from everywhere.
    #[cfg(test)]
    const fn unauthenticated(&self) -> usize {
        2 * (self.strangers + self.strangers_per_address)
            + self.subscribers
            + self.local_subscribers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_subscribers_leave_files_for_others() {
        for files in [1024, 4096, 20_000, 100_000, 1 << 20] {
            let limits = Limits::default().within_open_files(files as u64);
            let left = files - limits.unauthenticated();
            assert!(left >= files / 8, "{left} of {files}");
        }
    }
}

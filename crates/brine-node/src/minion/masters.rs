//! The masters of a minion: their addresses, and how the minion uses several of them.

use tokio::net::lookup_host;

/// Where a master is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterAddress {
    /// Its name or address.
    pub host: String,
    /// Its request port.
    pub port: u16,
}

impl MasterAddress {
    /// `host` or `host:port`, `[v6]:port`.
    #[must_use]
    pub fn parse(text: &str, default_port: u16) -> Self {
        let (host, port) =
            match split(text).and_then(|(host, port)| Some((host, port.parse().ok()?))) {
                Some((host, port)) => (host, port),
                None => (text, default_port),
            };
        Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
        }
    }

    /// Whether its host name resolves.
    pub async fn resolves(&self) -> bool {
        let found = lookup_host((self.host.as_str(), self.port)).await;
        found.is_ok_and(|mut addresses| addresses.next().is_some())
    }

    /// Whether what follows the host is no port; the whole text is then no host's name either.
    pub(crate) fn has_bad_port(text: &str) -> bool {
        split(text).is_some_and(|(_, port)| port.parse::<u16>().is_err())
    }

    /// As `host:port` for another port of the same master.
    #[must_use]
    pub fn with_port(&self, port: u16) -> String {
        if self.host.contains(':') {
            format!("[{}]:{port}", self.host)
        } else {
            format!("{}:{port}", self.host)
        }
    }
}

/// A host and what follows it as a port; an address of IPv6 without brackets has none.
fn split(text: &str) -> Option<(&str, &str)> {
    text.rsplit_once(':')
        .filter(|(host, _)| !host.contains(':') || host.ends_with(']'))
}

/// What several masters are to the minion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasterType {
    /// All of them, at the same time.
    All,
    /// The first that lets it in (`failover`).
    Failover,
    /// None (`disable`).
    None,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masters_are_named_with_and_without_ports() {
        for (text, host, port) in [
            ("salt", "salt", 4506),
            ("10.0.0.1:5506", "10.0.0.1", 5506),
            ("::1", "::1", 4506),
            ("[::1]:5506", "::1", 5506),
            ("[fe80::2]", "fe80::2", 4506),
        ] {
            let master = MasterAddress::parse(text, 4506);
            assert_eq!((master.host.as_str(), master.port), (host, port), "{text}");
        }
        assert_eq!(
            MasterAddress::parse("::1", 4506).with_port(4505),
            "[::1]:4505"
        );
    }
}

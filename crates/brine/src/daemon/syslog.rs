//! Logs that go to syslog: `log_file: file:///dev/log`, `udp://loghost:514`, each optionally followed by
//! `/LOG_DAEMON`.
//!
//! Datagrams in the format of RFC 3164. Records that cannot be sent are lost, as with every syslog; nothing waits for
//! them. Facts: Salt 3008.3, `salt._logging`.

use std::io;
use std::net::{ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;

use tracing::Level;

/// The port of syslog over UDP.
const PORT: u16 = 514;

/// Where a `log_file` with a scheme leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SyslogAddress {
    place: Place,
    /// The facility's number.
    facility: u8,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Socket(PathBuf),
    Host(String, u16),
}

/// A `log_file` with a scheme that leads nowhere.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "option log_file: expected a path, file:///dev/log or udp://host:port, with /LOG_USER or another facility behind it, found {found}"
)]
pub(crate) struct NoSyslog {
    found: String,
}

impl SyslogAddress {
    /// Reads an option's text; `None` if it is the path of a file.
    pub(crate) fn parse(text: &str) -> Option<Result<Self, NoSyslog>> {
        let (scheme, rest) = text.split_once("://")?;
        let address = match scheme {
            "file" => Self::socket(rest),
            "udp" => Self::host(rest),
            _ => None,
        };
        Some(address.ok_or_else(|| NoSyslog {
            found: text.to_owned(),
        }))
    }

    fn socket(path: &str) -> Option<Self> {
        let (folder, last) = path.rsplit_once('/')?;
        let (path, facility) = match facility(last) {
            Some(facility) => (folder, facility),
            None if last.to_ascii_uppercase().starts_with("LOG_") => return None,
            None => (path, USER),
        };
        path.starts_with('/').then(|| Self {
            place: Place::Socket(path.into()),
            facility,
        })
    }

    fn host(rest: &str) -> Option<Self> {
        let (host, name) = rest.split_once('/').unwrap_or((rest, "LOG_USER"));
        let (host, port) = match host.rsplit_once(':') {
            // The colons of an address without a port.
            Some((address, _))
                if host.ends_with(']') || address.contains(':') && !address.ends_with(']') =>
            {
                (host, PORT)
            }
            Some((host, port)) => (host, port.parse().ok()?),
            None => (host, PORT),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let facility = facility(name)?;
        (!host.is_empty()).then(|| Self {
            place: Place::Host(host.to_owned(), port),
            facility,
        })
    }
}

/// `LOG_USER`
const USER: u8 = 1;

/// The number of a facility such as `LOG_DAEMON`.
fn facility(name: &str) -> Option<u8> {
    const NAMES: [&str; 12] = [
        "KERN", "USER", "MAIL", "DAEMON", "AUTH", "SYSLOG", "LPR", "NEWS", "UUCP", "CRON",
        "AUTHPRIV", "FTP",
    ];
    const FIRST_LOCAL: u8 = 16;
    let upper = name.to_ascii_uppercase();
    let name = upper.strip_prefix("LOG_")?;
    if let Some(local) = name.strip_prefix("LOCAL") {
        return (local.parse::<u8>().ok())
            .filter(|local| *local < 8)
            .map(|local| FIRST_LOCAL + local);
    }
    let at = NAMES.iter().position(|known| *known == name)?;
    u8::try_from(at).ok()
}

/// An open way to syslog.
pub(super) struct Syslog {
    socket: Socket,
    facility: u8,
}

enum Socket {
    Unix(UnixDatagram, PathBuf),
    Udp(UdpSocket),
}

impl Syslog {
    pub(super) fn open(address: &SyslogAddress) -> io::Result<Self> {
        let socket = match &address.place {
            Place::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_nonblocking(true)?;
                // Fails now if nobody listens there; later it may be another listener, after a restart of syslog.
                socket.connect(path)?;
                Socket::Unix(socket, path.clone())
            }
            Place::Host(host, port) => {
                let address = (host.as_str(), *port).to_socket_addrs()?.next();
                let address = address.ok_or(io::ErrorKind::NotFound)?;
                let own = match address.is_ipv4() {
                    true => "0.0.0.0:0",
                    false => "[::]:0",
                };
                let socket = UdpSocket::bind(own)?;
                socket.set_nonblocking(true)?;
                socket.connect(address)?;
                Socket::Udp(socket)
            }
        };
        Ok(Self {
            socket,
            facility: address.facility,
        })
    }

    /// Sends a record, or loses it.
    pub(super) fn send(&self, level: Level, record: &[u8]) {
        let severity = match level {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        let priority = u32::from(self.facility) * 8 + severity;
        let mut datagram = format!("<{priority}>brine[{}]: ", std::process::id()).into_bytes();
        datagram.extend_from_slice(record.trim_ascii_end());
        let _ = match &self.socket {
            Socket::Udp(socket) => socket.send(&datagram),
            Socket::Unix(socket, path) => socket
                .send(&datagram)
                .or_else(|_| socket.send_to(&datagram, path)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_salt_reads_them() {
        let socket = |path: &str, facility| {
            let place = Place::Socket(path.into());
            Some(Ok(SyslogAddress { place, facility }))
        };
        let host = |host: &str, port, facility| {
            let place = Place::Host(host.to_owned(), port);
            Some(Ok(SyslogAddress { place, facility }))
        };
        for (text, expected) in [
            ("/var/log/salt/master", None),
            ("file:///dev/log", socket("/dev/log", 1)),
            ("file:///dev/log/LOG_DAEMON", socket("/dev/log", 3)),
            ("file:///dev/log/log_local7", socket("/dev/log", 23)),
            ("udp://loghost", host("loghost", 514, 1)),
            ("udp://loghost:10514", host("loghost", 10514, 1)),
            ("udp://[::1]:10514/LOG_AUTH", host("::1", 10514, 4)),
            ("udp://[::1]", host("::1", 514, 1)),
        ] {
            assert_eq!(SyslogAddress::parse(text), expected, "{text}");
        }
        for text in [
            "tcp://loghost",
            "udp://",
            "udp://h:x",
            "file://dev/log",
            "file:///dev/log/LOG_NONE",
        ] {
            assert!(matches!(SyslogAddress::parse(text), Some(Err(_))), "{text}");
        }
    }

    #[test]
    fn records_come_with_their_priority() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("log");
        let listener = UnixDatagram::bind(&path).unwrap();
        let text = format!("file://{}/LOG_DAEMON", path.display());
        let address = SyslogAddress::parse(&text).unwrap().unwrap();
        Syslog::open(&address).unwrap().send(Level::WARN, b"text\n");
        let mut datagram = [0; 100];
        let length = listener.recv(&mut datagram).unwrap();
        let expected = format!("<28>brine[{}]: text", std::process::id());
        assert_eq!(&datagram[..length], expected.as_bytes());
    }
}

//! Where a bus's two sockets are: names, paths and ports as Salt computes them.
//!
//! Pure: nothing here touches the file system. `sock_dir` must be given as the daemon resolves it; `brine-config`
//! derives it from Salt's configuration. Facts: `docs/protocol/ipc.md` §2.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use md5::Digest;

/// Linux cannot bind or connect a socket whose path is longer, in bytes.
pub const MAX_PATH_BYTES: usize = 107;

/// Whose bus it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Node {
    /// A master's.
    Master,
    /// A minion's or a proxy's.
    Minion {
        /// The minion's id, or its `hash_id` if that is set (a delta proxy's controlling proxy).
        id: String,
        /// Which digest of the id is in the sockets' names.
        hash_type: HashType,
    },
}

impl Node {
    /// A minion's bus, with the default `hash_type`.
    #[must_use]
    pub fn minion(id: impl Into<String>) -> Self {
        Self::Minion {
            id: id.into(),
            hash_type: HashType::default(),
        }
    }

    /// The ports of its bus under `ipc_mode: tcp` when the configuration sets none:
    /// `tcp_master_pub_port` and `tcp_master_pull_port`, or `tcp_pub_port` and `tcp_pull_port`.
    #[must_use]
    pub const fn default_ports(&self) -> Ports {
        match self {
            Self::Master => Ports {
                publish: 4512,
                pull: 4513,
            },
            Self::Minion { .. } => Ports {
                publish: 4510,
                pull: 4511,
            },
        }
    }

    /// The file name of Brine's own socket beside the two.
    #[must_use]
    pub fn local_socket_name(&self) -> String {
        match self {
            Self::Master => "brine.sock".to_owned(),
            Self::Minion { id, hash_type } => {
                format!("minion_event_{}_brine.sock", hash_type.of_id(id))
            }
        }
    }

    /// The file name of the port and token that replace that socket under `ipc_mode: tcp`.
    #[must_use]
    pub fn local_token_name(&self) -> String {
        self.local_socket_name().replace(".sock", ".token")
    }

    /// The file name of one of its sockets.
    fn socket_name(&self, side: &str) -> String {
        match self {
            Self::Master => format!("master_event_{side}.ipc"),
            Self::Minion { id, hash_type } => {
                format!("minion_event_{}_{side}.ipc", hash_type.of_id(id))
            }
        }
    }
}

/// The digests `hash_type` may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum HashType {
    /// `md5`
    Md5,
    /// `sha1`
    Sha1,
    /// `sha224`
    Sha224,
    /// `sha256`, Salt's default.
    #[default]
    Sha256,
    /// `sha384`
    Sha384,
    /// `sha512`
    Sha512,
}

impl HashType {
    /// The first ten hex digits of the id's digest.
    fn of_id(self, id: &str) -> String {
        fn digits<D: Digest>(id: &str) -> String {
            use fmt::Write;
            D::digest(id)
                .iter()
                .take(5)
                .fold(String::with_capacity(10), |mut text, byte| {
                    let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
                    text
                })
        }
        match self {
            Self::Md5 => digits::<md5::Md5>(id),
            Self::Sha1 => digits::<sha1::Sha1>(id),
            Self::Sha224 => digits::<sha2::Sha224>(id),
            Self::Sha256 => digits::<sha2::Sha256>(id),
            Self::Sha384 => digits::<sha2::Sha384>(id),
            Self::Sha512 => digits::<sha2::Sha512>(id),
        }
    }
}

impl FromStr for HashType {
    type Err = AddressError;

    /// Reads the option `hash_type`, in any case as Salt does.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "md5" => Self::Md5,
            "sha1" => Self::Sha1,
            "sha224" => Self::Sha224,
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            _ => {
                return Err(AddressError::UnknownHashType {
                    found: text.to_owned(),
                });
            }
        })
    }
}

/// Two TCP ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Ports {
    /// Where the bus writes and subscribers read.
    pub publish: u16,
    /// Where publishers write and the bus reads.
    pub pull: u16,
}

/// The loopback address a bus of `ipc_mode: tcp` is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Loopback {
    /// 127.0.0.1
    #[default]
    V4,
    /// ::1, with `ipv6: true`
    V6,
}

/// Where the two sockets of one bus are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    publish: Endpoint,
    pull: Endpoint,
}

/// Where one socket is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A UNIX socket, its path short enough to bind.
    Path(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
}

/// Why a bus cannot have the address that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// The path of a socket is longer than the kernel takes.
    #[error(
        "expected a socket path of at most {MAX_PATH_BYTES} bytes, {} has {bytes}: set sock_dir to a directory whose path is {} bytes shorter",
        .path.display(), .bytes - MAX_PATH_BYTES
    )]
    PathTooLong {
        /// The whole path.
        path: PathBuf,
        /// Its length in bytes.
        bytes: usize,
    },
    /// `hash_type` names no digest known here.
    #[error(
        "option hash_type: expected md5, sha1, sha224, sha256, sha384 or sha512, found {found:?}"
    )]
    UnknownHashType {
        /// What came.
        found: String,
    },
}

impl Address {
    /// The UNIX sockets of a node's bus in `sock_dir`.
    ///
    /// # Errors
    /// [`AddressError::PathTooLong`].
    pub fn ipc(sock_dir: impl AsRef<Path>, node: &Node) -> Result<Self, AddressError> {
        let socket = |side| {
            let path = sock_dir.as_ref().join(node.socket_name(side));
            let bytes = path.as_os_str().len();
            if bytes > MAX_PATH_BYTES {
                return Err(AddressError::PathTooLong { path, bytes });
            }
            Ok(Endpoint::Path(path))
        };
        // The longer name first, so that the error says how much shorter is short enough.
        let pull = socket("pull")?;
        Ok(Self {
            publish: socket("pub")?,
            pull,
        })
    }

    /// The TCP sockets of a bus under `ipc_mode: tcp`.
    #[must_use]
    pub const fn tcp(loopback: Loopback, ports: Ports) -> Self {
        let ip = match loopback {
            Loopback::V4 => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Loopback::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Self {
            publish: Endpoint::Tcp(SocketAddr::new(ip, ports.publish)),
            pull: Endpoint::Tcp(SocketAddr::new(ip, ports.pull)),
        }
    }

    /// Where the bus writes and subscribers read.
    #[must_use]
    pub const fn publish(&self) -> &Endpoint {
        &self.publish
    }

    /// Where publishers write and the bus reads.
    #[must_use]
    pub const fn pull(&self) -> &Endpoint {
        &self.pull
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(out),
            Self::Tcp(address) => address.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(node: &Node) -> [String; 2] {
        let address = Address::ipc("/run/salt", node).unwrap();
        [address.publish(), address.pull()].map(ToString::to_string)
    }

    #[test]
    fn a_master_has_fixed_names() {
        assert_eq!(
            paths(&Node::Master),
            [
                "/run/salt/master_event_pub.ipc",
                "/run/salt/master_event_pull.ipc"
            ]
        );
    }

    /// The digits are those of Python's hashlib.
    #[test]
    fn a_minion_is_named_by_the_digest_of_its_id() {
        for (hash_type, digits) in [
            ("md5", "ae7be26cda"),
            ("sha1", "ae23b94cca"),
            ("sha224", "0d7412bd42"),
            ("sha256", "ca0df2c95a"),
            ("SHA384", "1cbade1794"),
            ("Sha512", "c10ab654c9"),
        ] {
            let node = Node::Minion {
                id: "m1".into(),
                hash_type: hash_type.parse().unwrap(),
            };
            assert_eq!(
                paths(&node),
                [
                    format!("/run/salt/minion_event_{digits}_pub.ipc"),
                    format!("/run/salt/minion_event_{digits}_pull.ipc")
                ],
                "{hash_type}"
            );
        }
        assert_eq!(
            paths(&Node::minion("münchen"))[0],
            "/run/salt/minion_event_f75c175f55_pub.ipc"
        );
    }

    #[test]
    fn refuses_a_path_the_kernel_cannot_bind_and_says_by_how_much() {
        let name = "/master_event_pull.ipc".len();
        let fits = format!("/{}", "d".repeat(MAX_PATH_BYTES - name - 1));
        assert!(Address::ipc(&fits, &Node::Master).is_ok());
        let error = Address::ipc(format!("{fits}12"), &Node::Master).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("has 109") && text.ends_with("2 bytes shorter"),
            "{text}"
        );
    }

    #[test]
    fn tcp_ports_are_salts() {
        let address = Address::tcp(Loopback::V4, Node::Master.default_ports());
        assert_eq!(address.publish().to_string(), "127.0.0.1:4512");
        assert_eq!(address.pull().to_string(), "127.0.0.1:4513");
        let address = Address::tcp(Loopback::V6, Node::minion("m1").default_ports());
        assert_eq!(address.publish().to_string(), "[::1]:4510");
        assert_eq!(address.pull().to_string(), "[::1]:4511");
    }

    #[test]
    fn an_unknown_hash_type_is_named() {
        let error = "whirlpool".parse::<HashType>().unwrap_err();
        assert!(error.to_string().ends_with(r#"found "whirlpool""#));
    }
}

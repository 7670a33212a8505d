//! What can go wrong between a client and its bus, in words that say what to do.
//!
//! When a connect fails, this module finds out why (does the socket exist, who owns it, which others are there),
//! since "No such file or directory" does not help. Facts: `docs/protocol/ipc.md` §2.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_wire::event::FireError;
use brine_wire::frame::FrameError;

use super::session::{PendingFull, SessionError};
use crate::address::Endpoint;

/// Why no connection to a bus could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The directory the socket should be in does not exist.
    #[error(
        "no bus at {}: directory {} does not exist; start the bus, or set sock_dir to the directory it uses",
        .path.display(), parent(.path).display()
    )]
    NoDirectory {
        /// The socket.
        path: PathBuf,
    },
    /// The directory has no such socket.
    #[error(
        "no bus at {}: no such socket{}; start the bus, or set sock_dir, node or id to those of a running one",
        .path.display(), Others(.others)
    )]
    NoSocket {
        /// The socket.
        path: PathBuf,
        /// File names of other buses' sockets of the same kind in that directory.
        others: Vec<String>,
    },
    /// What is at the path is something else.
    #[error("no bus at {}: it is not a socket; remove it and start the bus", .path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket exists, but nothing listens on it.
    #[error(
        "no bus at {}: nobody listens on that socket, left by {owner}; start the bus",
        .path.display()
    )]
    NobodyListens {
        /// The socket.
        path: PathBuf,
        /// Whose it is.
        owner: Owner,
    },
    /// The socket, or a directory on the way to it, is closed to this user.
    #[error(transparent)]
    Denied(Denied),
    /// The bus is there and does not accept.
    #[error("the bus at {endpoint} does not accept connections; is it stopped or overloaded?")]
    Busy {
        /// The socket.
        endpoint: Endpoint,
    },
    /// Nobody listens on the TCP port.
    #[error(
        "no bus at {endpoint}: nobody listens on that port; start the bus, or set ipc_mode and its ports to those of a running one"
    )]
    NoListener {
        /// The socket.
        endpoint: Endpoint,
    },
    /// Any other system error.
    #[error("cannot connect to the bus at {endpoint}: {source}")]
    System {
        /// The socket.
        endpoint: Endpoint,
        /// The system's error.
        source: io::Error,
    },
}

impl ConnectError {
    /// Finds out why connecting failed.
    pub(crate) fn diagnose(endpoint: &Endpoint, error: io::Error) -> Self {
        let endpoint = endpoint.clone();
        match (error.kind(), endpoint) {
            (io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut, endpoint) => {
                Self::Busy { endpoint }
            }
            (io::ErrorKind::ConnectionRefused, endpoint @ Endpoint::Tcp(_)) => {
                Self::NoListener { endpoint }
            }
            (_, Endpoint::Path(path)) => Self::diagnose_path(path, error),
            (_, endpoint) => Self::System {
                endpoint,
                source: error,
            },
        }
    }

    fn diagnose_path(path: PathBuf, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound if !parent(&path).exists() => Self::NoDirectory { path },
            io::ErrorKind::NotFound => Self::NoSocket {
                others: other_buses(&path),
                path,
            },
            io::ErrorKind::PermissionDenied => Self::denied(path),
            io::ErrorKind::ConnectionRefused => match fs::metadata(&path) {
                Ok(meta) if !meta.file_type().is_socket() => Self::NotASocket { path },
                Ok(meta) => Self::NobodyListens {
                    owner: Owner::of(meta.uid()),
                    path,
                },
                Err(error) => Self::diagnose_path(path, error),
            },
            _ => Self::System {
                endpoint: Endpoint::Path(path),
                source: error,
            },
        }
    }

    fn denied(socket: PathBuf) -> Self {
        match Denied::at(&socket) {
            Some(denied) => Self::Denied(denied),
            None => Self::System {
                endpoint: Endpoint::Path(socket),
                source: io::ErrorKind::PermissionDenied.into(),
            },
        }
    }
}

/// A socket, file or directory that is closed to this user: whose it is, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "permission denied at {}: owned by {owner}, mode {mode:04o}, and this is {user}; run this as {}",
    .path.display(), Remedy(self)
)]
pub struct Denied {
    /// What is closed: the path itself, or the nearest directory above it that can be looked at.
    pub path: PathBuf,
    /// Whose it is.
    pub owner: Owner,
    /// Its permission bits.
    pub mode: u32,
    /// Who we are.
    pub user: Owner,
    /// Whether a list of permissions may open it: that of Brine's own socket.
    has_acl: bool,
}

impl Denied {
    /// Looks at a path that the system has refused; `None` if nothing of it can be looked at.
    #[must_use]
    pub fn at(refused: &Path) -> Option<Self> {
        let mut above = refused.ancestors();
        let (path, meta) = above.find_map(|path| Some((path, fs::metadata(path).ok()?)))?;
        let name = refused.file_name().unwrap_or_default();
        // Directories further up are not the bus's to open.
        let is_near = path == refused || Some(path) == refused.parent();
        Some(Self {
            path: path.to_owned(),
            owner: Owner::of(meta.uid()),
            mode: meta.mode() & 0o7777,
            user: Owner::of(rustix::process::geteuid().as_raw()),
            has_acl: is_near && name.to_string_lossy().ends_with("brine.sock"),
        })
    }
}

/// Who may do it.
struct Remedy<'a>(&'a Denied);

impl fmt::Display for Remedy<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Denied { owner, has_acl, .. } = self.0;
        out.write_str("root")?;
        match &owner.name {
            _ if owner.uid == 0 => {}
            Some(name) => write!(out, " or {name}")?,
            None => write!(out, " or {owner}")?,
        }
        match has_acl {
            true => {
                out.write_str(", or add this user to acl, below brine, in the bus's configuration")
            }
            false => Ok(()),
        }
    }
}

/// Why a call for an event failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiveError {
    /// There was no bus when the time was over. (Salt's `get_event` answers `None` here.)
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The bytes from the socket are not frames. The next call reconnects.
    #[error("{endpoint} is not the publish socket of a bus: {source}")]
    NotABus {
        /// The socket.
        endpoint: Endpoint,
        /// What is wrong with its bytes.
        source: FrameError,
    },
    /// An event that a subscription wants was lost because too many are pending. The next call continues.
    #[error(transparent)]
    PendingFull(PendingFull),
    /// The bus closed the connection, with [`super::Reconnect::Never`].
    #[error("the bus at {endpoint} closed the connection")]
    Closed {
        /// The socket.
        endpoint: Endpoint,
    },
    /// The caller's own check ended the call.
    #[error("interrupted")]
    Interrupted,
    /// The system failed while waiting.
    #[error("cannot wait for the bus at {endpoint}: {source}")]
    System {
        /// The socket.
        endpoint: Endpoint,
        /// The system's error.
        source: io::Error,
    },
}

impl ReceiveError {
    pub(super) fn from_session(endpoint: &Endpoint, error: SessionError) -> Self {
        match error {
            SessionError::Frame(source) => Self::NotABus {
                endpoint: endpoint.clone(),
                source,
            },
            SessionError::PendingFull(full) => Self::PendingFull(full),
        }
    }
}

/// Why events were not fired.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The event cannot be sent to anybody.
    #[error(transparent)]
    Event(#[from] FireError),
    /// There was no bus when the time was over. (Salt's `fire_event` answers `False` here.)
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The bus took no byte for the whole time.
    #[error("the bus at {endpoint} accepted no data for {} ms; is it stopped?", .waited.as_millis())]
    Stalled {
        /// The socket.
        endpoint: Endpoint,
        /// How long.
        waited: Duration,
    },
    /// The bus closes every connection before it has taken one event.
    #[error(
        "the bus at {endpoint} closed the connection instead of accepting events; does it use this framing?"
    )]
    Closed {
        /// The socket.
        endpoint: Endpoint,
    },
    /// The caller's own check ended the call.
    #[error("interrupted")]
    Interrupted,
    /// The system failed while waiting.
    #[error("cannot write to the bus at {endpoint}: {source}")]
    System {
        /// The socket.
        endpoint: Endpoint,
        /// The system's error.
        source: io::Error,
    },
}

/// A user, by number and by name if `/etc/passwd` has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The user's name.
    pub name: Option<String>,
}

impl Owner {
    fn of(uid: u32) -> Self {
        let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let name = users.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        Self { uid, name }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(out, "user {name} (uid {})", self.uid),
            None => write!(out, "uid {}", self.uid),
        }
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The sockets of other buses beside `path`: a wrong node or id is the commonest mistake.
fn other_buses(path: &Path) -> Vec<String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let side = if name.ends_with("_pull.ipc") {
        "_pull.ipc"
    } else {
        "_pub.ipc"
    };
    let mut others: Vec<String> = fs::read_dir(parent(path))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.contains("_event_") && name.ends_with(side))
        .collect();
    others.sort();
    others
}

struct Others<'a>(&'a [String]);

impl fmt::Display for Others<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 3;
        if self.0.is_empty() {
            return Ok(());
        }
        write!(
            out,
            " (beside it: {}",
            self.0[..self.0.len().min(SHOWN)].join(", ")
        )?;
        match self.0.len().checked_sub(SHOWN) {
            Some(more @ 1..) => write!(out, " and {more} more)"),
            _ => out.write_str(")"),
        }
    }
}

/// What ends a wait for a socket, before it is known whether it was to be read or written.
#[derive(Debug)]
pub(super) enum LinkError {
    Interrupted,
    System(io::Error),
}

impl ReceiveError {
    pub(super) fn from_link(endpoint: &Endpoint, error: LinkError) -> Self {
        match error {
            LinkError::Interrupted => Self::Interrupted,
            LinkError::System(source) => Self::System {
                endpoint: endpoint.clone(),
                source,
            },
        }
    }
}

impl PublishError {
    pub(super) fn from_link(endpoint: &Endpoint, error: LinkError) -> Self {
        match error {
            LinkError::Interrupted => Self::Interrupted,
            LinkError::System(source) => Self::System {
                endpoint: endpoint.clone(),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn denied(path: &Path) -> String {
        let endpoint = Endpoint::Path(path.to_owned());
        ConnectError::diagnose(&endpoint, io::ErrorKind::PermissionDenied.into()).to_string()
    }

    #[test]
    fn a_denied_socket_is_named_with_its_owner() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("master_event_pub.ipc");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let user = Owner::of(fs::metadata(&path).unwrap().uid());
        assert_eq!(
            denied(&path),
            format!(
                "permission denied at {}: owned by {user}, mode 0600, and this is {user}; run this as root{}",
                path.display(),
                or_name(&user)
            )
        );
    }

    fn or_name(user: &Owner) -> String {
        let name = user.name.clone().unwrap_or_else(|| user.to_string());
        match user.uid {
            0 => String::new(),
            _ => format!(" or {name}"),
        }
    }

    #[test]
    fn who_may_not_open_brines_own_socket_is_told_of_its_list() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("brine.sock");
        fs::write(&path, "").unwrap();
        let text = denied(&path);
        assert!(
            text.ends_with(", or add this user to acl, below brine, in the bus's configuration"),
            "{text}"
        );
        let mut denied = Denied::at(&path).unwrap();
        denied.owner = Owner {
            uid: 7,
            name: Some("salt".to_owned()),
        };
        let text = denied.to_string();
        assert!(
            text.contains("; run this as root or salt, or add "),
            "{text}"
        );
    }

    #[test]
    fn a_closed_directory_is_named_where_the_socket_cannot_be_seen() {
        let dir = TempDir::new().unwrap();
        let text = denied(&dir.path().join("master_event_pub.ipc"));
        let expected = format!("permission denied at {}: owned by", dir.path().display());
        assert!(text.starts_with(&expected), "{text}");
    }

    #[test]
    fn at_most_three_other_buses_are_named() {
        let others: Vec<String> = (1..=5).map(|number| format!("m{number}")).collect();
        assert_eq!(Others(&others[..0]).to_string(), "");
        assert_eq!(Others(&others[..3]).to_string(), " (beside it: m1, m2, m3)");
        assert_eq!(
            Others(&others).to_string(),
            " (beside it: m1, m2, m3 and 2 more)"
        );
    }

    #[test]
    fn root_has_a_name() {
        assert_eq!(Owner::of(0).to_string(), "user root (uid 0)");
    }
}

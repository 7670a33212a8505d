//! Binds a bus's sockets, and removes them again.
//!
//! A socket appears under its name only when it is listening and has its final mode, so that no client meets a
//! half-made bus. A socket that another bus still serves is refused; one whose server is gone is replaced. This
//! module does not know what is spoken on the sockets. Facts: `docs/protocol/ipc.md` §2.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FlockOperation;
use rustix::net::SocketFlags;
use rustix::process::geteuid;
use tokio::io::Interest;

use crate::address::{Address, Endpoint};
use crate::registration::Registered;
use crate::stream::{Peer, Stream};

/// The modes of a bus's two UNIX sockets. Salt's depend on release, node and access options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Modes {
    /// Of the socket subscribers read from.
    pub publish: u32,
    /// Of the socket publishers write to.
    pub pull: u32,
}

/// Why a bus could not take its sockets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process answers on the socket.
    #[error("{}: a bus is already running there{}; stop it, or set another sock_dir", path.display(),
        pid.map_or_else(String::new, |pid| format!(" (pid {pid})")))]
    InUse {
        /// The socket.
        path: PathBuf,
        /// Who answers, if the system says.
        pid: Option<i32>,
    },
    /// Something that is not a socket has the socket's name.
    #[error("{}: expected a socket or nothing, found a {found}; move it away", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The directory or the socket in it cannot be used.
    #[error("{}: {error}; run as the user that owns the directory, or set another sock_dir", path.display())]
    Directory {
        /// The path that was refused.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The TCP port cannot be had.
    #[error(
        "{address}: {error}; another bus may have the port (options tcp_master_pub_port, tcp_master_pull_port, tcp_pub_port, tcp_pull_port)"
    )]
    Port {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
}

/// The listening sockets of one bus: for subscribers, and for publishers unless another bus has those.
/// Dropping them removes their names.
#[derive(Debug)]
pub struct Sockets {
    pub(crate) publish: Listener,
    pub(crate) pull: Option<Listener>,
    pub(crate) readers: Readers,
}

/// Which users of the machine may subscribe, among those that the socket's mode lets connect.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Readers {
    /// All of them.
    #[default]
    Any,
    /// Root, the bus's own user, and these.
    Users(Vec<u32>),
}

impl Readers {
    /// Whether this peer may subscribe. A TCP peer, or one whose user is unknown, may only under `Any`.
    pub(crate) fn admit(&self, peer: Peer) -> bool {
        match (self, peer) {
            (Self::Any, _) => true,
            (Self::Users(users), Peer::Process { uid, .. }) => {
                uid == 0 || uid == geteuid().as_raw() || users.contains(&uid)
            }
            (Self::Users(_), Peer::Address(_) | Peer::Unknown) => false,
        }
    }
}

impl Sockets {
    /// Takes both sockets of an address. Connections wait in them until the bus runs.
    ///
    /// # Errors
    /// [`BindError`] when another process has one of them or the system refuses; then neither is
    /// taken.
    pub fn bind(address: &Address, modes: Modes) -> Result<Self, BindError> {
        // Publish first: a client that finds the pull socket can also listen.
        let publish = Listener::bind(address.publish(), modes.publish)?;
        let pull = Listener::bind(address.pull(), modes.pull)?;
        Ok(Self {
            publish,
            pull: Some(pull),
            readers: Readers::Any,
        })
    }

    /// Takes a socket for subscribers alone, at a path that may be longer than a client could connect to.
    ///
    /// # Errors
    /// As [`Sockets::bind`].
    pub fn bind_publish(path: &Path, mode: u32) -> Result<Self, BindError> {
        Ok(Self {
            publish: bind_unix(path, mode)?,
            pull: None,
            readers: Readers::Any,
        })
    }

    /// Restricts who may subscribe; a file's mode cannot name several users.
    #[must_use]
    pub fn readable_by(mut self, readers: Readers) -> Self {
        self.readers = readers;
        self
    }
}

/// A socket that listens but is not served yet, so that a bus can be bound before its runtime is
/// there.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: OwnedFd,
    kind: Kind,
}

/// A listener inside a runtime.
#[derive(Debug)]
pub(crate) struct Accepting {
    socket: Registered,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Unix { _name: SocketName },
    Tcp,
}

impl Listener {
    fn bind(endpoint: &Endpoint, mode: u32) -> Result<Self, BindError> {
        match endpoint {
            Endpoint::Path(path) => bind_unix(path, mode),
            Endpoint::Tcp(address) => bind_tcp(*address),
        }
    }

    /// The same socket, ready to accept. Must be called inside a tokio runtime.
    pub(crate) fn register(self) -> io::Result<Accepting> {
        let Self { socket, kind } = self;
        let socket = Registered::new(socket, Interest::READABLE)?;
        Ok(Accepting { socket, kind })
    }

    /// Tells the runtime this is called in when connections wait; [`Listener::accept`] takes them, on any thread.
    pub(crate) fn readiness(&self) -> io::Result<Registered> {
        Registered::new(self.socket.try_clone()?, Interest::READABLE)
    }

    /// A connection that waits, as a non-blocking socket.
    ///
    /// # Errors
    /// What the system says: nobody waits, descriptors exhausted, or a peer that is already gone.
    pub(crate) fn accept(&self) -> io::Result<OwnedFd> {
        // Asked for first, before each event: the kernel makes a socket before it finds that nobody waits, which takes
        // fifteen times as long.
        let mut waiting = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut waiting, Some(&Timespec::default())) {
            Ok(0) => Err(io::ErrorKind::WouldBlock.into()),
            _ => accept(&self.socket, &self.kind),
        }
    }
}

impl Accepting {
    /// The next connection.
    ///
    /// # Errors
    /// What the system says: descriptors exhausted, or a peer that is already gone.
    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        let accept = |socket: &OwnedFd| accept(socket, &self.kind);
        Stream::new(self.socket.async_io(Interest::READABLE, accept).await?)
    }
}

fn accept(socket: &OwnedFd, kind: &Kind) -> io::Result<OwnedFd> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let stream = rustix::net::accept_with(socket, flags)?;
    if matches!(kind, Kind::Tcp) {
        // Events go out in whole batches; waiting for more would only delay them.
        rustix::net::sockopt::set_tcp_nodelay(&stream, true)?;
    }
    Ok(stream)
}

fn bind_tcp(address: SocketAddr) -> Result<Listener, BindError> {
    let bind = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        Ok(Listener {
            socket: listener.into(),
            kind: Kind::Tcp,
        })
    };
    bind().map_err(|error| BindError::Port { address, error })
}

fn bind_unix(path: &Path, mode: u32) -> Result<Listener, BindError> {
    let (socket, name) = bind_named(path, mode)?;
    Ok(Listener {
        socket,
        kind: Kind::Unix { _name: name },
    })
}

/// Binds and listens on one more UNIX socket, as carefully as on the bus's own. Dropping what is returned removes
/// the name.
///
/// # Errors
/// [`BindError`] when another process has it or the system refuses.
pub fn bind_named(path: &Path, mode: u32) -> Result<(OwnedFd, SocketName), BindError> {
    let refused = |error| BindError::Directory {
        path: path.to_owned(),
        error,
    };
    let directory = path.parent().unwrap_or(Path::new("."));
    let lock = File::open(directory)
        .and_then(|directory| {
            Ok(rustix::fs::flock(&directory, FlockOperation::LockExclusive).map(|()| directory)?)
        })
        .map_err(|error| BindError::Directory {
            path: directory.to_owned(),
            error,
        })?;
    check_free(path)?;
    remove_leftovers(directory);
    // The socket is first bound in our own directory, which nobody else can enter: until its mode is set, the umask
    // decides who may connect to it. The names are short, so that they fit wherever the real one does.
    let folder = directory.join(format!(".{}", std::process::id()));
    let temporary = folder.join("s");
    let clear = || {
        let _ = fs::remove_file(&temporary); // neither is there, usually
        let _ = fs::remove_dir(&folder);
    };
    let bind = || {
        DirBuilder::new().mode(0o700).create(&folder)?;
        let listener = UnixListener::bind(&temporary)?;
        listener.set_nonblocking(true)?;
        fs::set_permissions(&temporary, Permissions::from_mode(mode))?;
        fs::rename(&temporary, path)?;
        let name = SocketName {
            path: path.to_owned(),
            inode: fs::symlink_metadata(path)?.ino(),
        };
        Ok((listener.into(), name))
    };
    let bound = bind();
    clear();
    drop(lock);
    bound.map_err(refused)
}

/// Removes what processes that were killed while they bound a socket have left: whoever binds one holds the lock.
fn remove_leftovers(directory: &Path) {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix('.'));
        let is_own = || {
            let about = fs::symlink_metadata(entry.path());
            about.is_ok_and(|about| about.is_dir() && about.uid() == geteuid().as_raw())
        };
        if pid.is_some_and(|pid| pid.parse::<u32>().is_ok()) && is_own() {
            let _ = fs::remove_file(entry.path().join("s")); // not there, usually
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Refuses a name that another bus uses, or that is not a socket.
fn check_free(path: &Path) -> Result<(), BindError> {
    let kind = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(BindError::Directory {
                path: path.to_owned(),
                error,
            });
        }
    };
    if !kind.is_socket() {
        let found = match kind {
            kind if kind.is_dir() => "directory",
            kind if kind.is_symlink() => "symbolic link",
            kind if kind.is_file() => "file",
            _ => "device",
        };
        return Err(BindError::NotASocket {
            path: path.to_owned(),
            found,
        });
    }
    match UnixStream::connect(path) {
        Ok(stream) => {
            let pid = rustix::net::sockopt::socket_peercred(&stream);
            let pid = pid.ok().map(|peer| peer.pid.as_raw_nonzero().get());
            Err(BindError::InUse {
                path: path.to_owned(),
                pid,
            })
        }
        // Nobody listens any more, or never did on this kind of socket.
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(BindError::Directory {
            path: path.to_owned(),
            error,
        }),
    }
}

/// The name of a socket of ours, removed with it unless somebody has taken the name since.
#[derive(Debug)]
pub struct SocketName {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketName {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode) {
            let _ = fs::remove_file(&self.path); // a leftover is replaced at the next start
        }
    }
}

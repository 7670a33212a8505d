//! The local socket, `brine.sock`: who is at its other end, how many may connect, and HTTP/1.1 on it.
//!
//! The kernel says which user opened a connection. Under `ipc_mode: tcp`, where it cannot, clients send a token from
//! a file that only the bus's user can read ([`Listener::bind_loopback`]). This module does not know the requests and
//! answers.

mod gathering;
mod token;

use std::convert::Infallible;
use std::future::{Future, pending};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use brine_bus::{BindError, SocketName};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::AUTHORIZATION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::timeout;

use self::gathering::{Gathering, Socket};
use self::token::Token;
use crate::accept::pause;
use crate::acl::LocalName;
use crate::body::ResponseBody;
use crate::error::ApiError;
use crate::hang_up::{HangUp, Peer};
use crate::limits::{Holder, Limits};
use crate::respond::respond;
use crate::seldom::Seldom;
use crate::state::ApiState;
use crate::subject::{Origin, Subject};

/// The largest head of a request, in bytes; also what a connection buffers in each direction.
const MAX_HEAD: usize = 64 << 10;
/// The most fields of a head.
const MAX_HEADERS: usize = 64;
/// What the log calls this listener.
const LISTENER: &str = "local socket";
/// How long streams have to write what is left, once the socket closes.
const CLOSING_TIME: Duration = Duration::from_secs(2);
/// How long a rejected connection has to take the answer.
const TURNING_AWAY: Duration = Duration::from_secs(1);

/// A local socket, bound but not yet served.
#[derive(Debug)]
pub struct Listener(Kind);

#[derive(Debug)]
enum Kind {
    Unix {
        socket: std::os::unix::net::UnixListener,
        /// Removed with the listener.
        _name: SocketName,
    },
    Loopback {
        socket: std::net::TcpListener,
        token: Token,
    },
}

/// Why there is no local socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The socket cannot be had.
    #[error(transparent)]
    Socket(#[from] BindError),
    /// The port or the file of its token cannot be had.
    #[error("{}: {error}", path.display())]
    Token {
        /// The file of the token.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl Listener {
    /// Takes a socket. Others than root and the bus's user can open it only if the list of permissions
    /// names somebody.
    ///
    /// # Errors
    /// [`ListenError`] when another process has it or the system refuses.
    pub fn bind(path: &Path, state: &ApiState) -> Result<Self, ListenError> {
        let mode = if state.acl.admits_others() {
            0o666
        } else {
            0o600
        };
        let (socket, name) = brine_bus::bind_named(path, mode)?;
        Ok(Self(Kind::Unix {
            socket: socket.into(),
            _name: name,
        }))
    }

    /// Takes a port of the loopback address and writes it, with a new token, into a file that only the
    /// bus's user can read.
    ///
    /// # Errors
    /// [`ListenError`] when the system refuses.
    pub fn bind_loopback(token_file: &Path) -> Result<Self, ListenError> {
        let refused = |error| ListenError::Token {
            path: token_file.to_owned(),
            error,
        };
        let bind = || {
            let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.set_nonblocking(true)?;
            let address = socket.local_addr()?;
            Ok((socket, address))
        };
        let (socket, address) = bind().map_err(refused)?;
        let token = Token::create(token_file, address).map_err(refused)?;
        Ok(Self(Kind::Loopback { socket, token }))
    }

    /// Where it listens, if that is a port.
    #[must_use]
    pub fn port(&self) -> Option<SocketAddr> {
        match &self.0 {
            Kind::Unix { .. } => None,
            Kind::Loopback { socket, .. } => socket.local_addr().ok(),
        }
    }
}

/// Serves the socket until `shutdown` is done; then lets streams write what the log holds, and returns.
/// Dropping the future cuts all connections.
///
/// # Errors
/// When the socket cannot be registered with the runtime.
pub async fn serve(
    listener: Listener,
    state: Arc<ApiState>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let server = Server {
        limits: Limits::new(state.config.connections, state.config.connections_per_user),
        state,
        closing: watch::Sender::new(false),
    };
    let server = Arc::new(server);
    let mut connections = JoinSet::new();
    let warned = Seldom::default();
    {
        let mut shutdown = pin!(shutdown);
        match listener.0 {
            Kind::Unix { socket, _name } => {
                let socket = UnixListener::from_std(socket)?;
                loop {
                    tokio::select! {
                        accepted = socket.accept() => match accepted {
                            Ok((stream, _)) => {
                                connections.spawn(Arc::clone(&server).serve_peer(stream));
                            }
                            Err(error) => pause(LISTENER, &error, &warned).await,
                        },
                        Some(_) = connections.join_next() => {}
                        () = &mut shutdown => break,
                    }
                }
            }
            Kind::Loopback { socket, token } => {
                let socket = TcpListener::from_std(socket)?;
                let token = Arc::new(token);
                loop {
                    tokio::select! {
                        accepted = socket.accept() => match accepted {
                            Ok((stream, _)) => {
                                let _ = stream.set_nodelay(true); // only delays answers
                                let server = Arc::clone(&server);
                                connections.spawn(server.serve_token(stream, Arc::clone(&token)));
                            }
                            Err(error) => pause(LISTENER, &error, &warned).await,
                        },
                        Some(_) = connections.join_next() => {}
                        () = &mut shutdown => break,
                    }
                }
            }
        }
    }
    server.state.shut_down();
    server.closing.send_replace(true);
    let all_closed = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(CLOSING_TIME, all_closed).await; // whoever does not read by now is cut off
    Ok(())
}

struct Server {
    state: Arc<ApiState>,
    limits: Limits,
    closing: watch::Sender<bool>,
}

impl Server {
    async fn serve_peer(self: Arc<Self>, stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else {
            return; // already gone
        };
        let Some(_held) = self.limits.enter(Holder::User(peer.uid())) else {
            tracing::warn!(
                uid = peer.uid(),
                "local socket: too many connections of this user"
            );
            return turn_away(stream).await;
        };
        let subject = self.subject(peer.uid(), peer.gid(), peer.pid()).await;
        let subject = Arc::new(subject);
        let state = Arc::clone(&self.state);
        let (peer, hang_up) = HangUp::channel();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (state, subject) = (Arc::clone(&state), Arc::clone(&subject));
            request.extensions_mut().insert(hang_up.clone());
            async move { Ok::<_, Infallible>(respond(&state, &subject, request).await) }
        });
        self.serve_http(stream, peer, service).await;
    }

    async fn serve_token(self: Arc<Self>, stream: tokio::net::TcpStream, token: Arc<Token>) {
        let Some(_held) = self.limits.enter(Holder::Port) else {
            return turn_away(stream).await;
        };
        let state = Arc::clone(&self.state);
        let (peer, hang_up) = HangUp::channel();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let (state, token) = (Arc::clone(&state), Arc::clone(&token));
            request.extensions_mut().insert(hang_up.clone());
            async move {
                let given = request.headers().get(AUTHORIZATION);
                if !given.is_some_and(|given| token.is_given(given.as_bytes())) {
                    return Ok::<_, Infallible>(ApiError::Unauthorized.to_response());
                }
                let subject = Subject {
                    origin: Origin::Token,
                    user: token.user().to_owned(),
                    groups: Vec::new(),
                };
                Ok(respond(&state, &subject, request).await)
            }
        });
        self.serve_http(stream, peer, service).await;
    }

    /// Who is at the other end. Groups are looked up only where something depends on them.
    async fn subject(&self, uid: u32, gid: u32, pid: Option<i32>) -> Subject {
        let needs_groups = self.state.acl.admits_others() && !self.state.acl.is_trusted(uid);
        // The user database may be remote.
        let looked_up = spawn_blocking(move || names(uid, gid, needs_groups)).await;
        let (user, groups) = looked_up.unwrap_or_else(|_| (uid.to_string(), Vec::new()));
        Subject {
            origin: Origin::Peer { pid, uid },
            user,
            groups,
        }
    }

    async fn serve_http<S, H>(&self, stream: S, peer: watch::Sender<Peer>, service: H)
    where
        S: Socket,
        H: hyper::service::HttpService<Incoming, ResBody = ResponseBody, Error = Infallible>,
        H::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut closing = self.closing.subscribe();
        let stream = Gathering::new(stream);
        let writer = stream.handle();
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.state.config.head_timeout)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            // A client that has sent all it wanted may close its half, and reads what it asked for; streams of events
            // learn of it and end.
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service);
        let serving = async {
            let mut connection = pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = async {
                    peer.send_replace(writer.hang_up().await);
                    pending().await
                } => Ok(()),
                () = async { let _ = closing.wait_for(|closing| *closing).await; } => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            }
        };
        let ended = writer.drive(serving).await;
        if let Err(error) = ended {
            tracing::debug!(err = %error, "local socket: connection ended");
        }
    }
}

/// The names of a user and of its groups; numbers where the system has no names.
fn names(uid: u32, gid: u32, needs_groups: bool) -> (String, Vec<String>) {
    use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let mut groups = vec![Gid::from_raw(gid)];
    if needs_groups
        && let Some(user) = &user
        && let Ok(name) = std::ffi::CString::new(user.name.as_str())
        && let Ok(listed) = getgrouplist(&name, user.gid)
    {
        groups.extend(listed);
    }
    let user = user.map_or_else(|| uid.to_string(), |user| user.name);
    if !needs_groups {
        return (user, Vec::new());
    }
    groups.sort_unstable_by_key(|group| group.as_raw());
    groups.dedup();
    let group_name = |group: Gid| {
        let known = Group::from_gid(group).ok().flatten();
        known.map_or_else(|| group.to_string(), |known| known.name)
    };
    (user, groups.into_iter().map(group_name).collect())
}

/// The numbers of the users of this machine that may read every event: those that the list names, and the present
/// members of its groups.
#[must_use]
pub fn users_who_read_everything(acl: &crate::Acl) -> Vec<u32> {
    use nix::unistd::{Gid, Group, User};
    let uid = |name: &str| {
        let known = User::from_name(name).ok().flatten();
        let number = name.parse().ok();
        known.map(|user| user.uid.as_raw()).or(number)
    };
    let members = |name: &str| {
        let named = Group::from_name(name).ok().flatten();
        let numbered = || {
            Group::from_gid(Gid::from_raw(name.parse().ok()?))
                .ok()
                .flatten()
        };
        named
            .or_else(numbered)
            .map_or_else(Vec::new, |group| group.mem)
    };
    let (users, groups) = acl.reads_everything();
    let listed = groups.into_iter().flat_map(members);
    let listed: Vec<u32> = listed.filter_map(|member| uid(&member)).collect();
    users.into_iter().filter_map(uid).chain(listed).collect()
}

/// What is odd about a list, in the order of its rules: names that this machine does not have, most of them misspelt, and
/// rules that permit nothing. A number needs no name.
#[must_use]
pub fn remarks(acl: &crate::Acl) -> Vec<String> {
    use nix::unistd::{Group, User};
    let is_number = |name: &str| name.parse::<u32>().is_ok();
    let mut remarks = Vec::new();
    for (number, name, permits_nothing) in acl.local_rules() {
        // A user database that does not answer is a different problem: it does not mean that the name is wrong.
        let unknown = match name {
            LocalName::User(user) => (!is_number(user)
                && matches!(User::from_name(user), Ok(None)))
            .then(|| format!("user {user}")),
            LocalName::Group(group) => (!is_number(group)
                && matches!(Group::from_name(group), Ok(None)))
            .then(|| format!("group {group}")),
        };
        remarks.extend(unknown.map(|name| {
            format!("brine: acl: rule {number}: this machine has no {name}; the rule has no effect for it until it exists")
        }));
        if permits_nothing {
            remarks.push(format!(
                "brine: acl: rule {number}: nothing is permitted; add read, fire, run or consume, each with a list of patterns"
            ));
        }
    }
    remarks
}

/// Says that there are too many connections, without reading anything.
async fn turn_away(mut stream: impl AsyncWrite + Unpin) {
    const ANSWER: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n\
        content-length: 91\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
        {\"error\": {\"code\": \"too_many\", \"message\": \"too many connections of this user; try later\"}}\n";
    let _ = timeout(TURNING_AWAY, stream.write_all(ANSWER)).await;
}

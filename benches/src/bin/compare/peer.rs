//! Who is compared: how each bus is started and what it speaks.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use brine_bench::{Dialect, Endpoint, Hello, Skip, Target};
use brine_wire::compat::Compat;

/// A bus that can be measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    program: Program,
}

/// What has to be run for a peer, and what it speaks then.
#[derive(Debug, Clone, Copy)]
enum Program {
    /// Ours, by the name of its binary beside this one, with `--compat`.
    Brine(&'static str, &'static str),
    /// The same with history, which it keeps beside its sockets.
    BrineWithHistory,
    /// The event publisher of a release from `.salt/`.
    Salt(&'static str),
    Nats,
    Redis,
    Relay,
}

/// All of them, in the order of the tables.
pub(crate) const PEERS: &[Peer] = &[
    peer(
        "brine",
        "brine bus --compat 3008 (target/release/brine)",
        Program::Brine("brine", "3008"),
    ),
    peer(
        "brine-before",
        "brine bus of an earlier commit (target/release/brine-before)",
        Program::Brine("brine-before", "3008"),
    ),
    peer(
        "brine-3006",
        "brine bus --compat 3006: prefixed frames",
        Program::Brine("brine", "3006"),
    ),
    peer(
        "brine-history",
        "brine bus --compat 3008 --history",
        Program::BrineWithHistory,
    ),
    peer(
        "salt-3008.3",
        "the event publisher of Salt 3008.3",
        Program::Salt("3008.3"),
    ),
    peer(
        "salt-3007.14",
        "the event publisher of Salt 3007.14",
        Program::Salt("3007.14"),
    ),
    peer(
        "salt-3006.28",
        "the event publisher of Salt 3006.28",
        Program::Salt("3006.28"),
    ),
    peer("nats", "nats-server, core, TCP loopback", Program::Nats),
    peer(
        "redis",
        "redis-server pub/sub, UNIX socket, nothing persisted",
        Program::Redis,
    ),
    peer(
        "relay",
        "one read, one write per subscriber, no parsing: the limit",
        Program::Relay,
    ),
];

const fn peer(name: &'static str, about: &'static str, program: Program) -> Peer {
    Peer {
        name,
        about,
        program,
    }
}

/// The programs the chosen peers need, found.
#[derive(Debug)]
pub(crate) struct Tools {
    found: Vec<(Peer, PathBuf)>,
    /// Kept over all starts, so that Salt makes its keys once.
    salt_root: tempfile::TempDir,
}

/// Finds the peers' programs, or names all that are missing and what brings them.
pub(crate) fn find_tools(peers: &[Peer]) -> Result<Tools> {
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for peer in peers {
        let (path, remedy) = peer.program.look_up()?;
        match path {
            Some(path) => found.push((*peer, path)),
            None => missing.push(format!("{}: {remedy}", peer.name)),
        }
    }
    if !missing.is_empty() {
        bail!(
            "these peers cannot be run; leave them out with --peers, or\n  {}",
            missing.join("\n  ")
        );
    }
    Ok(Tools {
        found,
        salt_root: tempfile::tempdir()?,
    })
}

impl Tools {
    fn path(&self, peer: &Peer) -> Result<&Path> {
        let found = self.found.iter().find(|(one, _)| one.name == peer.name);
        found
            .map(|(_, path)| path.as_path())
            .context("the peer was not looked up")
    }
}

impl Peer {
    pub(crate) fn find(name: &str) -> Option<Self> {
        PEERS.iter().find(|peer| peer.name == name).copied()
    }

    /// The command that serves this bus in `dir`, and how to reach it.
    pub(crate) fn command(&self, dir: &Path, tools: &Tools) -> Result<(Command, Target)> {
        let mut command = Command::new(tools.path(self)?);
        let target = match self.program {
            Program::Brine(_, compat) => {
                command
                    .args(["bus", "--compat", compat, "--sock-dir"])
                    .arg(dir);
                Target::salt_in(dir, compat.parse()?)
            }
            Program::BrineWithHistory => {
                command
                    .args(["bus", "--compat", "3008", "--sock-dir"])
                    .arg(dir)
                    .arg("--history")
                    .arg(dir.join("history"));
                Target::salt_in(dir, "3008".parse()?)
            }
            Program::Salt(release) => {
                let script = workspace().join("crates/brine-testkit/python/bus.py");
                let root = tools.salt_root.path();
                command
                    .arg(script)
                    .arg("master")
                    .args([dir, root])
                    .arg("{}");
                Target::salt_in(dir, release.parse()?)
            }
            Program::Relay => {
                command.arg(dir);
                Target {
                    dialect: Dialect::prefixed_relay(),
                    ..Target::salt_in(dir, Compat::NEWEST)
                }
            }
            Program::Nats => {
                let port = free_port()?;
                command.args(["--addr", "127.0.0.1", "--port", &port.port().to_string()]);
                one_endpoint(Endpoint::Tcp(port), NATS)
            }
            Program::Redis => {
                let socket = dir.join("redis.sock");
                command.args(["--port", "0", "--save", "", "--appendonly", "no"]);
                command
                    .arg("--dir")
                    .arg(dir)
                    .arg("--unixsocket")
                    .arg(&socket);
                one_endpoint(Endpoint::Unix(socket), REDIS)
            }
        };
        Ok((command, target))
    }
}

impl Program {
    /// Where the program is, and what to do if it is nowhere.
    fn look_up(self) -> Result<(Option<PathBuf>, String)> {
        let built = |name: &str| -> Result<_> {
            let path = std::env::current_exe()?.with_file_name(name);
            Ok(path.is_file().then_some(path))
        };
        Ok(match self {
            Self::Brine("brine", _) | Self::BrineWithHistory => {
                (built("brine")?, "run `cargo build --release`".to_owned())
            }
            Self::Brine(name, _) => (
                built(name)?,
                format!("build an earlier commit and copy its `brine` to target/release/{name}"),
            ),
            Self::Relay => (
                built("relay")?,
                "run `cargo build --release -p brine-benches`".to_owned(),
            ),
            Self::Salt(release) => {
                let python = workspace().join(".salt").join(release).join("bin/python");
                let remedy = format!("run `cargo xtask salt {release}`");
                (python.is_file().then_some(python), remedy)
            }
            Self::Nats => on_path("nats-server"),
            Self::Redis => on_path("redis-server"),
        })
    }
}

fn on_path(program: &str) -> (Option<PathBuf>, String) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian puts servers where an ordinary user's PATH does not look.
    let more = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let found = std::env::split_paths(&path)
        .chain(more)
        .map(|dir| dir.join(program))
        .find(|path| path.is_file());
    (
        found,
        format!("{program} is not on PATH; `apt-get install {program}` brings it"),
    )
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn one_endpoint(endpoint: Endpoint, dialect: Dialect) -> Target {
    Target {
        publish: endpoint.clone(),
        pull: endpoint,
        dialect,
        process: None,
    }
}

fn free_port() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// NATS' client protocol: text lines, the payload's length in them.
const NATS: Dialect = Dialect {
    name: "nats",
    publisher_hello: Hello {
        send: b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nPING\r\n",
        answer_ends: b"PONG\r\n",
    },
    subscriber_hello: Hello {
        send: b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB salt 1\r\nPING\r\n",
        answer_ends: b"PONG\r\n",
    },
    publish: |event| framed(&format!("PUB salt {}\r\n", event.len()), event),
    deliver: |event| framed(&format!("MSG salt 1 {}\r\n", event.len()), event),
    // Its keep-alive comes between deliveries. It need not be answered in a run this short.
    skip: |bytes| skip_literal(bytes, b"PING\r\n"),
};

/// Redis' protocol. A publisher asks for no replies.
const REDIS: Dialect = Dialect {
    name: "redis",
    publisher_hello: Hello {
        send: b"CLIENT REPLY OFF\r\n",
        answer_ends: b"",
    },
    subscriber_hello: Hello {
        send: b"SUBSCRIBE salt\r\n",
        answer_ends: b"subscribe\r\n$4\r\nsalt\r\n:1\r\n",
    },
    publish: |event| {
        framed(
            &format!("*3\r\n$7\r\nPUBLISH\r\n$4\r\nsalt\r\n${}\r\n", event.len()),
            event,
        )
    },
    deliver: |event| {
        framed(
            &format!("*3\r\n$7\r\nmessage\r\n$4\r\nsalt\r\n${}\r\n", event.len()),
            event,
        )
    },
    skip: |_| Skip::Wrong,
};

fn framed(head: &str, event: &[u8]) -> Vec<u8> {
    [head.as_bytes(), event, b"\r\n"].concat()
}

fn skip_literal(bytes: &[u8], literal: &[u8]) -> Skip {
    if bytes.starts_with(literal) {
        Skip::Bytes(literal.len())
    } else if literal.starts_with(bytes) {
        Skip::More
    } else {
        Skip::Wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keep_alive_is_passed_over_and_nothing_else() {
        assert_eq!((NATS.skip)(b"PING\r\nMSG"), Skip::Bytes(6));
        assert_eq!((NATS.skip)(b"PIN"), Skip::More);
        assert_eq!((NATS.skip)(b"-ERR 'Slow Consumer'\r\n"), Skip::Wrong);
    }
}

//! Where a node's bus is: from Salt's options to its [`Address`].
//!
//! Facts: `docs/protocol/ipc.md` §2.

use brine_bus::address::{Address, AddressError, Loopback, Node, Ports};
use brine_config::{ConfigError, Opts};

/// Why the options do not say where the bus is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BusAddressError {
    /// An option has the wrong type.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The socket's path is too long, or `hash_type` is unknown.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A port.
    #[error("option {option}: {found} is not a port number")]
    Port {
        /// Which.
        option: &'static str,
        /// Its value.
        found: i64,
    },
}

/// Where the options put a node's bus. `sock_dir` replaces the configured directory.
///
/// # Errors
/// [`BusAddressError`].
pub fn bus_address(
    opts: &Opts,
    node: &Node,
    sock_dir: Option<&str>,
) -> Result<Address, BusAddressError> {
    if uses_tcp(opts) {
        return tcp_address(opts, node);
    }
    let sock_dir = sock_dir.map_or_else(|| opts.text("sock_dir"), Ok)?;
    Ok(Address::ipc(sock_dir, node)?)
}

/// Whether `ipc_mode` is `tcp`: the bus is at two ports of the loopback interface.
#[must_use]
pub fn uses_tcp(opts: &Opts) -> bool {
    opts.text("ipc_mode").is_ok_and(|mode| mode == "tcp")
}

/// The node that a minion's options describe.
///
/// # Errors
/// [`BusAddressError`].
pub fn own_minion(opts: &Opts) -> Result<Node, BusAddressError> {
    Ok(Node::Minion {
        id: opts.text("id")?.to_owned(),
        hash_type: opts.text("hash_type")?.parse()?,
    })
}

fn tcp_address(opts: &Opts, node: &Node) -> Result<Address, BusAddressError> {
    let port = |option: &'static str| -> Result<u16, BusAddressError> {
        let found = opts.int(option)?;
        u16::try_from(found).map_err(|_| BusAddressError::Port { option, found })
    };
    let (publish, pull) = match node {
        Node::Master => ("tcp_master_pub_port", "tcp_master_pull_port"),
        Node::Minion { .. } => ("tcp_pub_port", "tcp_pull_port"),
    };
    let ports = Ports {
        publish: port(publish)?,
        pull: port(pull)?,
    };
    let loopback = match opts.flag("ipv6")? {
        true => Loopback::V6,
        false => Loopback::V4,
    };
    Ok(Address::tcp(loopback, ports))
}

//! Which bus: from the Python half's arguments to a `brine-bus` address.

use std::path::Path;

use brine_bus::address::{Address, Loopback, Node, Ports};
use brine_bus::client::local::LocalAddress;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// Where a bus is, as the Python half found it in the options. A `node_id` makes it a minion's
/// bus; `ports` (publish, pull) make it one of `ipc_mode: tcp`.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct BusAddress {
    sock_dir: String,
    node_id: Option<String>,
    hash_type: String,
    ports: Option<(u16, u16)>,
    ipv6: bool,
}

impl BusAddress {
    pub(crate) fn address(&self) -> PyResult<Address> {
        if let Some((publish, pull)) = self.ports {
            let loopback = if self.ipv6 {
                Loopback::V6
            } else {
                Loopback::V4
            };
            return Ok(Address::tcp(loopback, Ports { publish, pull }));
        }
        Address::ipc(&self.sock_dir, &self.node()?).map_err(value_error)
    }

    /// Where Brine's own socket of that bus is.
    pub(crate) fn local(&self) -> PyResult<LocalAddress> {
        let (node, sock_dir) = (self.node()?, Path::new(&self.sock_dir));
        Ok(match self.ports {
            None => LocalAddress::Socket(sock_dir.join(node.local_socket_name())),
            Some(_) => LocalAddress::TokenFile(sock_dir.join(node.local_token_name())),
        })
    }

    fn node(&self) -> PyResult<Node> {
        Ok(match &self.node_id {
            None => Node::Master,
            Some(id) => Node::Minion {
                id: id.clone(),
                hash_type: self.hash_type.parse().map_err(value_error)?,
            },
        })
    }
}

pub(crate) fn value_error(error: impl std::fmt::Display) -> PyErr {
    PyValueError::new_err(error.to_string())
}

//! Binds a bus's sockets with Salt's owners and modes.
//!
//! `brine-bus` serves them. Facts: `docs/protocol/ipc.md` §2.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use brine_bus::address::{Address, Node};
use brine_bus::{Modes, Readers, Served, Sockets};
use brine_node::master::acl_users;
use brine_wire::compat::{Compat, Series};
use brine_wire::frame::Framing;

use crate::bus_location::BusLocation;
use crate::daemon;

/// Binds the two sockets of one address, in `sock_dir` unless they are TCP ports.
pub(super) fn bind(
    address: &Address,
    sock_dir: Option<&Path>,
    compat: Compat,
    location: &BusLocation,
) -> anyhow::Result<Served> {
    let access = access(compat, location);
    if let Some(sock_dir) = sock_dir {
        make_directory(sock_dir, &access)?;
    } else {
        tracing::warn!(
            "ipc_mode is tcp: every user of this machine can read this bus and fire on it"
        );
    }
    let sockets = Sockets::bind(address, access.modes)?.readable_by(access.readers);
    let framing = compat.publish_framing();
    tracing::info!(
        publish = %address.publish(),
        pull = %address.pull(),
        compat = %compat,
        framing = match framing {
            Framing::Bare => "bare",
            Framing::Prefixed => "prefixed",
        },
        "ready"
    );
    Ok(Served { sockets, framing })
}

/// Who may connect.
#[derive(Debug, Clone)]
struct Access {
    modes: Modes,
    /// Who may read, if the mode lets everybody connect.
    readers: Readers,
    /// Whether other users may pass through `sock_dir`.
    passable: bool,
}

/// Salt's modes of the two sockets. Where `publisher_acl` names users, everybody may connect to the publish socket,
/// and only those users are served: Salt's 0660 admits nobody who is not in root's group.
fn access(compat: Compat, location: &BusLocation) -> Access {
    let is_shared = ["publisher_acl", "external_auth"].iter().any(|name| {
        let value = location.opts.as_ref().and_then(|opts| opts.get(name));
        value
            .and_then(|value| value.as_map())
            .is_some_and(|map| !map.is_empty())
    });
    let users = match (&location.node, &location.opts) {
        (Node::Master, Some(opts)) => acl_users(opts),
        _ => Vec::new(),
    };
    if !users.is_empty() {
        return Access {
            modes: Modes {
                publish: 0o666,
                pull: 0o600,
            },
            readers: Readers::Users(users),
            passable: true,
        };
    }
    let (publish, passable) = match (&location.node, compat.series()) {
        (Node::Minion { .. }, _) => (0o600, false),
        (Node::Master, Series::S3006) if is_shared => (0o660, true),
        (Node::Master, Series::S3006) => (0o600, false),
        (Node::Master, Series::S3007 | Series::S3008) => (0o660, false),
    };
    Access {
        modes: Modes {
            publish,
            pull: 0o600,
        },
        readers: Readers::Any,
        passable,
    }
}

/// Makes the socket directory, unless it is there, as Salt does.
fn make_directory(sock_dir: &Path, access: &Access) -> anyhow::Result<()> {
    let refused = || {
        format!(
            "sock_dir {}: run as the user that owns it, or set another",
            sock_dir.display()
        )
    };
    daemon::make_public_folder(sock_dir).with_context(refused)?;
    if access.passable {
        let mode = fs::metadata(sock_dir)
            .with_context(refused)?
            .permissions()
            .mode();
        fs::set_permissions(sock_dir, Permissions::from_mode(mode | 0o001))
            .with_context(refused)?;
    }
    Ok(())
}

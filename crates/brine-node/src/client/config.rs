//! The options of a local client, read from the master's configuration.

use std::path::Path;
use std::time::Duration;

use brine_bus::address::{Address, Node};
use brine_config::Opts;
use brine_net::keys;
use brine_wire::Map;
use brine_wire::nodegroup::nodegroups;
use brine_wire::returns::Timeouts;

use crate::bus_address::{BusAddressError, bus_address};
use crate::options::{OptionsError, Reader, Transport};

/// Why a configuration does not describe a master that a client can reach.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientOptionsError {
    /// A wrong option.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The master's bus.
    #[error(transparent)]
    Bus(#[from] BusAddressError),
}

/// The options of a local client. Holds the user's key: no `Debug`.
#[derive(Clone)]
pub struct ClientConfig {
    pub(super) bus: Address,
    pub(super) sock_dir: String,
    pub(super) interface: String,
    pub(super) ret_port: u16,
    pub(super) transport: Transport,
    pub(super) ipv6: bool,
    /// The user's key, read from the master's `cachedir`; empty if there is none, which the master refuses.
    pub(super) key: String,
    /// Why there is none.
    no_key: Option<String>,
    pub(super) user: String,
    pub(super) nodegroups: Map,
    pub(super) conf_file: String,
    /// What jobs carry to log in with `external_auth`: `token`, or `eauth` and what that needs. Empty: the key decides.
    pub login: Map,
    /// How long minions are waited for, unless a call says otherwise.
    pub timeouts: Timeouts,
}

impl ClientConfig {
    /// Reads a master's options, for a user of this machine.
    ///
    /// # Errors
    /// [`ClientOptionsError`].
    pub fn from_opts(opts: &Opts, user: &str) -> Result<Self, ClientOptionsError> {
        let read = Reader(opts);
        let text = |name| opts.text(name).unwrap_or_default().to_owned();
        let (key, no_key) = match key(&read, user) {
            Ok(key) => (key, None),
            Err(why) => (String::new(), Some(why)),
        };
        Ok(Self {
            bus: bus_address(opts, &Node::Master, None)?,
            sock_dir: text("sock_dir"),
            interface: opts
                .text("interface")
                .map_err(OptionsError::from)?
                .to_owned(),
            ret_port: read.port("ret_port", 4506)?,
            transport: read.transport()?,
            ipv6: read.flag("ipv6", false)?,
            key,
            no_key,
            user: user.to_owned(),
            nodegroups: nodegroups(opts.get("nodegroups")),
            conf_file: text("conf_file"),
            login: Map::new(),
            timeouts: Timeouts {
                timeout: read.seconds("timeout", 5.0)?,
                gather: read.seconds("gather_job_timeout", 10.0)?,
            },
        })
    }

    /// Why the master will refuse the user's jobs: the user has no key, and does not log in.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.no_key.as_deref().filter(|_| self.login.is_empty())
    }

    /// How long the master may take to answer a publish: Salt's clients wait at least this long, too.
    pub(super) fn answer_within(&self) -> Duration {
        self.timeouts.timeout.max(Duration::from_secs(5))
    }
}

/// The key, or why there is none.
fn key(read: &Reader<'_>, user: &str) -> Result<String, String> {
    let master_user = read.text("user").unwrap_or_else(|| "root".to_owned());
    let owner = match user == "root" || user.starts_with("sudo_") {
        true => master_user.as_str(),
        false => user,
    };
    let cachedir = read.text("cachedir").unwrap_or_default();
    let Some(path) = keys::local::path(Path::new(&cachedir), owner) else {
        return Err(format!("user {owner:?} can have no key"));
    };
    let key = std::fs::read_to_string(&path);
    key.map(|key| key.trim().to_owned()).map_err(|error| {
        let path = path.display();
        format!(
            "user {user} has no key for this master ({path}: {error}): use sudo, log in with -a, or be named in the \
             master's publisher_acl"
        )
    })
}

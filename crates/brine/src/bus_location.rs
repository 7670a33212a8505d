//! Which bus a command uses: from arguments and Salt's configuration to its [`Address`].
//!
//! An argument takes precedence over a file. Files are read only when needed: a command that gets the directory as an
//! argument, and the id where that matters, reads none. Facts: `docs/protocol/ipc.md` §2.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use brine_bus::address::{Address, Endpoint, Node};
use brine_bus::client::blocking::Subscriber;
use brine_bus::client::local::LocalAddress;
use brine_bus::client::{
    ConnectError, Denied, Oversize, PublisherConfig, ReceiveError, SubscriberConfig,
};
use brine_config::{Brine, Environment, Loaded, Opts, Role, SinkOptions, Warning};
use brine_wire::compat::Compat;
use clap::Args;

/// The options by which commands find a bus.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Which bus")]
pub(crate) struct BusArgs {
    /// Directory of the bus's sockets [default: sock_dir of Salt's configuration, else
    /// /var/run/salt/master or /var/run/salt/minion]
    #[arg(long, value_name = "DIR")]
    pub(crate) sock_dir: Option<PathBuf>,
    /// Whose bus it is [default: master; minion if the configuration named is a minion's alone]
    #[arg(long, value_enum)]
    node: Option<NodeKind>,
    /// The minion's id, by which its sockets are named [default: as Salt finds it]
    #[arg(long)]
    pub(crate) id: Option<String>,
    /// Salt configuration file of the node
    #[arg(long, value_name = "FILE", conflicts_with = "config_dir")]
    pub(crate) config: Option<PathBuf>,
    /// Directory with Salt's configuration files `master` and `minion`
    #[arg(short = 'c', long, value_name = "DIR")]
    pub(crate) config_dir: Option<PathBuf>,
}

/// Whose bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NodeKind {
    Master,
    Minion,
}

/// Where a bus is, and what else its configuration says.
#[derive(Debug)]
pub(crate) struct BusLocation {
    /// Its sockets.
    pub(crate) address: Address,
    /// Whose it is.
    pub(crate) node: Node,
    /// Where its UNIX sockets are; `None` under `ipc_mode: tcp`.
    pub(crate) sock_dir: Option<PathBuf>,
    /// Salt's options, if a file was read.
    pub(crate) opts: Option<Opts>,
    /// The options under `brine:`.
    pub(crate) brine: Brine,
    /// Where its events go.
    pub(crate) sinks: Vec<SinkOptions>,
    /// What is odd in the configuration.
    pub(crate) warnings: Vec<Warning>,
}

impl BusArgs {
    /// Whose bus it is: what was said, or what the named configuration is about.
    pub(crate) fn kind(&self) -> NodeKind {
        let is_a_minions = match (&self.config, &self.config_dir) {
            (Some(file), _) => is_a_minions(file),
            (None, Some(directory)) => {
                // What may not be read is there, too.
                let is_there = |name| directory.join(name).symlink_metadata().is_ok();
                is_there("minion") && !is_there("master")
            }
            (None, None) => false,
        };
        self.node.unwrap_or(match is_a_minions {
            true => NodeKind::Minion,
            false => NodeKind::Master,
        })
    }

    /// Where that bus is.
    pub(crate) fn resolve(&self) -> anyhow::Result<BusLocation> {
        let loaded = self.load()?;
        let (opts, brine, warnings) = match loaded {
            Some(loaded) => (Some(loaded.opts), loaded.brine, loaded.warnings),
            None => (None, Brine::default(), Vec::new()),
        };
        let node = self.node(opts.as_ref())?;
        let sock_dir = self.sock_dir.as_deref();
        let (address, sock_dir) = match &opts {
            Some(opts) if brine_node::uses_tcp(opts) => (address(opts, &node, None)?, None),
            opts => {
                let sock_dir = match (sock_dir, opts) {
                    (Some(sock_dir), _) => sock_dir.to_owned(),
                    (None, Some(opts)) => PathBuf::from(opts.text("sock_dir")?),
                    (None, None) => {
                        bail!("add --sock-dir or a configuration: nothing says where the bus is")
                    }
                };
                (Address::ipc(&sock_dir, &node)?, Some(sock_dir))
            }
        };
        Ok(BusLocation {
            address,
            node,
            sock_dir,
            opts,
            // Salt's own options are the master's to act on.
            sinks: brine.sinks.clone(),
            brine,
            warnings,
        })
    }

    /// Reads the configuration, unless the arguments are enough.
    fn load(&self) -> anyhow::Result<Option<Loaded>> {
        let is_asked_for = self.config.is_some() || self.config_dir.is_some();
        let is_needed =
            self.sock_dir.is_none() || (self.kind() == NodeKind::Minion && self.id.is_none());
        if !is_asked_for && !is_needed {
            return Ok(None);
        }
        let (role, name) = self.role();
        let path = self.file();
        if self.config.is_some() && !path.exists() {
            bail!("--config {}: no such file", path.display());
        }
        if self.config.is_some() && path.is_dir() {
            bail!("{}", not_a_file(&path));
        }
        if let Some(directory) = &self.config_dir {
            check_config_dir(directory, name)?;
        }
        let loaded = Opts::load(role, &path, &Environment::current())
            .with_context(|| format!("configuration {}", path.display()))?;
        Ok(Some(loaded))
    }

    /// The configuration file that these arguments lead to; `None` if they lead to none.
    pub(crate) fn configuration_file(&self) -> Option<(Role, PathBuf)> {
        let is_asked_for = self.config.is_some() || self.config_dir.is_some();
        (is_asked_for || self.sock_dir.is_none()).then(|| (self.role().0, self.file()))
    }

    fn role(&self) -> (Role, &'static str) {
        match self.kind() {
            NodeKind::Master => (Role::Master, "master"),
            NodeKind::Minion => (Role::Minion, "minion"),
        }
    }

    /// The node's file. Includes are relative to it, whatever directory we are in.
    fn file(&self) -> PathBuf {
        let (role, name) = self.role();
        let path = match (&self.config, &self.config_dir) {
            (Some(file), _) => file.clone(),
            (None, Some(directory)) => directory.join(name),
            (None, None) => PathBuf::from(role.default_file()),
        };
        std::path::absolute(&path).unwrap_or(path)
    }

    fn node(&self, opts: Option<&Opts>) -> anyhow::Result<Node> {
        if self.kind() == NodeKind::Master {
            return Ok(Node::Master);
        }
        let option = |name| opts.and_then(|opts| opts.text(name).ok());
        // A delta proxy's sockets bear the name of its controlling proxy.
        let id = self.id.as_deref().or(option("hash_id")).or(option("id"));
        let id = id.context("a minion's bus: add --id, or a configuration file with an id")?;
        let hash_type = option("hash_type").map_or_else(|| Ok(Default::default()), str::parse)?;
        Ok(Node::Minion {
            id: id.to_owned(),
            hash_type,
        })
    }
}

impl BusLocation {
    /// The bus of a node, as the node's configuration says.
    pub(crate) fn of_node(loaded: &Loaded, node: Node) -> anyhow::Result<Self> {
        Ok(Self {
            address: address(&loaded.opts, &node, None)?,
            sinks: match node {
                Node::Master => loaded.master_sinks()?,
                Node::Minion { .. } => loaded.brine.sinks.clone(),
            },
            node,
            sock_dir: match loaded.opts.text("ipc_mode")? {
                "tcp" => None,
                _ => Some(loaded.opts.text("sock_dir")?.into()),
            },
            opts: Some(loaded.opts.clone()),
            brine: loaded.brine.clone(),
            warnings: Vec::new(),
        })
    }

    /// Where the bus's own socket is; `None` where nothing says so.
    pub(crate) fn local_address(&self) -> Option<LocalAddress> {
        if let Some(sock_dir) = &self.sock_dir {
            return Some(LocalAddress::Socket(
                sock_dir.join(self.node.local_socket_name()),
            ));
        }
        let sock_dir = self.opts.as_ref()?.text("sock_dir").ok()?;
        let file = Path::new(sock_dir).join(self.node.local_token_name());
        Some(LocalAddress::TokenFile(file))
    }
}

/// What to say where Brine's own socket is asked for what Salt's has not, and Salt's is there; `None` if it is not.
pub(crate) fn salts_own(location: &BusLocation) -> Option<anyhow::Error> {
    let mut bus = Subscriber::new(&location.address, SubscriberConfig::default());
    bus.connect(Duration::ZERO).ok()?;
    Some(anyhow!(
        "the bus at {} is Salt's own, which keeps no history and acknowledges nothing; brine attach beside it adds both",
        location.address.publish()
    ))
}

/// Whether a file has the name of a minion's.
pub(crate) fn is_a_minions(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "minion")
}

/// What to say to a directory in the place of a configuration file.
pub(crate) fn not_a_file(path: &Path) -> String {
    let path = path.display();
    format!("--config {path}: expected a file, found a directory; for a directory: -c {path}")
}

/// What to say to a file in the place of a configuration directory.
pub(crate) fn not_a_directory(path: &Path) -> String {
    let path = path.display();
    format!("{path}: expected a directory, found a file; for a file: --config {path}")
}

/// A directory that was named must have the node's configuration file, and this user must be able to read it: without
/// it Salt's defaults hold, which lead to the machine's own master.
pub(crate) fn check_config_dir(directory: &Path, name: &str) -> anyhow::Result<()> {
    if directory.is_file() {
        bail!("{}", not_a_directory(directory));
    }
    if !directory.is_dir() {
        bail!("{}: no such directory", directory.display());
    }
    let file = directory.join(name);
    match std::fs::File::open(&file) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("{}: no file `{name}`", directory.display())
        }
        Err(error) => Err(match Denied::at(&file) {
            Some(denied) if error.kind() == ErrorKind::PermissionDenied => denied.into(),
            _ => anyhow!("{}: {error}", file.display()),
        }),
        Ok(_) => Ok(()),
    }
}

/// Where a configuration puts a node's bus. `sock_dir` takes the place of the configured directory.
pub(crate) fn address(opts: &Opts, node: &Node, sock_dir: Option<&str>) -> anyhow::Result<Address> {
    Ok(brine_node::bus_address(opts, node, sock_dir)?)
}

/// The node that a minion's configuration describes.
pub(crate) fn own_minion(opts: &Opts) -> anyhow::Result<Node> {
    Ok(brine_node::own_minion(opts)?)
}

/// How Salt's commands write, and what is too large.
pub(crate) fn publisher_config(
    compat: Option<Compat>,
    opts: Option<&Opts>,
) -> anyhow::Result<PublisherConfig> {
    let mut config = PublisherConfig {
        oversize: Oversize::Trim,
        ..PublisherConfig::for_compat(compat.unwrap_or(Compat::NEWEST))
    };
    if let Some(opts) = opts {
        let size = opts.int("max_event_size")?;
        config.max_event_size = usize::try_from(size).with_context(|| {
            format!("option max_event_size: expected a number of bytes, found {size}")
        })?;
    }
    Ok(config)
}

/// Whether waiting may help: a bus may start later, but permissions rarely change meanwhile.
pub(crate) const fn may_come(error: &ConnectError) -> bool {
    !matches!(
        error,
        ConnectError::Denied { .. } | ConnectError::NotASocket { .. } | ConnectError::System { .. }
    )
}

/// How soon a bus closes the connection of a user who may not read, at most.
pub(crate) const REFUSED_WITHIN: Duration = Duration::from_secs(3);

/// What to say to a user to whom Brine's own socket is closed, and whose connections to Salt's are closed at once.
pub(crate) fn may_not_read(denied: &Denied, endpoint: &Endpoint) -> String {
    format!(
        "{} may not read the bus at {endpoint}: its configuration names it neither in publisher_acl nor in acl, below brine; add it to one of them, or run this as root or as the bus's user",
        denied.user
    )
}

/// After so many connections in a row that ended without an event, the bus does not want this user.
pub(crate) const REFUSALS: u32 = 3;

/// What to say then.
pub(crate) fn refused(error: &ReceiveError) -> String {
    format!(
        "{error} {REFUSALS} times before an event came: a bus does so to users that neither its publisher_acl nor the acl of brine names; run this as root or as the bus's user"
    )
}

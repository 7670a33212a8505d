//! The API's options: `rest_cherrypy` (or `rest_tornado`) of a master's configuration, checked.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use brine_api::network::TlsFiles;
use brine_api::rest::{Limits, RestOptions};
use brine_config::{Brine, Opts};
use brine_wire::{Map, Value};

use crate::salt;

/// What the API is told.
pub(crate) struct ApiSettings {
    pub(crate) rest: RestOptions,
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
}

impl ApiSettings {
    /// Reads a master's configuration.
    pub(crate) fn of_master(opts: &Opts, brine: &Brine) -> anyhow::Result<Self> {
        let section = |name| opts.get(name).and_then(Value::as_map);
        let (name, host) = match section("rest_cherrypy") {
            Some(_) => ("rest_cherrypy", "host"),
            None => ("rest_tornado", "address"),
        };
        let options = section(name)
            .context("no HTTP API is configured; set rest_cherrypy: {port: 8000, …}")?;
        let read = Options { name, options };
        let port = read.number("port")?;
        let port = port.with_context(|| format!("{name}: set port"))?;
        let host = read.text(host)?.unwrap_or("0.0.0.0");
        let list = |name| match opts.get(name) {
            Some(Value::Array(list)) => texts(list),
            _ => Vec::new(),
        };
        let path = |name, default: &str| -> anyhow::Result<String> {
            let path = read.text(name)?.unwrap_or(default);
            Ok(path.trim_matches('/').to_owned())
        };
        let session_directory = Path::new(opts.text("cachedir")?).join("api_sessions");
        let mut limits = Limits::default();
        if let Some(bytes) = read.number("max_request_body_size")? {
            limits.body_bytes = bytes;
        }
        if let Some(threads) = read.number("thread_pool")? {
            limits.commands = threads;
        }
        let external_auth = opts.get("external_auth").and_then(Value::as_map);
        Ok(Self {
            rest: RestOptions {
                limits,
                enabled_clients: list("netapi_enable_clients"),
                allow_raw_shell: opts.flag("netapi_allow_raw_shell").unwrap_or(false),
                external_auth: external_auth.cloned().unwrap_or_default(),
                allow_query_token: brine.api.allow_query_token,
                open_exporter: brine.api.open_exporter,
                root_prefix: read.text("root_prefix")?.unwrap_or_default().to_owned(),
                enable_sessions: read.flag("enable_sessions")?.unwrap_or(true),
                webhook_url: path("webhook_url", "hook")?,
                webhook_disable_auth: read.flag("webhook_disable_auth")?.unwrap_or(false),
                stats_disable_auth: read.flag("stats_disable_auth")?.unwrap_or(false),
                app: read.text("app")?.map(PathBuf::from),
                app_path: path("app_path", "app")?,
                static_files: read.text("static")?.map(PathBuf::from),
                static_path: path("static_path", "static")?,
                favicon: read.text("favicon")?.map(PathBuf::from),
                authorized_ips: match options.get("authorized_ips") {
                    Some(Value::Array(list)) => texts(list),
                    _ => Vec::new(),
                },
                api_acl: api_acl(options)?,
                cors_origin: match options.get("cors_origin") {
                    Some(Value::Array(list)) => texts(list),
                    Some(Value::Str(origin)) => vec![origin.clone()],
                    _ => Vec::new(),
                },
                debug: read.flag("debug")?.unwrap_or(false),
                session_directory: Some(session_directory),
                to_yaml: salt::to_yaml,
            },
            address: resolve(host, port)?,
            tls: read.tls(brine)?,
        })
    }

    /// Lets the API's connections leave room in this many open files.
    pub(crate) fn fit_into(&mut self, files: u64) {
        self.rest.limits = self.rest.limits.within_open_files(files);
    }

    /// A socket that listens where the configuration says.
    pub(crate) fn bind(&self) -> anyhow::Result<TcpListener> {
        let address = self.address;
        TcpListener::bind(address)
            .with_context(|| format!("rest_cherrypy: cannot listen at {address}"))
    }

    /// Warns if a socket of the service manager listens elsewhere: it is that one which counts.
    pub(crate) fn warn_if_elsewhere(&self, passed: &TcpListener) -> anyhow::Result<()> {
        let address = passed.local_addr().context("socket activation")?;
        let port = self.address.port();
        if address.port() != port {
            tracing::warn!(
                "rest_cherrypy: port {port} has no effect: the socket that was passed to this process listens at {address}"
            );
        }
        Ok(())
    }
}

/// The options of one section.
struct Options<'o> {
    name: &'static str,
    options: &'o Map,
}

impl<'o> Options<'o> {
    fn text(&self, key: &str) -> anyhow::Result<Option<&'o str>> {
        match self.options.get(key) {
            None | Some(Value::Nil) => Ok(None),
            Some(Value::Str(text)) => Ok(Some(text)),
            Some(_) => bail!("{}: {key}: expected a text", self.name),
        }
    }

    fn number<T: TryFrom<i128>>(&self, key: &str) -> anyhow::Result<Option<T>> {
        match self.options.get(key) {
            None | Some(Value::Nil) => Ok(None),
            Some(Value::Int(number)) => match T::try_from(*number) {
                Ok(number) => Ok(Some(number)),
                Err(_) => bail!("{}: {key}: {number} is out of range", self.name),
            },
            Some(_) => bail!("{}: {key}: expected a number", self.name),
        }
    }

    fn flag(&self, key: &str) -> anyhow::Result<Option<bool>> {
        match self.options.get(key) {
            None | Some(Value::Nil) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => bail!("{}: {key}: expected true or false", self.name),
        }
    }

    /// `None` where the configuration says that nothing is encrypted.
    fn tls(&self, brine: &Brine) -> anyhow::Result<Option<TlsFiles>> {
        let path = |key| anyhow::Ok(self.text(key)?.map(PathBuf::from));
        if self.flag("disable_ssl")?.unwrap_or(false) {
            return Ok(None);
        }
        match (path("ssl_crt")?, path("ssl_key")?) {
            (Some(certificate), Some(key)) => Ok(Some(TlsFiles {
                certificate,
                key,
                chain: path("ssl_chain")?,
                client_ca: brine.api.client_ca.clone(),
            })),
            _ => bail!(
                "{}: set ssl_crt and ssl_key, or disable_ssl: true (tokens and passwords are sent in clear then)",
                self.name
            ),
        }
    }
}

fn api_acl(options: &Map) -> anyhow::Result<Option<HashMap<String, Vec<String>>>> {
    let Some(acl) = options.get("api_acl") else {
        return Ok(None);
    };
    let users = acl.as_map().and_then(|acl| acl.get("users"));
    let users = users.and_then(Value::as_map);
    let users = users.context("rest_cherrypy: api_acl: expected {users: {NAME: [ADDRESS, …]}}")?;
    let mut permitted = HashMap::new();
    for (user, addresses) in users {
        let (Some(user), Some(addresses)) = (user.as_str(), addresses.as_array()) else {
            bail!("rest_cherrypy: api_acl: users: expected a list of addresses for each name");
        };
        permitted.insert(user.to_owned(), texts(addresses));
    }
    Ok(Some(permitted))
}

fn texts(list: &[Value]) -> Vec<String> {
    let texts = list.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn resolve(host: &str, port: u16) -> anyhow::Result<SocketAddr> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok((address, port).into());
    }
    let mut addresses = (host, port)
        .to_socket_addrs()
        .with_context(|| format!("rest_cherrypy: host: {host}"))?;
    addresses
        .next()
        .with_context(|| format!("rest_cherrypy: host: {host} has no address"))
}

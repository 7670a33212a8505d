//! The bus of another machine, over the HTTP API of its master (`--api`): Brine's, or Salt's own salt-api.
//!
//! Commands read it as they read a bus on this machine: [`Remote::address`] is a socket in a private directory, where
//! a thread (`relay`) answers with what it fetches from the API. So one place, `brine_bus::client::local`, decides
//! what a stream does when it is cut, and what is missing then.

mod http;
mod login;
mod relay;

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, bail};
use brine_bridge::tls::{TlsOptions, Trust};
use brine_bus::client::local::LocalAddress;
use tempfile::TempDir;

use self::http::Server;
use self::login::Login;
use self::relay::Relay;

/// The options that lead to another machine's bus.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Another machine's bus")]
pub(crate) struct ApiArgs {
    /// Read the bus of another machine over the HTTP API of its master, such as https://salt:8000: Brine's, or
    /// Salt's own salt-api
    #[arg(long, value_name = "URL", conflicts_with_all = ["sock_dir", "config", "config_dir"])]
    api: Option<String>,
    /// Certificates to trust, in PEM [default: those that the system trusts]
    #[arg(long, value_name = "FILE", requires = "api")]
    ca_file: Option<PathBuf>,
    /// File with the token of a login [default: the token in BRINE_API_TOKEN, else log in]
    #[arg(long, value_name = "FILE", requires = "api", conflicts_with_all = ["user", "password_file"])]
    token_file: Option<PathBuf>,
    /// Name to log in with [default: SALTAPI_USER, else asked for]
    #[arg(long, value_name = "NAME", requires = "api")]
    user: Option<String>,
    /// File with the password [default: SALTAPI_PASS, else asked for]
    #[arg(long, value_name = "FILE", requires = "api")]
    password_file: Option<PathBuf>,
    /// Who checks the password: a back end of the master's external_auth [default: SALTAPI_EAUTH, else pam]
    #[arg(long, value_name = "NAME", requires = "api")]
    eauth: Option<String>,
}

/// Whose API it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Brine's: events have positions, filters and a past.
    Brine,
    /// Salt's own: events from now on, all of them.
    Salt,
}

/// The bus of another machine. What serves it ends with the program.
pub(crate) struct Remote {
    /// What people call it.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    socket: PathBuf,
    trouble: Trouble,
    /// Where the socket is; only this user may enter.
    _directory: TempDir,
}

/// Why nothing comes at the moment, if that is so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// The present one.
    pub(crate) fn get(&self) -> Option<String> {
        let trouble = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.clone()
    }

    fn set(&self, trouble: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }
}

impl ApiArgs {
    /// Whether another machine's bus is asked for.
    pub(crate) const fn is_given(&self) -> bool {
        self.api.is_some()
    }

    /// Logs in and makes that bus readable; `None` if none is asked for.
    pub(crate) fn open(&self) -> anyhow::Result<Option<Remote>> {
        let Some(url) = &self.api else {
            return Ok(None);
        };
        let tls = TlsOptions {
            trust: match &self.ca_file {
                Some(file) => Trust::Roots(file.clone()),
                None => Trust::System,
            },
            identity: None,
        };
        let server = Server::new(url, &tls)?;
        let name = server.to_string();
        let login = self.login()?;
        let (directory, socket, listener) = private_socket()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start a runtime")?;
        let trouble = Trouble::default();
        let relay = runtime.block_on(Relay::open(server, login, trouble.clone()));
        let relay = relay.map_err(|error| anyhow::anyhow!("{error}").context(name.clone()))?;
        let kind = relay.kind();
        thread::Builder::new()
            .name("brine-remote".to_owned())
            .spawn(move || runtime.block_on(relay.serve(listener)))
            .context("cannot start a thread")?;
        Ok(Some(Remote {
            name,
            kind,
            socket,
            trouble,
            _directory: directory,
        }))
    }

    fn login(&self) -> anyhow::Result<Login> {
        if let Some(file) = &self.token_file {
            return Ok(Login::with_token(first_line(file)?));
        }
        let is_named = self.user.is_some() || self.password_file.is_some();
        if !is_named && let Some(token) = variable("BRINE_API_TOKEN") {
            return Ok(Login::with_token(token));
        }
        let password = match &self.password_file {
            Some(file) => Some(first_line(file)?),
            None => variable("SALTAPI_PASS"),
        };
        let eauth = self.eauth.clone().or_else(|| variable("SALTAPI_EAUTH"));
        let eauth = eauth.unwrap_or_else(|| "pam".to_owned());
        Login::ask(
            self.user.clone().or_else(|| variable("SALTAPI_USER")),
            password,
            eauth,
        )
    }
}

impl Remote {
    /// Where its events are read.
    pub(crate) fn address(&self) -> LocalAddress {
        LocalAddress::Socket(self.socket.clone())
    }

    /// Why nothing comes at the moment, if that is so.
    pub(crate) fn trouble(&self) -> Trouble {
        self.trouble.clone()
    }
}

/// A socket that only this user can reach.
fn private_socket() -> anyhow::Result<(TempDir, PathBuf, UnixListener)> {
    let directory = tempfile::Builder::new().prefix("brine-api-").tempdir();
    let directory = directory.context("cannot make a directory for a socket")?;
    let socket = directory.path().join("brine.sock");
    let listener = UnixListener::bind(&socket).context("cannot make a socket")?;
    listener
        .set_nonblocking(true)
        .context("cannot make a socket")?;
    Ok((directory, socket, listener))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// A secret from a file: its first line.
fn first_line(file: &PathBuf) -> anyhow::Result<String> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let line = text.lines().next().unwrap_or_default().trim();
    if line.is_empty() {
        bail!("{}: the first line is empty", file.display());
    }
    Ok(line.to_owned())
}

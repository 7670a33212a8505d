//! External authentication of `salt`, `salt-run` and `salt-key`: `-a` and `-T`, and the token that `-T` left in a file.
//!
//! A master checks who logs in; this asks for what it needs. Facts: Salt 3008.3 and 3006.28 as they behave.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brine_config::Opts;
use brine_node::client::{self, ClientConfig};
use brine_wire::{Map, Value};

use crate::prompt;
use crate::salt::options::Key;
use crate::salt::optparse::Parsed;
use crate::salt::start;
use crate::terminal;

/// The kinds of authentication that Salt's masters have.
const KINDS: &[&str] = &[
    "auto",
    "django",
    "file",
    "keystone",
    "ldap",
    "mysql",
    "pam",
    "pki",
    "rest",
    "sharedsecret",
    "yubico",
];

/// What a command line comes to.
pub(super) enum LogIn {
    /// The fields a job carries; none for the user's own key.
    With(Map),
    /// Nobody can log in like that; the user knows why.
    Impossible,
}

/// Whether a command is to log in, and not to do by itself what its user may do here.
pub(super) fn is_wanted(line: &Parsed<Key>) -> bool {
    line.value(Key::Eauth).is_some_and(|kind| !kind.is_empty())
}

/// The client of a command that logs in; `None` if logging in like that is impossible, and the user was told why.
pub(super) async fn client(
    line: &Parsed<Key>,
    opts: &Opts,
) -> anyhow::Result<Option<ClientConfig>> {
    let mut config = ClientConfig::from_opts(opts, &start::user())?;
    match log_in(line, opts, &config).await? {
        LogIn::With(fields) => config.login = fields,
        LogIn::Impossible => {
            tracing::error!("Authentication failed");
            return Ok(None);
        }
    }
    Ok(Some(config))
}

/// Finds out how a command logs in: with the token of an earlier `-T`, by `-a`, or with the user's key.
pub(super) async fn log_in(
    line: &Parsed<Key>,
    opts: &Opts,
    config: &ClientConfig,
) -> anyhow::Result<LogIn> {
    let file = token_file(opts);
    if let Some(token) = kept_token(&file, opts) {
        // A user who can read the master's key needs no token.
        let key = opts
            .text("cachedir")
            .map(|dir| Path::new(dir).join(".root_key"));
        let has_key = key.is_ok_and(|path| File::open(path).is_ok());
        return Ok(LogIn::With(match has_key {
            true => Map::new(),
            false => Map::from_iter([("token", token)]),
        }));
    }
    let kind = line.value(Key::Eauth).unwrap_or_default();
    if kind.is_empty() {
        return Ok(LogIn::With(Map::new()));
    }
    if !KINDS.contains(&kind) {
        let kinds = KINDS.join(", ");
        writeln!(
            terminal::stdout(),
            "The specified external authentication system \"{kind}\" is not available\n\
             Available eauth types: {kinds}"
        )?;
        return Ok(LogIn::Impossible);
    }
    let mut fields = Map::new();
    let username = match line.value(Key::Username) {
        Some(name) => name.to_owned(),
        None => prompt::shown("username: ", terminal::stdout())?,
    };
    let username = match username.is_empty() {
        true => start::user(),
        false => username,
    };
    fields.insert("username", username);
    fields.insert(
        "password",
        match line.value(Key::Password) {
            Some(password) => password.to_owned(),
            None => prompt::hidden("password: ")?,
        },
    );
    if line.has(Key::MakeToken) {
        let token = make_token(&fields, kind, config, &file).await?;
        if let Some(token) = token {
            fields.insert("token", token);
        }
    }
    fields.insert("eauth", kind);
    Ok(LogIn::With(fields))
}

/// Has the master make a token, and keeps it for the next commands.
async fn make_token(
    fields: &Map,
    kind: &str,
    config: &ClientConfig,
    file: &Path,
) -> anyhow::Result<Option<String>> {
    let mut load = fields.clone();
    load.insert("cmd", "mk_token");
    load.insert("eauth", kind);
    let answer = client::ask(config, load).await?;
    let token = answer.as_map().and_then(|token| token.get("token"));
    let Some(token) = token.and_then(Value::as_str) else {
        return Ok(None); // the job is refused in the master's words
    };
    if let Err(error) = keep(file, token) {
        tracing::warn!("cannot store the token: {}: {error}", file.display());
    }
    Ok(Some(token.to_owned()))
}

/// Writes a token so that only its owner can read it.
fn keep(file: &Path, token: &str) -> io::Result<()> {
    let mut options = File::options();
    let mut opened = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(file)?;
    // One that was there before may be open to others.
    opened.set_permissions(fs::Permissions::from_mode(0o600))?;
    opened.write_all(token.as_bytes())
}

/// Salt's `token_file`, by default in the user's directory of configuration or else home directory.
fn token_file(opts: &Opts) -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").unwrap_or_default());
    if let Ok(text) = opts.text("token_file") {
        return match text.strip_prefix("~/") {
            Some(rest) => home.join(rest),
            None => PathBuf::from(text),
        };
    }
    let config = match std::env::var_os("XDG_CONFIG_HOME") {
        Some(directory) => PathBuf::from(directory),
        None => home.join(".config"),
    };
    let config = config.join("salt");
    match config.is_dir() {
        true => config.join("salt_token"),
        false => home.join("salt_token"),
    }
}

/// The token of an earlier command, if it can still be valid.
fn kept_token(file: &Path, opts: &Opts) -> Option<String> {
    let lives = u64::try_from(opts.int("token_expire").unwrap_or(43_200)).ok()?;
    let written = fs::metadata(file).ok()?.modified().ok()?;
    let ends = written.checked_add(Duration::from_secs(lives))?;
    if ends <= SystemTime::now() {
        return None;
    }
    Some(fs::read_to_string(file).ok()?.trim().to_owned())
}

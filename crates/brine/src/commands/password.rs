//! `brine password`: a line for the file of Brine's own users (`brine: {auth: {users: …}}`).

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::terminal;

/// The arguments of `brine password`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The user's name
    user: String,
}

/// Reads the password from stdin, prints the line.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let user = arguments.user.as_str();
    if user.is_empty() || user.contains([':', '\n', '#']) {
        bail!("expected a name without : and #, found {user:?}");
    }
    let mut password = String::new();
    io::stdin()
        .lock()
        .read_line(&mut password)
        .context("cannot read the password from stdin")?;
    let password = password.trim_end_matches(['\r', '\n']);
    if password.is_empty() {
        bail!("expected a password on stdin");
    }
    let line = brine_auth::hash_password(user, password)
        .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?;
    writeln!(terminal::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}

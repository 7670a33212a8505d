//! `brine password`: a line for the file of Brine's own users (`brine: {auth: {users: …}}`).

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use anyhow::bail;

use crate::prompt;
use crate::terminal;

/// The arguments of `brine password`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The user's name
    user: String,
}

/// Asks for the password on a terminal, or reads it from stdin; prints the line.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let user = arguments.user.as_str();
    if user.is_empty() || user.contains([':', '\n', '#']) {
        bail!("expected a name without : and #, found {user:?}");
    }
    let password = match io::stdin().is_terminal() {
        true => twice(user)?,
        false => prompt::read_line()?,
    };
    if password.is_empty() {
        bail!("expected a password on stdin");
    }
    let line = brine_auth::hash_password(user, &password)
        .map_err(|error| anyhow::anyhow!("cannot hash the password: {error}"))?;
    writeln!(terminal::stdout(), "{line}")?;
    Ok(ExitCode::SUCCESS)
}

/// Asks twice, since what is typed is not shown.
fn twice(user: &str) -> anyhow::Result<String> {
    let password = prompt::hidden(&format!("password of {user}: "))?;
    if password.is_empty() {
        bail!("the password is empty; nothing is printed");
    }
    if prompt::hidden("again: ")? != password {
        bail!("the two passwords differ; nothing is printed");
    }
    Ok(password)
}

//! Questions that a command asks on the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::os::fd::AsFd as _;

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};

use crate::terminal;

/// Asks for a line; the question goes there.
pub(crate) fn shown(text: &str, mut out: impl Write) -> anyhow::Result<String> {
    write!(out, "{text}")?;
    out.flush()?;
    read_line()
}

/// Asks, on stderr, for something that is not shown on a terminal.
pub(crate) fn hidden(text: &str) -> anyhow::Result<String> {
    let mut stderr = terminal::stderr();
    write!(stderr, "{text}")?;
    stderr.flush()?;
    if !io::stdin().is_terminal() {
        return read_line();
    }
    let terminal = io::stdin();
    let before = tcgetattr(terminal.as_fd()).context("cannot read the terminal's modes")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(terminal.as_fd(), OptionalActions::Flush, &silent)
        .context("cannot switch off the terminal's echo")?;
    let line = read_line();
    let restored = tcsetattr(terminal.as_fd(), OptionalActions::Flush, &before);
    writeln!(stderr)?;
    restored.context("cannot switch on the terminal's echo again")?;
    line
}

/// A line from stdin.
pub(crate) fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.context("cannot read stdin")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

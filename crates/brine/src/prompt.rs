//! Questions that a command asks on the terminal.

use std::io::{self, BufRead as _, IsTerminal as _, Write};
use std::os::fd::AsFd as _;

use anyhow::{Context, bail};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::retry_on_intr;
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
    let ending = [
        Signal::SIGHUP,
        Signal::SIGINT,
        Signal::SIGQUIT,
        Signal::SIGTERM,
    ];
    let ending: SigSet = ending.into_iter().collect();
    let before = ending.thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let line = without_echo(&ending);
    let _ = writeln!(stderr); // a terminal that is gone needs no line
    // A signal that has come ends the process here, if nothing else was made of it.
    before.thread_set_mask()?;
    match line?.as_str() {
        "" => bail!("nothing was entered"),
        line => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
    }
}

/// A line with its end; empty at the end of input, or if one of the signals came, which are to be blocked: they would
/// leave the terminal without an echo.
fn without_echo(signals: &SigSet) -> anyhow::Result<String> {
    let terminal = io::stdin();
    let signals = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC)?;
    let before = tcgetattr(terminal.as_fd()).context("cannot read the terminal's modes")?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(terminal.as_fd(), OptionalActions::Flush, &silent)
        .context("cannot switch off the terminal's echo")?;
    let mut waiting = [
        PollFd::new(&terminal, PollFlags::IN),
        PollFd::new(&signals, PollFlags::IN),
    ];
    let mut line = String::new();
    let read = retry_on_intr(|| poll(&mut waiting, None))
        .map_err(io::Error::from)
        .and_then(|_| match waiting[1].revents().is_empty() {
            true => io::stdin().lock().read_line(&mut line),
            false => Ok(0),
        });
    tcsetattr(terminal.as_fd(), OptionalActions::Flush, &before)
        .context("cannot switch on the terminal's echo again")?;
    read.context("cannot read stdin")?;
    Ok(line)
}

/// A line from stdin.
pub(crate) fn read_line() -> anyhow::Result<String> {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.context("cannot read stdin")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

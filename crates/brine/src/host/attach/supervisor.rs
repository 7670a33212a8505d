//! Two processes that watch each other while one has taken the place of another bus's socket.
//!
//! The parent only waits: when the child that serves is gone, for whatever reason, the parent puts the bus's own
//! socket back within milliseconds. A child whose parent is gone ends and puts it back itself. Both hold the lock,
//! through the same open file, which the child has as its standard input. If both are killed at once, the next start
//! puts the socket back, or `brine attach --restore`, for example from `ExecStopPost=` of a systemd unit.

use std::io;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, bail};
use brine_bus::front::FrontLock;
use rustix::process::{Pid, Signal, getppid, kill_process, set_parent_process_death_signal};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// By itself, with this code.
    With(u8),
    /// By a signal, such as `kill -9`.
    Killed(i32),
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::With(code) => Self::from(code),
            Ended::Killed(_) => Self::FAILURE,
        }
    }
}

/// Runs this program again with one more option, `--supervised PID`, until it ends; then puts back the socket if that
/// is still to be done. Signals that end or ask a process are passed on.
pub(crate) fn supervise(lock: &FrontLock, option: &str) -> anyhow::Result<Ended> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let child = Command::new(program)
        .arg0(std::env::args_os().next().unwrap_or_default())
        .args(std::env::args_os().skip(1))
        .arg(option)
        .arg(std::process::id().to_string())
        .stdin(Stdio::from(lock.share()?))
        .spawn()
        .context("cannot start the process that serves")?;
    let ended = wait(child)?;
    if lock.restore()? {
        tracing::warn!(?ended, "put the bus's own socket back");
    }
    Ok(ended)
}

/// Waits for the child's end, and passes signals on meanwhile.
fn wait(mut child: Child) -> anyhow::Result<Ended> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // `None` once the number may belong to another process.
    let running = Arc::new(Mutex::new(pid));
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2])
        .context("cannot catch signals")?;
    let target = Arc::clone(&running);
    thread::spawn(move || {
        for signal in signals.forever() {
            let target = target.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(pid), Some(signal)) = (*target, Signal::from_named_raw(signal)) {
                let _ = kill_process(pid, signal); // it may have ended this moment
            }
        }
    });
    // Not reaped yet, its number is still its own.
    if let Some(pid) = pid {
        wait_without_reaping(pid)?;
    }
    *running.lock().unwrap_or_else(PoisonError::into_inner) = None;
    let status = child
        .wait()
        .context("cannot wait for the process that serves")?;
    Ok(match (status.code(), status.signal()) {
        (Some(code), _) => Ended::With(u8::try_from(code).unwrap_or(1)),
        (None, signal) => Ended::Killed(signal.unwrap_or_default()),
    })
}

fn wait_without_reaping(pid: Pid) -> io::Result<()> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    loop {
        match waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        ) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}

/// In the child: the lock that the parent holds, and from now on `SIGTERM` when the parent ends.
pub(crate) fn inherited_lock(publish: &Path, parent: u32) -> anyhow::Result<FrontLock> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .context("cannot ask the system to report the parent's end")?;
    let is_there =
        getppid().is_some_and(|pid| pid.as_raw_nonzero().get().cast_unsigned() == parent);
    if !is_there {
        bail!("the process that started this one has ended");
    }
    let lock = rustix::io::dup(rustix::stdio::stdin()).context("cannot keep the lock")?;
    Ok(FrontLock::inherited(publish, lock)?)
}

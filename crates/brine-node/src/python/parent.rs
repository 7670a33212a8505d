//! The warm Python that forks a child for each job, and the socket that controls it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use brine_wire::Value;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::{frame, output, worker};
use crate::call::Failure;

/// The program that the parent and its children run: the modules of a package, each after those it imports.
const WORKER: [(&str, &str); 6] = [
    ("packing", include_str!("../../python/worker/packing.py")),
    ("failures", include_str!("../../python/worker/failures.py")),
    (
        "salt_modules",
        include_str!("../../python/worker/salt_modules.py"),
    ),
    ("loading", include_str!("../../python/worker/loading.py")),
    ("job", include_str!("../../python/worker/job.py")),
    ("parent", include_str!("../../python/worker/parent.py")),
];

/// Reads [`WORKER`] from the socket, so that no part of it is a file that could be replaced, or an argument that
/// others could read. The last module has `main`.
const LOADER: &str = "\
import os, struct, sys, types
def read(n):
    parts = b''
    while len(parts) < n:
        part = os.read(0, n - len(parts))
        if not part: raise SystemExit(1)
        parts += part
    return parts
def frame(): return read(struct.unpack('>I', read(4))[0])
package = sys.modules['brine_worker'] = types.ModuleType('brine_worker')
package.__path__ = []
for _ in range(frame()[0]):
    name = frame().decode()
    module = types.ModuleType('brine_worker.' + name)
    module.__file__ = '<brine worker/' + name + '>'
    sys.modules[module.__name__] = module
    exec(compile(frame(), module.__file__, 'exec'), module.__dict__)
module.main()";

/// The most commands that wait to be written; more mean that the parent hangs.
const WAITING: usize = 1024;

/// A running parent; cheap to clone. It ends when the last clone is dropped.
#[derive(Clone)]
pub(super) struct Parent {
    commands: mpsc::Sender<ParentCommand>,
    ended: Ended,
}

/// The tasks that wait for the end of a child, by child.
type Ended = Arc<Mutex<HashMap<u32, watch::Sender<Option<i32>>>>>;

/// A job to start.
pub(super) struct Start {
    /// New state for all further children, packed.
    pub(super) data: Option<Vec<u8>>,
    /// The child's end of the job's connection.
    pub(super) socket: OwnedFd,
}

enum ParentCommand {
    Start(Start),
    Kill(u32),
}

impl Parent {
    /// Starts Python.
    pub(super) fn start(program: &Path) -> Result<Self, Failure> {
        let failed = |err: std::io::Error| {
            let program = program.display();
            worker(format!(
                "python {program}: {err}; users' modules need Python 3.8 or later, set brine: python"
            ))
        };
        let (child, control) = spawn(program).map_err(failed)?;
        let (commands, taken) = mpsc::channel(WAITING);
        let ended = Ended::default();
        let (from, to) = control.into_split();
        tokio::spawn(run(child, from, to, taken, Arc::clone(&ended)));
        Ok(Self { commands, ended })
    }

    /// Whether it has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.commands.is_closed()
    }

    /// Starts a job.
    pub(super) fn send(&self, start: Start) -> Result<(), Failure> {
        let sent = self.commands.try_send(ParentCommand::Start(start));
        sent.map_err(|err| match err {
            mpsc::error::TrySendError::Full(_) => {
                worker(format!("python: {WAITING} jobs wait to begin; it hangs"))
            }
            mpsc::error::TrySendError::Closed(_) => worker("python: ended".into()),
        })
    }

    /// Kills a running child and the processes it started.
    pub(super) fn kill(&self, pid: u32) {
        if self.commands.try_send(ParentCommand::Kill(pid)).is_err() {
            tracing::warn!(
                pid,
                "a job's process could not be killed: its parent is gone"
            );
        }
    }

    /// Receives a child's exit status, as `wait` encodes it. Closed when the parent ends.
    pub(super) fn end_of(&self, pid: u32) -> watch::Receiver<Option<i32>> {
        let (end, ended) = watch::channel(None);
        lock(&self.ended).insert(pid, end);
        ended
    }

    /// Nobody waits for this child any more.
    pub(super) fn forget(&self, pid: u32) {
        lock(&self.ended).remove(&pid);
    }
}

fn lock(ended: &Ended) -> std::sync::MutexGuard<'_, HashMap<u32, watch::Sender<Option<i32>>>> {
    // A poisoned map is still usable.
    ended.lock().unwrap_or_else(PoisonError::into_inner)
}

fn spawn(program: &Path) -> std::io::Result<(Child, UnixStream)> {
    let (mut ours, theirs) = StdStream::pair()?;
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_harmful(name)) {
        command.env_remove(name);
    }
    let mut child = command
        // Isolated: no module comes from the current directory, PYTHONPATH or a home directory.
        // The last argument is a word for `ps`, and for Salt: it takes a job for running only if its process's
        // command line has `salt` in it.
        .args(["-I", "-u", "-c", LOADER, "salt-modules"])
        // A program on a relative PATH entry, and whatever a module opens by a relative name, is
        // not the caller's: `salt-call` may run in a directory that belongs to somebody else.
        .current_dir("/")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    ours.write_all(&program_frames()?)?; // smaller than the socket's buffer
    ours.set_nonblocking(true)?;
    if let Some(stdout) = child.stdout.take() {
        tokio::spawn(output::log_lines(stdout));
    }
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(output::log_lines(stderr));
    }
    Ok((child, UnixStream::from_std(ours)?))
}

/// [`WORKER`] as [`LOADER`] reads it: the number of modules, then name and source of each.
fn program_frames() -> std::io::Result<Vec<u8>> {
    let framed = |bytes: &[u8]| frame::framed([&[0; 4], bytes].concat());
    let count = u8::try_from(WORKER.len()).map_err(std::io::Error::other)?;
    let mut frames = framed(&[count])?;
    for (name, source) in WORKER {
        frames.extend(framed(name.as_bytes())?);
        frames.extend(framed(source.as_bytes())?);
    }
    Ok(frames)
}

/// Whether a variable decides which code the interpreter or the dynamic linker loads.
fn is_harmful(name: &OsStr) -> bool {
    let name = name.as_bytes();
    [&b"PYTHON"[..], b"LD_", b"__PYVENV_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Serves a parent: sends commands, receives the ends of children; returns when either side ends.
async fn run(
    mut child: Child,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut commands: mpsc::Receiver<ParentCommand>,
    ended: Ended,
) {
    tokio::select! {
        () = report_ends(&mut from, &ended) => tracing::warn!("Python for users' modules ended; the next job restarts it"),
        () = write_commands(&mut to, &mut commands) => {}
    }
    commands.close();
    lock(&ended).clear();
    // Python ends when its socket does, after its children; one that hangs is killed.
    drop((from, to));
    let limit = std::time::Duration::from_secs(5);
    if tokio::time::timeout(limit, child.wait()).await.is_err() {
        let _ = child.kill().await; // already ended: nothing to report
    }
}

async fn report_ends(from: &mut OwnedReadHalf, ended: &Ended) {
    while let Ok(message) = frame::read(from).await {
        let number = |name| message.get(name).and_then(Value::as_int);
        let pid = number("pid").and_then(|pid| u32::try_from(pid).ok());
        let status = number("status").and_then(|status| i32::try_from(status).ok());
        if let (Some(pid), Some(status)) = (pid, status)
            && let Some(waits) = lock(ended).remove(&pid)
        {
            let _ = waits.send(Some(status)); // nobody waits any more
        }
    }
}

async fn write_commands(to: &mut OwnedWriteHalf, commands: &mut mpsc::Receiver<ParentCommand>) {
    while let Some(command) = commands.recv().await {
        let written = match command {
            ParentCommand::Start(start) => write_start(to, start).await,
            ParentCommand::Kill(pid) => {
                let mut bytes = vec![b'K'];
                bytes.extend(pid.to_be_bytes());
                to.write_all(&bytes).await
            }
        };
        if written.is_err() {
            return;
        }
    }
}

async fn write_start(to: &mut OwnedWriteHalf, start: Start) -> std::io::Result<()> {
    if let Some(data) = start.data {
        let mut bytes = vec![0; 4];
        bytes.extend(data);
        to.write_all(b"D").await?;
        to.write_all(&frame::framed(bytes)?).await?;
    }
    let stream: &UnixStream = to.as_ref();
    stream
        .async_io(Interest::WRITABLE, || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let descriptors = [start.socket.as_fd()];
            ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
            sendmsg(
                stream,
                &[IoSlice::new(b"J")],
                &mut ancillary,
                SendFlags::DONTWAIT,
            )?;
            Ok(())
        })
        .await
}

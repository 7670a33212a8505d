//! Runs a command as Salt's `cmdmod._run` does: starts it, feeds it, collects its output and its end.
//!
//! Knows no function's return value. Dropping the future of [`run`] kills the command with all it started.

use std::io;
use std::process::{ExitStatus, Stdio};

use brine_wire::{Value, python_text};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::finished::Finished;
use super::options::{Options, Words, seconds};
use super::{environment, failed, which};
use crate::functions::Failure;

/// The most output kept of a command, in bytes per stream.
const MOST_OUTPUT: u64 = 64 << 20;

/// Runs a command to its end, or to its timeout.
pub(super) async fn run(options: Options) -> Result<Finished, Failure> {
    if options.is_background {
        let pid = start(options).await?;
        return Ok(Finished {
            pid,
            retcode: 0,
            stdout: String::new(),
            stderr: String::new(),
        });
    }
    let mut group = spawn(&options, false).await?;
    let pid = group.child.id().unwrap_or_default();
    let ended = output_of(&mut group.child, options.stdin.clone());
    let ended = match options.timeout {
        None => Some(ended.await),
        Some(timeout) => tokio::time::timeout(timeout, ended).await.ok(),
    };
    let Some(ended) = ended else {
        let seconds = python_text::str(&seconds(options.timeout));
        return Ok(Finished {
            pid,
            retcode: 1,
            stdout: format!(
                "{} : Timed out after {seconds} seconds",
                options.words.python(options.shell.is_some())
            ),
            stderr: String::new(),
        });
    };
    let (status, stdout, stderr) = ended.map_err(|error| failed(error.to_string()))?;
    group.is_done = true;
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if options.rstrip {
            text.trim_end().to_owned()
        } else {
            text
        }
    };
    let mut done = Finished {
        pid,
        retcode: code(status),
        stdout: text(&stdout),
        stderr: text(&stderr),
    };
    if options.success.applies(&done) {
        done.retcode = 0;
    }
    Ok(done)
}

/// Starts a command in the background; returns its process id.
pub(super) async fn start(options: Options) -> Result<u32, Failure> {
    let mut group = spawn(&options, true).await?;
    group.is_done = true;
    Ok(group.child.id().unwrap_or_default())
}

/// A command and the processes it starts; killed when dropped before it is done.
struct Group {
    child: Child,
    is_done: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let (false, Some(pid)) = (self.is_done, pid) {
            let _ = kill_process_group(pid, Signal::KILL); // it may have ended just now
        }
    }
}

async fn spawn(options: &Options, is_background: bool) -> Result<Group, Failure> {
    let environment = environment::full_environment(options).await;
    let path = environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, path)| path.clone());
    let mut words = options.words.program(options.shell.as_deref());
    let name = words.first().cloned().unwrap_or_default();
    let Some(program) = which::find(&name, path.as_deref()) else {
        return Err(cannot_run(options, &name));
    };
    if let Some(first) = words.first_mut() {
        *first = program.to_string_lossy().into_owned();
    }
    let words = changed_by(options, words)?;
    let (program, rest) = words
        .split_first()
        .ok_or_else(|| cannot_run(options, &name))?;
    let mut command = Command::new(program);
    command
        .args(rest)
        .current_dir(&options.cwd)
        .env_clear()
        .envs(environment)
        .process_group(0);
    let output = || {
        if is_background {
            Stdio::null()
        } else {
            Stdio::piped()
        }
    };
    let is_fed = options.stdin.is_some() && !is_background;
    command
        .stdin(if is_fed {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(output())
        .stderr(output());
    if options.merges && !is_background {
        let (reader, writer) = io::pipe().map_err(|error| failed(error.to_string()))?;
        let copy = writer
            .try_clone()
            .map_err(|error| failed(error.to_string()))?;
        command.stdout(writer).stderr(copy);
        let mut child = command
            .spawn()
            .map_err(|error| failed(format!("Unable to run command: {error}")))?;
        drop(command); // drops its copies of the pipe's end, or reading would never end
        child.stdout = None;
        let reader = tokio::process::ChildStdout::from_std(std::process::ChildStdout::from(
            std::os::fd::OwnedFd::from(reader),
        ));
        child.stdout = Some(reader.map_err(|error| failed(error.to_string()))?);
        return Ok(Group {
            child,
            is_done: false,
        });
    }
    let child = command
        .spawn()
        .map_err(|error| failed(format!("Unable to run command: {error}")))?;
    Ok(Group {
        child,
        is_done: false,
    })
}

/// Feeds a command and takes its output until it has ended.
async fn output_of(
    child: &mut Child,
    stdin: Option<Vec<u8>>,
) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut input), Some(text)) = (input, stdin) {
            let _ = input.write_all(&text).await; // a command need not read its input
        }
        Ok(())
    };
    let read_output = async {
        match output {
            Some(output) => output
                .take(MOST_OUTPUT)
                .read_to_end(&mut stdout)
                .await
                .map(drop),
            None => Ok(()),
        }
    };
    let read_errors = async {
        match errors {
            Some(errors) => errors
                .take(MOST_OUTPUT)
                .read_to_end(&mut stderr)
                .await
                .map(drop),
            None => Ok(()),
        }
    };
    tokio::try_join!(feed, read_output, read_errors)?;
    let status = child.wait().await?;
    Ok((status, stdout, stderr))
}

/// The words, preceded by those that set user and umask.
fn changed_by(options: &Options, words: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut before: Vec<String> = Vec::new();
    if let Some(user) = &options.runas
        && user.uid.as_raw() != rustix::process::geteuid().as_raw()
    {
        // The standard library does not set a user's supplementary groups.
        let setpriv = which::find("setpriv", Some("/usr/bin:/bin:/usr/sbin:/sbin".as_ref()));
        let setpriv =
            setpriv.ok_or_else(|| failed("runas needs the program setpriv (util-linux)".into()))?;
        before.push(setpriv.to_string_lossy().into_owned());
        before.extend([
            format!("--reuid={}", user.uid),
            format!("--regid={}", user.gid),
            "--init-groups".into(),
            "--".into(),
        ]);
    }
    if let Some(umask) = options.umask {
        let script = format!("umask {umask:04o} && exec \"$@\"");
        before.extend(["/bin/sh".into(), "-c".into(), script, "sh".into()]);
    }
    before.extend(words);
    Ok(before)
}

/// A process's exit code as Python reports it: negative for a signal.
fn code(status: ExitStatus) -> i64 {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(code), _) => code.into(),
        (None, Some(signal)) => -i64::from(signal),
        (None, None) => 1,
    }
}

fn cannot_run(options: &Options, name: &str) -> Failure {
    let Words::List(_) = &options.words else {
        return failed(format!(
            "Unable to run command '{}': {name} not found",
            options.words.python(true)
        ));
    };
    let words = options.words.python(false);
    let stderr = if options.merges { -2 } else { -1 };
    let timeout = if options.timeout.is_some() {
        seconds(options.timeout)
    } else {
        Value::Nil
    };
    let context = format!(
        "{{'cwd': {}, 'shell': False, 'stdout': -1, 'stderr': {stderr}, 'with_communicate': True, 'timeout': {}, \
         'bg': {}, 'close_fds': True}}",
        python_text::repr(&options.cwd.to_string_lossy().as_ref().into()),
        python_text::repr(&timeout),
        python_text::repr(&options.is_background.into()),
    );
    let name = python_text::repr(&name.into());
    failed(format!(
        "Unable to run command '{words}' with the context '{context}', reason: [Errno 2] No such file or directory: {name}"
    ))
}

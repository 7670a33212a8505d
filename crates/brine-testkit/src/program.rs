//! Real Salt's programs: started in a process group of their own, ended with all their children, even
//! when the test itself is killed.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use crate::salt::python;
use crate::wait::DEADLINE;

/// Killed children are gone after this long at most, unless the process that inherited them does not reap them.
const CHILDREN_END: Duration = Duration::from_secs(5);

/// A command of a release, such as `salt-minion`, on a directory of configuration.
///
/// # Panics
/// When that release is not there.
#[must_use]
pub fn command(version: &str, name: &str, config_dir: &Path) -> Command {
    let python = python(version);
    let mut command = Command::new(Path::new(python.get_program()).with_file_name(name));
    command
        .arg("-c")
        .arg(config_dir)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONWARNINGS", "ignore");
    command
}

/// One of Salt's programs that runs; ended with its children when dropped.
#[derive(Debug)]
pub struct Program {
    process: Child,
    output: PathBuf,
    guard: Guard,
}

/// What a program left.
#[derive(Debug)]
pub struct Left {
    /// Its exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed on stdout.
    pub stdout: String,
    /// What it printed on stderr.
    pub stderr: String,
}

impl Program {
    /// Starts a program whose output goes to a file.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(mut command: Command, output: impl Into<PathBuf>) -> Self {
        let output = output.into();
        let errors = File::create(output.with_extension("err")).expect("a file for its errors");
        let file = File::create(&output).expect("a file for its output");
        command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .process_group(0);
        let process = command.spawn().expect("a program that starts");
        let guard = Guard::start(process.id());
        Self {
            process,
            output,
            guard,
        }
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end within two minutes.
    #[must_use]
    pub fn wait(mut self) -> Left {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.process.try_wait().expect("a child to wait for") {
                return Left {
                    code: status.code(),
                    stdout: self.stdout(),
                    stderr: self.stderr(),
                };
            }
            assert!(
                Instant::now() < deadline,
                "it does not end; its output:\n{}\n{}",
                self.stdout(),
                self.stderr()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Its stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Its stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.output.with_extension("err")).unwrap_or_default()
    }

    fn group(&self) -> Option<Pid> {
        i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Salt's own end takes seconds; nothing of it is of use to a test.
        self.guard.dismiss();
        let Some(group) = self.group() else { return };
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.process.wait();
        // Its children hold its ports and sockets until they are gone, too.
        let deadline = Instant::now() + CHILDREN_END;
        while test_kill_process_group(group).is_ok() && Instant::now() < deadline {
            sleep(Duration::from_millis(5));
        }
    }
}

/// Kills a process group when this process ends without doing so itself, as a test does that is
/// killed for taking too long. It waits for the end of its input, which only this process holds
/// open, in a process group of its own.
#[derive(Debug)]
struct Guard(Child);

impl Guard {
    fn start(group: u32) -> Self {
        let script = "read -r _; kill -s KILL -- \"-$1\"";
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "guard", &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Self(command.spawn().expect("a shell that starts"))
    }

    /// Ends it before the group's number can belong to others.
    fn dismiss(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_ends_with_its_starter() {
        let mut sleeper = Command::new("sleep")
            .arg("600")
            .process_group(0)
            .spawn()
            .unwrap();
        let mut guard = Guard::start(sleeper.id());
        // What the end of this process would do.
        drop(guard.0.stdin.take());
        assert!(!sleeper.wait().unwrap().success());
        guard.dismiss();
    }
}

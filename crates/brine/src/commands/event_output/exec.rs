//! `--exec CMD`: a shell command for each event.
//!
//! One at a time and in order: the log holds the events that arrive meanwhile. A command that does not end in time is
//! killed with everything it started.

use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use brine_log::{Millis, Position};
use brine_view::{Facts, line};
use brine_wire::Map;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::show;

/// How long one command may take.
const TIME: Duration = Duration::from_secs(30);
/// The longest value in the environment, in bytes: the system has a limit for all of them together.
const MAX_VALUE: usize = 4096;

/// Runs a command for each event.
#[derive(Debug)]
pub(super) struct Exec {
    command: String,
    time: Duration,
}

impl Exec {
    pub(super) const fn new(command: String) -> Self {
        Self {
            command,
            time: TIME,
        }
    }

    /// Runs it for one event and waits for its end; what goes wrong is reported, and the next event gets its turn.
    pub(super) fn run(&self, tag: &str, data: &Map, at: Option<(Position, Millis)>, json: &str) {
        let outcome = self
            .start(tag, data, at)
            .and_then(|child| self.finish(child, json));
        let problem = match outcome {
            Ok(Some(status)) if status.success() => return,
            Ok(Some(status)) => match status.signal() {
                Some(signal) => format!("killed by signal {signal}"),
                None => format!("exit code {}", status.code().unwrap_or_default()),
            },
            Ok(None) => format!("not done after {} s, killed", self.time.as_secs()),
            Err(error) => error.to_string(),
        };
        show::complain(&format_args!(
            "--exec for {}: {problem}",
            show::visible(tag)
        ));
    }

    fn start(&self, tag: &str, data: &Map, at: Option<(Position, Millis)>) -> io::Result<Child> {
        let facts = Facts::of(tag, data);
        let ok = facts.ok.map(|ok| ok.to_string());
        let seq = at.map(|(position, _)| position.seq.0.to_string());
        let sentence = line::describe(tag, data).to_string();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", &self.command]);
        for (name, value) in [
            ("BRINE_TAG", Some(tag)),
            ("BRINE_MINION", facts.minion),
            ("BRINE_FUN", facts.fun),
            ("BRINE_JID", facts.jid),
            ("BRINE_OK", ok.as_deref()),
            ("BRINE_SEQ", seq.as_deref()),
            ("BRINE_LINE", Some(sentence.as_str())),
        ] {
            match value {
                Some(value) => command.env(name, for_environment(value)),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::piped()).process_group(0).spawn()
    }

    /// Gives it the event and waits; `None` if it had to be killed.
    fn finish(&self, mut child: Child, json: &str) -> io::Result<Option<ExitStatus>> {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let mut stdin = child.stdin.take();
        let (ended, end) = mpsc::sync_channel(1);
        thread::scope(|scope| {
            scope.spawn(move || {
                if let Some(stdin) = &mut stdin {
                    // It need not read.
                    let _ = stdin
                        .write_all(json.as_bytes())
                        .and_then(|()| stdin.write_all(b"\n"));
                }
            });
            scope.spawn(move || {
                let _ = ended.send(child.wait()); // the receiver waits for it
            });
            if let Ok(status) = end.recv_timeout(self.time) {
                return status.map(Some);
            }
            if let Some(group) = group {
                kill_process_group(group, Signal::KILL)?;
            }
            Ok(None)
        })
    }
}

/// A value as the environment can hold it.
fn for_environment(value: &str) -> String {
    let mut end = value.len().min(MAX_VALUE);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    value[..end].replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_command_gets_the_event_and_the_next_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let command = format!(
            "cat >> {0}; echo \"$BRINE_TAG|$BRINE_MINION|$BRINE_OK\" >> {0}; exit 3",
            file.display()
        );
        let exec = Exec::new(command);
        let data: Map = [("id", "web1"), ("x", "\0")].into_iter().collect();
        for tag in ["a/b", "c\0d"] {
            exec.run(tag, &data, None, "{}");
        }
        let written = fs::read_to_string(file).unwrap();
        assert_eq!(written, "{}\na/b|web1|\n{}\nc\u{fffd}d|web1|\n");
    }

    #[test]
    fn a_command_that_never_ends_is_killed_with_its_children() {
        let exec = Exec {
            command: "sleep 1000 | sleep 1000".to_owned(),
            time: Duration::from_millis(50),
        };
        // A large event that the command does not read does not block it either.
        exec.run("a", &Map::new(), None, &"x".repeat(1 << 20));
    }
}

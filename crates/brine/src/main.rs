//! The `brine` program: Salt's event bus, native, and Salt's own commands in front of it.
//!
//! Called as `brine` it reads its own command line ([`arguments`]); called by the name of one of
//! Salt's commands, or as `brine salt-run …`, it is that command ([`salt`]). Each command is one
//! module. This crate is the only one that reads the command line and prints; results leave as
//! exit codes: 0 done, 1 failed, 2 wrong usage (Salt's commands: Salt's own codes).

mod access;
mod arguments;
mod bus_location;
mod clock;
mod commands;
mod daemon;
mod event_lines;
mod host;
mod interrupt;
mod logs;
mod node;
mod prompt;
mod remote;
mod salt;
mod show;
mod terminal;
mod usage;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next().unwrap_or_default();
    let words: Vec<OsString> = words.collect();
    #[cfg(feature = "pam")]
    if words == [brine_auth::pam_helper::COMMAND] {
        // Some failures are reported only by the exit code, because the caller reads only answers.
        let answered = brine_auth::pam_helper::run();
        return answered.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
    }
    let words = match salt::personality(&program, &words) {
        Some(_) => words,
        None => arguments::help_as_option(words),
    };
    let done = match salt::personality(&program, &words) {
        Some((personality, words)) => personality.run(words),
        None => arguments::Cli::read(program, words).run(),
    };
    match done {
        Ok(code) => match std::io::Write::flush(&mut terminal::stdout()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                show::complain(&error);
                ExitCode::FAILURE
            }
            _ => code,
        },
        // The reader of our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            show::complain(&show::one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

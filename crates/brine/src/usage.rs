//! Reports a wrong command line that parsed: mistakes that only the configuration, or two arguments together, reveal.

use std::io::Write as _;

use clap::Command;
use clap::error::ErrorKind;

use crate::{show, terminal};

/// Ends the program as for any wrong command line: `text` and the usage on stderr, exit code 2.
pub(crate) fn wrong_usage(text: &str) -> ! {
    // The command's own, which is the first word that is not an option.
    let mut words = std::env::args().skip(1);
    let usage = match words.find(|word| !word.starts_with('-')) {
        Some(mut command) => {
            if ["consumer", "log"].contains(&command.as_str())
                && let Some(action) = words.find(|word| !word.starts_with('-'))
            {
                command = format!("{command} {action}");
            }
            format!("brine {command} [OPTIONS]; see brine {command} --help")
        }
        None => "brine [OPTIONS] <COMMAND>".to_owned(),
    };
    let error = Command::new("brine")
        .override_usage(usage)
        .error(ErrorKind::ArgumentConflict, text);
    complain(&error)
}

/// Ends the program over a wrong command line: what is wrong on stderr, as wide as the terminal if that is one.
pub(crate) fn complain(error: &clap::Error) -> ! {
    let text = error.render();
    let mut stderr = terminal::stderr();
    let text = match stderr.is_terminal() && show::wants_colour() {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    // If stderr cannot be written to, there is no other way to report.
    let _ = write!(stderr, "{}", stderr.wrapped(&text, 2));
    drop(stderr);
    std::process::exit(error.exit_code())
}

//! Reporting a wrong command line that parsed: for what only the configuration, or two arguments together, show to be
//! wrong.

use clap::Command;
use clap::error::ErrorKind;

/// Ends the program as for any wrong command line: `text` and the usage on stderr, exit code 2.
pub(crate) fn wrong_usage(text: &str) -> ! {
    // The command's own, which is the first word that is not an option.
    let mut words = std::env::args().skip(1);
    let usage = match words.find(|word| !word.starts_with('-')) {
        Some(mut command) => {
            if command == "consumer"
                && let Some(action) = words.find(|word| !word.starts_with('-'))
            {
                command = format!("{command} {action}");
            }
            format!("brine {command} [OPTIONS]; see brine {command} --help")
        }
        None => "brine [OPTIONS] <COMMAND>".to_owned(),
    };
    Command::new("brine")
        .override_usage(usage)
        .error(ErrorKind::ArgumentConflict, text)
        .exit()
}

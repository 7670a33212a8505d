//! Reporting a wrong command line that parsed: for what only the configuration, or two arguments together, show to be
//! wrong.

use clap::Command;
use clap::error::ErrorKind;

/// Ends the program as for any wrong command line: `text` and the usage on stderr, exit code 2.
pub(crate) fn wrong_usage(text: &str) -> ! {
    Command::new("brine")
        .override_usage("brine [OPTIONS] <COMMAND>")
        .error(ErrorKind::ArgumentConflict, text)
        .exit()
}

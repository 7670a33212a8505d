//! `brine completions`: shell completion scripts.

use std::io::{self, Write};
use std::process::ExitCode;

use clap_complete::Shell;

use crate::arguments::Cli;

/// The arguments of `brine completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// For which shell
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut Cli::description(),
        "brine",
        &mut script,
    );
    io::stdout().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

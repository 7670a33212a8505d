//! `brine man`: the manual pages, one per command.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

/// The arguments of `brine man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to write them, such as /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes the pages.
pub(crate) fn run(arguments: &Arguments, program: clap::Command) -> anyhow::Result<ExitCode> {
    let directory = &arguments.directory;
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(program, directory))
        .with_context(|| format!("directory {}", directory.display()))?;
    let shown = directory.display();
    writeln!(
        io::stdout(),
        "pages written to {shown}; man -l {shown}/brine.1 shows the first"
    )?;
    Ok(ExitCode::SUCCESS)
}

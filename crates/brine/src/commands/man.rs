//! `brine man`: the manual pages, one per command, and one per command of Salt's.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;

use crate::salt::Personality;
use crate::terminal;

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
    let salt = Personality::ALL
        .iter()
        .map(|personality| personality.manual());
    let mut commands = std::iter::once(program).chain(salt);
    fs::create_dir_all(directory)
        .and_then(|()| {
            commands.try_for_each(|command| clap_mangen::generate_to(command, directory))
        })
        .with_context(|| format!("directory {}", directory.display()))?;
    let shown = directory.display();
    writeln!(
        terminal::stdout(),
        "pages written to {shown}; man -l {shown}/brine.1 shows the first"
    )?;
    Ok(ExitCode::SUCCESS)
}

//! `brine links`: Salt's command names as links to this program.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};

use crate::salt::Personality;
use crate::terminal;

/// The arguments of `brine links`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to make them, such as /usr/local/bin
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Replace files that have those names
    #[arg(long)]
    force: bool,
}

/// Creates the links; existing ones that are ours stay.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    fs::create_dir_all(&arguments.directory)
        .with_context(|| format!("directory {}", arguments.directory.display()))?;
    for personality in Personality::ALL {
        let link = arguments.directory.join(personality.name());
        match fs::symlink_metadata(&link) {
            Ok(_) if fs::canonicalize(&link).is_ok_and(|target| target == program) => continue,
            Ok(_) if !arguments.force => bail!(
                "{} exists and is not this link; add --force to replace it",
                link.display()
            ),
            Ok(_) => fs::remove_file(&link).with_context(|| link.display().to_string())?,
            Err(_) => {}
        }
        symlink(&program, &link).with_context(|| link.display().to_string())?;
        writeln!(terminal::stdout(), "{}", link.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

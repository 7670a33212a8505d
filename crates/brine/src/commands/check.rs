//! `brine check`: Salt's configuration files alone, without looking at the machine.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use brine_config::{Environment, Role, review};

use super::findings::{Finding, ShowArgs};
use crate::bus_location::NodeKind;

/// The arguments of `brine check`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Options that are misspelt, ignored, obsolete, of a wrong type, dangerous or given twice, with file and
line, and what to do. brine doctor looks at the running site, too.

Exit codes: 0 no error (with --strict: no warning either); 1 something is wrong; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Directory with Salt's files `master` and `minion` [default: /etc/salt]
    #[arg(short = 'c', long, value_name = "DIR")]
    config_dir: Option<PathBuf>,
    /// One file, of --node (default: master)
    #[arg(long, value_name = "FILE", conflicts_with = "config_dir")]
    config: Option<PathBuf>,
    /// Only this node's file [default: each that is there]
    #[arg(long, value_enum)]
    node: Option<NodeKind>,
    #[command(flatten)]
    show: ShowArgs,
}

/// Checks the files.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let files = arguments.files()?;
    let mut findings = Vec::new();
    for (role, file) in &files {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        let (remarks, _) = review(*role, &file, &Environment::current());
        findings.extend(remarks.into_iter().map(Finding::from));
    }
    let names: Vec<String> = files
        .iter()
        .map(|(_, file)| file.display().to_string())
        .collect();
    arguments.show.print(findings, &names.join(", "))
}

impl Arguments {
    fn files(&self) -> anyhow::Result<Vec<(Role, PathBuf)>> {
        let roles = match self.node {
            Some(NodeKind::Master) => vec![Role::Master],
            Some(NodeKind::Minion) => vec![Role::Minion],
            None if self.config.is_some() => vec![Role::Master],
            None => vec![Role::Master, Role::Minion],
        };
        let file = |role: Role| match (&self.config, &self.config_dir) {
            (Some(file), _) => file.clone(),
            (None, Some(directory)) => directory.join(match role {
                Role::Minion => "minion",
                Role::Master | Role::Client => "master",
            }),
            (None, None) => PathBuf::from(role.default_file()),
        };
        let all: Vec<_> = roles.into_iter().map(|role| (role, file(role))).collect();
        let there: Vec<_> = all
            .iter()
            .filter(|(_, file)| is_there(file))
            .cloned()
            .collect();
        if there.is_empty() {
            let names: Vec<String> = all
                .iter()
                .map(|(_, file)| file.display().to_string())
                .collect();
            bail!("{}: no such file", names.join(", "));
        }
        Ok(there)
    }
}

fn is_there(file: &Path) -> bool {
    // What may not be read is there, too.
    file.symlink_metadata().is_ok()
}

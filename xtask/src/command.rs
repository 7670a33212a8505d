//! Runs other programs where everybody can see what is run.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context, bail};

/// The checkout's root.
pub(crate) fn root() -> PathBuf {
    // Cargo says where the running package is now; what was true at build time may be stale.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.parent().map_or_else(PathBuf::new, Path::to_owned)
}

/// A cargo of the toolchain that runs us, at the root.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).current_dir(root());
    command
}

/// What the main workspace is built with beside its default features: what this machine has the libraries for.
pub(crate) fn features() -> &'static [&'static str] {
    match Path::new("/usr/include/security/pam_appl.h").exists() {
        true => &["--features=brine/pam"],
        false => &[],
    }
}

/// The files of a checkout that git knows or would take in, and that are there.
pub(crate) fn tracked_files(root: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
    let listed = output(git.current_dir(root))?;
    Ok(listed.lines().map(str::to_owned).collect())
}

/// Runs a command to its end and requires success.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let line = announce(command);
    let status = command.status().with_context(|| line.clone())?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

/// The same at a low priority: what runs beside it comes first.
pub(crate) fn nicely(command: &Command) -> Command {
    let mut nice = Command::new("nice");
    nice.args(["-n", "10"])
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        nice.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => nice.env(name, value),
            None => nice.env_remove(name),
        };
    }
    nice
}

/// Runs a command and shows what it prints, if it fails, in one piece: others run beside it.
pub(crate) fn run_captured(command: &mut Command) -> anyhow::Result<()> {
    let line = line_of(command);
    let (printed, success) = capture(command)?;
    if !success {
        eprint!("{printed}");
        bail!("{line} failed");
    }
    Ok(())
}

/// Runs a command to its end: all it prints, and whether it succeeded.
pub(crate) fn capture(command: &mut Command) -> anyhow::Result<(String, bool)> {
    let line = announce(command);
    let output = command.output().with_context(|| line.clone())?;
    let printed = [output.stdout, output.stderr].concat();
    let printed = String::from_utf8_lossy(&printed).into_owned();
    Ok((printed, output.status.success()))
}

/// What a command prints, which must succeed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = line_of(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| line.clone())?;
    if !output.status.success() {
        bail!("{line}: {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| line)
}

/// Runs a command, shows what it prints as it comes and hands every line to `see`.
pub(crate) fn watch(
    command: &mut Command,
    see: impl FnMut(&str) + Send,
) -> anyhow::Result<ExitStatus> {
    let line = announce(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| line.clone())?;
    let see = std::sync::Mutex::new(see);
    let pass_on = |stream: Box<dyn Read + Send>, show: fn(&str)| {
        for line in BufReader::new(stream).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            show(&line);
            if let Ok(mut see) = see.lock() {
                see(&line);
            }
        }
    };
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        if let Some(stdout) = stdout {
            scope.spawn(|| pass_on(Box::new(stdout), |line| println!("{line}")));
        }
        if let Some(stderr) = stderr {
            scope.spawn(|| pass_on(Box::new(stderr), |line| eprintln!("{line}")));
        }
    });
    child.wait().with_context(|| line)
}

fn announce(command: &Command) -> String {
    let line = line_of(command);
    eprintln!("$ {line}");
    line
}

/// The command roughly as one would type it.
fn line_of(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

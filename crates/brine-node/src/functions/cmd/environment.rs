//! The environment of a command: inherited variables, those of the user it runs as, and those of its arguments.

use std::ffi::OsString;
use std::process::Stdio;
use std::time::Duration;

use nix::unistd::User;
use tokio::process::Command;

use super::options::Options;

/// All variables of the command.
pub(super) async fn full_environment(options: &Options) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> = Vec::new();
    let mut set =
        |name: OsString, value: OsString| match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => all.push((name, value)),
        };
    if !options.clean_env {
        // The service manager's socket is for the minion only.
        let inherited = std::env::vars_os().filter(|(name, _)| name != "NOTIFY_SOCKET");
        inherited.for_each(|(name, value)| set(name, value));
    }
    if let Some(user) = &options.runas {
        for (name, value) in login_environment(user, options.shell.as_deref()).await {
            set(name, value);
        }
    }
    for (name, value) in &options.env {
        set(name.into(), value.into());
    }
    if let Some(user) = &options.runas {
        set("USER".into(), user.name.as_str().into());
        set("HOME".into(), user.dir.as_os_str().to_owned());
    }
    if let Some(before) = &options.prepend_path {
        let path = all
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.clone());
        let mut joined = OsString::from(before);
        joined.push(":");
        joined.push(path.unwrap_or_default());
        match all.iter_mut().find(|(name, _)| name == "PATH") {
            Some((_, path)) => *path = joined,
            None => all.push(("PATH".into(), joined)),
        }
    }
    all
}

/// The variables of a user's login shell, read as Salt reads them; none if that fails.
async fn login_environment(user: &User, shell: Option<&str>) -> Vec<(OsString, OsString)> {
    use std::os::unix::ffi::OsStringExt as _;

    const TIMEOUT: Duration = Duration::from_secs(10);
    let mut command = Command::new("su");
    if let Some(shell) = shell {
        command.args(["-s", shell]);
    }
    // `env -0` between markers, whatever a profile prints.
    command.args([
        "-",
        &user.name,
        "-c",
        "printf '<<<brine\\0'; env -0; printf 'brine>>>'",
    ]);
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .current_dir("/");
    let output = match tokio::time::timeout(TIMEOUT, command.output()).await {
        Ok(Ok(output)) => output.stdout,
        _ => Vec::new(),
    };
    let parts: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
    let begin = parts.iter().position(|part| part.ends_with(b"<<<brine"));
    let end = parts.iter().position(|part| part.starts_with(b"brine>>>"));
    let (Some(begin), Some(end)) = (begin, end) else {
        tracing::error!(
            user = user.name,
            "the environment of the user could not be retrieved"
        );
        return Vec::new();
    };
    let variables = parts.get(begin + 1..end).unwrap_or_default().iter();
    let variables = variables.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = line.split_at(at);
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(name), text(value.get(1..)?)))
    });
    variables.collect()
}

//! Salt's option `user`: the account under which a daemon or a command runs.
//!
//! A daemon starts itself again as that user, after root has created what the user has no right to create
//! ([`super::handover`]). `salt-key`, `salt-run` and `salt-call` become the user too, as in Salt (`check_user`), so
//! that a command run by root leaves no file in a daemon's directories that the daemon cannot read. Facts: Salt
//! 3008.3, `salt.utils.verify`.

use std::ffi::CString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, bail};
use brine_config::Opts;
use nix::unistd::{Uid, User, initgroups, setgid, setuid};
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior};

use super::handover::{self, Belongings};
use crate::access;

/// The directories of a node's files, as its options name them.
pub(crate) fn node_folders(opts: &Opts) -> anyhow::Result<Vec<PathBuf>> {
    let names = ["pki_dir", "cachedir", "sock_dir"];
    let folders = names.into_iter().map(|name| Ok(opts.text(name)?.into()));
    folders.collect()
}

/// Continues as the configured user if that is another one; this call then does not return. For daemons.
///
/// # Errors
/// There is no such user, only root could become it, or the user cannot write its folders.
pub(crate) fn run_as_configured_user(opts: &Opts, belongings: &Belongings) -> anyhow::Result<()> {
    match other_user(opts)? {
        Some(user) => {
            handover::prepare(belongings, &user)?;
            let name = &user.name;
            match run_again_as(&user)
                .with_context(|| format!("option user: cannot run as {name}"))? {}
        }
        None => check_writable(&belongings.folders, opts),
    }
}

/// Becomes the configured user if that is another one. For commands, whose input may have been read already.
///
/// # Errors
/// There is no such user, or only root could become it.
pub(crate) fn become_configured_user(opts: &Opts) -> anyhow::Result<()> {
    let Some(user) = other_user(opts)? else {
        return Ok(());
    };
    let name = &user.name;
    change_to(&user).with_context(|| format!("option user: cannot run as {name}"))?;
    // Linux hides a process that has changed its user from that user, and its own file from the process, which
    // `salt-run --async` must find. What was read as root until here is the configuration, meant for the user.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    Ok(())
}

/// The configured user. `None` for the default, whoever runs this, who may have no name.
///
/// # Errors
/// There is no such user.
pub(crate) fn configured_user(opts: &Opts) -> anyhow::Result<Option<User>> {
    let Ok(name) = opts.text("user") else {
        return Ok(None);
    };
    if name == geteuid().as_raw().to_string() {
        return Ok(None);
    }
    let user =
        User::from_name(name).with_context(|| format!("option user: cannot look up {name}"))?;
    match user {
        Some(user) => Ok(Some(user)),
        None => bail!("option user: there is no user {name}; create it, or set another"),
    }
}

/// The configured user, if that is not who runs this already.
fn other_user(opts: &Opts) -> anyhow::Result<Option<User>> {
    let Some(user) = configured_user(opts)? else {
        return Ok(None);
    };
    let (own, name) = (geteuid(), user.name.as_str());
    if user.uid.as_raw() == own.as_raw() {
        return Ok(None);
    }
    if !own.is_root() {
        let own = User::from_uid(Uid::from_raw(own.as_raw())).ok().flatten();
        let own = own.map_or_else(|| "another user".to_owned(), |own| own.name);
        let who = match name {
            "root" => "root".to_owned(),
            name => format!("{name} or root"),
        };
        bail!(
            "option user: only {who} can run this, and this is {own}; use sudo, or set the option to {own}"
        );
    }
    Ok(Some(user))
}

/// Replaces this process by the same program, run as `user` with that user's groups; the error if it cannot.
fn run_again_as(user: &User) -> anyhow::Result<std::convert::Infallible> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut command = Command::new(program);
    command
        .arg0(std::env::args_os().next().unwrap_or_default())
        .args(std::env::args_os().skip(1));
    for (variable, value) in [
        ("HOME", user.dir.as_os_str()),
        ("SHELL", user.shell.as_os_str()),
        ("USER", user.name.as_ref()),
        ("LOGNAME", user.name.as_ref()),
    ] {
        // As in Salt: changed where it is set, never added.
        if std::env::var_os(variable).is_some() {
            command.env(variable, value);
        }
    }
    change_to(user)?;
    Err(command.exec().into())
}

fn change_to(user: &User) -> anyhow::Result<()> {
    // Groups before the user: the user may not change them any more.
    let name = CString::new(user.name.as_str())?;
    initgroups(&name, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}

/// A daemon that cannot write its folders would fail later, with less to say about it.
fn check_writable(folders: &[PathBuf], opts: &Opts) -> anyhow::Result<()> {
    // By default it is the user who runs this: that is no reason to give them the directories.
    let configured = opts.text("user").ok().filter(|_| opts.is_given("user"));
    for folder in folders {
        let Some(denied) = access::denied(folder, access::WRITE) else {
            continue;
        };
        match configured {
            Some(name) if denied.path == *folder => bail!(
                "option user: {name} cannot write {0}, which belongs to {1}; run: chown -R {name} {0}",
                denied.path.display(),
                denied.owner
            ),
            _ => return Err(denied.into()),
        }
    }
    Ok(())
}

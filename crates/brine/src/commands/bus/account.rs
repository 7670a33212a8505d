//! Salt's option `user`: who the bus runs as.
//!
//! Without set-uid calls in this process: the program runs itself again as that user, after
//! preparing what only root can.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::geteuid;

use super::Arguments;
use crate::place::Place;

/// An entry of the password file.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
}

/// Goes on as the configured user, if that is another.
pub(super) fn take_on(arguments: &Arguments, place: &Place) -> anyhow::Result<()> {
    let Some(name) = place.opts.as_ref().and_then(|opts| opts.text("user").ok()) else {
        return Ok(());
    };
    let own = geteuid();
    // The default is whoever we are, who may have no name.
    if name == own.as_raw().to_string() {
        return Ok(());
    }
    let users = fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
    let Some(account) = account(&users, name) else {
        bail!("option user: there is no user {name}; make it, or set another");
    };
    if account.uid == own.as_raw() {
        return Ok(());
    }
    if !own.is_root() {
        bail!(
            "option user: only {name} or root can run this bus; take the option out to run it as yourself"
        );
    }
    prepare(arguments, place, &account)?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let refused = Command::new(program)
        .args(std::env::args_os().skip(1))
        .uid(account.uid)
        .gid(account.gid)
        .exec();
    Err(refused).with_context(|| format!("option user: cannot run as {name}"))
}

/// Makes what the user may not, and gives it away.
fn prepare(arguments: &Arguments, place: &Place, account: &Account) -> anyhow::Result<()> {
    let give = |path: &std::path::Path, made: io::Result<()>| {
        made.and_then(|()| chown(path, Some(account.uid), Some(account.gid)))
            .with_context(|| path.display().to_string())
    };
    for sock_dir in arguments.sock_dirs(place) {
        give(sock_dir, fs::create_dir_all(sock_dir))?;
    }
    let files = [&arguments.daemon.pid_file, &arguments.daemon.log_file];
    for file in files.into_iter().flatten() {
        let made = OpenOptions::new().create(true).append(true).open(file);
        give(file, made.map(drop))?;
    }
    Ok(())
}

fn account(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_name() {
        let users = "root:x:0:0:root:/root:/bin/sh\nsalt:x:450:451::/opt/salt:/bin/false\nodd\n";
        assert_eq!(account(users, "salt"), Some(Account { uid: 450, gid: 451 }));
        assert_eq!(account(users, "sal"), None);
        assert_eq!(account(users, "odd"), None);
    }
}

//! Salt's option `user`: who a daemon runs as.
//!
//! Without set-uid calls in this process: the program runs itself again as that user, after
//! preparing what only root can.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rustix::process::geteuid;

use brine_config::Opts;

/// An entry of the password file.
#[derive(Debug, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
}

/// What the user must be able to write, made and given away by root.
#[derive(Debug, Clone, Default)]
pub(crate) struct Belongings {
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) files: Vec<PathBuf>,
}

/// Goes on as the configured user, if that is another.
pub(crate) fn take_on(opts: &Opts, belongings: &Belongings) -> anyhow::Result<()> {
    let Ok(name) = opts.text("user") else {
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
            "option user: only {name} or root can run this; take the option out to run it as yourself"
        );
    }
    belongings.give_to(&account)?;
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let refused = Command::new(program)
        .arg0(std::env::args_os().next().unwrap_or_default())
        .args(std::env::args_os().skip(1))
        .uid(account.uid)
        .gid(account.gid)
        .exec();
    Err(refused).with_context(|| format!("option user: cannot run as {name}"))
}

impl Belongings {
    fn give_to(&self, account: &Account) -> anyhow::Result<()> {
        let give = |path: &Path, made: io::Result<()>| {
            made.and_then(|()| chown(path, Some(account.uid), Some(account.gid)))
                .with_context(|| path.display().to_string())
        };
        for folder in &self.folders {
            give(folder, fs::create_dir_all(folder))?;
        }
        for file in &self.files {
            let made = OpenOptions::new().create(true).append(true).open(file);
            give(file, made.map(drop))?;
        }
        Ok(())
    }
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

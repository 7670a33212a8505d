//! The user that the daemon runs as, and whether its directories and keys are that user's.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{Uid, User};

use super::Site;
use crate::commands::findings::Finding;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let opts = site.location.opts.as_ref();
    // By default it is the user that looks.
    let Some(user) = site
        .option("user")
        .filter(|_| opts.is_some_and(|opts| opts.is_given("user")))
    else {
        return Vec::new();
    };
    // One that there is not is among the faults of the configuration.
    let Ok(Some(wanted)) = User::from_name(user) else {
        return Vec::new();
    };
    let folder = |option: &str| site.option(option).map(PathBuf::from);
    let mut paths: Vec<PathBuf> = site.location.sock_dir.clone().into_iter().collect();
    paths.extend(folder("cachedir"));
    if let Some(keys) = folder("pki_dir") {
        let names = ["master.pem", "minion.pem"];
        paths.extend(names.map(|name| keys.join(name)));
        paths.push(keys);
    }
    let wrong = paths.iter().filter_map(|path| of_path(path, &wanted));
    wrong.collect()
}

fn of_path(path: &Path, wanted: &User) -> Option<Finding> {
    let owner = fs::metadata(path).ok()?.uid();
    (owner != wanted.uid.as_raw()).then(|| {
        let finding = match wanted.uid.is_root() {
            // Root may use everything.
            true => Finding::warning("wrong-owner", path.display()),
            false => Finding::error("wrong-owner", path.display()),
        };
        finding.says(
            format!(
                "belongs to {}, but option user is {}",
                name(owner),
                wanted.name
            ),
            format!("chown -R {} {}", wanted.name, path.display()),
        )
    })
}

pub(super) fn name(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => format!("uid {uid}"),
    }
}

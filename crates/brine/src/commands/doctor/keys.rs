//! Keys on disk: who may read them, and which are pending or denied.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use brine_node::minion::Standing;
use brine_view::text::counted;
use brine_wire::Value;

use super::Site;
use crate::bus_location::NodeKind;
use crate::commands::findings::Finding;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let Some(folder) = site.option("pki_dir").map(PathBuf::from) else {
        return Vec::new();
    };
    let about = match fs::metadata(&folder) {
        Ok(about) if about.is_dir() => about,
        found => return no_folder(site, &folder, found.err()).into_iter().collect(),
    };
    let mut findings = Vec::new();
    open_folder(&folder, &about, &mut findings);
    if let Err(error) = fs::read_dir(&folder) {
        findings.push(unreadable(&folder, &error));
        return findings;
    }
    let names: &[&str] = match site.kind {
        NodeKind::Master => &["master.pem", "master_sign.pem"],
        NodeKind::Minion => &["minion.pem"],
    };
    let opts = site.location.opts.as_ref();
    let is_group_fine =
        opts.is_some_and(|opts| opts.get("permissive_pki_access") == Some(&Value::Bool(true)));
    for name in names {
        private(&folder.join(name), is_group_fine, &mut findings);
    }
    match site.kind {
        NodeKind::Master => of_minions(&folder, &mut findings),
        NodeKind::Minion => of_master(site, &folder, &mut findings),
    }
    findings
}

fn unreadable(folder: &Path, error: &io::Error) -> Finding {
    Finding::warning("unreadable-keys", folder.display()).says(
        format!("this user may not read it: {error}"),
        "run this as root or as the daemon's user; the daemon itself must be able to read it",
    )
}

/// A node that runs has made its directory.
fn no_folder(site: &Site, folder: &Path, error: Option<io::Error>) -> Option<Finding> {
    if site.bus_pid.is_none() || site.is_bus_alone() {
        return None;
    }
    if let Some(error) = &error
        && error.kind() == io::ErrorKind::PermissionDenied
    {
        return Some(unreadable(folder, error));
    }
    let text = error.map_or_else(
        || "is not a directory".to_owned(),
        |error| error.to_string(),
    );
    Some(Finding::error("no-keys", folder.display()).says(
        format!("pki_dir: {text}; {} has no keys there", site.server()),
        "set pki_dir to the directory of its keys, or restart it: it makes the directory and new keys",
    ))
}

fn open_folder(folder: &Path, about: &Metadata, findings: &mut Vec<Finding>) {
    let mode = about.permissions().mode() & 0o777;
    if mode & 0o022 != 0 {
        findings.push(Finding::error("open-key-dir", folder.display()).says(
            format!("mode {mode:04o}: others may replace the keys in it, and accept their own"),
            format!("chmod 700 {}", folder.display()),
        ));
    }
    if mode & 0o700 != 0o700 {
        findings.push(Finding::error("closed-key-dir", folder.display()).says(
            format!("mode {mode:04o}: its own user cannot use the keys in it"),
            format!("chmod 700 {}", folder.display()),
        ));
    }
}

fn private(path: &Path, is_group_fine: bool, findings: &mut Vec<Finding>) {
    let Ok(about) = fs::metadata(path) else {
        return;
    };
    let mode = about.permissions().mode() & 0o777;
    let refused = if is_group_fine { 0o037 } else { 0o077 };
    if mode & refused != 0 {
        findings.push(Finding::error("readable-key", path.display()).says(
            format!("mode {mode:04o}: others may read this private key"),
            format!(
                "chmod 400 {}; if somebody could read it, make a new one",
                path.display()
            ),
        ));
    }
}

fn of_minions(folder: &Path, findings: &mut Vec<Finding>) {
    let ids = |name: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(folder.join(name))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| !name.starts_with('.')).collect()
    };
    let accepted_keys = folder.join("minions");
    if let Ok(about) = fs::metadata(&accepted_keys) {
        open_folder(&accepted_keys, &about, findings);
    }
    let (accepted, pending) = (ids("minions"), ids("minions_pre"));
    let (denied, rejected) = (ids("minions_denied"), ids("minions_rejected"));
    let some = |ids: &BTreeSet<String>| {
        let some: Vec<&str> = ids.iter().take(5).map(String::as_str).collect();
        some.join(", ")
    };
    if !denied.is_empty() {
        findings.push(
            Finding::warning("denied-keys", folder.join("minions_denied").display()).says(
                format!(
                    "{} denied: another machine claims the id, or its key was made again: {}",
                    counted(denied.len(), "key"),
                    some(&denied)
                ),
                format!(
                    "if the machine is the right one: salt-key -d ID, restart its minion, salt-key -a ID; if not, give it \
                     another id, and remove its key from {}",
                    folder.join("minions_denied").display()
                ),
            ),
        );
    }
    if !rejected.is_empty() {
        findings.push(
            Finding::note("rejected-keys", folder.join("minions_rejected").display()).says(
                format!(
                    "{} rejected: {}",
                    counted(rejected.len(), "key"),
                    some(&rejected)
                ),
                "to let such a minion in: salt-key -d ID, restart it, salt-key -a ID",
            ),
        );
    }
    if !pending.is_empty() {
        findings.push(
            Finding::note("pending-keys", folder.join("minions_pre").display()).says(
                format!(
                    "{} waiting to be accepted: {}",
                    counted(pending.len(), "key"),
                    some(&pending)
                ),
                "compare by salt-key -F and salt-call --local key.finger, then salt-key -a ID",
            ),
        );
    }
    let both: BTreeSet<String> = accepted.intersection(&rejected).cloned().collect();
    if !both.is_empty() {
        findings.push(Finding::warning("key-twice", folder.display()).says(
            format!("accepted and rejected at once: {}", some(&both)),
            "decide: salt-key -d ID, then accept or reject it",
        ));
    }
    for id in &accepted {
        let path = folder.join("minions").join(id);
        let is_key = fs::read(&path).is_ok_and(|key| key.starts_with(b"-----BEGIN"));
        if !is_key {
            findings.push(Finding::error("broken-key", path.display()).says(
                "this is not a public key: the minion cannot sign in",
                format!("salt-key -d {id}, and accept it again"),
            ));
        }
    }
}

fn of_master(site: &Site, folder: &Path, findings: &mut Vec<Finding>) {
    let path = folder.join("minion_master.pub");
    let finger = site.option("master_finger").unwrap_or_default();
    // Where the minion knows what its masters have against its key, that is said of them.
    let standing = site.standing();
    let is_refused = standing.is_some_and(|standing| standing != Standing::Good);
    if site.is_running && !is_refused && !path.exists() {
        findings.push(Finding::warning("never-signed-in", path.display()).says(
            "the minion has no key of a master: it has not signed in yet",
            format!("accept it on the master: salt-key -a {}", site.id()),
        ));
    }
    if finger.is_empty() && !path.exists() {
        findings.push(Finding::note("no-master-finger", "master_finger").says(
            "the minion trusts the first master that answers",
            "set master_finger to what salt-key -F master prints",
        ));
    }
}

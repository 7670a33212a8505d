//! Who may change what the daemon trusts (its configuration, its data and its history), and who owns its private
//! keys.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::{Site, owners, proc};
use crate::bus_location::NodeKind;
use crate::commands::findings::Finding;
use crate::host;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let Some(opts) = &site.location.opts else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if let Some(file) = site.option("conf_file").map(Path::new) {
        let effect = "other users can make the daemon run anything";
        findings.extend(writable("open-config", file, effect, "644"));
        let folder = file.parent().filter(|_| file.exists());
        let effect = "others may replace the configuration in it";
        findings.extend(folder.and_then(|folder| writable("open-config", folder, effect, "755")));
    }
    if let Some(folder) = site.option("cachedir").map(Path::new) {
        let effect =
            "others may replace what it holds: sessions, job results, and the key for commands";
        findings.extend(writable("open-cache", folder, effect, "750"));
    }
    if let Ok(history) = host::configured_directory(&site.location) {
        let effect = "others may change or remove the events that are kept";
        findings.extend(writable("open-history", &history, effect, "700"));
        let file = history.join("events.db");
        findings.extend(writable("open-history", &file, effect, "600"));
        let user = site.bus_pid.and_then(proc::user);
        findings.extend(
            user.and_then(|user| lost(&history, 0o700, user).or_else(|| lost(&file, 0o600, user))),
        );
    }
    // Where the option says whose they are, that is looked at with it.
    if !opts.is_given("user") {
        findings.extend(foreign_keys(site));
    }
    findings
}

/// What others may write to. In a directory with the sticky bit they can at least not replace files.
fn writable(kind: &'static str, path: &Path, effect: &str, wanted: &str) -> Option<Finding> {
    let about = fs::metadata(path).ok()?;
    let mode = about.permissions().mode() & 0o7777;
    let is_sticky = about.is_dir() && mode & 0o1000 != 0;
    (mode & 0o002 != 0 && !is_sticky).then(|| {
        Finding::error(kind, path.display()).says(
            format!("mode {mode:04o}: {effect}"),
            format!("chmod {wanted} {}", path.display()),
        )
    })
}

/// What the bus that runs could not open once more: a part of its history. It goes on with what it has open.
fn lost(path: &Path, needed: u32, user: u32) -> Option<Finding> {
    let about = fs::metadata(path).ok()?;
    let (owner, mode) = (about.uid(), about.permissions().mode() & 0o7777);
    let (what, remedy) = if owner != user {
        let (owner, user) = (owners::name(owner), owners::name(user));
        let folder = path.parent().filter(|_| about.is_file()).unwrap_or(path);
        (
            format!("belongs to {owner}, and the bus runs as {user}"),
            format!("chown -R {user} {}", folder.display()),
        )
    } else if user != 0 && mode & needed != needed {
        (
            format!("mode {mode:04o}"),
            format!("chmod {needed:o} {}", path.display()),
        )
    } else {
        return None;
    };
    Some(Finding::error("lost-history", path.display()).says(
        format!(
            "{what}: the bus still writes what it has open, and what is only on disk cannot be read"
        ),
        format!("{remedy}; a bus does not start with a history of another user"),
    ))
}

/// Private keys of neither root nor the user that the daemon runs as.
fn foreign_keys(site: &Site) -> Vec<Finding> {
    let Some(folder) = site.option("pki_dir").map(PathBuf::from) else {
        return Vec::new();
    };
    let names: &[&str] = match site.kind {
        NodeKind::Master => &["master.pem", "master_sign.pem"],
        NodeKind::Minion => &["minion.pem"],
    };
    let pid = site.bus_pid;
    let daemon = pid.and_then(|pid| fs::metadata(format!("/proc/{pid}")).ok());
    let daemon = daemon.map_or_else(|| Uid::effective().as_raw(), |about| about.uid());
    let of_key = |name: &&str| foreign(&folder.join(name), daemon);
    names.iter().filter_map(of_key).collect()
}

fn foreign(path: &Path, daemon: u32) -> Option<Finding> {
    let owner = fs::metadata(path).ok()?.uid();
    (owner != 0 && owner != daemon).then(|| {
        let (owner, daemon) = (owners::name(owner), owners::name(daemon));
        Finding::error("foreign-key", path.display()).says(
            format!("belongs to {owner}, who may read and replace this private key; the daemon runs as {daemon}"),
            format!("chown {daemon} {}; if {owner} is not to have it, make a new one", path.display()),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;

    #[test]
    fn what_others_may_change_is_found() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("master");
        fs::write(&file, "").unwrap();
        for (path, mode, is_found) in [
            (root.path(), 0o777, true),
            (root.path(), 0o1777, false),
            (root.path(), 0o755, false),
            (&file, 0o666, true),
            (&file, 0o664, false),
            (&file, 0o644, false),
        ] {
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let found = writable("open-config", path, "others may", "644");
            assert_eq!(found.is_some(), is_found, "{mode:o}");
        }
    }

    #[test]
    fn a_history_that_its_bus_could_not_open_again_is_found() {
        let root = tempfile::tempdir().unwrap();
        let own = Uid::effective().as_raw();
        fs::set_permissions(root.path(), Permissions::from_mode(0o700)).unwrap();
        assert_eq!(proc::user(std::process::id().cast_signed()), Some(own));
        assert_eq!(lost(root.path(), 0o700, own), None);
        let other = own.wrapping_add(1);
        let found = lost(root.path(), 0o700, other).unwrap();
        assert!(found.text.starts_with("belongs to "), "{found:?}");
        fs::set_permissions(root.path(), Permissions::from_mode(0o000)).unwrap();
        // Root opens it all the same.
        let found = lost(root.path(), 0o700, own);
        assert_eq!(found.is_none(), own == 0, "{found:?}");
    }

    #[test]
    fn a_key_of_another_user_is_found() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("master.pem");
        fs::write(&file, "").unwrap();
        let own = Uid::effective().as_raw();
        assert_eq!(foreign(&file, own), None);
        if Uid::effective().is_root() {
            std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
            assert_eq!(foreign(&file, 65534), None);
            let found = foreign(&file, 0).unwrap();
            assert!(found.text.contains("may read and replace"), "{found:?}");
        }
    }
}

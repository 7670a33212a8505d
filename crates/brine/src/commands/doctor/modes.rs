//! Who may change what the daemon trusts (its configuration, its data and its history), and who owns its private
//! keys.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::{Site, owners};
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

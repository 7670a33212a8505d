//! What this user may not look at, so that silence about it is not taken for health. Keys are named by [`super::keys`].

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::{Site, local_server};
use crate::commands::findings::Finding;
use crate::host;

pub(super) fn finding(site: &Site) -> Option<Finding> {
    let mut folders: Vec<PathBuf> = site
        .option("cachedir")
        .map(PathBuf::from)
        .into_iter()
        .collect();
    if site.location.opts.is_some() {
        folders.extend(host::configured_directory(&site.location).ok());
    }
    // Whoever may not use Salt's socket may still use Brine's.
    let pid = site.bus_pid.or_else(|| local_server(&site.location));
    folders.extend(pid.map(|pid| format!("/proc/{pid}/fd").into()));
    folders.retain(|folder| is_closed(folder));
    folders.dedup_by(|folder, before| folder.starts_with(before));
    if folders.is_empty() {
        return None;
    }
    let folders: Vec<_> = (folders.iter())
        .map(|folder| folder.display().to_string())
        .collect();
    Some(Finding::note("not-seen", "this user").says(
        format!(
            "may not read {}: what is wrong there is not found",
            folders.join(", ")
        ),
        "run this as root or as the daemon's user",
    ))
}

fn is_closed(folder: &Path) -> bool {
    fs::read_dir(folder).is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
}

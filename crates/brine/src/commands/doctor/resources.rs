//! What a site needs from its machine: disk space, open files, and files that the configuration names.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use brine_view::text::counted;
use brine_wire::Value;
use rustix::fs::{StatVfs, StatVfsMountFlags};

use super::{Site, proc};
use crate::commands::findings::Finding;
use crate::host;

/// Below this, in bytes or as a share, a disk is all but full …
const FULL: (u64, u64) = (64 << 20, 100);
/// … and below this nearly.
const NEARLY: (u64, u64) = (512 << 20, 20);

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let mut findings = disks(site);
    findings.extend(open_files(site));
    findings.extend(pid_file(site));
    findings.extend(named_files(site));
    findings
}

fn disks(site: &Site) -> Vec<Finding> {
    let mut folders: Vec<(&str, PathBuf)> = Vec::new();
    for option in ["cachedir", "pki_dir"] {
        folders.extend(site.option(option).map(|path| (option, path.into())));
    }
    if let Some(log) = site
        .option("log_file")
        .and_then(|path| Path::new(path).parent())
    {
        folders.push(("log_file", log.to_owned()));
    }
    folders.extend(
        site.location
            .sock_dir
            .clone()
            .map(|path| ("sock_dir", path)),
    );
    if site.location.opts.is_some()
        && let Ok(history) = host::configured_directory(&site.location)
    {
        folders.push(("history", history));
    }
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (what, folder) in folders {
        let Some(folder) = folder.ancestors().find(|folder| folder.is_dir()) else {
            continue;
        };
        if let Ok(about) = rustix::fs::statvfs(folder)
            && seen.insert((about.f_fsid, about.f_blocks))
        {
            findings.extend(disk(what, folder, &about));
        }
    }
    findings
}

fn disk(what: &str, folder: &Path, about: &StatVfs) -> Option<Finding> {
    let (free, all) = (
        about.f_bavail.saturating_mul(about.f_frsize),
        about.f_blocks.saturating_mul(about.f_frsize),
    );
    // Small file systems, such as a tmpfs for sockets, are judged by their share alone.
    let is_below =
        |(bytes, share): (u64, u64)| free < all / share && (free < bytes || all < bytes * 2);
    let has_no_files = about.f_files > 0 && about.f_favail == 0;
    if all == 0 {
        return None;
    }
    if about.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Some(Finding::error("read-only-disk", folder.display()).says(
            format!("the disk of {what} is mounted read-only"),
            "mount it writable; the kernel's log (dmesg) says why it is not",
        ));
    }
    let mib = free >> 20;
    let remedy = "remove what is not needed, or shorten the history: brine log vacuum, brine: {history: {max_bytes}}";
    if has_no_files {
        let text = format!("no file can be made on the disk of {what}: all inodes are used");
        return Some(
            Finding::error("disk-full", folder.display())
                .says(text, "remove files that are not needed"),
        );
    }
    if is_below(FULL) {
        let text = format!("the disk of {what} is full: {mib} MiB free");
        return Some(Finding::error("disk-full", folder.display()).says(text, remedy));
    }
    is_below(NEARLY).then(|| {
        let text = format!("the disk of {what} is nearly full: {mib} MiB free");
        Finding::warning("disk-nearly-full", folder.display()).says(text, remedy)
    })
}

fn open_files(site: &Site) -> Option<Finding> {
    /// For a master that has no minions yet.
    const LEAST: u64 = 256;
    let pid = site.bus_pid?;
    let limit = proc::open_file_limit(pid)?;
    let minions = site
        .option("pki_dir")
        .and_then(|path| fs::read_dir(Path::new(path).join("minions")).ok());
    let minions = minions.map_or(0, |ids| ids.count() as u64);
    // A minion has two connections, and the files of a start of all at once come on top.
    let wanted = LEAST + 2 * minions;
    (limit < wanted).then(|| {
        Finding::error("file-limit", proc::name(pid)).says(
            format!(
                "may have {limit} files open; with {} it needs {wanted}",
                counted(
                    usize::try_from(minions).unwrap_or(usize::MAX),
                    "accepted minion"
                )
            ),
            "raise it: LimitNOFILE= of the systemd unit, or ulimit -n, and start it again",
        )
    })
}

fn pid_file(site: &Site) -> Option<Finding> {
    let path = site.option("pidfile")?;
    let text = fs::read_to_string(path).ok()?;
    // Root makes it for the user of the option `user`, who fills it when all is up and may not remove it if not.
    if text.is_empty() && site.bus_pid.is_none() {
        return None;
    }
    let Ok(pid) = text.trim().parse::<i32>() else {
        let text = "does not contain a process number";
        return Some(
            Finding::warning("stale-pidfile", path)
                .says(text, "remove it, and start the daemon again"),
        );
    };
    if !proc::exists(pid) {
        let text = format!("names pid {pid}, which is not running");
        return Some(
            Finding::warning("stale-pidfile", path)
                .says(text, "remove it, or start the daemon again"),
        );
    }
    let own = site.bus_pid?;
    (!proc::are_one_service(pid, own)).then(|| {
        Finding::warning("wrong-pidfile", path).says(
            format!(
                "names {}, but {} serves the bus",
                proc::name(pid),
                proc::name(own)
            ),
            format!(
                "if both are meant to run, give each a pidfile of its own ({} is the one they share); else end the other one",
                path
            ),
        )
    })
}

/// Files that must be there for what the configuration asks.
fn named_files(site: &Site) -> Vec<Finding> {
    let Some(opts) = &site.location.opts else {
        return Vec::new();
    };
    let mut files: Vec<(String, &str)> = Vec::new();
    for (option, keys) in [
        ("rest_cherrypy", &["ssl_crt", "ssl_key", "ssl_chain"][..]),
        ("ssl", &["certfile", "keyfile", "ca_certs"]),
    ] {
        let Some(map) = opts.get(option).and_then(Value::as_map) else {
            continue;
        };
        for key in keys {
            if let Some(path) = map.get(key).and_then(Value::as_str) {
                files.push((format!("{option}: {key}"), path));
            }
        }
    }
    for option in ["autosign_file", "autoreject_file"] {
        files.extend(
            opts.get(option)
                .and_then(Value::as_str)
                .map(|path| (option.to_owned(), path)),
        );
    }
    files
        .into_iter()
        .filter(|(_, path)| {
            !path.is_empty()
                && fs::File::open(path)
                    .is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        })
        .map(|(option, path)| {
            let text = format!("{option} names a file that does not exist");
            Finding::error("no-such-file", path).says(text, "create it, or correct the option")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(free_mib: u64, all_mib: u64, free_files: u64) -> StatVfs {
        let mut about = rustix::fs::statvfs("/").unwrap();
        (about.f_frsize, about.f_bavail, about.f_blocks) = (1 << 20, free_mib, all_mib);
        (about.f_files, about.f_favail) = (1000, free_files);
        about
    }

    #[test]
    fn a_disk_is_full_by_bytes_and_by_share() {
        for (free, all, files, kind) in [
            (0, 100_000, 10, Some("disk-full")),
            (50, 100_000, 10, Some("disk-full")),
            (400, 100_000, 10, Some("disk-nearly-full")),
            (4000, 100_000, 10, None),
            (4000, 100_000, 0, Some("disk-full")),
            (9, 64, 10, None),
            (0, 64, 10, Some("disk-full")),
            (0, 0, 0, None),
        ] {
            let found = disk("cachedir", Path::new("/x"), &about(free, all, files));
            assert_eq!(
                found.as_ref().map(|found| found.kind),
                kind,
                "{free} of {all}"
            );
            assert!(found.is_none_or(|found| !found.remedy.is_empty()));
        }
    }
}

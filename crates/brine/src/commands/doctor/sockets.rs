//! The directory of sockets and what is in it: modes, owners, leftovers, and who serves them.

use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use brine_bus::address::Endpoint;
use brine_node::master::acl_users;

use super::{Site, proc};
use crate::commands::findings::Finding;
use crate::commands::late;

pub(super) fn findings(site: &Site) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(folder) = &site.location.sock_dir else {
        if !site.is_running {
            findings.push(not_running(site, "no bus runs here"));
        }
        return findings;
    };
    if site.is_refused && site.status.is_none() {
        findings.push(not_permitted(site));
    }
    match fs::metadata(folder) {
        Ok(about) => directory(folder, &about, &mut findings),
        Err(error) => {
            let remedy = "start the master or minion, which makes it, or set sock_dir to the directory it uses";
            findings.push(
                Finding::error("no-sock-dir", folder.display()).says(error.to_string(), remedy),
            );
            return findings;
        }
    }
    let listening = proc::unix_listeners();
    let mut is_explained = false;
    let mut has_local = false;
    let mut is_salts = false;
    for (name, path) in sockets(site) {
        let about = match fs::symlink_metadata(&path) {
            Ok(about) => about,
            Err(error) => {
                if error.kind() == ErrorKind::NotFound {
                    findings.extend(missing(site, name, &path));
                }
                continue;
            }
        };
        if !about.file_type().is_socket() {
            let text = "this is not a socket, although a socket belongs here";
            is_explained = true;
            findings.push(
                Finding::error("not-a-socket", path.display())
                    .says(text, "move it away, and start the bus again"),
            );
            continue;
        }
        mode(site, name, &path, &about, &mut findings);
        let inodes: Vec<u64> = listening
            .iter()
            .filter(|one| one.at == path)
            .map(|one| one.inode)
            .collect();
        match inodes.len() {
            // The kernel still knows the bus's own by this name.
            _ if name == "publish" && site.is_left => {
                is_explained = true;
                findings.push(stale(site, name, &path));
            }
            0 if may_be_served(&path, &listening) => {}
            0 if may_be_salts(site) => is_salts = true,
            0 => {
                is_explained = true;
                findings.push(stale(site, name, &path));
                continue;
            }
            1 => {}
            _ => findings.push(served_twice(site, &path, &inodes)),
        }
        has_local |= name == "local";
    }
    if !site.is_running && !is_explained {
        let text = match is_salts {
            true => {
                "no bus runs here; these sockets are left of one of real Salt, which never removes them"
            }
            false => "no bus runs here",
        };
        findings.push(not_running(site, text));
    }
    if !site.is_silent || site.silent_attach.is_some() {
        findings.extend(stopped(site));
    }
    if site.is_silent {
        findings.push(silent(site));
    } else if site.is_running && !site.is_refused && has_local && site.status.is_none() {
        let text = "brine.sock does not answer this user";
        findings.push(Finding::note("no-status", folder.display()).says(
            text,
            "run this as root or as the bus's user, to see listeners, history and clocks",
        ));
    }
    findings
}

/// The bus's sockets by what they are for.
fn sockets(site: &Site) -> Vec<(&'static str, PathBuf)> {
    let path = |endpoint: &Endpoint| match endpoint {
        Endpoint::Path(path) => Some(path.clone()),
        Endpoint::Tcp(_) => None,
    };
    let local = site
        .location
        .local_address()
        .map(|address| address.path().to_owned());
    [
        ("publish", path(site.location.address.publish())),
        ("pull", path(site.location.address.pull())),
        ("local", local),
    ]
    .into_iter()
    .filter_map(|(name, path)| Some((name, path?)))
    .collect()
}

/// Whether sockets that nobody serves may be those of a real daemon that has ended: a bus of Brine that was killed
/// leaves its local socket, too.
fn may_be_salts(site: &Site) -> bool {
    let local = site.location.local_address();
    !site.is_running && local.is_some_and(|local| fs::symlink_metadata(local.path()).is_err())
}

fn not_running(site: &Site, text: &str) -> Finding {
    let place = site.location.address.publish();
    Finding::error("no-bus", place).says(
        text,
        "start salt-master or salt-minion, or name another directory by --sock-dir or -c",
    )
}

fn not_permitted(site: &Site) -> Finding {
    Finding::warning("no-permission", site.location.address.publish()).says(
        "this user may not use the bus: whether it runs, and how, cannot be seen",
        "run this as root or as the bus's user",
    )
}

/// The kernel accepts connections, but the server answers nothing.
fn silent(site: &Site) -> Finding {
    let seconds = late::ANSWER.as_secs();
    let local = site.location.local_address();
    let (kind, place, server, effect, program) = match (site.silent_attach, local) {
        (Some(pid), Some(local)) => (
            "attach-hung",
            local.path().display().to_string(),
            Some(pid),
            "; the bus itself is served by another process",
            "brine attach",
        ),
        _ => (
            "bus-hung",
            site.location.address.publish().to_string(),
            site.bus_pid,
            "",
            "it",
        ),
    };
    match server {
        Some(pid) if proc::is_stopped(pid) => Finding::error(kind, place).says(
            format!("{} is there, but is stopped (SIGSTOP, or a debugger) and answers nothing{effect}", proc::name(pid)),
            format!("kill -CONT {pid}, or restart {program}"),
        ),
        pid => Finding::error(kind, place).says(
            format!(
                "{} is there, but has not answered for {seconds} s: it is hung, or waits for its disk{effect}",
                pid.map_or_else(|| "a bus".to_owned(), proc::name)
            ),
            format!("look at its log and at the disk; restart {program} if it does not come back"),
        ),
    }
}

/// Real Salt's bus has no socket that answers; whether its process goes on, the kernel knows.
fn stopped(site: &Site) -> Option<Finding> {
    let pid = super::stopped_bus(&site.location)?;
    Some(
        Finding::error("bus-hung", site.location.address.publish()).says(
            format!(
                "{} serves the bus, but is stopped (SIGSTOP, or a debugger): no event gets through",
                proc::name(pid)
            ),
            format!("kill -CONT {pid}, or restart the service that it belongs to"),
        ),
    )
}

/// A socket that a running bus has made, and that is gone.
fn missing(site: &Site, name: &str, path: &Path) -> Option<Finding> {
    let what = match name {
        "pull" => "nobody can fire events",
        // Real Salt has none.
        "local" if site.is_ours() => {
            "history, status and exact reading of events are not available"
        }
        _ => return None,
    };
    (site.bus_pid.is_some()).then(|| {
        Finding::error("missing-socket", path.display()).says(
            format!("the bus runs, but this socket is gone: {what}"),
            "restart the master or minion, which makes it; look for what cleans the directory (systemd-tmpfiles, tmpreaper)",
        )
    })
}

fn stale(site: &Site, name: &str, path: &Path) -> Finding {
    let finding = Finding::error("stale-socket", path.display());
    match name {
        "publish" if site.is_left => finding.says(
            format!(
                "listeners find nobody: a brine attach --in-front was killed before it put back the socket of {}",
                site.server()
            ),
            "brine attach --restore puts it back, and so does the next start of brine attach",
        ),
        // Real Salt serves none.
        "local" if site.is_running && !site.is_ours() => finding.says(
            "stale socket: nobody listens on it; the brine attach that served it was killed",
            "start brine attach again, which replaces it; if none is to run here: brine attach --restore removes it",
        ),
        _ => finding.says(
            "stale socket: nobody listens on it; whoever served it was killed",
            "start the master or minion again, which replaces it; if none is to run here, remove the file",
        ),
    }
}

fn served_twice(site: &Site, path: &Path, inodes: &[u64]) -> Finding {
    let holders = proc::holders(inodes);
    let mut pids: Vec<i32> = holders.into_values().flatten().collect();
    pids.sort_unstable();
    pids.dedup();
    let others = pids.iter().filter(|pid| Some(**pid) != site.bus_pid);
    let others: Vec<String> = others.map(|pid| proc::name(*pid)).collect();
    Finding::error("two-buses", path.display()).says(
        format!(
            "two buses: {} serves it now, and {} still serves its old listeners",
            site.server(),
            others.join(", ")
        ),
        "end one of them; then restart the programs that listen, since some hear only the old bus",
    )
}

/// A path may be known to the kernel by another name, such as through a link or from before it was moved here.
fn may_be_served(path: &Path, listening: &[proc::Listening<PathBuf>]) -> bool {
    let real = fs::canonicalize(path).ok();
    let is_same =
        |one: &Path| one == path || (real.is_some() && fs::canonicalize(one).ok() == real);
    listening.iter().any(|one| is_same(&one.at))
        || !UnixStream::connect(path)
            .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn directory(folder: &Path, about: &Metadata, findings: &mut Vec<Finding>) {
    let mode = about.permissions().mode() & 0o7777;
    if !about.is_dir() {
        let text = "sock_dir is not a directory";
        findings.push(
            Finding::error("no-sock-dir", folder.display())
                .says(text, "move it away; the master makes the directory"),
        );
        return;
    }
    if mode & 0o022 != 0 && mode & 0o1000 == 0 {
        findings.push(Finding::error("open-sock-dir", folder.display()).says(
            format!("mode {mode:04o}: others may replace the sockets by their own"),
            format!("chmod 755 {}", folder.display()),
        ));
    }
    if mode & 0o700 != 0o700 {
        findings.push(Finding::error("closed-sock-dir", folder.display()).says(
            format!("mode {mode:04o}: its own user may not use it"),
            format!("chmod 755 {}", folder.display()),
        ));
    }
}

/// Whether the socket is that of an attach in front, which looks who connects: such a socket has the sticky bit, too.
fn is_in_front(site: &Site, about: &Metadata) -> bool {
    about.permissions().mode() & 0o1000 != 0 && (site.status.is_none() || site.is_in_front())
}

/// Salt's modes: pull 0600; publish 0600 or 0660, and 0666 only where the bus itself looks who connects.
fn mode(site: &Site, name: &str, path: &Path, about: &Metadata, findings: &mut Vec<Finding>) {
    let mode = about.permissions().mode() & 0o777;
    let has_readers = site
        .location
        .opts
        .as_ref()
        .is_some_and(|opts| !acl_users(opts).is_empty());
    let fix = |mode: &str| {
        format!(
            "chmod {mode} {}; at its start the bus sets it by itself",
            path.display()
        )
    };
    match name {
        "pull" if mode & 0o077 != 0 => {
            findings.push(Finding::error("open-socket", path.display()).says(
                format!("mode {mode:04o}: other users may fire any event"),
                fix("600"),
            ))
        }
        "publish" if mode & 0o007 != 0 && !has_readers && !is_in_front(site, about) => findings
            .push(Finding::error("open-socket", path.display()).says(
                format!(
                    "mode {mode:04o}: every user may read all events, with all that they contain"
                ),
                fix("660"),
            )),
        "publish" | "pull" | "local" if mode & 0o600 != 0o600 => {
            findings.push(Finding::error("closed-socket", path.display()).says(
                format!("mode {mode:04o}: its own user may not use it"),
                fix("600"),
            ))
        }
        _ => {}
    }
}

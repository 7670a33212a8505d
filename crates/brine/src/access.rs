//! Whether this user may use a file, directory or socket, checked before anything is done with it.
//!
//! The system says `Permission denied`, but not who owns a path. A command that needs a path checks here first, so
//! that every command refuses in the same words: which path, who owns it, who this is, and who may use it.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use brine_bus::address::Endpoint;
use brine_bus::client::Denied;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

/// What reading the files of a directory takes.
pub(crate) const READ: Access = Access::READ_OK.union(Access::EXEC_OK);
/// What making files in a directory takes.
pub(crate) const WRITE: Access = Access::WRITE_OK.union(Access::EXEC_OK);

/// Refuses, by the name of its option, a path that is closed to this user. One that does not exist is not refused.
pub(crate) fn require(option: &str, path: &Path, needed: Access) -> anyhow::Result<()> {
    match denied(path, needed) {
        Some(denied) => Err(anyhow!(denied)).context(option.to_owned()),
        None => Ok(()),
    }
}

/// Why this user may not connect to a socket; `None` if nothing is known against it.
pub(crate) fn closed(socket: &Endpoint) -> Option<Denied> {
    match socket {
        Endpoint::Path(path) => denied(path, Access::WRITE_OK),
        Endpoint::Tcp(_) => None,
    }
}

/// Why this user may not use a path; `None` if nothing is known against it.
pub(crate) fn denied(path: &Path, needed: Access) -> Option<Denied> {
    // A file in the place of a directory is another fault.
    let needed = match path.metadata() {
        Ok(about) if !about.is_dir() => needed.difference(Access::EXEC_OK),
        _ => needed,
    };
    // With the rights of the user that this acts as.
    match accessat(CWD, path, needed, AtFlags::EACCESS) {
        Err(Errno::ACCESS | Errno::PERM) => Denied::at(path),
        _ => None,
    }
}

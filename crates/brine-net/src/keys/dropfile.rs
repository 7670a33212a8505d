//! Requests a new shared key from a running master: `cachedir/.dfn`.
//!
//! Facts: `docs/protocol/network.md` §7.2.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use brine_wire::compat::{Compat, Series};

use super::{StoreError, file};

/// Writes a request, as `salt-key` does when a key is rejected or deleted.
///
/// # Errors
/// [`StoreError`].
pub fn request(cachedir: &Path, master_id: &str) -> Result<(), StoreError> {
    file::write(&path(cachedir), master_id.as_bytes(), 0o400)
}

/// Removes a request; returns whether there was one. A request with another mode or (except for 3006) for another
/// master's id is left alone.
///
/// # Errors
/// [`StoreError`].
pub fn take(cachedir: &Path, master_id: &str, compat: Compat) -> Result<bool, StoreError> {
    let path = path(cachedir);
    let Ok(about) = fs::symlink_metadata(&path) else {
        return Ok(false);
    };
    if !about.is_file() || about.permissions().mode() & 0o777 != 0o400 {
        return Ok(false);
    }
    let named = file::read(&path)?.is_some_and(|text| text.trim() == master_id);
    if !named && compat.series() != Series::S3006 {
        return Ok(false);
    }
    file::remove(&path)
}

fn path(cachedir: &Path) -> PathBuf {
    cachedir.join(".dfn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_only_by_its_master() {
        let root = tempfile::tempdir().unwrap();
        let [old, new]: [Compat; 2] = ["3006", "3008"].map(|series| series.parse().unwrap());
        assert!(!take(root.path(), "m_master", new).unwrap());
        request(root.path(), "m_master").unwrap();
        assert!(!take(root.path(), "other_master", new).unwrap());
        assert!(take(root.path(), "m_master", new).unwrap());
        assert!(!take(root.path(), "m_master", new).unwrap());
        request(root.path(), "whatever").unwrap();
        assert!(take(root.path(), "m_master", old).unwrap());
        fs::write(root.path().join(".dfn"), "m_master").unwrap();
        assert!(!take(root.path(), "m_master", new).unwrap());
    }
}

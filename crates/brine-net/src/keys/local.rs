//! The keys that authorise local clients (`salt`) to publish: `cachedir/.<user>_key`.
//!
//! Facts: `docs/protocol/network.md` §5, §12.

use std::path::{Path, PathBuf};

use brine_wire::network::MinionId;

use super::{StoreError, file};
use crate::crypto::crypticle::Key;

/// The path of a user's key; `None` if the name cannot be a file name.
#[must_use]
pub fn path(cachedir: &Path, user: &str) -> Option<PathBuf> {
    let user = user.replace('\\', "_"); // as Salt writes names of other systems
    MinionId::parse(&user).ok()?;
    Some(cachedir.join(format!(".{user}_key")))
}

/// The key of a user; created if it does not exist, and kept across restarts. `None` as for [`path`].
///
/// # Errors
/// [`StoreError`].
pub fn open(cachedir: &Path, user: &str) -> Result<Option<String>, StoreError> {
    let Some(path) = path(cachedir, user) else {
        return Ok(None);
    };
    file::private_folder(cachedir)?;
    if let Some(text) = file::read(&path)?
        && !text.trim().is_empty()
    {
        return Ok(Some(text.trim().to_owned()));
    }
    let key = Key::generate()?;
    file::write(&path, key.as_str().as_bytes(), 0o600)?;
    Ok(Some(key.as_str().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_key_is_made_once() {
        let root = tempfile::tempdir().unwrap();
        let key = open(root.path(), "root").unwrap().unwrap();
        assert_eq!(key.len(), 76);
        assert_eq!(
            open(root.path(), "root").unwrap().as_deref(),
            Some(&key[..])
        );
        assert!(root.path().join(".root_key").exists());
        assert_eq!(open(root.path(), "../x").unwrap(), None);
    }
}

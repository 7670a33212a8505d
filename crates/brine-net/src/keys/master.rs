//! The master's own keys: read in the forms of all releases, made if there are none.
//!
//! Facts: `docs/protocol/network.md` §5, §6.3.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brine_wire::network::algorithm::SigningAlgorithm;

use super::{StoreError, file};
use crate::crypto::rsa::PrivateKey;

/// How keys are made and opened.
#[derive(Debug, Clone)]
pub struct KeyOptions {
    /// The modulus of new keys, in bits.
    pub keysize: u32,
    /// The passphrase of the private key.
    pub key_pass: Option<String>,
}

impl Default for KeyOptions {
    fn default() -> Self {
        Self {
            keysize: 2048,
            key_pass: None,
        }
    }
}

/// The private key `<name>.pem` in a folder; made, with `<name>.pub`, if there is none. 3008 keeps
/// `master.pem` as a link to a file named for its id, which is followed.
///
/// # Errors
/// [`StoreError`].
pub fn open(folder: &Path, name: &str, options: &KeyOptions) -> Result<PrivateKey, StoreError> {
    file::private_folder(folder)?;
    let path = folder.join(format!("{name}.pem"));
    let wrong = |source| StoreError::Key {
        path: path.clone(),
        source,
    };
    if let Some(pem) = file::read(&path)? {
        return PrivateKey::from_pem(&pem, options.key_pass.as_deref()).map_err(wrong);
    }
    let key = PrivateKey::generate(options.keysize).map_err(wrong)?;
    let public = format!("{}\n", key.public().pem());
    file::write(
        &folder.join(format!("{name}.pub")),
        public.as_bytes(),
        0o644,
    )?;
    file::write(&path, key.to_pem()?.as_bytes(), 0o400)?;
    Ok(key)
}

/// The signature of the master's public key that minions with `verify_master_pubkey_sign` ask for.
#[derive(Debug, Clone)]
pub struct PubkeySignature {
    /// The name of the signing key's files.
    pub sign_key_name: String,
    /// The name of a file that holds the signature, made elsewhere
    /// (`master_use_pubkey_signature`); the signing key is not needed then.
    pub precomputed: Option<String>,
}

/// The signature as it travels: base64 with a line feed.
///
/// # Errors
/// [`StoreError`].
pub fn pubkey_signature(
    folder: &Path,
    master: &PrivateKey,
    wanted: &PubkeySignature,
    options: &KeyOptions,
) -> Result<Vec<u8>, StoreError> {
    if let Some(name) = &wanted.precomputed {
        let path = folder.join(name);
        let text = file::read(&path)?;
        let missing = || StoreError::file(&path, std::io::ErrorKind::NotFound.into());
        return Ok(text.ok_or_else(missing)?.into_bytes());
    }
    let signing = open(folder, &wanted.sign_key_name, options)?;
    let sig = signing.sign(
        SigningAlgorithm::default(),
        master.public().pem().as_bytes(),
    )?;
    Ok(format!("{}\n", STANDARD.encode(sig)).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_key_is_made_once_and_followed_through_links() {
        let root = tempfile::tempdir().unwrap();
        let options = KeyOptions::default();
        let made = open(root.path(), "master", &options).unwrap();
        let mode = fs::metadata(root.path().join("master.pem"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o400);
        let again = open(root.path(), "master", &options).unwrap();
        assert_eq!(again.public().pem(), made.public().pem());
        fs::rename(root.path().join("master.pem"), root.path().join("host.pem")).unwrap();
        symlink("host.pem", root.path().join("master.pem")).unwrap();
        let linked = open(root.path(), "master", &options).unwrap();
        assert_eq!(linked.public().pem(), made.public().pem());
    }

    #[test]
    fn a_file_that_is_no_key_is_not_written_over() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("master.pem"), "rubbish").unwrap();
        let refused = open(root.path(), "master", &KeyOptions::default());
        assert!(matches!(refused, Err(StoreError::Key { .. })));
        assert_eq!(
            fs::read(root.path().join("master.pem")).unwrap(),
            b"rubbish"
        );
    }
}

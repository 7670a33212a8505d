//! An authority of a test's own, certificates that it signs, and another authority that signs none of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::user::{NOBODY, can_switch};

/// Files in a directory. Servers that refuse to run as root, and so run as [`NOBODY`], can read them.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority that signed [`Certificates::certificate`].
    pub authority: PathBuf,
    /// One that did not.
    pub stranger: PathBuf,
    /// For `localhost` and 127.0.0.1.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// Makes them below a directory.
    ///
    /// # Panics
    /// When they cannot be made.
    #[must_use]
    pub fn make(directory: &Path) -> Self {
        let directory = directory.join("certificates");
        fs::create_dir_all(&directory).expect("a directory for certificates");
        open(directory.parent().expect("a directory above"));
        open(&directory);
        let (authority, stranger) = (issuer("authority"), issuer("stranger"));
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let params = CertificateParams::new(names).expect("names of a certificate");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            fs::write(&path, text).expect("a file for a certificate");
            let private = fs::Permissions::from_mode(0o600);
            if name.ends_with("key") {
                fs::set_permissions(&path, private).expect("permissions of a key");
            }
            if can_switch() {
                chown(&path, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
            }
            path
        };
        Self {
            authority: write("authority.crt", &authority.pem()),
            stranger: write("stranger.crt", &stranger.pem()),
            certificate: write("server.crt", &certificate.pem()),
            key: write("server.key", &key.serialize_pem()),
        }
    }
}

fn issuer(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("an authority")
}

fn open(directory: &Path) {
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(directory, open).expect("permissions of a directory");
}

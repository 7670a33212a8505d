//! The digest of a file, read in chunks.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use sha2::Digest;

/// The hexadecimal digest of a file by an algorithm such as `sha256`; `None` if the algorithm is unknown or the file
/// cannot be read.
pub(super) fn of_file(kind: &str, path: &Path) -> Option<String> {
    match kind {
        "md5" => digest::<md5::Md5>(path),
        "sha1" => digest::<sha1::Sha1>(path),
        "sha224" => digest::<sha2::Sha224>(path),
        "sha256" => digest::<sha2::Sha256>(path),
        "sha384" => digest::<sha2::Sha384>(path),
        "sha512" => digest::<sha2::Sha512>(path),
        _ => None,
    }
}

fn digest<D: Digest>(path: &Path) -> Option<String> {
    const PIECE: usize = 64 * 1024;
    let mut file = File::open(path).ok()?;
    let mut hasher = D::new();
    let mut buffer = vec![0; PIECE];
    loop {
        let read = file.read(&mut buffer).ok()?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        hasher.update(bytes);
    }
    Some(crate::functions::digest::to_hex(&hasher.finalize()))
}

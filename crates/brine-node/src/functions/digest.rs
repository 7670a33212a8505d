//! Digests by the names Salt gives them (`hash_type`).

use sha2::Digest;

/// The digest in hexadecimal; `None` for an unknown algorithm.
pub(crate) fn hex(kind: &str, bytes: &[u8]) -> Option<String> {
    Some(match kind {
        "md5" => to_hex(&md5::Md5::digest(bytes)),
        "sha1" => to_hex(&sha1::Sha1::digest(bytes)),
        "sha224" => to_hex(&sha2::Sha224::digest(bytes)),
        "sha256" => to_hex(&sha2::Sha256::digest(bytes)),
        "sha384" => to_hex(&sha2::Sha384::digest(bytes)),
        "sha512" => to_hex(&sha2::Sha512::digest(bytes)),
        _ => return None,
    })
}

pub(crate) fn to_hex(digest: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::new();
    for byte in digest {
        let _ = write!(text, "{byte:02x}"); // writing to a String cannot fail
    }
    text
}

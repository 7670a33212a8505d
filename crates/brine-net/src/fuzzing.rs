//! What must hold for any text that somebody calls a key, and for any bytes of a WebSocket: the bodies of fuzz targets.
//! Not part of the crate's interface.

use crate::crypto::rsa::PublicKey;
use crate::crypto::{FingerprintHash, fingerprint, pem};
pub use crate::ws::fuzz_websocket;

/// A text that is accepted as a public key is one block, and what we write of the key is read as the same key.
/// Bytes that do not begin as PEM are taken for what is inside it, so that a search reaches the C parser.
pub fn fuzz_public_key(bytes: &[u8]) {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if text.trim_start().starts_with('-') => text.to_owned(),
        _ => pem::encode("PUBLIC KEY", bytes),
    };
    let text = text.as_str();
    let Ok(key) = PublicKey::from_pem(text) else {
        return;
    };
    assert_eq!(text.matches("-----BEGIN").count(), 1);
    let without_space = |text: &str| text.replace(|c: char| c.is_ascii_whitespace(), "");
    assert_eq!(without_space(key.pem()), without_space(text));
    assert!(
        key.pem()
            .bytes()
            .all(|byte| byte == b'\n' || byte == b' ' || byte.is_ascii_graphic())
    );
    assert!((128..=1024).contains(&key.size()));
    let again = PublicKey::from_pem(key.pem());
    assert_eq!(again.as_ref().map(PublicKey::pem), Ok(key.pem()));
    let print = |key| fingerprint(key, FingerprintHash::Sha256);
    assert_eq!(again.as_ref().map(print), Ok(print(&key)));
    let _ = key.recover_x931(&vec![0xa5; key.size()]);
}

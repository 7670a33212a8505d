//! Compares passwords with the hashes in a file, in a time that does not depend on where they differ.
//!
//! Vectors: `htpasswd` of Apache 2.4, passlib 1.7.4, `openssl passwd`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq;

/// Whether two secrets are equal. Takes the same time for all of one length.
pub(crate) fn same(one: &[u8], other: &[u8]) -> bool {
    // Digests, so that lengths do not show either.
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}

/// Whether a digest in hexadecimal digits is a password's; `None` for an unknown kind.
pub(super) fn digest(kind: &str, password: &str, stored: &str) -> Option<bool> {
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let digest = match kind {
        "plaintext" => password.to_owned(),
        "md5" => hex(&Md5::digest(password)),
        "sha1" => hex(&Sha1::digest(password)),
        "sha256" => hex(&Sha256::digest(password)),
        "sha512" => hex(&Sha512::digest(password)),
        _ => return None,
    };
    Some(same(digest.as_bytes(), stored.as_bytes()))
}

/// Whether a hash of htpasswd's is a password's; `None` for an unknown form.
pub(super) fn htpasswd(password: &str, stored: &str) -> Option<bool> {
    if let Some(digest) = stored.strip_prefix("{SHA}") {
        let own = STANDARD.encode(Sha1::digest(password));
        return Some(same(own.as_bytes(), digest.as_bytes()));
    }
    if ["$2a$", "$2b$", "$2x$", "$2y$"]
        .iter()
        .any(|form| stored.starts_with(form))
    {
        return bcrypt::verify(password, stored).ok();
    }
    for form in ["$apr1$", "$1$"] {
        if let Some(rest) = stored.strip_prefix(form) {
            let salt = rest.split('$').next().unwrap_or_default();
            let own = md5_crypt(password.as_bytes(), salt.as_bytes(), form);
            return Some(same(own.as_bytes(), stored.as_bytes()));
        }
    }
    if stored.starts_with("$5$") {
        return Some(sha_crypt::sha256_check(password, stored).is_ok());
    }
    if stored.starts_with("$6$") {
        return Some(sha_crypt::sha512_check(password, stored).is_ok());
    }
    None
}

/// Poul-Henning Kamp's MD5 crypt; Apache's form of it differs in its mark alone.
fn md5_crypt(password: &[u8], salt: &[u8], mark: &str) -> String {
    const ROUNDS: usize = 1000;
    let salt = &salt[..salt.len().min(8)];
    let mut inner = Md5::new();
    inner.update(password);
    inner.update(salt);
    inner.update(password);
    let inner = inner.finalize();
    let mut hash = Md5::new();
    hash.update(password);
    hash.update(mark);
    hash.update(salt);
    for start in (0..password.len()).step_by(16) {
        hash.update(&inner[..(password.len() - start).min(16)]);
    }
    let mut bits = password.len();
    while bits > 0 {
        hash.update(match bits & 1 {
            1 => &[0][..],
            _ => &password[..1],
        });
        bits >>= 1;
    }
    let mut digest = hash.finalize();
    for round in 0..ROUNDS {
        let mut hash = Md5::new();
        let is_odd = round % 2 == 1;
        hash.update(if is_odd { password } else { &digest });
        if round % 3 != 0 {
            hash.update(salt);
        }
        if round % 7 != 0 {
            hash.update(password);
        }
        hash.update(if is_odd { &digest } else { password });
        digest = hash.finalize();
    }
    format!(
        "{mark}{}${}",
        String::from_utf8_lossy(salt),
        crypt64(&digest)
    )
}

/// The digest in crypt's order and alphabet.
fn crypt64(digest: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut text = String::new();
    let mut put = |mut bits: u32, digits: usize| {
        for _ in 0..digits {
            text.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    let byte = |at: usize| u32::from(digest[at]);
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        put(byte(a) << 16 | byte(b) << 8 | byte(c), 4);
    }
    put(byte(11), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn htpasswd_takes_the_forms_that_apache_and_passlib_write() {
        for stored in [
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "$apr1$lZL6V/ci$PR6QJXkRFUzdUuaYcwrI//",
            "$1$saltsalt$9xy1btjgzLYfb7hivXtC//",
            "$5$saltsalt$0IyaXrmV7.sGNS6tirgqHLqX/G.FBvgkYA.lpPdS5sA",
            "$6$saltsalt$TVLlQcbpFVof5W3Yz4DTP6gRstiNuHwwTt6GLc1E5n0U0aDehy0S5knV8wiOQSpT0Y77vwPZN.Pq.H91p5hVO1",
        ] {
            assert_eq!(htpasswd("secret", stored), Some(true), "{stored}");
            assert_eq!(htpasswd("secreT", stored), Some(false), "{stored}");
            assert_eq!(htpasswd("", stored), Some(false), "{stored}");
        }
        let long = "$apr1$12345678$wuC8APm5ZrF.ZSnUW3XWo/";
        assert_eq!(htpasswd("a longer password than sixteen", long), Some(true));
        assert_eq!(htpasswd("secret", "secret"), None);
        assert_eq!(htpasswd("secret", ""), None);
        let own = bcrypt::hash("secret", 4).unwrap();
        assert_eq!(htpasswd("secret", &own), Some(true));
        assert_eq!(htpasswd("other", &own), Some(false));
    }

    #[test]
    fn digests_are_hexadecimal() {
        assert_eq!(
            digest("md5", "secret", "5ebe2294ecd0e0f08eab7690d2a6ee69"),
            Some(true)
        );
        assert_eq!(digest("md5", "secret", "5EBE"), Some(false));
        assert_eq!(digest("plaintext", "secret", "secret"), Some(true));
        assert_eq!(digest("md4", "secret", "secret"), None);
    }
}

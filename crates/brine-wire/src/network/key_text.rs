//! Public keys as text: how they are compared and what their fingerprint is taken over.
//!
//! Facts: `docs/protocol/network.md` §4.2, §4.4.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// The longest text taken for a public key, in bytes: a modulus of 16,384 bits needs 2,900.
pub const MAX_PUBLIC_PEM_BYTES: usize = 4096;

/// A key's PEM as it goes over the wire and as keys are compared: without white space around it,
/// lines ended by line feeds alone.
#[must_use]
pub fn clean(pem: &str) -> String {
    pem.trim().replace("\r\n", "\n").replace('\r', "\n")
}

/// The bytes whose digest is the fingerprint: the lines between the PEM's header and footer with
/// their line ends.
#[must_use]
pub fn fingerprint_input(pem: &str) -> Vec<u8> {
    let pem = clean(pem);
    let lines: Vec<&str> = pem
        .split('\n')
        .filter(|line| !line.trim().is_empty())
        .collect();
    let inner = lines.get(1..lines.len().saturating_sub(1)).unwrap_or(&[]);
    let mut input = Vec::with_capacity(pem.len());
    for line in inner {
        input.extend_from_slice(line.as_bytes());
        input.push(b'\n');
    }
    input
}

/// A digest as people compare it: `2d:19:8d…`.
#[must_use]
pub fn colons(digest: &[u8]) -> String {
    let mut text = String::with_capacity(3 * digest.len());
    for byte in digest {
        if !text.is_empty() {
            text.push(':');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A digest in lower-case hexadecimal digits.
#[must_use]
pub fn hex(digest: &[u8]) -> String {
    colons(digest).replace(':', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_ends_and_white_space_make_no_other_key() {
        let key = "-----BEGIN PUBLIC KEY-----\nAAAA\nBB==\n-----END PUBLIC KEY-----";
        for same in [
            "\n-----BEGIN PUBLIC KEY-----\nAAAA\nBB==\n-----END PUBLIC KEY-----\n\n",
            "-----BEGIN PUBLIC KEY-----\r\nAAAA\r\nBB==\r\n-----END PUBLIC KEY-----\r\n",
        ] {
            assert_eq!(clean(same), key);
            assert_eq!(fingerprint_input(same), b"AAAA\nBB==\n");
        }
        assert_eq!(fingerprint_input(""), b"");
        assert_eq!(fingerprint_input("x"), b"");
    }

    #[test]
    fn digests_are_written_in_pairs() {
        assert_eq!(colons(&[0x2d, 0x01, 0xff]), "2d:01:ff");
        assert_eq!(hex(&[0x2d, 0x01, 0xff]), "2d01ff");
    }
}

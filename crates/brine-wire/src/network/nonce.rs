//! The nonce that ties a reply to its request.
//!
//! Facts: `docs/protocol/network.md` §3, §4.1.

use alloc::string::String;
use core::fmt::Write as _;

/// How long a nonce is, in bytes.
pub const BYTES: usize = 32;

/// Thirty-two ASCII characters, by custom the hexadecimal digits of a random UUID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; BYTES]);

impl Nonce {
    /// Reads one; `None` if it has another length or other characters, which no release sends.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let bytes: [u8; BYTES] = text.try_into().ok()?;
        bytes
            .iter()
            .all(u8::is_ascii_graphic)
            .then_some(Self(bytes))
    }

    /// The nonce made of 16 random bytes: the hexadecimal form of a version 4 UUID.
    #[must_use]
    pub fn from_random(mut random: [u8; 16]) -> Self {
        random[6] = random[6] & 0x0f | 0x40;
        random[8] = random[8] & 0x3f | 0x80;
        let mut text = String::with_capacity(BYTES);
        for byte in random {
            let _ = write!(text, "{byte:02x}");
        }
        Self::parse(text.as_bytes()).unwrap_or(Self([b'0'; BYTES]))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.0).unwrap_or_default() // ASCII by construction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_a_uuid_without_dashes() {
        let nonce = Nonce::from_random([0xff; 16]);
        assert_eq!(nonce.as_str(), "ffffffffffff4fffbfffffffffffffff");
        assert_eq!(Nonce::parse(nonce.as_str().as_bytes()), Some(nonce));
        for other in ["", "short", &"x".repeat(33), &"\n".repeat(32)] {
            assert_eq!(Nonce::parse(other.as_bytes()), None);
        }
    }
}

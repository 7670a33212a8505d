//! Cryptographic operations of the protocol; layouts and names are `brine_wire::network`'s.
//!
//! AWS-LC does the work: through `aws-lc-rs` what that offers, and for RSA, where Salt needs SHA-1
//! signatures and raw operations, through one small module of its own. Facts:
//! `docs/protocol/network.md` §4.

pub mod crypticle;
pub(crate) mod pem;
pub mod rsa;

use aws_lc_rs::{digest, rand};
use brine_wire::network::{MinionId, Nonce, key_text};
use md5::Digest as _;

use self::rsa::PublicKey;

/// The system has no random numbers to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system provides no random numbers")]
pub struct NoRandom;

/// Random bytes.
///
/// # Errors
/// [`NoRandom`].
pub fn random<const N: usize>() -> Result<[u8; N], NoRandom> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoRandom)?;
    Ok(bytes)
}

/// A new nonce.
///
/// # Errors
/// [`NoRandom`].
pub fn nonce() -> Result<Nonce, NoRandom> {
    Ok(Nonce::from_random(random()?))
}

/// SHA-256 in lower-case hexadecimal digits.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    key_text::hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// The topic of a minion's publishes (`zmq_filtering`).
#[must_use]
pub fn topic(id: &MinionId) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, id.as_str().as_bytes());
    key_text::hex(digest.as_ref())
}

/// Which digest fingerprints are made with (`hash_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FingerprintHash {
    /// The default.
    #[default]
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
    /// SHA-224.
    Sha224,
    /// SHA-1, from old configurations.
    Sha1,
    /// MD5, from older ones. Making another key for a fingerprint is still out of reach; making two keys of one is not.
    Md5,
}

impl FingerprintHash {
    /// What [`Self::parse`] takes, for people.
    pub const NAMES: &str = "sha256, sha384, sha512, sha224, sha1 or md5";

    /// The digest of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "sha256" => Self::Sha256,
            "sha384" => Self::Sha384,
            "sha512" => Self::Sha512,
            "sha224" => Self::Sha224,
            "sha1" => Self::Sha1,
            "md5" => Self::Md5,
            _ => return None,
        })
    }

    fn digest(self, bytes: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
            Self::Sha224 => &digest::SHA224,
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            // Not in AWS-LC's interface.
            Self::Md5 => return md5::Md5::digest(bytes).to_vec(),
        };
        digest::digest(algorithm, bytes).as_ref().to_vec()
    }
}

/// The digest that `salt-key -F` shows for the master's own key files, private ones too. Never for a text from
/// somebody else: which key it holds is not looked at.
#[must_use]
pub fn own_file_fingerprint(text: &str, hash: FingerprintHash) -> String {
    let input = key_text::fingerprint_input(text);
    key_text::colons(&hash.digest(&input))
}

/// The fingerprint of a public key, as `salt-key -F` shows it. It is taken of the key that is used, never of a text
/// that somebody sent.
#[must_use]
pub fn fingerprint(key: &PublicKey, hash: FingerprintHash) -> String {
    own_file_fingerprint(key.pem(), hash)
}

/// Whether two secrets are equal, in a time that does not depend on where they differ.
#[must_use]
pub fn same(one: &[u8], other: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(one, other).is_ok()
}

//! RSA as Salt uses it: OAEP, PKCS #1 v1.5 signatures with SHA-1 or SHA-224, X9.31.
//!
//! Everything unsafe is in `binding`; here keys are read, compared and used.
//!
//! Public keys come from strangers. They are taken only in the one form that Salt's libraries write, so that the
//! text that is stored, compared and fingerprinted cannot be another key's than the one AWS-LC uses.
//! Facts: `docs/protocol/network.md` §4.2, §4.3.

mod binding;

use std::ffi::{CString, c_int};
use std::fmt;

use aws_lc_rs::digest;
use aws_lc_sys as lc;
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::x931;
use zeroize::Zeroizing;

use self::binding::{Direction, Exponent, Rsa};
use super::pem;

/// The smallest modulus accepted, in bits.
pub const MIN_BITS: u32 = 1024;

/// The largest modulus accepted, in bits: a larger one costs a stranger little and us much.
pub const MAX_BITS: u32 = 8192;

/// The public exponent of every key that Salt makes.
pub const EXPONENT: u64 = 65537;

/// The label of a public key's PEM.
const PUBLIC: &str = "PUBLIC KEY";
/// Those of a private key's.
const PRIVATE: [&str; 3] = ["RSA PRIVATE KEY", "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"];

/// Why a text is not accepted as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// Not exactly one PEM block, not a key of the kind, or encrypted with another passphrase.
    #[error("not an RSA key in PEM, or the passphrase (key_pass) is wrong")]
    NotAKey,
    /// Too small or too large.
    #[error("expected an RSA key of {MIN_BITS} to {MAX_BITS} bits, found one of {bits}")]
    Size {
        /// Its size in bits.
        bits: u32,
    },
    /// The public exponent is not [`EXPONENT`].
    #[error("the RSA key's public exponent is not {EXPONENT}")]
    Exponent,
    /// The modulus is the square of a number, so that anyone can compute the private key.
    #[error("the RSA key's modulus is a square")]
    Square,
    /// A public key in another encoding than DER's only one, or for another algorithm such as PSS.
    #[error("the public key is not encoded as Salt encodes keys")]
    Encoding,
}

/// An operation with a key failed: the bytes were made for or by another key, or are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data was not made for or by this RSA key")]
pub struct RsaError;

/// A public key. Two are equal if they are the same key.
#[derive(Clone)]
pub struct PublicKey {
    rsa: std::sync::Arc<Rsa>,
    /// Written here, never taken over from outside.
    pem: String,
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.pem == other.pem
    }
}

impl Eq for PublicKey {}

/// A private key, and its public half.
pub struct PrivateKey {
    rsa: Rsa,
    public: PublicKey,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PublicKey")
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("PrivateKey([redacted])")
    }
}

impl PublicKey {
    /// Reads a PEM (SPKI): exactly one block that holds a key as Salt makes them. White space around it and line
    /// ends make no difference.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der = pem::decode(pem, PUBLIC).ok_or(KeyError::NotAKey)?;
        Self::from_rsa(
            Rsa::from_public_der(&der).ok_or(KeyError::NotAKey)?,
            Some(&der),
        )
    }

    /// The public key in `rsa`; `read` is what it was read from, if it came from outside.
    fn from_rsa(rsa: Rsa, read: Option<&[u8]>) -> Result<Self, KeyError> {
        check_public(&rsa)?;
        let der = rsa.public_der().ok_or(KeyError::NotAKey)?;
        if read.is_some_and(|read| *read != der) {
            return Err(KeyError::Encoding);
        }
        Ok(Self {
            pem: pem::encode(PUBLIC, &der),
            rsa: std::sync::Arc::new(rsa),
        })
    }

    /// Its PEM as it is stored and sent: without a line end behind it.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The bytes of its modulus, and of everything encrypted or signed.
    #[must_use]
    pub fn size(&self) -> usize {
        self.rsa.size()
    }

    /// Whether `signature` is that of `message`.
    #[must_use]
    pub fn verify(&self, algorithm: SigningAlgorithm, message: &[u8], signature: &[u8]) -> bool {
        let (nid, digest) = hashed(algorithm, message);
        self.rsa.verify(nid, digest.as_ref(), signature)
    }

    /// Encrypts with OAEP.
    ///
    /// # Errors
    /// [`RsaError`] when the message is too long for the key.
    pub fn encrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, RsaError> {
        self.rsa
            .oaep(algorithm, message, Direction::Encrypt)
            .ok_or(RsaError)
    }

    /// The message in an X9.31 signature; `None` if it is none of this key's.
    #[must_use]
    pub fn recover_x931(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let mut block = self.rsa.raw_operation(Exponent::Public, signature)?;
        if block.last()? & 0x0f != 0x0c {
            block = subtract(&self.rsa.modulus()?, &block);
        }
        x931::unpad(&block).map(<[u8]>::to_vec)
    }
}

impl PrivateKey {
    /// Makes a key. Takes a noticeable part of a second.
    ///
    /// # Errors
    /// [`KeyError::Size`] for a size out of bounds, [`KeyError::NotAKey`] if AWS-LC could not.
    pub fn generate(bits: u32) -> Result<Self, KeyError> {
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(KeyError::Size { bits });
        }
        let rsa = Rsa::generate(bits, EXPONENT).ok_or(KeyError::NotAKey)?;
        Self::from_rsa(rsa)
    }

    /// Reads a PEM: PKCS #1 or PKCS #8, encrypted or not.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, KeyError> {
        if !pem::is_one_block(pem, &PRIVATE) {
            return Err(KeyError::NotAKey);
        }
        let passphrase = CString::new(passphrase.unwrap_or_default());
        let passphrase = passphrase.map_err(|_| KeyError::NotAKey)?;
        let rsa = Rsa::from_private_pem(pem, &passphrase);
        Self::from_rsa(rsa.ok_or(KeyError::NotAKey)?)
    }

    fn from_rsa(rsa: Rsa) -> Result<Self, KeyError> {
        let der = rsa.public_der().ok_or(KeyError::NotAKey)?;
        let public =
            PublicKey::from_rsa(Rsa::from_public_der(&der).ok_or(KeyError::NotAKey)?, None)?;
        Ok(Self { rsa, public })
    }

    /// Its PEM (PKCS #1), to be kept in a file that nobody else may read.
    ///
    /// # Errors
    /// [`RsaError`] when AWS-LC cannot write it.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, RsaError> {
        self.rsa.private_pem().ok_or(RsaError)
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs a message with PKCS #1 v1.5.
    ///
    /// # Errors
    /// [`RsaError`] when AWS-LC fails, which it does for broken keys only.
    pub fn sign(&self, algorithm: SigningAlgorithm, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        let (nid, digest) = hashed(algorithm, message);
        self.rsa.sign(nid, digest.as_ref()).ok_or(RsaError)
    }

    /// Decrypts OAEP.
    ///
    /// # Errors
    /// [`RsaError`] when the message was encrypted for another key.
    pub fn decrypt(
        &self,
        algorithm: EncryptionAlgorithm,
        encrypted: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, RsaError> {
        let text = self.rsa.oaep(algorithm, encrypted, Direction::Decrypt);
        text.map(Zeroizing::new).ok_or(RsaError)
    }

    /// Signs a message as X9.31 without its hash: deterministic.
    ///
    /// # Errors
    /// [`RsaError`] when the message does not fit the key.
    pub fn sign_x931(&self, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        let block = x931::pad(message, self.rsa.size()).ok_or(RsaError)?;
        let power = self.rsa.raw_operation(Exponent::Private, &block);
        let power = power.ok_or(RsaError)?;
        let rest = subtract(&self.rsa.modulus().ok_or(RsaError)?, &power);
        Ok(power.min(rest)) // of equal length and big-endian: the smaller number
    }
}

/// Refuses what no Salt has ever made.
fn check_public(rsa: &Rsa) -> Result<(), KeyError> {
    let bits = rsa.bits();
    if !(MIN_BITS..=MAX_BITS).contains(&bits) {
        return Err(KeyError::Size { bits });
    }
    if !rsa.has_exponent(EXPONENT) {
        return Err(KeyError::Exponent);
    }
    let may_be_square = may_be_square(&rsa.modulus().ok_or(KeyError::NotAKey)?);
    if may_be_square && rsa.is_square().ok_or(KeyError::NotAKey)? {
        return Err(KeyError::Square);
    }
    Ok(())
}

/// Whether an odd number, big-endian, leaves remainders as squares do. One other number in 400 does, and only for those a
/// root is sought, which takes much longer.
fn may_be_square(number: &[u8]) -> bool {
    const PRIMES: [u64; 8] = [3, 5, 7, 11, 13, 17, 19, 23];
    const PRODUCT: u64 = 111_546_435;
    let is_8th = number.last().is_none_or(|last| last % 8 == 1);
    let remainder = (number.iter()).fold(0, |rest, byte| (rest << 8 | u64::from(*byte)) % PRODUCT);
    let fits = |prime: &u64| (0..*prime).any(|root| root * root % prime == remainder % prime);
    is_8th && PRIMES.iter().all(fits)
}

fn hashed(algorithm: SigningAlgorithm, message: &[u8]) -> (c_int, digest::Digest) {
    let (nid, algorithm) = match algorithm {
        SigningAlgorithm::Pkcs1v15Sha1 => (lc::NID_sha1, &digest::SHA1_FOR_LEGACY_USE_ONLY),
        SigningAlgorithm::Pkcs1v15Sha224 => (lc::NID_sha224, &digest::SHA224),
    };
    (nid, digest::digest(algorithm, message))
}

/// `larger − smaller` of two big-endian numbers of the same length.
fn subtract(larger: &[u8], smaller: &[u8]) -> Vec<u8> {
    let mut difference = vec![0; larger.len()];
    let mut borrow = false;
    for at in (0..larger.len()).rev() {
        let (part, under) = larger[at].overflowing_sub(smaller[at]);
        let (part, under_too) = part.overflowing_sub(borrow.into());
        difference[at] = part;
        borrow = under || under_too;
    }
    difference
}

#[cfg(test)]
mod tests;

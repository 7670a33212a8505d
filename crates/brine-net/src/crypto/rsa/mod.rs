//! RSA as Salt uses it: OAEP, PKCS #1 v1.5 signatures with SHA-1 or SHA-224, X9.31.
//!
//! A thin safe wrapper around AWS-LC, and one of the four modules of the project with `unsafe` (ARCHITECTURE.md lists
//! them). Why it is sound:
//!
//! * Every pointer that AWS-LC returns is checked for null and put at once into a type here that
//!   owns it and frees it when dropped (`Rsa`, `Pkey`, `Bio`, `Context`, `Number`,
//!   `Scratch`); none is copied out.
//! * Buffers are passed with their true length. Where AWS-LC writes without being given a length
//!   (`RSA_sign`, `i2d_RSA_PUBKEY`) the buffer has the size that it asks for beforehand, which is what it writes at
//!   most; the lengths it reports are used for `truncate` only, which can only shorten.
//! * A key is never changed after it was parsed or made. AWS-LC's documentation says that functions
//!   which do not change an `RSA` may be called on it from several threads; what they cache inside
//!   is under its own lock. So `Rsa` is `Send` and `Sync`.
//! * No callback is passed in. Errors stay in the thread's queue, which is emptied after each operation.
//!
//! Public keys come from strangers. They are taken only in the one form that Salt's libraries write, so that the
//! text that is stored, compared and fingerprinted cannot be another key's than the one AWS-LC uses.
//! Facts: `docs/protocol/network.md` §4.2, §4.3.
#![allow(unsafe_code, reason = "see the argument above")]

use std::ffi::{CString, c_int, c_void};
use std::fmt;
use std::marker::PhantomData;
use std::ptr;

use aws_lc_rs::digest;
use aws_lc_sys as lc;
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::x931;
use zeroize::Zeroizing;

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
        Self::from_rsa(Rsa::from_public_der(&der)?, Some(&der))
    }

    /// The public key in `rsa`; `read` is what it was read from, if it came from outside.
    fn from_rsa(rsa: Rsa, read: Option<&[u8]>) -> Result<Self, KeyError> {
        rsa.check_public()?;
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
        let digest = digest.as_ref();
        // SAFETY: both buffers are passed with their lengths; the key is alive and not changed.
        let fits = unsafe {
            lc::RSA_verify(
                nid,
                digest.as_ptr(),
                digest.len(),
                signature.as_ptr(),
                signature.len(),
                self.rsa.0,
            )
        };
        clear_errors();
        fits == 1
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
        self.rsa.oaep(algorithm, message, Direction::Encrypt)
    }

    /// The message in an X9.31 signature; `None` if it is none of this key's.
    #[must_use]
    pub fn recover_x931(&self, signature: &[u8]) -> Option<Vec<u8>> {
        let size = self.rsa.size();
        if signature.len() != size {
            return None;
        }
        let mut block = vec![0; size];
        let mut written = 0;
        // SAFETY: `block` has the length that is passed, and the input too.
        let done = unsafe {
            lc::RSA_verify_raw(
                self.rsa.0,
                &raw mut written,
                block.as_mut_ptr(),
                block.len(),
                signature.as_ptr(),
                signature.len(),
                lc::RSA_NO_PADDING,
            )
        };
        clear_errors();
        if done != 1 || written != size {
            return None;
        }
        if block[size - 1] & 0x0f != 0x0c {
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
        // SAFETY: makes an empty key, owned from here on.
        let rsa = Rsa::own(unsafe { lc::RSA_new() }).ok_or(KeyError::NotAKey)?;
        let exponent = Number::new().ok_or(KeyError::NotAKey)?;
        let wanted = c_int::try_from(bits).map_err(|_| KeyError::Size { bits })?;
        // SAFETY: both objects are alive; no callback.
        let made = unsafe {
            lc::BN_set_word(exponent.0, EXPONENT) == 1
                && lc::RSA_generate_key_ex(rsa.0, wanted, exponent.0, ptr::null_mut()) == 1
        };
        clear_errors();
        if !made {
            return Err(KeyError::NotAKey);
        }
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
        let bio = Bio::of(pem.as_bytes()).ok_or(KeyError::NotAKey)?;
        let passphrase = match passphrase {
            Some(text) => CString::new(text).map_err(|_| KeyError::NotAKey)?,
            None => CString::default(),
        };
        // SAFETY: `bio` and `passphrase` live until the end of the call; without a callback the
        // last argument is read as a text that ends with NUL.
        let pkey = unsafe {
            lc::PEM_read_bio_PrivateKey(
                bio.0,
                ptr::null_mut(),
                None,
                passphrase.as_ptr().cast_mut().cast::<c_void>(),
            )
        };
        let rsa = Pkey::own(pkey).and_then(|pkey| pkey.rsa());
        clear_errors();
        Self::from_rsa(rsa.ok_or(KeyError::NotAKey)?)
    }

    fn from_rsa(rsa: Rsa) -> Result<Self, KeyError> {
        let der = rsa.public_der().ok_or(KeyError::NotAKey)?;
        let public = PublicKey::from_rsa(Rsa::from_public_der(&der)?, None)?;
        Ok(Self { rsa, public })
    }

    /// Its PEM (PKCS #1), to be kept in a file that nobody else may read.
    ///
    /// # Errors
    /// [`RsaError`] when AWS-LC cannot write it.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, RsaError> {
        let bio = Bio::empty().ok_or(RsaError)?;
        // SAFETY: both are alive; no cipher, no passphrase, no callback.
        let written = unsafe {
            lc::PEM_write_bio_RSAPrivateKey(
                bio.0,
                self.rsa.0,
                ptr::null(),
                ptr::null(),
                0,
                None,
                ptr::null_mut(),
            )
        };
        clear_errors();
        (written == 1)
            .then(|| bio.text())
            .flatten()
            .map(Zeroizing::new)
            .ok_or(RsaError)
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
        let digest = digest.as_ref();
        let mut signature = vec![0; self.rsa.size()];
        let mut written = 0;
        // SAFETY: the digest is passed with its length, and the signature has `RSA_size` bytes,
        // which is all that is written.
        let done = unsafe {
            lc::RSA_sign(
                nid,
                digest.as_ptr(),
                digest.len(),
                signature.as_mut_ptr(),
                &raw mut written,
                self.rsa.0,
            )
        };
        clear_errors();
        if done != 1 {
            return Err(RsaError);
        }
        signature.truncate(written as usize);
        Ok(signature)
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
        let text = self.rsa.oaep(algorithm, encrypted, Direction::Decrypt)?;
        Ok(Zeroizing::new(text))
    }

    /// Signs a message as X9.31 without its hash: deterministic.
    ///
    /// # Errors
    /// [`RsaError`] when the message does not fit the key.
    pub fn sign_x931(&self, message: &[u8]) -> Result<Vec<u8>, RsaError> {
        let size = self.rsa.size();
        let block = x931::pad(message, size).ok_or(RsaError)?;
        let mut power = vec![0; size];
        let mut written = 0;
        // SAFETY: `power` has the length that is passed, and the input too.
        let done = unsafe {
            lc::RSA_sign_raw(
                self.rsa.0,
                &raw mut written,
                power.as_mut_ptr(),
                power.len(),
                block.as_ptr(),
                block.len(),
                lc::RSA_NO_PADDING,
            )
        };
        clear_errors();
        if done != 1 || written != size {
            return Err(RsaError);
        }
        let rest = subtract(&self.rsa.modulus().ok_or(RsaError)?, &power);
        Ok(power.min(rest)) // of equal length and big-endian: the smaller number
    }
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

/// What a failed operation left in this thread's queue would show up in somebody else's.
fn clear_errors() {
    // SAFETY: touches this thread's error queue only.
    unsafe { lc::ERR_clear_error() }
}

#[derive(Clone, Copy)]
enum Direction {
    Encrypt,
    Decrypt,
}

struct Rsa(*mut lc::RSA);

// SAFETY: the key is not changed after it was made; see the argument at the top.
unsafe impl Send for Rsa {}
// SAFETY: as above.
unsafe impl Sync for Rsa {}

impl Drop for Rsa {
    fn drop(&mut self) {
        // SAFETY: it is ours and was not freed.
        unsafe { lc::RSA_free(self.0) }
    }
}

impl Rsa {
    fn own(rsa: *mut lc::RSA) -> Option<Self> {
        (!rsa.is_null()).then_some(Self(rsa))
    }

    /// The key in an SPKI structure with nothing behind it. AWS-LC checks that the modulus is positive and odd.
    fn from_public_der(der: &[u8]) -> Result<Self, KeyError> {
        let length = der.len().try_into().map_err(|_| KeyError::NotAKey)?;
        let mut rest = der.as_ptr();
        // SAFETY: `der` is passed with its length and only read; `rest` ends up within it or at its end.
        let pkey = unsafe { lc::d2i_PUBKEY(ptr::null_mut(), &raw mut rest, length) };
        let rsa = Pkey::own(pkey).and_then(|pkey| pkey.rsa());
        clear_errors();
        rsa.filter(|_| rest == der.as_ptr_range().end)
            .ok_or(KeyError::NotAKey)
    }

    /// Its public half as SPKI.
    fn public_der(&self) -> Option<Vec<u8>> {
        // SAFETY: the key is alive; without a target only the length is computed.
        let length = unsafe { lc::i2d_RSA_PUBKEY(self.0, ptr::null_mut()) };
        let mut der = vec![0; usize::try_from(length).ok().filter(|length| *length > 0)?];
        let mut target = der.as_mut_ptr();
        // SAFETY: the buffer has the length that was computed for this key, which does not change.
        let written = unsafe { lc::i2d_RSA_PUBKEY(self.0, &raw mut target) };
        clear_errors();
        (written == length).then_some(der)
    }

    /// Refuses what no Salt has ever made.
    fn check_public(&self) -> Result<(), KeyError> {
        // SAFETY: the key is alive, and its numbers with it.
        let (bits, exponent_fits) = unsafe {
            let exponent = lc::RSA_get0_e(self.0);
            (
                lc::RSA_bits(self.0),
                lc::BN_is_word(exponent, EXPONENT) == 1,
            )
        };
        if !(MIN_BITS..=MAX_BITS).contains(&bits) {
            return Err(KeyError::Size { bits });
        }
        if !exponent_fits {
            return Err(KeyError::Exponent);
        }
        if self.is_square().ok_or(KeyError::NotAKey)? {
            return Err(KeyError::Square);
        }
        Ok(())
    }

    /// Whether the modulus is a square; `None` if memory is short.
    fn is_square(&self) -> Option<bool> {
        let (root, scratch) = (Number::new()?, Scratch::new()?);
        // SAFETY: the number belongs to the living key and is only read; root and scratch space are alive. AWS-LC
        // fails if there is no root.
        let found = unsafe { lc::BN_sqrt(root.0, lc::RSA_get0_n(self.0), scratch.0) };
        clear_errors();
        Some(found == 1)
    }

    fn size(&self) -> usize {
        // SAFETY: the key is alive.
        unsafe { lc::RSA_size(self.0) as usize }
    }

    fn modulus(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.size()];
        // SAFETY: the number belongs to the living key and is only read; the buffer has the length
        // that is passed.
        let done = unsafe {
            lc::BN_bn2bin_padded(bytes.as_mut_ptr(), bytes.len(), lc::RSA_get0_n(self.0))
        };
        (done == 1).then_some(bytes)
    }

    fn oaep(
        &self,
        algorithm: EncryptionAlgorithm,
        input: &[u8],
        direction: Direction,
    ) -> Result<Vec<u8>, RsaError> {
        let context = Context::of(self)?;
        let mut output = vec![0; self.size()];
        let mut length = output.len();
        // SAFETY: the context is alive and holds the key; digests are constants; `output` has the
        // length that is passed in `length`, to which no more is written.
        let done = unsafe {
            let digest = match algorithm {
                EncryptionAlgorithm::OaepSha1 => lc::EVP_sha1(),
                EncryptionAlgorithm::OaepSha224 => lc::EVP_sha224(),
            };
            let started = match direction {
                Direction::Encrypt => lc::EVP_PKEY_encrypt_init(context.0),
                Direction::Decrypt => lc::EVP_PKEY_decrypt_init(context.0),
            };
            let operation = match direction {
                Direction::Encrypt => lc::EVP_PKEY_encrypt,
                Direction::Decrypt => lc::EVP_PKEY_decrypt,
            };
            started == 1
                && lc::EVP_PKEY_CTX_set_rsa_padding(context.0, lc::RSA_PKCS1_OAEP_PADDING) == 1
                && lc::EVP_PKEY_CTX_set_rsa_oaep_md(context.0, digest) == 1
                && lc::EVP_PKEY_CTX_set_rsa_mgf1_md(context.0, digest) == 1
                && operation(
                    context.0,
                    output.as_mut_ptr(),
                    &raw mut length,
                    input.as_ptr(),
                    input.len(),
                ) == 1
        };
        clear_errors();
        if !done {
            return Err(RsaError);
        }
        output.truncate(length);
        Ok(output)
    }
}

struct Pkey(*mut lc::EVP_PKEY);

impl Drop for Pkey {
    fn drop(&mut self) {
        // SAFETY: it is ours and was not freed.
        unsafe { lc::EVP_PKEY_free(self.0) }
    }
}

impl Pkey {
    fn own(pkey: *mut lc::EVP_PKEY) -> Option<Self> {
        (!pkey.is_null()).then_some(Self(pkey))
    }

    /// The RSA key in it, with a reference of its own.
    fn rsa(&self) -> Option<Rsa> {
        // SAFETY: the key is alive; null if it holds another kind.
        Rsa::own(unsafe { lc::EVP_PKEY_get1_RSA(self.0) })
    }
}

struct Number(*mut lc::BIGNUM);

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: it is ours and was not freed.
        unsafe { lc::BN_free(self.0) }
    }
}

impl Number {
    fn new() -> Option<Self> {
        // SAFETY: makes a number, owned from here on.
        let number = unsafe { lc::BN_new() };
        (!number.is_null()).then_some(Self(number))
    }
}

/// Where AWS-LC keeps numbers while it computes.
struct Scratch(*mut lc::BN_CTX);

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: it is ours and was not freed.
        unsafe { lc::BN_CTX_free(self.0) }
    }
}

impl Scratch {
    fn new() -> Option<Self> {
        // SAFETY: makes an empty one, owned from here on.
        let scratch = unsafe { lc::BN_CTX_new() };
        (!scratch.is_null()).then_some(Self(scratch))
    }
}

struct Context(*mut lc::EVP_PKEY_CTX);

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: it is ours and was not freed.
        unsafe { lc::EVP_PKEY_CTX_free(self.0) }
    }
}

impl Context {
    fn of(rsa: &Rsa) -> Result<Self, RsaError> {
        // SAFETY: makes an empty holder, owned from here on.
        let pkey = Pkey::own(unsafe { lc::EVP_PKEY_new() }).ok_or(RsaError)?;
        // SAFETY: both are alive; the holder and then the context take references of their own.
        let context = unsafe {
            if lc::EVP_PKEY_set1_RSA(pkey.0, rsa.0) == 1 {
                lc::EVP_PKEY_CTX_new(pkey.0, ptr::null_mut())
            } else {
                ptr::null_mut()
            }
        };
        if context.is_null() {
            clear_errors();
            return Err(RsaError);
        }
        Ok(Self(context))
    }
}

/// A text to read from, which it borrows, or room to write to.
struct Bio<'a>(*mut lc::BIO, PhantomData<&'a [u8]>);

impl Drop for Bio<'_> {
    fn drop(&mut self) {
        // SAFETY: it is ours and was not freed.
        unsafe { lc::BIO_free(self.0) };
    }
}

impl<'a> Bio<'a> {
    fn of(text: &'a [u8]) -> Option<Self> {
        let length = text.len().try_into().ok()?;
        // SAFETY: the text is passed with its length and only read.
        let bio = unsafe { lc::BIO_new_mem_buf(text.as_ptr().cast::<c_void>(), length) };
        (!bio.is_null()).then_some(Self(bio, PhantomData))
    }

    fn empty() -> Option<Self> {
        // SAFETY: the method is a constant.
        let bio = unsafe { lc::BIO_new(lc::BIO_s_mem()) };
        (!bio.is_null()).then_some(Self(bio, PhantomData))
    }

    fn text(&self) -> Option<String> {
        let (mut start, mut length) = (ptr::null(), 0);
        // SAFETY: the two targets are alive.
        let done = unsafe { lc::BIO_mem_contents(self.0, &raw mut start, &raw mut length) };
        if done != 1 || start.is_null() {
            return None;
        }
        // SAFETY: the memory belongs to the living `self`, has `length` bytes and is copied here.
        let bytes = unsafe { std::slice::from_raw_parts(start, length) };
        String::from_utf8(bytes.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests;

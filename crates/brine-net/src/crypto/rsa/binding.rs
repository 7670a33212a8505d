//! The calls to AWS-LC, behind types that own what it returns.
//!
//! One of the four modules of the project with `unsafe` (ARCHITECTURE.md lists them). Why it is sound:
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
#![allow(unsafe_code, reason = "see the argument above")]

use std::ffi::{CStr, c_int, c_void};
use std::marker::PhantomData;
use std::ptr;

use aws_lc_sys as lc;
use brine_wire::network::algorithm::EncryptionAlgorithm;
use zeroize::Zeroizing;

/// A key, public or private.
pub(super) struct Rsa(*mut lc::RSA);

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

    /// Makes a key.
    pub(super) fn generate(bits: u32, exponent: u64) -> Option<Self> {
        // SAFETY: makes an empty key, owned from here on.
        let rsa = Self::own(unsafe { lc::RSA_new() })?;
        let number = Number::new()?;
        let bits = c_int::try_from(bits).ok()?;
        // SAFETY: both objects are alive; no callback.
        let made = unsafe {
            lc::BN_set_word(number.0, exponent) == 1
                && lc::RSA_generate_key_ex(rsa.0, bits, number.0, ptr::null_mut()) == 1
        };
        clear_errors();
        made.then_some(rsa)
    }

    /// The private key in a PEM, PKCS #1 or PKCS #8; an encrypted one with its passphrase.
    pub(super) fn from_private_pem(pem: &str, passphrase: &CStr) -> Option<Self> {
        let bio = Bio::of(pem.as_bytes())?;
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
        rsa
    }

    /// The private key as PEM (PKCS #1).
    pub(super) fn private_pem(&self) -> Option<Zeroizing<String>> {
        let bio = Bio::empty()?;
        // SAFETY: both are alive; no cipher, no passphrase, no callback.
        let written = unsafe {
            lc::PEM_write_bio_RSAPrivateKey(
                bio.0,
                self.0,
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
    }

    /// Signs a digest with PKCS #1 v1.5; `nid` is AWS-LC's number of its hash.
    pub(super) fn sign(&self, nid: c_int, digest: &[u8]) -> Option<Vec<u8>> {
        let mut signature = vec![0; self.size()];
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
                self.0,
            )
        };
        clear_errors();
        signature.truncate(written as usize);
        (done == 1).then_some(signature)
    }

    /// Whether `signature` is that of a digest, with PKCS #1 v1.5.
    pub(super) fn verify(&self, nid: c_int, digest: &[u8], signature: &[u8]) -> bool {
        // SAFETY: both buffers are passed with their lengths; the key is alive and not changed.
        let fits = unsafe {
            lc::RSA_verify(
                nid,
                digest.as_ptr(),
                digest.len(),
                signature.as_ptr(),
                signature.len(),
                self.0,
            )
        };
        clear_errors();
        fits == 1
    }

    /// A block of [`Self::size`] bytes to the power of an exponent of the key; `None` for another size.
    pub(super) fn raw_operation(&self, exponent: Exponent, block: &[u8]) -> Option<Vec<u8>> {
        let size = self.size();
        if block.len() != size {
            return None;
        }
        let mut power = vec![0; size];
        let mut written = 0;
        let operation = match exponent {
            Exponent::Public => lc::RSA_verify_raw,
            Exponent::Private => lc::RSA_sign_raw,
        };
        // SAFETY: `power` has the length that is passed, and the input too.
        let done = unsafe {
            operation(
                self.0,
                &raw mut written,
                power.as_mut_ptr(),
                power.len(),
                block.as_ptr(),
                block.len(),
                lc::RSA_NO_PADDING,
            )
        };
        clear_errors();
        (done == 1 && written == size).then_some(power)
    }

    /// The key in an SPKI structure with nothing behind it. AWS-LC checks that the modulus is positive and odd.
    pub(super) fn from_public_der(der: &[u8]) -> Option<Self> {
        let length = der.len().try_into().ok()?;
        let mut rest = der.as_ptr();
        // SAFETY: `der` is passed with its length and only read; `rest` ends up within it or at its end.
        let pkey = unsafe { lc::d2i_PUBKEY(ptr::null_mut(), &raw mut rest, length) };
        let rsa = Pkey::own(pkey).and_then(|pkey| pkey.rsa());
        clear_errors();
        rsa.filter(|_| rest == der.as_ptr_range().end)
    }

    /// Its public half as SPKI.
    pub(super) fn public_der(&self) -> Option<Vec<u8>> {
        // SAFETY: the key is alive; without a target only the length is computed.
        let length = unsafe { lc::i2d_RSA_PUBKEY(self.0, ptr::null_mut()) };
        let mut der = vec![0; usize::try_from(length).ok().filter(|length| *length > 0)?];
        let mut target = der.as_mut_ptr();
        // SAFETY: the buffer has the length that was computed for this key, which does not change.
        let written = unsafe { lc::i2d_RSA_PUBKEY(self.0, &raw mut target) };
        clear_errors();
        (written == length).then_some(der)
    }

    /// The size of its modulus, in bits.
    pub(super) fn bits(&self) -> u32 {
        // SAFETY: the key is alive.
        unsafe { lc::RSA_bits(self.0) }
    }

    /// Whether this is its public exponent.
    pub(super) fn has_exponent(&self, exponent: u64) -> bool {
        // SAFETY: the key is alive, and its numbers with it.
        unsafe { lc::BN_is_word(lc::RSA_get0_e(self.0), exponent) == 1 }
    }

    /// Whether the modulus is a square; `None` if memory is short.
    pub(super) fn is_square(&self) -> Option<bool> {
        let (root, scratch) = (Number::new()?, Scratch::new()?);
        // SAFETY: the number belongs to the living key and is only read; root and scratch space are alive. AWS-LC
        // fails if there is no root.
        let found = unsafe { lc::BN_sqrt(root.0, lc::RSA_get0_n(self.0), scratch.0) };
        clear_errors();
        Some(found == 1)
    }

    pub(super) fn size(&self) -> usize {
        // SAFETY: the key is alive.
        unsafe { lc::RSA_size(self.0) as usize }
    }

    pub(super) fn modulus(&self) -> Option<Vec<u8>> {
        let mut bytes = vec![0; self.size()];
        // SAFETY: the number belongs to the living key and is only read; the buffer has the length
        // that is passed.
        let done = unsafe {
            lc::BN_bn2bin_padded(bytes.as_mut_ptr(), bytes.len(), lc::RSA_get0_n(self.0))
        };
        (done == 1).then_some(bytes)
    }

    pub(super) fn oaep(
        &self,
        algorithm: EncryptionAlgorithm,
        input: &[u8],
        direction: Direction,
    ) -> Option<Vec<u8>> {
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
            return None;
        }
        output.truncate(length);
        Some(output)
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
    fn of(rsa: &Rsa) -> Option<Self> {
        // SAFETY: makes an empty holder, owned from here on.
        let pkey = Pkey::own(unsafe { lc::EVP_PKEY_new() })?;
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
            return None;
        }
        Some(Self(context))
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

/// An exponent of a key.
#[derive(Clone, Copy)]
pub(super) enum Exponent {
    Public,
    Private,
}

/// Which of OAEP's two operations.
#[derive(Clone, Copy)]
pub(super) enum Direction {
    Encrypt,
    Decrypt,
}

/// What a failed operation left in this thread's queue would show up in somebody else's.
fn clear_errors() {
    // SAFETY: touches this thread's error queue only.
    unsafe { lc::ERR_clear_error() }
}

//! Sealing and opening Crypticles: AES-192-CBC under HMAC-SHA256.
//!
//! The HMAC is checked, in constant time, before a byte is decrypted. The layout is
//! `brine_wire::network::crypticle`'s. Facts: `docs/protocol/network.md` §4.1.

use std::fmt;

use aws_lc_rs::cipher::{
    AES_192, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brine_wire::Value;
use brine_wire::network::Nonce;
use brine_wire::network::crypticle::{
    self as layout, AES_KEY_BYTES, HMAC_KEY_BYTES, IV_BYTES, ReadError,
};
use zeroize::Zeroizing;

use super::{NoRandom, random};

const KEY_BYTES: usize = AES_KEY_BYTES + HMAC_KEY_BYTES;

/// A key string and what it stands for: a cipher's key and an HMAC's.
pub struct Key {
    text: Zeroizing<String>,
    encrypting: EncryptingKey,
    decrypting: DecryptingKey,
    hmac: hmac::Key,
}

impl fmt::Debug for Key {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Key([redacted])")
    }
}

/// The text is no key string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a key of {KEY_BYTES} bytes in base64")]
pub struct KeyError;

/// Why a message cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It was not sealed with this key. Also what any text in clear is.
    #[error("not encrypted with the current key")]
    NotAuthentic,
    /// It was, but its content is not what was expected.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn generate() -> Result<Self, NoRandom> {
        let bytes = Zeroizing::new(random::<KEY_BYTES>()?);
        let text = Zeroizing::new(STANDARD.encode(&bytes[..]));
        Self::parse(&text).map_err(|KeyError| NoRandom)
    }

    /// The key of these two halves: the cipher's, and the HMAC's.
    pub(crate) fn of(aes: &[u8; AES_KEY_BYTES], mac: &[u8; HMAC_KEY_BYTES]) -> Self {
        let bytes = Zeroizing::new([&aes[..], mac].concat());
        let text = Zeroizing::new(STANDARD.encode(&bytes[..]));
        Self::parse(&text).expect("the halves are as long as a key's")
    }

    /// The cipher's key.
    pub(crate) fn first_half(&self) -> Zeroizing<[u8; AES_KEY_BYTES]> {
        let bytes = Zeroizing::new(STANDARD.decode(&*self.text).unwrap_or_default());
        let first = bytes.first_chunk().expect("the text is a key's");
        Zeroizing::new(*first)
    }

    /// Reads a key string.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| KeyError)?);
        if bytes.len() != KEY_BYTES {
            return Err(KeyError);
        }
        let (aes, mac) = bytes.split_at(AES_KEY_BYTES);
        let cipher = || UnboundCipherKey::new(&AES_192, aes);
        Ok(Self {
            text: Zeroizing::new(text.to_owned()),
            encrypting: cipher()
                .and_then(EncryptingKey::cbc)
                .map_err(|_| KeyError)?,
            decrypting: cipher()
                .and_then(DecryptingKey::cbc)
                .map_err(|_| KeyError)?,
            hmac: hmac::Key::new(hmac::HMAC_SHA256, mac),
        })
    }

    /// The key string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Seals an object. Replies to requests with a nonce carry it.
    ///
    /// # Errors
    /// [`NoRandom`].
    pub fn seal(&self, object: &Value, nonce: Option<&Nonce>) -> Result<Vec<u8>, NoRandom> {
        Ok(self.seal_with_iv(object, nonce, random()?))
    }

    fn seal_with_iv(&self, object: &Value, nonce: Option<&Nonce>, iv: [u8; IV_BYTES]) -> Vec<u8> {
        let mut text = layout::plaintext(object, nonce);
        layout::pad(&mut text);
        self.encrypting
            .less_safe_encrypt(&mut text, EncryptionContext::Iv128(FixedLength::from(iv)))
            .expect("the text is whole blocks and the vector is one");
        let mut message = Vec::with_capacity(IV_BYTES + text.len() + layout::MAC_BYTES);
        message.extend_from_slice(&iv);
        message.extend_from_slice(&text);
        let mac = hmac::sign(&self.hmac, &message);
        message.extend_from_slice(mac.as_ref());
        message
    }

    /// Opens a message. With a nonce it must be the reply to that request.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(&self, message: &[u8], nonce: Option<&Nonce>) -> Result<Value, OpenError> {
        let parts = layout::split(message).ok_or(OpenError::NotAuthentic)?;
        hmac::verify(&self.hmac, parts.signed, parts.mac).map_err(|_| OpenError::NotAuthentic)?;
        let mut text = Zeroizing::new(parts.encrypted.to_vec());
        let iv = DecryptionContext::Iv128(FixedLength::from(*parts.iv));
        self.decrypting
            .decrypt(&mut text, iv)
            .map_err(|_| OpenError::NotAuthentic)?;
        let text = layout::unpad(&text).ok_or(OpenError::NotAuthentic)?;
        Ok(layout::read(text, nonce)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_are_56_bytes() {
        for text in ["", "AAAA", "not base64!", &STANDARD.encode([0; 57])] {
            assert!(Key::parse(text).is_err());
        }
        let key = Key::generate().unwrap();
        assert_eq!(key.as_str().len(), 76);
        assert_eq!(format!("{key:?}"), "Key([redacted])");
    }

    #[test]
    fn a_vector_gives_the_recorded_bytes() {
        let vectors: serde_json::Value = serde_json::from_str(include_str!(
            "../../../brine-wire/tests/vectors/network.json"
        ))
        .unwrap();
        let rows = vectors["crypticle"].as_array().unwrap();
        assert_eq!(rows.len(), 17);
        for row in rows {
            let hex = |name: &str| {
                let hex = row[name].as_str().unwrap();
                (0..hex.len())
                    .step_by(2)
                    .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
                    .collect::<Vec<u8>>()
            };
            let nonce = row["nonce"]
                .as_str()
                .and_then(|nonce| Nonce::parse(nonce.as_bytes()));
            let key = Key::parse(row["key_string"].as_str().unwrap()).unwrap();
            let object = key.open(&hex("ciphertext"), nonce.as_ref()).unwrap();
            let iv = hex("iv").try_into().unwrap();
            assert_eq!(
                key.seal_with_iv(&object, nonce.as_ref(), iv),
                hex("ciphertext"),
                "{}",
                row["note"]
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_sealed_is_opened_and_no_bit_may_change(text in ".{0,80}", at in any::<prop::sample::Index>(), bit in 0..8) {
            let key = Key::generate().unwrap();
            let object = Value::Str(text);
            let mut message = key.seal(&object, None).unwrap();
            prop_assert_eq!(key.open(&message, None), Ok(object));
            let at = at.index(message.len());
            message[at] ^= 1_u8 << bit;
            prop_assert_eq!(key.open(&message, None), Err(OpenError::NotAuthentic));
            prop_assert_eq!(key.open(&message[..at], None), Err(OpenError::NotAuthentic));
        }
    }
}

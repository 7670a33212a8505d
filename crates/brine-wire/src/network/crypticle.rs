//! The layout of a Crypticle: what is encrypted, and where the parts of the ciphertext are.
//!
//! Layout only; `brine-net` has the cipher and the HMAC, and must check the HMAC over [`Parts::signed`] before it
//! decrypts anything. Facts: `docs/protocol/network.md` §4.1.

use alloc::vec::Vec;

use super::nonce::{self, Nonce};
use super::tcp::{self, FrameError};
use crate::msgpack::{self, DecodeError};
use crate::value::{Map, Value};

/// The bytes of the initialization vector.
pub const IV_BYTES: usize = 16;
/// The bytes of the HMAC-SHA256 at the end.
pub const MAC_BYTES: usize = 32;
/// The bytes of the AES-192 key, the first part of a key string.
pub const AES_KEY_BYTES: usize = 24;
/// The bytes of the HMAC key, the second part of a key string.
pub const HMAC_KEY_BYTES: usize = 32;
/// The most values in a decrypted message: some 70 bytes each when decoded. A job's return may well have 100,000.
pub const MAX_VALUES: usize = 1 << 20;
const BLOCK_BYTES: usize = 16;
const PREFIX: &[u8] = b"pickle::";

/// The parts of a message: `IV ‖ encrypted ‖ HMAC`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts<'a> {
    /// What the HMAC is taken over: IV and ciphertext.
    pub signed: &'a [u8],
    /// The initialization vector.
    pub iv: &'a [u8; IV_BYTES],
    /// The ciphertext, a multiple of the cipher's block.
    pub encrypted: &'a [u8],
    /// The HMAC.
    pub mac: &'a [u8],
}

/// The parts of a message; `None` if it is too short or no multiple of a block, which counts as a
/// wrong HMAC.
#[must_use]
pub fn split(message: &[u8]) -> Option<Parts<'_>> {
    let (signed, mac) = message.split_at_checked(message.len().checked_sub(MAC_BYTES)?)?;
    let (iv, encrypted) = signed.split_first_chunk()?;
    let whole_blocks = !encrypted.is_empty() && encrypted.len() % BLOCK_BYTES == 0;
    whole_blocks.then_some(Parts {
        signed,
        iv,
        encrypted,
        mac,
    })
}

/// What is encrypted for an object: replies to requests with a nonce carry it in front.
#[must_use]
pub fn plaintext(object: &Value, nonce: Option<&Nonce>) -> Vec<u8> {
    let mut text = Vec::with_capacity(256);
    text.extend_from_slice(PREFIX);
    if let Some(nonce) = nonce {
        text.extend_from_slice(nonce.as_str().as_bytes());
    }
    msgpack::encode_network(object, &mut text);
    text
}

/// Fills the last block as in PKCS #7.
pub fn pad(text: &mut Vec<u8>) {
    let fill = BLOCK_BYTES - text.len() % BLOCK_BYTES;
    #[allow(clippy::cast_possible_truncation)] // at most 16
    text.resize(text.len() + fill, fill as u8);
}

/// The text without its fill; `None` if the last byte is no length of a fill.
#[must_use]
pub fn unpad(text: &[u8]) -> Option<&[u8]> {
    let fill = usize::from(*text.last()?);
    if !(1..=BLOCK_BYTES).contains(&fill) {
        return None;
    }
    text.get(..text.len().checked_sub(fill)?)
}

/// Why decrypted bytes are not the requested object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The reply is to another request.
    #[error("the reply does not begin with the nonce of the request")]
    OtherNonce,
    /// It would take far more memory than it has bytes.
    #[error("the decrypted message has more than {MAX_VALUES} values")]
    TooManyValues,
    /// What follows the prefix is not one msgpack value.
    #[error("invalid msgpack in the decrypted message: {0}")]
    NotMsgpack(#[from] DecodeError),
}

/// The object in a decrypted, unpadded text. A text without the prefix is an empty map, as in Salt.
///
/// # Errors
/// [`ReadError`].
pub fn read(text: &[u8], nonce: Option<&Nonce>) -> Result<Value, ReadError> {
    let Some(mut rest) = text.strip_prefix(PREFIX) else {
        return Ok(Value::Map(Map::new()));
    };
    if let Some(nonce) = nonce {
        let (found, object) = rest
            .split_at_checked(nonce::BYTES)
            .ok_or(ReadError::OtherNonce)?;
        if found != nonce.as_str().as_bytes() {
            return Err(ReadError::OtherNonce);
        }
        rest = object;
    }
    // Each value has a byte at least, so that nearly all messages need no counting.
    if rest.len() > MAX_VALUES && !is_within_limits(rest) {
        return Err(ReadError::TooManyValues);
    }
    Ok(msgpack::decode_network(rest)?)
}

/// Whether a message has no more than [`MAX_VALUES`] values. One that is not whole is left to the decoder; one that is
/// too deep has not been counted to its end.
fn is_within_limits(message: &[u8]) -> bool {
    let mut counter = tcp::Decoder::of_value(message.len(), MAX_VALUES);
    !matches!(
        counter.next(message),
        Err(FrameError::TooManyValues | FrameError::TooDeep)
    )
}

/// The last `serial` accepted under one key: publishes must count upwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LastSerial(i128);

impl LastSerial {
    /// Takes `serial` out of a message. `false` if there is one that is not greater than the last:
    /// the message is to be ignored as a whole.
    #[must_use]
    pub fn accept(&mut self, message: &mut Map) -> bool {
        match message.remove("serial") {
            None => true,
            Some(Value::Int(serial)) if serial > self.0 => {
                self.0 = serial;
                true
            }
            Some(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_have_a_vector_whole_blocks_and_a_mac() {
        assert_eq!(split(&[0; 63]), None);
        assert_eq!(split(&[0; 48]), None);
        assert_eq!(split(&[0; 65]), None);
        let parts = split(&[7; 80]).unwrap();
        assert_eq!(
            (parts.signed.len(), parts.encrypted.len(), parts.mac.len()),
            (48, 32, 32)
        );
    }

    #[test]
    fn a_publish_must_count_upwards_and_loses_its_serial() {
        let with = |serial: i64| -> Map { [("serial", serial)].into_iter().collect() };
        let mut last = LastSerial::default();
        assert!(last.accept(&mut with(1)) && last.accept(&mut with(5)));
        assert!(!last.accept(&mut with(5)) && !last.accept(&mut with(2)));
        assert!(!LastSerial::default().accept(&mut with(0)));
        assert!(last.accept(&mut Map::new()));
        let mut message = with(9);
        assert!(last.accept(&mut message) && message.is_empty());
        assert!(!last.accept(&mut [("serial", "10")].into_iter().collect()));
    }

    #[test]
    fn a_reply_to_another_request_is_detected() {
        let (ours, other) = (Nonce::from_random([1; 16]), Nonce::from_random([2; 16]));
        let text = plaintext(&Value::Nil, Some(&ours));
        assert_eq!(read(&text, Some(&ours)), Ok(Value::Nil));
        assert_eq!(read(&text, Some(&other)), Err(ReadError::OtherNonce));
        assert_eq!(
            read(b"pickle::short", Some(&other)),
            Err(ReadError::OtherNonce)
        );
        assert!(matches!(read(&text, None), Err(ReadError::NotMsgpack(_))));
        assert_eq!(read(b"other", Some(&ours)), Ok(Value::Map(Map::new())));
    }

    #[test]
    fn a_message_of_very_many_values_is_refused_before_it_is_decoded() {
        let message = |values: u32| {
            let array = [&[0xdd][..], &values.to_be_bytes()].concat();
            let mut text = [PREFIX, b"\x81\xa1k", &array].concat();
            text.resize(text.len() + values as usize, 0xc0);
            text
        };
        assert_eq!(read(&message(1 << 21), None), Err(ReadError::TooManyValues));
        let mut array = [PREFIX, b"\xdd\0\x20\0\0"].concat();
        array.resize(array.len() + (1 << 21), 0xc0);
        assert_eq!(read(&array, None), Err(ReadError::TooManyValues));
        // However deep something before them is.
        for depth in [65, 255, 256, 1000] {
            let deep = [0x91].repeat(depth);
            let deep = [PREFIX, b"\x92", &deep, b"\xc0", &array[PREFIX.len()..]].concat();
            assert_eq!(read(&deep, None), Err(ReadError::TooManyValues), "{depth}");
        }
        assert!(read(&message(100_000), None).is_ok());
        let bytes = Value::Map(
            [("k", Value::Bin([0].repeat(3 << 20)))]
                .into_iter()
                .collect(),
        );
        assert!(read(&plaintext(&bytes, None), None).is_ok());
    }

    proptest! {
        #[test]
        fn padding_comes_off_again(text in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut padded = text.clone();
            pad(&mut padded);
            prop_assert_eq!(padded.len() % BLOCK_BYTES, 0);
            prop_assert_eq!(unpad(&padded), Some(&text[..]));
        }

        #[test]
        fn any_text_is_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = (unpad(&text), split(&text), read(&text, None));
            let _ = read(&[PREFIX, &text].concat(), Some(&Nonce::from_random([1; 16])));
        }
    }
}

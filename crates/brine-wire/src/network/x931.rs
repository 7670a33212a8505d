//! The padding of ANSI X9.31, which Salt's tokens and inner signatures use without its hash.
//!
//! Padding alone: the RSA operation around it, and the choice of the smaller of `s` and `n − s`,
//! are `brine-net`'s. Facts: `docs/protocol/network.md` §4.3.

use alloc::vec::Vec;

const HEADER: u8 = 0x6b;
const HEADER_WITHOUT_FILL: u8 = 0x6a;
const FILL: u8 = 0xbb;
const FILL_END: u8 = 0xba;
const TRAILER: u8 = 0xcc;

/// The block of `modulus_bytes` bytes that holds `message`; `None` if it cannot: the message is
/// longer than the modulus less 2 bytes, or exactly 3 bytes shorter, where the header would have
/// no fill and no reader takes it.
#[must_use]
pub fn pad(message: &[u8], modulus_bytes: usize) -> Option<Vec<u8>> {
    let room = modulus_bytes.checked_sub(message.len() + 2)?;
    let mut block = Vec::with_capacity(modulus_bytes);
    match room {
        0 => block.push(HEADER_WITHOUT_FILL),
        1 => return None,
        _ => {
            block.push(HEADER);
            block.resize(room, FILL);
            block.push(FILL_END);
        }
    }
    block.extend_from_slice(message);
    block.push(TRAILER);
    Some(block)
}

/// The message in a block; `None` if the block is not padded so.
#[must_use]
pub fn unpad(block: &[u8]) -> Option<&[u8]> {
    let (&TRAILER, rest) = block.split_last()? else {
        return None;
    };
    match rest.split_first()? {
        (&HEADER_WITHOUT_FILL, message) => Some(message),
        (&HEADER, filled) => {
            let fill = filled.iter().take_while(|byte| **byte == FILL).count();
            match filled.get(fill..)?.split_first()? {
                (&FILL_END, message) if fill > 0 => Some(message),
                _ => None,
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn the_fill_takes_what_the_message_leaves() {
        assert_eq!(
            pad(b"salt", 10),
            Some(b"\x6b\xbb\xbb\xbb\xbasalt\xcc"[..].to_vec())
        );
        assert_eq!(pad(b"salt", 6), Some(b"\x6asalt\xcc".to_vec()));
        assert_eq!((pad(b"salt", 7), pad(b"salt", 5)), (None, None));
    }

    #[test]
    fn other_blocks_hold_no_message() {
        for block in [
            &b""[..],
            b"\xcc",
            b"\x6b\xcc",
            b"\x6b\xbb\xcc",
            b"\x6b\xba\xcc",
            b"\x6b\xbb\xbax",
            b"\x6c\xbb\xbax\xcc",
            b"\x6b\xbb\xbcx\xcc",
        ] {
            assert_eq!(unpad(block), None, "{block:02x?}");
        }
        assert_eq!(unpad(b"\x6a\xcc"), Some(&b""[..]));
    }

    proptest! {
        #[test]
        fn what_is_padded_is_unpadded(message in proptest::collection::vec(any::<u8>(), 0..254)) {
            if let Some(block) = pad(&message, 256) {
                prop_assert_eq!(block.len(), 256);
                prop_assert_eq!(unpad(&block), Some(&message[..]));
            } else {
                prop_assert_eq!(message.len(), 253);
            }
        }

        #[test]
        fn any_block_is_read_without_panic(block in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = unpad(&block);
            let _ = unpad(&[vec![HEADER], block, vec![TRAILER]].concat());
        }
    }
}

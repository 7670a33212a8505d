//! What keys are taken, and what they do.

use super::*;
use crate::crypto::{FingerprintHash, fingerprint, pem};

#[test]
fn a_made_key_does_all_that_salt_asks_of_it() {
    let key = PrivateKey::generate(2048).unwrap();
    let pem = key.to_pem().unwrap();
    assert!(pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    assert_eq!(key.public().pem().len(), 450);
    let again = PrivateKey::from_pem(&pem, None).unwrap();
    assert_eq!(again.public().pem(), key.public().pem());
    for algorithm in [
        SigningAlgorithm::Pkcs1v15Sha1,
        SigningAlgorithm::Pkcs1v15Sha224,
    ] {
        let signature = key.sign(algorithm, b"message").unwrap();
        assert!(key.public().verify(algorithm, b"message", &signature));
        assert!(!key.public().verify(algorithm, b"other", &signature));
        assert!(!key.public().verify(algorithm, b"message", &signature[1..]));
    }
    for algorithm in [
        EncryptionAlgorithm::OaepSha1,
        EncryptionAlgorithm::OaepSha224,
    ] {
        let encrypted = key.public().encrypt(algorithm, b"message").unwrap();
        assert_eq!(
            again.decrypt(algorithm, &encrypted).unwrap()[..],
            b"message"[..]
        );
        assert!(again.decrypt(algorithm, &encrypted[1..]).is_err());
        assert_eq!(key.public().encrypt(algorithm, &[0; 250]), Err(RsaError));
    }
    let tok = key.sign_x931(b"salt").unwrap();
    assert_eq!(
        key.public().recover_x931(&tok).as_deref(),
        Some(&b"salt"[..])
    );
    assert_eq!(key.public().recover_x931(&tok[1..]), None);
    assert_eq!(key.public().recover_x931(&[0xff; 256]), None);
    assert_eq!(key.public().recover_x931(&[0; 256]), None);
}

#[test]
fn what_is_no_key_of_sensible_size_is_refused() {
    for pem in [
        "",
        "rubbish",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----",
    ] {
        assert_eq!(PublicKey::from_pem(pem).err(), Some(KeyError::NotAKey));
        assert_eq!(
            PrivateKey::from_pem(pem, None).err(),
            Some(KeyError::NotAKey)
        );
    }
    assert_eq!(
        PrivateKey::generate(512).err(),
        Some(KeyError::Size { bits: 512 })
    );
    assert_eq!(
        PrivateKey::generate(1 << 20).err(),
        Some(KeyError::Size { bits: 1 << 20 })
    );
}

#[test]
fn one_key_serves_many_threads() {
    let key = PrivateKey::generate(1024).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let tok = key.sign_x931(b"salt").unwrap();
                    assert!(key.public().recover_x931(&tok).is_some());
                }
            });
        }
    });
}

/// A DER element: tag, length, content.
fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let head = match length {
        [0, short @ ..0x80] => vec![tag, short],
        [0, long] => vec![tag, 0x81, long],
        [high, low] => vec![tag, 0x82, high, low],
    };
    [&head[..], content].concat()
}

const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

/// An SPKI with this algorithm, modulus and exponent.
fn spki(algorithm: &[u8], modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let positive = [&[0], modulus].concat();
    let key = der(0x30, &[der(0x02, &positive), der(0x02, exponent)].concat());
    let algorithm = der(0x30, &[der(0x06, algorithm), der(0x05, &[])].concat());
    let bits = der(0x03, &[&[0], &key[..]].concat());
    der(0x30, &[algorithm, bits].concat())
}

fn read(der: &[u8]) -> Result<PublicKey, KeyError> {
    PublicKey::from_pem(&pem::encode("PUBLIC KEY", der))
}

/// The square of a big-endian number.
fn square(number: &[u8]) -> Vec<u8> {
    let mut product = vec![0_u8; 2 * number.len()];
    for (i, a) in number.iter().rev().enumerate() {
        let mut carry = 0_u32;
        for (j, b) in number.iter().rev().enumerate() {
            let at = product.len() - 1 - i - j;
            carry += u32::from(product[at]) + u32::from(*a) * u32::from(*b);
            product[at] = carry.to_le_bytes()[0];
            carry >>= 8;
        }
        let at = product.len() - 1 - i - number.len();
        product[at] = carry.to_le_bytes()[0];
    }
    product
}

const F4: &[u8] = &[1, 0, 1];

#[test]
fn a_public_key_is_taken_in_the_form_that_salt_writes() {
    let key = PrivateKey::generate(2048).unwrap();
    let modulus = key.public().rsa.modulus().unwrap();
    let written = spki(RSA_ENCRYPTION, &modulus, F4);
    assert_eq!(read(&written).as_ref(), Ok(key.public()));
}

#[test]
fn keys_that_no_salt_makes_are_refused() {
    let key = PrivateKey::generate(2048).unwrap();
    let modulus = key.public().rsa.modulus().unwrap();
    let with = |exponent: &[u8]| read(&spki(RSA_ENCRYPTION, &modulus, exponent)).err();
    for exponent in [&[3][..], &[17], &[1, 0, 3], &[0x7f, 0xff, 0xff, 0xff]] {
        assert_eq!(with(exponent), Some(KeyError::Exponent), "{exponent:?}");
    }
    assert_eq!(with(&[1]), Some(KeyError::NotAKey));
    assert!(matches!(
        read(&spki(RSASSA_PSS, &modulus, F4)),
        Err(KeyError::NotAKey | KeyError::Encoding)
    ));
    let written = spki(RSA_ENCRYPTION, &modulus, F4);
    let behind = [&written[..], &[0]].concat();
    assert_eq!(read(&behind).err(), Some(KeyError::NotAKey));
    let mut even = modulus.clone();
    *even.last_mut().unwrap() &= 0xfe;
    assert_eq!(
        read(&spki(RSA_ENCRYPTION, &even, F4)).err(),
        Some(KeyError::NotAKey)
    );
}

#[test]
fn every_square_is_looked_at_and_few_other_numbers_are() {
    let is_looked_at = |number: u64| may_be_square(&number.to_be_bytes());
    for root in (1..10_000).step_by(2) {
        assert!(is_looked_at(root * root), "{root}²");
    }
    let others = (1_000_001..1_100_001).step_by(2);
    assert!(others.filter(|number| is_looked_at(*number)).count() < 500);
}

#[test]
fn a_modulus_that_is_a_square_is_refused() {
    for bytes in [64, 65, 128, 256] {
        let mut root: Vec<u8> = (0..bytes)
            .map(|at: u32| at.to_le_bytes()[0] ^ 0x5a)
            .collect();
        for first in [0xc0, 0xff] {
            root[0] = first;
            *root.last_mut().unwrap() |= 1;
            let found = read(&spki(RSA_ENCRYPTION, &square(&root), F4));
            assert_eq!(found.err(), Some(KeyError::Square), "{bytes} bytes");
        }
    }
}

#[test]
fn a_key_has_one_text_and_one_fingerprint() {
    let key = PrivateKey::generate(1024).unwrap();
    let text = key.public().pem();
    let print = |key: &PublicKey| fingerprint(key, FingerprintHash::Sha256);
    let body: String = text.lines().filter(|line| !line.starts_with('-')).collect();
    for same in [
        format!("\n{text}\n\n"),
        text.replace('\n', "\r\n"),
        format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----"),
    ] {
        let read = PublicKey::from_pem(&same).unwrap();
        assert_eq!(read.pem(), text);
        assert_eq!(print(&read), print(key.public()));
    }
}

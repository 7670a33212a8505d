//! Our cryptography and real Salt's, in both directions: what one makes the other understands.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use brine_net::crypto::crypticle::Key;
use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_net::crypto::{self, FingerprintHash, fingerprint};
use brine_testkit::salt::{VERSIONS, python};
use brine_wire::network::Nonce;
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::network::key_text::hex;
use brine_wire::{Map, Value};
use serde_json::{Value as Json, json};

use crate::vectors::{from_hex, text};

const SIGNING: [SigningAlgorithm; 2] = [
    SigningAlgorithm::Pkcs1v15Sha1,
    SigningAlgorithm::Pkcs1v15Sha224,
];
const ENCRYPTION: [EncryptionAlgorithm; 2] = [
    EncryptionAlgorithm::OaepSha1,
    EncryptionAlgorithm::OaepSha224,
];
const MESSAGE: &[u8] = b"salt \xff\x00 and more";

#[test]
fn real_salt_understands_ours_and_ours_understands_real_salts() {
    for version in VERSIONS {
        println!("Salt {version}");
        check(version);
    }
}

fn check(version: &str) {
    let root = tempfile::tempdir().unwrap();
    salt(version, "keys", root.path(), "");
    let read = |name: &str| fs::read_to_string(root.path().join(name)).unwrap();
    let theirs = PrivateKey::from_pem(&read("theirs.pem"), None).unwrap();
    let theirs_public = PublicKey::from_pem(&read("theirs.pub")).unwrap();
    assert_eq!(theirs.public().pem(), theirs_public.pem());
    assert!(PrivateKey::from_pem(&read("locked.pem"), Some("secret")).is_ok());
    for passphrase in [None, Some("wrong")] {
        assert!(PrivateKey::from_pem(&read("locked.pem"), passphrase).is_err());
    }

    let ours = PrivateKey::generate(2048).unwrap();
    fs::write(root.path().join("ours.pub"), ours.public().pem()).unwrap();
    let (key, nonce) = (Key::generate().unwrap(), crypto::nonce().unwrap());
    let made = made_by_ours(&ours, &theirs_public, &key, &nonce);
    let output = salt(version, "check", root.path(), &made.to_string());
    let found: Json = serde_json::from_str(&output).unwrap();

    assert_eq!(found["verified"], json!([true, true]));
    assert_eq!(found["decrypted"], json!([hex(MESSAGE), hex(MESSAGE)]));
    assert_eq!(found["recovered"], hex(MESSAGE));
    assert_eq!(found["loaded"], json!([true, true]));
    assert_eq!(
        found["finger"],
        fingerprint(ours.public(), FingerprintHash::Sha256)
    );
    check_theirs(&found, &ours, &theirs, &nonce);
}

/// What ours makes for Salt to understand.
fn made_by_ours(ours: &PrivateKey, theirs: &PublicKey, key: &Key, nonce: &Nonce) -> Json {
    let sealed = |nonce| hex(&key.seal(&object(), nonce).unwrap());
    json!({
        "message": hex(MESSAGE),
        "signed": SIGNING.map(|algorithm| hex(&ours.sign(algorithm, MESSAGE).unwrap())),
        "encrypted": ENCRYPTION.map(|algorithm| hex(&theirs.encrypt(algorithm, MESSAGE).unwrap())),
        "x931": hex(&ours.sign_x931(MESSAGE).unwrap()),
        "key": key.as_str(),
        "nonce": nonce.as_str(),
        "sealed": [sealed(None), sealed(Some(nonce))],
    })
}

/// What Salt made for ours to understand; what is deterministic is the same from both.
fn check_theirs(found: &Json, ours: &PrivateKey, theirs: &PrivateKey, nonce: &Nonce) {
    for (algorithm, signature) in SIGNING.iter().zip(found["signed"].as_array().unwrap()) {
        let signature = from_hex(signature);
        assert!((theirs.public()).verify(*algorithm, MESSAGE, &signature));
        assert_eq!(theirs.sign(*algorithm, MESSAGE).unwrap(), signature);
    }
    for (algorithm, encrypted) in ENCRYPTION
        .iter()
        .zip(found["encrypted"].as_array().unwrap())
    {
        let plain = ours.decrypt(*algorithm, &from_hex(encrypted)).unwrap();
        assert_eq!(plain[..], *MESSAGE);
    }
    let signature = from_hex(&found["x931"]);
    assert_eq!(theirs.sign_x931(MESSAGE).unwrap(), signature);
    assert_eq!(
        theirs.public().recover_x931(&signature).as_deref(),
        Some(MESSAGE)
    );
    let key = Key::parse(text(&found["key"])).unwrap();
    for (sealed, nonce) in [(0, None), (1, Some(nonce))] {
        let sealed = from_hex(&found["sealed"][sealed]);
        assert_eq!(key.open(&sealed, nonce).unwrap(), object());
    }
}

/// The script's `OBJECT`.
fn object() -> Value {
    let list = [
        1.into(),
        (-1).into(),
        (1_i64 << 40).into(),
        Value::Nil,
        true.into(),
    ];
    let inner: Map = [("a", 1.5)].into_iter().collect();
    let map: Map = [
        ("text", "grün".into()),
        ("bytes", Value::Bin(b"\xff\x00".to_vec())),
        ("list", Value::Array(list.to_vec())),
        ("map", inner.into()),
    ]
    .into_iter()
    .collect();
    Value::Map(map)
}

fn salt(version: &str, what: &str, folder: &Path, input: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/salt_crypt.py");
    let mut process = python(version)
        .arg(script)
        .arg(what)
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success(), "Salt {version}: {what} failed");
    String::from_utf8(output.stdout).unwrap()
}

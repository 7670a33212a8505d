//! Reading the golden vectors, which are `brine-wire`'s files.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_wire::Value;
use serde_json::Value as Json;

pub(crate) fn vectors() -> Json {
    serde_json::from_str(include_str!(
        "../../../brine-wire/tests/vectors/network.json"
    ))
    .unwrap()
}

pub(crate) fn text(json: &Json) -> &str {
    json.as_str().unwrap()
}

pub(crate) fn from_hex(hex: &Json) -> Vec<u8> {
    let hex = text(hex);
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// A private key from the base64 of its PKCS #1 DER.
pub(crate) fn private(der: &Json) -> PrivateKey {
    let der = STANDARD.encode(STANDARD.decode(text(der)).unwrap());
    let lines: Vec<&str> = der
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    let pem = format!(
        "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----\n",
        lines.join("\n")
    );
    PrivateKey::from_pem(&pem, None).unwrap()
}

pub(crate) fn named(vectors: &Json, name: &str) -> PrivateKey {
    private(&vectors["rsa"][name]["private_pkcs1_der_base64"])
}

pub(crate) fn public(pem: &Json) -> PublicKey {
    PublicKey::from_pem(text(pem)).unwrap()
}

pub(crate) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(flag) => (*flag).into(),
        Json::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            None => number.as_f64().unwrap().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(items) => Value::Array(items.iter().map(value).collect()),
        Json::Object(pairs) => match pairs.get("$bytes") {
            Some(hex) => Value::Bin(from_hex(hex)),
            None => Value::Map(pairs.iter().map(|(k, v)| (k.as_str(), value(v))).collect()),
        },
    }
}

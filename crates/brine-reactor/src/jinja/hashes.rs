//! Salt's filters for digests and signatures of strings.

use hmac::{Hmac, Mac};
use md5::{Digest, Md5};
use minijinja::value::Value;
use minijinja::{Environment, Error};
use sha1::Sha1;
use sha2::{Sha256, Sha512};

use super::base64;
use super::values::{invalid, text};

/// Adds them to an environment.
pub(super) fn add_to(env: &mut Environment<'_>) {
    env.add_filter("md5", digest::<Md5>);
    env.add_filter("sha1", digest::<Sha1>);
    env.add_filter("sha256", digest::<Sha256>);
    env.add_filter("sha512", digest::<Sha512>);
    env.add_filter("hmac", |value: &Value, secret: &str, signature: &str| {
        let own = signed(value, secret)?;
        let expected = base64::decode(signature);
        Ok::<_, Error>(expected.is_some_and(|expected| own.verify_slice(&expected).is_ok()))
    });
    env.add_filter("hmac_compute", |value: &Value, secret: &str| {
        Ok::<_, Error>(hex(&signed(value, secret)?.finalize().into_bytes()))
    });
}

fn digest<D: Digest>(value: &Value) -> Result<String, Error> {
    Ok(hex(&D::digest(bytes(value)?)))
}

fn signed(value: &Value, secret: &str) -> Result<Hmac<Sha256>, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|error| invalid(error.to_string()))?;
    mac.update(&bytes(value)?);
    Ok(mac)
}

fn bytes(value: &Value) -> Result<Vec<u8>, Error> {
    Ok(match value.as_bytes() {
        Some(bytes) => bytes.to_vec(),
        None => text(value)?.into_bytes(),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

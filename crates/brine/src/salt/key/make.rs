//! Generates keys, and signs the master's public key. Facts: `docs/protocol/network.md` §5,
//! §6.3.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use brine_config::Opts;
use brine_net::crypto::rsa::PrivateKey;
use brine_net::crypto::{FingerprintHash, fingerprint};
use brine_net::keys::master::{self, KeyOptions};
use brine_wire::Value;
use brine_wire::network::MinionId;
use brine_wire::network::algorithm::SigningAlgorithm;
use brine_wire::network::key_text;

use crate::salt::options::Key;
use crate::salt::optparse::Parsed;

/// `--gen-keys`: makes a key pair unless it exists; returns the public key's fingerprint.
pub(super) fn keys(name: &str, line: &Parsed<Key>) -> anyhow::Result<String> {
    // A file name, not a path.
    let name = MinionId::parse(name).context("--gen-keys")?;
    let folder = line.value(Key::GenKeysDir).unwrap_or(".");
    fs::create_dir_all(folder).with_context(|| format!("--gen-keys-dir {folder}"))?;
    let key = master::open(Path::new(folder), name.as_str(), &options(line))
        .with_context(|| format!("--gen-keys-dir {folder}"))?;
    Ok(fingerprint(key.public(), FingerprintHash::Sha256))
}

fn options(line: &Parsed<Key>) -> KeyOptions {
    let keysize = line.value(Key::Keysize);
    let default = KeyOptions::default();
    KeyOptions {
        keysize: keysize
            .and_then(|bits| bits.trim().parse().ok())
            .unwrap_or(default.keysize),
        ..default
    }
}

/// `--gen-signature`: true on success, else logs an error.
pub(super) fn signature(line: &Parsed<Key>, opts: &Opts) -> anyhow::Result<Value> {
    let pki_dir = Path::new(opts.text("pki_dir")?);
    let public = match file(line.value(Key::Pub), pki_dir.join("master.pub")) {
        Ok(Some(path)) => path,
        Ok(None) => return Ok("No usable public-key found".into()),
        Err(path) => return Ok(format!("Public-key {path} does not exist").into()),
    };
    let sign_key_name = opts.text("master_sign_key_name")?;
    let sign_key = pki_dir.join(format!("{sign_key_name}.pem"));
    let private = match file(line.value(Key::Priv), sign_key) {
        Ok(Some(path)) => read_private(&path, opts)?,
        Ok(None) if line.has(Key::AutoCreate) => {
            master::open(pki_dir, sign_key_name, &options(line))?
        }
        Ok(None) => return Ok("No usable private-key found".into()),
        Err(path) => return Ok(format!("Private-key {path} does not exist").into()),
    };
    let folder = line
        .value(Key::SignaturePath)
        .filter(|path| !path.is_empty());
    let name = match opts.text("master_pubkey_signature") {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => format!("{}_pubkey_signature", opts.text("id")?),
    };
    let path = folder.map_or(pki_dir, Path::new).join(name);
    if path.exists() {
        tracing::error!("{} already exists at expected location", path.display());
        return Ok(false.into());
    }
    let pem = fs::read_to_string(&public).with_context(|| public.display().to_string())?;
    let algorithm = opts.text("publish_signing_algorithm")?;
    let algorithm = SigningAlgorithm::parse(algorithm).unwrap_or_default();
    let signature = private.sign(algorithm, key_text::clean(&pem).as_bytes())?;
    fs::write(&path, format!("{}\n", STANDARD.encode(signature)))
        .with_context(|| path.display().to_string())?;
    Ok(true.into())
}

/// The given file, or the default one if only that exists.
fn file(said: Option<&str>, default: PathBuf) -> Result<Option<PathBuf>, String> {
    match said.filter(|path| !path.is_empty()) {
        Some(path) if Path::new(path).is_file() => Ok(Some(path.into())),
        Some(path) => Err(path.to_owned()),
        None => Ok(default.is_file().then_some(default)),
    }
}

fn read_private(path: &Path, opts: &Opts) -> anyhow::Result<PrivateKey> {
    let pem = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let passphrase = opts.text("signing_key_pass").ok();
    PrivateKey::from_pem(&pem, passphrase).with_context(|| path.display().to_string())
}

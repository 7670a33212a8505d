//! `key.*`: the fingerprints of the minion's key and of its master's.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them.

use brine_wire::Value;
use brine_wire::network::key_text;

use super::Failure;
use super::context::Context;
use super::digest;
use super::signature::Bound;
use super::table::{Builtin, Returned};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::now(
        "key.finger",
        "hash_type=None",
        "
    Return the fingerprint of the minion's public key.

        salt '*' key.finger
    ",
        |context, bound| finger(context, bound, "minion.pub"),
    ),
    Builtin::now(
        "key.finger_master",
        "hash_type=None",
        "
    Return the fingerprint of the master's public key, as the minion knows it.

        salt '*' key.finger_master
    ",
        |context, bound| finger(context, bound, "minion_master.pub"),
    ),
];

/// The fingerprint of a file of keys; empty if there is no such file, as in Salt.
fn finger(context: &Context, bound: &mut Bound, file: &str) -> Result<Returned, Failure> {
    let settings = context.settings();
    let hash_type = match bound.get(0) {
        Value::Nil => settings.hash_type.clone(),
        _ => bound.text(0),
    };
    let path = settings
        .pki_dir
        .as_ref()
        .map(|directory| directory.join(file));
    let pem = path.and_then(|path| std::fs::read_to_string(path).ok());
    let Some(pem) = pem else {
        return Ok(Value::from("").into());
    };
    let input = key_text::fingerprint_input(&pem);
    let Some(hex) = digest::hex(&hash_type, &input) else {
        return Err(Failure::raised(
            "AttributeError",
            format!("module 'hashlib' has no attribute '{hash_type}'"),
        ));
    };
    let pairs: Vec<&str> = (0..hex.len() / 2)
        .map(|at| &hex[2 * at..2 * at + 2])
        .collect();
    Ok(Value::from(pairs.join(":")).into())
}

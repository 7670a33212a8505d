//! Values below `brine:` that several of its options use, and mistakes in them.

use brine_wire::Value;

use crate::brine::KEYS;
use crate::error::ConfigError;
use crate::types::type_name;

/// A size: a number of bytes, or text with a unit.
pub(crate) fn bytes(key: &'static str, value: &Value) -> Result<u64, ConfigError> {
    let bytes = match value {
        Value::Int(bytes) => u64::try_from(*bytes).ok(),
        Value::Str(text) => sized(text),
        _ => None,
    };
    bytes.ok_or_else(|| ConfigError::BadBrineValue {
        key,
        expected: "a number of bytes, or a number with KiB, MiB or GiB",
        found: shown(value),
    })
}

pub(crate) fn sized(text: &str) -> Option<u64> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let (number, unit) = units
        .into_iter()
        .find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))
        .unwrap_or((text, 1));
    number.trim().parse::<u64>().ok()?.checked_mul(unit)
}

/// A value as an error shows it; of lists and mappings the type.
pub(crate) fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => format!("{text:?}"),
        Value::Int(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        other => type_name(other).to_owned(),
    }
}

/// An option that does not exist, with the most similar one that does.
pub(crate) fn unknown(key: &str, keys: &[&'static str]) -> ConfigError {
    if let Some((section, name)) = key.split_once('.')
        && KEYS.contains(&name)
    {
        return ConfigError::UnknownOption {
            option: format!("brine: {section}: {name}"),
            hint: format!("it is one level up: brine: {{{name}: …}}"),
        };
    }
    let distance = |valid: &&&str| edit_distance(key, valid);
    let nearest = keys.iter().min_by_key(distance).copied();
    ConfigError::UnknownBrineKey {
        key: key.to_owned(),
        nearest: nearest.unwrap_or_default(),
    }
}

/// Which option somebody may have meant: `did you mean host?`; where none is similar the one that is missing, else all
/// that there are.
pub(crate) fn hint(key: &str, keys: &[&'static str], missing: Option<&'static str>) -> String {
    const MIN_BEGINNING: usize = 3;
    let is_beginning = |known: &&&str| {
        key.len().min(known.len()) >= MIN_BEGINNING
            && (known.starts_with(key) || key.starts_with(**known))
    };
    let distance = |known: &&&str| edit_distance(key, known);
    // Two letters of a short name, a third of a long one: `secret` is no `cert`.
    let is_near = |known: &&&str| {
        let (distance, length) = (edit_distance(key, known), key.len().max(known.len()));
        2 * distance <= length && (distance <= 2 || 3 * distance <= length)
    };
    let nearest = keys.iter().filter(is_near).min_by_key(distance);
    let meant = keys.iter().find(is_beginning).or(nearest).copied();
    match meant.or(missing) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("there are {}", keys.join(", ")),
    }
}

/// Levenshtein's distance.
pub(crate) fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.chars().count()]
}

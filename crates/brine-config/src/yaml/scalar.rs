//! Plain scalars: which type a text has under YAML 1.1, and its value under that type.
//!
//! The patterns are PyYAML's resolver's, the readings its safe constructor's with Salt's change
//! to leading zeros. Errors are `None`; the caller knows the position.

use brine_wire::Value;

use super::node::Tag;

/// The type of a plain scalar.
pub(super) fn resolve(text: &str) -> Tag {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Tag::Null,
        "<<" => Tag::Merge,
        "=" => Tag::Value,
        _ if bool_value(text).is_some() && is_one_case(text) => Tag::Bool,
        _ if is_float(text) => Tag::Float,
        _ if is_int(text) => Tag::Int,
        _ => Tag::Str,
    }
}

/// `yes`, `Yes` and `YES`, but not `yEs`.
fn is_one_case(text: &str) -> bool {
    let rest = &text[1..];
    rest.chars().all(|c| c.is_ascii_lowercase()) || text.chars().all(|c| c.is_ascii_uppercase())
}

fn is_float(text: &str) -> bool {
    let unsigned = without_sign(text);
    match unsigned.split_once('.') {
        Some(("", "inf" | "Inf" | "INF")) => true,
        Some(("", "nan" | "NaN" | "NAN")) => unsigned.len() == text.len(),
        Some(("", fraction)) => {
            unsigned.len() == text.len()
                && fraction.starts_with(|c: char| c.is_ascii_digit())
                && is_fraction(fraction)
        }
        Some((whole, fraction)) => match split_sexagesimal(whole) {
            Some(first) => {
                is_digits(first) && all_in(fraction, |c| c.is_ascii_digit() || c == b'_')
            }
            None => is_digits(whole) && is_fraction(fraction),
        },
        None => false,
    }
}

fn is_int(text: &str) -> bool {
    let text = without_sign(text);
    let some_in = |text: &str, of: fn(u8) -> bool| !text.is_empty() && all_in(text, of);
    if let Some(bits) = text.strip_prefix("0b") {
        return some_in(bits, |c| matches!(c, b'0' | b'1' | b'_'));
    }
    if let Some(hex) = text.strip_prefix("0x") {
        return some_in(hex, |c| c.is_ascii_hexdigit() || c == b'_');
    }
    if let Some(octal) = text.strip_prefix('0') {
        return all_in(octal, |c| matches!(c, b'0'..=b'7' | b'_'));
    }
    is_digits(split_sexagesimal(text).unwrap_or(text))
}

/// A digit, then digits and underscores.
fn is_digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
        && all_in(text, |c| c.is_ascii_digit() || c == b'_')
}

/// Digits and underscores, then perhaps an exponent with its sign.
fn is_fraction(text: &str) -> bool {
    let (digits, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let digits = without_sign(exponent);
        digits.len() < exponent.len()
            && !digits.is_empty()
            && all_in(digits, |c| c.is_ascii_digit())
    });
    exponent_is_fine && all_in(digits, |c| c.is_ascii_digit() || c == b'_')
}

/// The part before the first `:` when each part after one is a number below 60.
fn split_sexagesimal(text: &str) -> Option<&str> {
    let (first, rest) = text.split_once(':')?;
    let below_60 = |part: &str| match part.as_bytes() {
        [c] => c.is_ascii_digit(),
        [ten, one] => matches!(ten, b'0'..=b'5') && one.is_ascii_digit(),
        _ => false,
    };
    rest.split(':').all(below_60).then_some(first)
}

fn all_in(text: &str, of: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(of)
}

fn without_sign(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

/// The boolean a text means, in any case.
pub(super) fn bool_value(text: &str) -> Option<bool> {
    let is = |name: &&str| text.eq_ignore_ascii_case(name);
    if ["yes", "true", "on"].iter().any(is) {
        Some(true)
    } else if ["no", "false", "off"].iter().any(is) {
        Some(false)
    } else {
        None
    }
}

/// The integer a text means: leading zeros are Salt's decimal, but a sign before them makes
/// octal again, as in Salt.
pub(super) fn int_value(text: &str) -> Option<Value> {
    let mut text = text;
    if text.starts_with('0') && text != "0" && !text.starts_with("0b") && !text.starts_with("0x") {
        text = text.trim_start_matches('0');
        if text.is_empty() {
            text = "0";
        }
    }
    let text = text.replace('_', "");
    let negative = text.starts_with('-');
    let digits = without_sign(&text);
    let magnitude = if let Some(bits) = digits.strip_prefix("0b") {
        i128::from_str_radix(bits, 2).ok()?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16).ok()?
    } else if digits.starts_with('0') {
        i128::from_str_radix(digits, 8).ok()?
    } else if digits.contains(':') {
        sexagesimal_int(digits)?
    } else {
        return decimal(digits.trim(), negative);
    };
    Some(Value::Int(if negative { -magnitude } else { magnitude }))
}

/// A decimal number; past 128 bits its text, up to the digits Python is willing to read.
fn decimal(digits: &str, negative: bool) -> Option<Value> {
    const MAX_DIGITS: usize = 4300;
    if let Ok(number) = digits.parse::<i128>() {
        return Some(Value::Int(if negative { -number } else { number }));
    }
    let is_number = all_in(digits, |c| c.is_ascii_digit());
    (is_number && (1..=MAX_DIGITS).contains(&digits.len()))
        .then(|| Value::Str(format!("{}{digits}", if negative { "-" } else { "" })))
}

fn sexagesimal_int(text: &str) -> Option<i128> {
    text.split(':').try_fold(0_i128, |sum, part| {
        sum.checked_mul(60)?.checked_add(part.parse().ok()?)
    })
}

/// The float a text means.
pub(super) fn float_value(text: &str) -> Option<f64> {
    let text = text.replace('_', "").to_ascii_lowercase();
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let digits = without_sign(&text);
    let magnitude = match digits {
        ".inf" => f64::INFINITY,
        ".nan" => return Some(f64::NAN),
        _ if digits.contains(':') => sexagesimal_float(digits)?,
        _ => digits.trim().parse().ok()?,
    };
    Some(sign * magnitude)
}

/// Summed from the last part up, as PyYAML does, so that rounding is the same.
fn sexagesimal_float(text: &str) -> Option<f64> {
    let mut sum = 0.0;
    let mut base = 1.0;
    for part in text.rsplit(':') {
        sum += part.trim().parse::<f64>().ok()? * base;
        base *= 60.0;
    }
    Some(sum)
}

/// Base64 as Python reads it: foreign characters skipped, missing padding forgiven.
pub(super) fn binary_value(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut held, mut mark, mut pads) = (0_u8, 0_u8, 0);
    // Salt pads by the length of the text as written, line breaks counted.
    let padding = std::iter::repeat_n(b'=', (4 - text.len() % 4) % 4);
    for c in text.bytes().chain(padding) {
        if !c.is_ascii() {
            return None;
        }
        if c == b'=' {
            pads += 1;
            if mark >= 2 && mark + pads >= 4 {
                return Some(bytes);
            }
            pads *= u8::from(mark >= 2);
            continue;
        }
        let Some(six) = six_bits(c) else { continue };
        pads = 0;
        match mark {
            0 => {}
            1 => bytes.push(held << 2 | six >> 4),
            2 => bytes.push(held << 4 | six >> 2),
            _ => bytes.push(held << 6 | six),
        }
        held = six;
        mark = (mark + 1) % 4;
    }
    (mark == 0).then_some(bytes)
}

const fn six_bits(c: u8) -> Option<u8> {
    match c {
        b'A'..=b'Z' => Some(c - b'A'),
        b'a'..=b'z' => Some(c - b'a' + 26),
        b'0'..=b'9' => Some(c - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

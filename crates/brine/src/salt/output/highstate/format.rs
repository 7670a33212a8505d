//! Python's `str.format`, as far as a user's own format for terse lines needs it (`state_tabular`).

use brine_wire::Value;

use crate::salt::python;

/// The text; `None` where Python raises an error.
pub(super) fn format(format: &str, arguments: &[Value]) -> Option<String> {
    let mut text = String::new();
    let mut rest = format;
    let mut automatic = 0;
    while let Some(at) = rest.find(['{', '}']) {
        text.push_str(&rest[..at]);
        let found = &rest[at..at + 1];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(found) {
            text.push_str(found);
            rest = after;
            continue;
        }
        if found == "}" {
            return None;
        }
        let end = rest.find('}')?;
        text.push_str(&field(&rest[..end], arguments, &mut automatic)?);
        rest = &rest[end + 1..];
    }
    text.push_str(rest);
    Some(text)
}

/// `2:>10`, `6[start_time]!s`
fn field(field: &str, arguments: &[Value], automatic: &mut usize) -> Option<String> {
    let (named, spec) = field.split_once(':').unwrap_or((field, ""));
    let (named, conversion) = named.split_once('!').unwrap_or((named, ""));
    let digits = named.find(|c: char| !c.is_ascii_digit());
    let (index, mut path) = named.split_at(digits.unwrap_or(named.len()));
    let index = match index {
        "" => {
            *automatic += 1;
            *automatic - 1
        }
        index => index.parse().ok()?,
    };
    let mut value = arguments.get(index)?;
    while let Some(inside) = path.strip_prefix('[') {
        let (key, after) = inside.split_once(']')?;
        value = match value {
            Value::Map(map) => map.get(key)?,
            Value::Array(items) => items.get(key.parse::<usize>().ok()?)?,
            _ => return None,
        };
        path = after;
    }
    if !path.is_empty() {
        return None;
    }
    let is_number = conversion.is_empty() && matches!(value, Value::Int(_) | Value::Float(_));
    let has_spec = matches!(value, Value::Str(_)) || is_number || !conversion.is_empty();
    if !spec.is_empty() && !has_spec && !matches!(value, Value::Bool(_)) {
        return None; // as Python: lists, mappings and None have no format
    }
    let text = match conversion {
        "" | "s" => python::str(value),
        "r" | "a" => python::repr(value),
        _ => return None,
    };
    aligned(&text, spec, is_number)
}

/// A text within `[[fill]align][width][.precision]`.
fn aligned(text: &str, spec: &str, is_number: bool) -> Option<String> {
    let chars: Vec<char> = spec.chars().collect();
    let is_align = |c: &char| matches!(c, '<' | '>' | '^');
    let (fill, align, rest) = match chars.as_slice() {
        [fill, align, rest @ ..] if is_align(align) => (*fill, *align, rest),
        [align, rest @ ..] if is_align(align) => (' ', *align, rest),
        rest => (' ', if is_number { '>' } else { '<' }, rest),
    };
    let rest: String = rest.iter().collect();
    let rest = rest
        .strip_suffix('s')
        .filter(|_| !is_number)
        .unwrap_or(&rest);
    let (width, precision) = match rest.split_once('.') {
        Some(_) if is_number => return None,
        Some((width, precision)) => (width, Some(precision.parse::<usize>().ok()?)),
        None => (rest, None),
    };
    let width: usize = if width.is_empty() {
        0
    } else {
        width.parse().ok()?
    };
    let text: String = text.chars().take(precision.unwrap_or(usize::MAX)).collect();
    let blanks = width.saturating_sub(text.chars().count());
    let before = match align {
        '<' => 0,
        '>' => blanks,
        _ => blanks / 2,
    };
    let fill = |count: usize| String::from(fill).repeat(count);
    Some(format!("{}{text}{}", fill(before), fill(blanks - before)))
}

//! Python's `str.format`, as far as templates use it: fields by number, name and item; of format specifications, only
//! widths.

use minijinja::value::{Kwargs, Value};
use minijinja::{Error, State, value::from_args};

use super::values::{invalid, pay_for, text};

/// `'{} {name} {0[key]}'.format(…)`.
pub(super) fn braces(state: &State<'_, '_>, format: &str, args: &[Value]) -> Result<Value, Error> {
    let (positional, named): (minijinja::value::Rest<Value>, Kwargs) = from_args(args)?;
    let mut out = String::with_capacity(format.len());
    let mut next = 0;
    let mut rest = format;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let after = &rest[at..];
        if let Some(escaped) = after
            .strip_prefix("{{")
            .or_else(|| after.strip_prefix("}}"))
        {
            out.push_str(&after[..1]);
            rest = escaped;
            continue;
        }
        let field = after
            .strip_prefix('{')
            .and_then(|field| field.split_once('}'));
        let Some((field, behind)) = field else {
            return Err(invalid(format!("single brace in the format {format:?}")));
        };
        let (path, specification) = field.split_once(':').unwrap_or((field, ""));
        let end = path.find(['.', '[']).unwrap_or(path.len());
        let (name, path) = path.split_at(end);
        let value = match name {
            "" => {
                next += 1;
                positional.get(next - 1).cloned()
            }
            name => match name.parse::<usize>() {
                Ok(at) => positional.get(at).cloned(),
                Err(_) => named.peek::<Option<Value>>(name)?,
            },
        };
        let value = value.ok_or_else(|| {
            invalid(format!(
                "the format {format:?} has no argument for {{{field}}}"
            ))
        })?;
        let field = specified(&text(&follow(value, path)?)?, specification)?;
        pay_for(state, out.len() + field.len())?;
        out.push_str(&field);
        rest = behind;
    }
    out.push_str(rest);
    Ok(Value::from(out))
}

/// Follows `.name` and `[key]`.
fn follow(mut value: Value, mut path: &str) -> Result<Value, Error> {
    while !path.is_empty() {
        let (key, rest) = match path.strip_prefix('[') {
            Some(inner) => inner
                .split_once(']')
                .ok_or_else(|| invalid("missing ] in a format"))?,
            None => {
                let inner = &path[1..];
                inner.split_at(inner.find(['.', '[']).unwrap_or(inner.len()))
            }
        };
        value = match key.parse::<i64>() {
            Ok(at) => value.get_item(&Value::from(at))?,
            Err(_) => value.get_attr(key)?,
        };
        path = rest;
    }
    Ok(value)
}

/// `<10`, `>10`, `^10`, `10`, `05`.
fn specified(text: &str, specification: &str) -> Result<String, Error> {
    const MAX_WIDTH: usize = 10_000;
    if specification.is_empty() || specification == "s" || specification == "d" {
        return Ok(text.to_owned());
    }
    let unsupported = || {
        invalid(format!(
            "format specification {specification:?} is not known here; use the filter format"
        ))
    };
    let (align, width) = match specification.split_at_checked(1) {
        Some((align @ ("<" | ">" | "^"), width)) => (align, width),
        _ => (
            if text.parse::<f64>().is_ok() {
                ">"
            } else {
                "<"
            },
            specification,
        ),
    };
    let fill = if width.starts_with('0') { "0" } else { " " };
    let width: usize = width
        .trim_end_matches(['s', 'd'])
        .parse()
        .map_err(|_| unsupported())?;
    let missing = width.min(MAX_WIDTH).saturating_sub(text.chars().count());
    Ok(match align {
        "<" => format!("{text}{}", fill.repeat(missing)),
        ">" => format!("{}{text}", fill.repeat(missing)),
        _ => format!(
            "{}{text}{}",
            fill.repeat(missing / 2),
            fill.repeat(missing - missing / 2)
        ),
    })
}

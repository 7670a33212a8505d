//! Writes values as YAML that reads back unchanged, for the filter `yaml`.

use brine_config::yaml;
use brine_wire::{Value, json};

/// In one line: `{a: 1, b: [x]}`.
pub(super) fn flow(value: &Value) -> String {
    let mut out = String::new();
    write_flow(value, &mut out);
    out
}

/// Over several lines, without the last line feed.
pub(super) fn block(value: &Value) -> String {
    let mut out = String::new();
    write_block(value, 0, &mut out);
    out.trim_matches('\n').to_owned()
}

fn write_flow(value: &Value, out: &mut String) {
    match value {
        Value::Map(map) => {
            out.push('{');
            for (nth, (key, value)) in map.iter().enumerate() {
                out.push_str(if nth > 0 { ", " } else { "" });
                write_flow(key, out);
                out.push_str(": ");
                write_flow(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (nth, item) in items.iter().enumerate() {
                out.push_str(if nth > 0 { ", " } else { "" });
                write_flow(item, out);
            }
            out.push(']');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_block(value: &Value, indent: usize, out: &mut String) {
    let blanks = " ".repeat(indent);
    let nested = |value: &Value| match value {
        Value::Map(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    match value {
        Value::Map(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push('\n');
                out.push_str(&blanks);
                write_flow(key, out);
                out.push(':');
                if nested(value) {
                    // A list below a key may stand at the key's own indent.
                    let deeper = if value.as_map().is_some() { 2 } else { 0 };
                    write_block(value, indent + deeper, out);
                } else {
                    out.push(' ');
                    write_flow(value, out);
                }
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push('\n');
                out.push_str(&blanks);
                out.push_str("- ");
                if nested(item) {
                    let mut inner = String::new();
                    write_block(item, indent + 2, &mut inner);
                    out.push_str(inner.trim_start());
                } else {
                    write_flow(item, out);
                }
            }
        }
        other => {
            out.push_str(&blanks);
            write_flow(other, out);
        }
    }
}

fn write_scalar(value: &Value, out: &mut String) {
    match value {
        Value::Str(text) if is_plain(text) => out.push_str(text),
        Value::Nil => out.push_str("null"),
        Value::Float(number) if !number.is_finite() => out.push_str(match number {
            number if number.is_nan() => ".nan",
            number if *number > 0.0 => ".inf",
            _ => "-.inf",
        }),
        other => json::to_line(other, out),
    }
}

/// Whether a text needs no quotes, wherever it stands.
fn is_plain(text: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    !text.is_empty()
        && !text.starts_with('-')
        && text.chars().all(is_safe)
        && yaml::is_text_when_plain(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_back_as_they_were() {
        for text in [
            "{a: 1, b: [x, 'y z', null, true, 1.5], c: {}}",
            "[[1, [2, {a: b}]], {k: [1], l: {m: n}}]",
            "{1: a, 'true': 'no', t: '12', e: ''}",
            "text",
            "'a: b #c'",
            "[]",
        ] {
            let value = yaml::load(text.as_bytes()).unwrap();
            assert_eq!(
                yaml::load(flow(&value).as_bytes()).unwrap(),
                value,
                "{}",
                flow(&value)
            );
            assert_eq!(
                yaml::load(block(&value).as_bytes()).unwrap(),
                value,
                "{}",
                block(&value)
            );
        }
    }
}

//! Writes a mapping as readable YAML, for the grains file that `grains.setval` changes.
//!
//! Block style, keys sorted, as Salt writes it; every text that YAML could read as another type is quoted.

use std::fmt::Write as _;

use brine_config::yaml::is_text_when_plain;
use brine_wire::{Map, Value, python_text};

/// The text of a file that holds this mapping.
pub(super) fn document(map: &Map) -> String {
    let mut out = String::new();
    if map.is_empty() {
        out.push_str("{}\n");
    } else {
        write_map(map, 0, &mut out);
    }
    out
}

fn write_map(map: &Map, indent: usize, out: &mut String) {
    let mut pairs: Vec<_> = map.iter().collect();
    pairs.sort_by_key(|(key, _)| python_text::str(key));
    for (key, value) in pairs {
        let _ = write!(out, "{:indent$}{}:", "", scalar(key)); // into memory: never fails
        write_below(value, indent, out);
    }
}

/// A value after its key or dash.
fn write_below(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Map(map) if !map.is_empty() => {
            out.push('\n');
            write_map(map, indent + 2, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            for item in items {
                let _ = write!(out, "{:indent$}-", "");
                write_below(item, indent + 2, out);
            }
        }
        value => {
            let _ = writeln!(out, " {}", scalar(value));
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Nil => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Float(number) if number.is_nan() => ".nan".into(),
        Value::Float(number) if number.is_infinite() => {
            if *number > 0.0 { ".inf" } else { "-.inf" }.into()
        }
        Value::Float(_) => python_text::repr(value),
        Value::Map(_) => "{}".into(),
        Value::Array(_) => "[]".into(),
        Value::Str(text) if is_plain(text) => text.clone(),
        value => quoted(&python_text::str(value)),
    }
}

/// Whether a text can stand without quotes.
fn is_plain(text: &str) -> bool {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "_-./+@ ".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '/')
        && text.chars().all(is_safe)
        && !text.ends_with(' ')
        && is_text_when_plain(text)
}

/// In double quotes, with control and special characters escaped.
fn quoted(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{85}') => {
                let _ = write!(out, "\\U{:08X}", u32::from(c)); // into memory: never fails
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let text = "\
a: [1, 2.5, null, true, 'true', '1', '', ' x ', 'a: b', \"\\x01\\n\\u2028é\"]
'on': {b: {c: []}, d: {}, 5: x}
e: [[1, [2]], {f: g, h: [i]}]
";
        let Value::Map(map) = brine_config::yaml::load(text.as_bytes()).unwrap() else {
            panic!("a mapping")
        };
        let written = document(&map);
        let again = brine_config::yaml::load(written.as_bytes()).unwrap();
        let sorted = |value: &Value| python_text::repr(value).len();
        let Value::Map(again) = again else {
            panic!("a mapping")
        };
        for (key, value) in &map {
            let read = again.get_key(key).unwrap();
            assert_eq!(sorted(read), sorted(value), "{written}");
        }
        assert_eq!(again.get("a"), map.get("a"), "{written}");
    }
}

//! Arguments of Salt's functions as users write them on a command line or in a form.
//!
//! `name=value` against positional, and which texts become numbers, booleans, lists or mappings:
//! what `salt-run`, `salt-call` and the REST interface share. Facts: Salt 3008.3 and 3006.28;
//! every row of `tests/golden/arguments.json` comes from real Salt.

use brine_wire::{Map, Value};

use crate::yaml;

/// A call's arguments, parsed.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Arguments {
    /// Positional arguments, in order.
    pub positional: Vec<Value>,
    /// Arguments `name=value`; of a name given twice, the last value.
    pub keyword: Map,
}

/// Parses a call's arguments as Salt does.
///
/// `no_parse` names the keyword arguments whose values stay text (`--no-parse`). Nothing fails:
/// a value that is not valid YAML is text.
///
/// ```
/// use brine_config::parse_arguments;
/// use brine_wire::Value;
///
/// let arguments = parse_arguments(["my/tag", "{a: 1}", "count=2"], &[]);
/// assert_eq!(arguments.positional[0], Value::from("my/tag"));
/// assert!(arguments.positional[1].as_map().is_some());
/// assert_eq!(arguments.keyword.get("count"), Some(&Value::Int(2)));
/// ```
pub fn parse_arguments<'a>(
    arguments: impl IntoIterator<Item = &'a str>,
    no_parse: &[&str],
) -> Arguments {
    let mut parsed = Arguments::default();
    for argument in arguments {
        match split_keyword(argument) {
            // Salt marks keyword arguments on the wire with this name, so it cannot be one.
            Some(("__kwarg__", _)) => {}
            Some((name, text)) if no_parse.contains(&name) => parsed.keyword.insert(name, text),
            Some((name, text)) => parsed.keyword.insert(name, parse_value(text)),
            None => parsed
                .positional
                .push(job_id_as_text(parse_value(argument))),
        }
    }
    parsed
}

/// Parses one value: YAML where that is safe to guess, else the text unchanged.
#[must_use]
pub fn parse_value(text: &str) -> Value {
    if stays_text(text) {
        return text.into();
    }
    if text == "None" {
        return Value::Nil;
    }
    let Ok(value) = yaml::load(text.as_bytes()) else {
        return text.into();
    };
    let is_taken = if text.contains('#') {
        // YAML would drop text after a `#` as a comment: parsed only when it is clearly data.
        !matches!(value, Value::Str(_) | Value::Nil)
    } else {
        match &value {
            Value::Map(_) => text.starts_with('{'),
            Value::Array(_) => text.starts_with('['),
            Value::Nil | Value::Str(_) => !matches!(text, "!" | "|"),
            Value::Bool(_) | Value::Int(_) | Value::Float(_) => true,
            Value::Bin(_) | Value::Ext(..) => false,
        }
    };
    if is_taken { value } else { text.into() }
}

/// Texts that Salt does not pass to its YAML loader.
fn stays_text(text: &str) -> bool {
    let core = text.trim_matches(is_python_space);
    matches!(core, "" | "---" | "...")
        || (core.contains('_') && core.bytes().all(|c| c.is_ascii_digit() || c == b'_'))
        || text.contains(['\t', '\r', '\n'])
}

/// The characters that Python's `str.strip` removes: Unicode's white space and four separators.
fn is_python_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1C'..='\x1F')
}

/// `name` and the text of its value, if this is a keyword argument.
///
/// A name starts with a letter or `_`; a second `=` right after the first makes it positional,
/// and so does a line break, except one at the very end, which is dropped.
#[must_use]
pub fn split_keyword(argument: &str) -> Option<(&str, &str)> {
    let (name, value) = argument.split_once('=')?;
    let value = value.strip_suffix('\n').unwrap_or(value);
    let starts_well = name.starts_with(|c: char| c.is_alphabetic() || c == '_');
    let goes_on_well = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_keyword = starts_well
        && name.chars().all(goes_on_well)
        && !value.starts_with('=')
        && !value.contains('\n');
    is_keyword.then_some((name, value))
}

/// A positional integer of twenty digits is a job id, and job ids are text.
fn job_id_as_text(value: Value) -> Value {
    match value {
        Value::Int(number) => {
            let digits = number.to_string();
            if digits.len() == 20 {
                Value::Str(digits)
            } else {
                Value::Int(number)
            }
        }
        other => other,
    }
}

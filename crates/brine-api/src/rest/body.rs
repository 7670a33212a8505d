//! The bodies of requests, as Salt reads them: JSON, YAML, forms, and text that may be JSON.

use brine_config::yaml;
use brine_wire::{Map, Value, json};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use hyper::http::request::Parts;

use super::context::Context;
use super::error::RestError;
use crate::incoming;
use crate::limits::Holder;
use crate::query::decode_lossy;

/// The most pairs of a form.
const MAX_PAIRS: usize = 1024;

/// Bodies of all forms: what is read must be a lowstate or refused.
pub(crate) fn fuzz(bytes: &[u8]) {
    let Some((form, body)) = bytes.split_first() else {
        return;
    };
    let form = match form % 4 {
        0 => Form::Json,
        1 => Form::Yaml,
        2 => Form::Pairs,
        _ => Form::Text,
    };
    if let Ok(parsed) = parse(form, body) {
        let _ = lowstate(parsed.value);
    }
}

/// What a body holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parsed {
    /// The value; `None` without a body.
    pub(crate) value: Option<Value>,
    /// The text it was read from.
    pub(crate) raw: String,
}

/// The types of bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Json,
    Yaml,
    Pairs,
    Text,
}

impl Form {
    /// The form of a `Content-Type`.
    fn of(content_type: &str) -> Option<Self> {
        let name = content_type.split(';').next().unwrap_or_default();
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "application/json" => Self::Json,
            "application/x-yaml" | "text/yaml" => Self::Yaml,
            "application/x-www-form-urlencoded" => Self::Pairs,
            "text/plain" => Self::Text,
            _ => return None,
        })
    }
}

/// Reads the body of a request.
pub(crate) async fn read(
    context: &Context,
    head: &Parts,
    incoming: Incoming,
) -> Result<Parsed, RestError> {
    let headers = &head.headers;
    let is_empty = match headers.get(CONTENT_LENGTH) {
        Some(length) => length == "0",
        None => {
            headers.get(TRANSFER_ENCODING).is_none() && {
                use hyper::body::Body as _;
                incoming.is_end_stream() || incoming.size_hint().exact() == Some(0)
            }
        }
    };
    if is_empty {
        return Ok(Parsed {
            value: None,
            raw: String::new(),
        });
    }
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let form = content_type.and_then(Form::of);
    let form = form.ok_or(RestError::NotAcceptable(
        "Content type not supported".into(),
    ))?;
    let state = &context.state;
    let enter = || state.bodies.enter(Holder::of(context.peer().ip()));
    let bytes = incoming::admitted(incoming, state.options.limits.body_bytes, enter).await?;
    parse(form, &bytes)
}

/// Reads a body of a form.
pub(crate) fn parse(form: Form, bytes: &[u8]) -> Result<Parsed, RestError> {
    let raw = String::from_utf8_lossy(bytes).into_owned();
    let bad = |text: &'static str| RestError::BadRequest(text.into());
    let value = match form {
        Form::Json => json::parse(bytes).map_err(|_| bad("Invalid JSON document"))?,
        Form::Yaml => {
            let loaded = yaml::load_last_wins(bytes);
            loaded.map_err(|_| bad("Invalid YAML document"))?.0
        }
        Form::Text => json::parse(bytes).unwrap_or_else(|_| raw.as_str().into()),
        Form::Pairs => pairs(&raw)?.into(),
    };
    Ok(Parsed {
        value: Some(value),
        raw,
    })
}

/// A form: values that repeat are lists, empty ones are dropped, `arg` and `kwarg` are read as on Salt's command
/// line.
fn pairs(text: &str) -> Result<Map, RestError> {
    let mut values: Vec<(String, Vec<String>)> = Vec::new();
    for (count, pair) in text.split('&').enumerate() {
        if count >= MAX_PAIRS {
            return Err(RestError::BadRequest("Too many form fields".into()));
        }
        let Some((name, value)) = pair.split_once('=').filter(|(_, value)| !value.is_empty())
        else {
            continue;
        };
        let (name, value) = (decode_lossy(name), decode_lossy(value));
        match values.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(value),
            None => values.push((name, vec![value])),
        }
    }
    let mut map = Map::new();
    for (name, mut all) in values {
        let value: Value = match name.as_str() {
            "arg" => Value::Array(
                all.iter()
                    .map(|text| brine_config::parse_value(text))
                    .collect(),
            ),
            "kwarg" if all.len() == 1 => brine_config::parse_value(&all[0]),
            _ if all.len() == 1 => all.swap_remove(0).into(),
            _ => Value::Array(all.into_iter().map(Value::from).collect()),
        };
        map.insert(name, value);
    }
    Ok(map)
}

/// The commands of a body: a mapping becomes a list of one.
pub(crate) fn lowstate(value: Option<Value>) -> Result<Vec<Map>, RestError> {
    let list = match value {
        Some(Value::Map(one)) if !one.is_empty() => vec![Value::Map(one)],
        Some(Value::Array(list)) => list,
        _ => return Err(RestError::BadRequest("Lowstates must be a list".into())),
    };
    let chunks = list.into_iter().map(|chunk| match chunk {
        Value::Map(mut chunk) => {
            if let Some(arg) = chunk.get("arg").cloned()
                && arg.as_array().is_none()
            {
                chunk.insert("arg", vec![arg]);
            }
            Ok(chunk)
        }
        _ => Err(RestError::BadRequest("Lowstates must be mappings".into())),
    });
    chunks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(form: Form, text: &str) -> String {
        match parse(form, text.as_bytes()) {
            Ok(parsed) => {
                let mut out = String::new();
                json::to_line(&parsed.value.unwrap(), &mut out);
                out
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn forms_are_read_as_salt_reads_them() {
        for (form, text, expected) in [
            (
                Form::Pairs,
                "a=1&b=two&arg=3&c=&a=9",
                r#"{"a": ["1", "9"], "b": "two", "arg": [3]}"#,
            ),
            (
                Form::Pairs,
                "fun=test.arg&arg=1&arg=a%3D2&kwarg=%7Bx%3A+1%7D&=x&y",
                r#"{"fun": "test.arg", "arg": [1, "a=2"], "kwarg": {"x": 1}, "": "x"}"#,
            ),
            (
                Form::Pairs,
                "a=%zz&b=%ff",
                "{\"a\": \"%zz\", \"b\": \"\u{fffd}\"}",
            ),
            (Form::Json, "[1, null]", "[1, null]"),
            (Form::Json, "{nope", "Invalid JSON document"),
            (
                Form::Yaml,
                "a: 1\nb: [x, y]\n",
                r#"{"a": 1, "b": ["x", "y"]}"#,
            ),
            (Form::Yaml, "a: 1\na: 2\n", r#"{"a": 2}"#),
            (Form::Yaml, "a: [", "Invalid YAML document"),
            (Form::Text, "hello", r#""hello""#),
            (Form::Text, r#"{"a": 1}"#, r#"{"a": 1}"#),
        ] {
            assert_eq!(shown(form, text), expected, "{text}");
        }
        let many = "a=1&".repeat(2000);
        assert_eq!(shown(Form::Pairs, &many), "Too many form fields");
    }

    #[test]
    fn a_mapping_is_a_list_of_one() {
        let value = |text: &str| Some(json::parse(text.as_bytes()).unwrap());
        let one = lowstate(value(r#"{"fun": "x", "arg": 1}"#)).unwrap();
        assert_eq!(one[0].get("arg"), Some(&Value::Array(vec![1.into()])));
        for bad in [
            None,
            value("\"abc\""),
            value("{}"),
            value("null"),
            value("[1]"),
        ] {
            assert!(lowstate(bad.clone()).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn types_are_known_whatever_their_parameters() {
        for (text, form) in [
            ("application/json;charset=UTF-8", Some(Form::Json)),
            ("text/plain;charset=UTF-8", Some(Form::Text)),
            ("TEXT/YAML", Some(Form::Yaml)),
            ("application/xml", None),
            ("", None),
        ] {
            assert_eq!(Form::of(text), form, "{text}");
        }
    }
}

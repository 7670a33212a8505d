//! The arguments of a command, as Salt's clients read them.
//!
//! Positional arguments that are strings are parsed as on Salt's command line, including `name=value`.

use brine_config::{Arguments, parse_value, split_keyword};
use brine_wire::{Map, Value};

/// The arguments of a runner or wheel function: all fields that are nothing else.
#[must_use]
pub fn call(fields: &Map) -> Arguments {
    const NOT_ARGUMENTS: [&str; 5] = ["fun", "arg", "kwarg", "timeout", "full_return"];
    let mut arguments = arguments(fields);
    for (name, value) in fields {
        if name
            .as_str()
            .is_some_and(|name| !NOT_ARGUMENTS.contains(&name))
        {
            arguments.keyword.insert(name.clone(), value.clone());
        }
    }
    arguments
}

/// `arg` and `kwarg`.
#[must_use]
pub fn arguments(fields: &Map) -> Arguments {
    let mut arguments = Arguments {
        positional: Vec::new(),
        keyword: Map::new(),
    };
    let arg = fields.get("arg").and_then(Value::as_array);
    for value in arg.unwrap_or_default() {
        match value {
            Value::Str(text) => match split_keyword(text) {
                Some((name, value)) => arguments.keyword.insert(name, parse_value(value)),
                None => arguments.positional.push(parse_value(text)),
            },
            Value::Map(keywords) if keywords.get("__kwarg__").is_some() => {
                let keywords = keywords.iter();
                for (name, value) in keywords.filter(|(name, _)| name.as_str() != Some("__kwarg__"))
                {
                    arguments.keyword.insert(name.clone(), value.clone());
                }
            }
            value => arguments.positional.push(value.clone()),
        }
    }
    let kwarg = fields.get("kwarg").and_then(Value::as_map);
    for (name, value) in kwarg.into_iter().flat_map(Map::iter) {
        arguments.keyword.insert(name.clone(), value.clone());
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::json;

    fn shown(value: impl Into<Value>) -> String {
        let mut text = String::new();
        json::to_line(&value.into(), &mut text);
        text
    }

    #[test]
    fn fields_of_a_call_are_its_arguments() {
        let command = r#"{"fun": "jobs.list_job", "jid": "2026", "timeout": 3, "arg": [1], "kwarg": {"a": 1}}"#;
        let command = json::parse(command.as_bytes()).unwrap();
        let called = call(command.as_map().unwrap());
        assert_eq!(shown(called.positional), "[1]");
        assert_eq!(shown(called.keyword), r#"{"a": 1, "jid": "2026"}"#);
    }
}

//! Salt's outputters, as far as return values of the functions here need them: what
//! `--out NAME` makes of true, false, nothing and text. Facts: Salt 3008.3 as it behaves.

use brine_wire::{Value, json};

use super::python;

/// The ways a return value can be printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outputter {
    /// `nested`, the default; `txt`, `raw` and `highstate` print scalars in the same way.
    Nested,
    Json,
    Yaml,
    Pprint,
    /// `quiet`, which 3006 still has, and `no_return`: nothing.
    Quiet,
}

impl Outputter {
    /// The outputter of a name; `None` if there is none.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "nested" | "txt" | "raw" | "highstate" => Self::Nested,
            "json" => Self::Json,
            "yaml" => Self::Yaml,
            "pprint" => Self::Pprint,
            "quiet" | "no_return" => Self::Quiet,
            _ => return None,
        })
    }

    /// The text of a value, `None` where nothing is printed.
    pub(super) fn show(self, value: &Value) -> Option<String> {
        Some(match self {
            Self::Nested => python::str(value),
            Self::Json => in_json(value),
            Self::Yaml => match value {
                Value::Str(text) => in_yaml(text),
                other => in_json(other),
            },
            Self::Pprint => python::repr(value),
            Self::Quiet => return None,
        })
    }
}

fn in_json(value: &Value) -> String {
    let mut text = String::new();
    json::to_line(value, &mut text);
    text
}

/// Text in YAML: single quotes where they are enough, double ones where they are not.
fn in_yaml(text: &str) -> String {
    if text.contains(char::is_control) {
        return in_json(&text.into());
    }
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_look_as_in_salt() {
        for (name, shown) in [
            ("nested", ["True", "None", "'x' is not available."]),
            ("txt", ["True", "None", "'x' is not available."]),
            ("json", ["true", "null", "\"'x' is not available.\""]),
            ("yaml", ["true", "null", "'''x'' is not available.'"]),
            ("pprint", ["True", "None", "\"'x' is not available.\""]),
        ] {
            let outputter = Outputter::named(name).unwrap();
            let values = [true.into(), Value::Nil, "'x' is not available.".into()];
            let found = values.map(|value| outputter.show(&value).unwrap());
            assert_eq!(found, shown, "{name}");
        }
        assert_eq!(Outputter::named("quiet").unwrap().show(&Value::Nil), None);
    }
}

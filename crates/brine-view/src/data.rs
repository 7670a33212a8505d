//! Data in one line, `status=ok files=[a, b]`, as much of it as fits.
//!
//! For people; programs read JSON, which is written elsewhere.

use brine_wire::{Map, Value};

use crate::text::visible;

/// No line shows more than this, in bytes: a return may be megabytes long.
const MAX_BYTES: usize = 1024;

/// A mapping's pairs, but those under `without`.
#[must_use]
pub fn pairs(map: &Map, without: &[&str]) -> String {
    let mut out = Out::default();
    let wanted = map.iter().filter(|(key, _)| {
        let name = key.as_str().unwrap_or_default();
        !without.contains(&name) && !is_internal(key)
    });
    for (at, (key, value)) in wanted.enumerate() {
        if at > 0 {
            out.push(" ");
        }
        out.value(key, Place::Key);
        out.push("=");
        out.value(value, Place::Outermost);
        if out.is_full() {
            break;
        }
    }
    out.text
}

/// A value; text stands as it is.
#[must_use]
pub fn value(value: &Value) -> String {
    if let Value::Str(value) = value {
        return text(value);
    }
    let mut out = Out::default();
    out.value(value, Place::Outermost);
    out.text
}

/// A text as it is.
#[must_use]
pub fn text(text: &str) -> String {
    let mut out = Out::default();
    out.push(beginning(text.trim(), MAX_BYTES));
    out.text
}

/// Names one after the other: `web1, web2, web3`.
#[must_use]
pub fn names(items: &[Value]) -> String {
    let mut out = Out::default();
    out.list(items);
    out.text
}

/// Where a value stands: text is quoted where its end would not be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Key,
    Outermost,
    Inside,
}

#[derive(Default)]
struct Out {
    text: String,
}

impl Out {
    fn is_full(&self) -> bool {
        self.text.len() >= MAX_BYTES
    }

    fn push(&mut self, text: &str) {
        let left = MAX_BYTES.saturating_sub(self.text.len());
        self.text.push_str(&visible(beginning(text, left)));
    }

    fn value(&mut self, value: &Value, place: Place) {
        match value {
            Value::Nil => self.push("null"),
            Value::Bool(flag) => self.push(if *flag { "true" } else { "false" }),
            Value::Int(number) => self.push(&number.to_string()),
            Value::Float(number) => self.push(&number.to_string()),
            Value::Str(text) => self.string(text, place),
            Value::Bin(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => self.string(text, place),
                Err(_) => self.push(&format!("<{} bytes>", bytes.len())),
            },
            Value::Ext(_, bytes) => self.push(&format!("<{} bytes>", bytes.len())),
            Value::Array(items) => {
                self.push("[");
                self.list(items);
                self.push("]");
            }
            Value::Map(map) => {
                self.push("{");
                let wanted = map.iter().filter(|(key, _)| !is_internal(key));
                for (at, (key, value)) in wanted.enumerate() {
                    if self.is_full() {
                        return;
                    }
                    if at > 0 {
                        self.push(", ");
                    }
                    self.value(key, Place::Key);
                    self.push(": ");
                    self.value(value, Place::Inside);
                }
                self.push("}");
            }
        }
    }

    fn list(&mut self, items: &[Value]) {
        for (at, item) in items.iter().enumerate() {
            if self.is_full() {
                return;
            }
            if at > 0 {
                self.push(", ");
            }
            self.value(item, Place::Inside);
        }
    }

    fn string(&mut self, text: &str, place: Place) {
        let ends_unseen = |c: char| match place {
            Place::Key => c.is_whitespace() || matches!(c, '=' | ':' | '"'),
            Place::Outermost => c.is_whitespace() || matches!(c, '=' | '"'),
            Place::Inside => matches!(c, ',' | '"' | '[' | ']' | '{' | '}'),
        };
        let text = beginning(text, MAX_BYTES);
        if text.is_empty() || text.contains(ends_unseen) {
            self.push("\"");
            self.push(&text.replace('"', "\\\""));
            self.push("\"");
        } else {
            self.push(text);
        }
    }
}

/// What Salt adds to arguments for functions that ask who called them.
fn is_internal(key: &Value) -> bool {
    key.as_str().is_some_and(|name| name.starts_with("__pub_"))
}

/// No more of a text than so many bytes.
fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = text.len().min(bytes);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_at_a_glance() {
        let inner: Map = [("a b", Value::from(1)), ("c", Value::Nil)]
            .into_iter()
            .collect();
        let data: Map = [
            ("host", Value::from("web1")),
            ("text", "two words".into()),
            ("empty", "".into()),
            (
                "list",
                vec![Value::from("x, y"), 2.into(), true.into()].into(),
            ),
            ("map", inner.into()),
            ("bytes", Value::Bin(vec![0xff, 0])),
            ("lines", "a\nb".into()),
            ("_stamp", "now".into()),
            ("__pub_jid", "1".into()),
        ]
        .into_iter()
        .collect();
        assert_eq!(
            pairs(&data, &["_stamp"]),
            "host=web1 text=\"two words\" empty=\"\" list=[\"x, y\", 2, true] map={\"a b\": 1, c: null} \
             bytes=<2 bytes> lines=\"a\\nb\""
        );
    }

    #[test]
    fn long_data_cost_no_more_than_a_line() {
        let long = Value::Str("é".repeat(1_000_000));
        let many = Value::Array(vec![long.clone(); 10]);
        assert!(value(&long).len() <= MAX_BYTES);
        assert!(value(&many).len() <= MAX_BYTES + 8);
    }
}

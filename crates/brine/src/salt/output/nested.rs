//! `nested`, the default: mappings and lists by indentation; and `no_return`, a plainer form of it.
//! Facts: `salt.output.nested` and `no_return` of Salt 3008.3 , compared in `super::tests`.

use brine_wire::{Map, Value};

use super::Style;
use super::colours::Colours;
use crate::salt::python;

/// The lines of a value.
pub(super) fn show(value: &Value, style: Style<'_>) -> String {
    show_at(value, style, 0)
}

/// The same, indented.
pub(super) fn show_at(value: &Value, style: Style<'_>, indent: usize) -> String {
    let mut nested = Nested {
        lines: Vec::new(),
        colours: style.colours,
        frame: if style.failed {
            (style.colours.red, style.colours.red)
        } else {
            (style.colours.cyan, style.colours.green)
        },
    };
    nested.value(value, indent, "");
    nested.lines.join("\n")
}

struct Nested {
    lines: Vec<String>,
    colours: Colours,
    /// The colour of keys and of the marks of lists.
    frame: (&'static str, &'static str),
}

impl Nested {
    fn value(&mut self, value: &Value, indent: usize, prefix: &str) {
        let Colours {
            green,
            light_yellow,
            ..
        } = self.colours;
        match value {
            Value::Nil | Value::Bool(_) | Value::Int(_) | Value::Float(_) => {
                self.line(indent, light_yellow, prefix, &python::repr(value), "");
            }
            Value::Str(text) => self.text(text, indent, prefix, green),
            Value::Bin(bytes) => {
                // As in Salt, bytes that are not text are not shown.
                if let Ok(text) = std::str::from_utf8(bytes) {
                    self.text(text, indent, prefix, green);
                }
            }
            Value::Array(items) => self.list(items, indent),
            Value::Map(map) => self.map(map, indent, prefix),
            Value::Ext(..) => {}
        }
    }

    fn text(&mut self, text: &str, indent: usize, prefix: &str, colour: &str) {
        let blank = " ".repeat(prefix.len());
        for (at, line) in python::lines(text).enumerate() {
            let prefix = if at == 0 { prefix } else { &blank };
            self.line(indent, colour, prefix, &line.replace('\x1b', "?"), "");
        }
    }

    fn list(&mut self, items: &[Value], indent: usize) {
        for item in items {
            match item {
                Value::Array(_) => {
                    self.line(indent, self.frame.1, "", "|_", "");
                    self.value(item, indent + 2, "- ");
                }
                Value::Map(_) => {
                    self.line(indent, self.frame.1, "", "|_", "");
                    self.value(item, indent + 2, "");
                }
                _ => self.value(item, indent, "- "),
            }
        }
    }

    fn map(&mut self, map: &Map, indent: usize, prefix: &str) {
        if indent > 0 {
            self.line(indent, self.frame.0, "", "----------", "");
        }
        for (key, value) in by_key(map) {
            self.line(indent, self.frame.0, prefix, &key, ":");
            self.value(value, indent + 4, "");
        }
    }

    fn line(&mut self, indent: usize, colour: &str, prefix: &str, text: &str, suffix: &str) {
        let end = self.colours.end;
        let line = format!("{:indent$}{colour}{prefix}{text}{end}{suffix}", "");
        self.lines.push(line);
    }
}

/// The members in sorted order; keys that Python cannot sort are compared as text.
fn by_key(map: &Map) -> Vec<(String, &Value)> {
    match python::sorted(map) {
        Some(pairs) => pairs
            .into_iter()
            .map(|(key, value)| (python::str(key), value))
            .collect(),
        None => {
            let mut members = std::collections::BTreeMap::new();
            for (key, value) in map {
                members.insert(python::str(key), value);
            }
            members.into_iter().collect()
        }
    }
}

/// `no_return`: only text under keys.
pub(super) fn show_no_return(value: &Value, colours: Colours) -> String {
    let mut text = String::new();
    no_return(value, 0, colours, &mut text);
    text
}

fn no_return(value: &Value, indent: usize, colours: Colours, out: &mut String) {
    use std::fmt::Write;
    let Colours { red, cyan, end, .. } = colours;
    // Writing to a String cannot fail.
    match value {
        Value::Str(text) => {
            for line in text.split('\n') {
                let _ = writeln!(out, "{red}{:indent$}{line}{end}", "");
            }
        }
        Value::Map(map) => {
            for (key, value) in by_key(map) {
                let _ = writeln!(out, "{cyan}{:indent$}{key}{end}:", "");
                no_return(value, indent + 4, colours, out);
            }
        }
        _ => {}
    }
}

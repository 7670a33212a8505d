//! `txt`: each line of a text, preceded by its minion's id. Facts: `salt.output.txt` of Salt
//! 3008.3 as it behaves.

use std::fmt::Write;

use brine_wire::Value;

use super::pprint;
use crate::salt::python;

/// The lines of a value.
pub(super) fn show(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Map(map) => {
            for (key, value) in map {
                let key = python::str(key);
                // Writing to a String cannot fail.
                match value {
                    Value::Str(value) => {
                        for line in python::lines(value) {
                            let _ = writeln!(text, "{key}: {line}");
                        }
                    }
                    Value::Bin(bytes) => {
                        for line in python::byte_lines(bytes) {
                            let line = python::repr(&Value::Bin(line.to_vec()));
                            let _ = writeln!(text, "{key}: {line}");
                        }
                    }
                    other => {
                        let _ = writeln!(text, "{key}: {}", python::repr(other));
                    }
                }
            }
        }
        Value::Str(value) => text.push_str(value),
        other => text = pprint::show(other, 1),
    }
    text
}

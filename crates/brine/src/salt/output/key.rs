//! `key`: lists of keys by state, as `salt-key` prints them. Facts: `salt.output.key` of Salt 3008.3
//! as it behaves.

use std::fmt::Write;

use brine_wire::Value;

use super::colours::Colours;
use crate::salt::python;

/// Headings for the states with their keys below; `None` if the value is not a mapping of states to keys.
pub(super) fn show(value: &Value, colours: Colours) -> Option<String> {
    let mut text = String::new();
    for (state, keys) in python::sorted(value.as_map()?)? {
        let (heading, heading_colour, colour) = look(state.as_str()?, colours)?;
        let end = colours.end;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{heading_colour}{heading}{end}");
        match keys {
            Value::Array(ids) => {
                let mut ids: Vec<_> = ids.iter().map(python::str).collect();
                ids.sort();
                for id in ids {
                    let _ = writeln!(text, "{colour}{}{end}", visible(&id));
                }
            }
            Value::Map(keys) => {
                for (id, key) in python::sorted(keys)? {
                    let (id, key) = (python::str(id), python::str(key));
                    let _ = writeln!(text, "{colour}{}:  {key}{end}", visible(&id));
                }
            }
            _ => return None,
        }
    }
    Some(text)
}

fn look(state: &str, colours: Colours) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match state {
        "minions" => ("Accepted Keys:", colours.light_green, colours.green),
        "minions_denied" => ("Denied Keys:", colours.light_magenta, colours.magenta),
        "minions_pre" => ("Unaccepted Keys:", colours.light_red, colours.red),
        "minions_rejected" => ("Rejected Keys:", colours.light_blue, colours.blue),
        "local" => ("Local Keys:", colours.light_magenta, colours.magenta),
        _ => return None,
    })
}

fn visible(id: &str) -> String {
    id.replace('\x1b', "?")
}

//! What a state changed, below its result.

use brine_wire::Value;

use super::{host, show_at};
use crate::salt::output::{Style, nested};
use crate::salt::python;

/// How far changes are indented.
const INDENT: usize = 14;

/// The changes of a state.
pub(super) struct Changes {
    pub(super) is_changed: bool,
    /// How many it adds to the summary.
    pub(super) count: usize,
    pub(super) text: String,
}

/// Changes of a state that ran states itself, on other minions.
pub(super) fn orchestrated(changed: &Value, style: Style<'_>, level: usize) -> Option<Changes> {
    let inner = show_at(changed, style, level + 1)?;
    let blanks = " ".repeat(INDENT * level);
    let lines = format!("\n{inner}");
    let lines = lines.split('\n').map(|line| format!("{blanks}{line}"));
    Some(Changes {
        is_changed: true,
        count: 1,
        text: lines.collect::<Vec<_>>().join("\n"),
    })
}

/// Changes of any other state, which may represent `count` states.
pub(super) fn show(changed: &Value, count: usize, style: Style<'_>) -> Option<Changes> {
    let (is_changed, text) = if !changed.is_true() {
        (false, String::new())
    } else if let Some(map) = changed.as_map() {
        match (map.get("ret"), map.get("out").and_then(Value::as_str)) {
            (Some(ret), Some("highstate")) if *ret != Value::Nil => of_minions(ret, style)?,
            _ => (true, as_nested(changed, style)),
        }
    } else {
        let text = python::str(changed);
        (true, format!("Invalid Changes data: {text}"))
    };
    let count = match is_changed {
        true if count > 1 => {
            let each = changed.as_map()?.get("compressed changes");
            let each = each.map_or(Some(0), |each| each.as_map().map(brine_wire::Map::len));
            each?.max(1)
        }
        is_changed => usize::from(is_changed),
    };
    Some(Changes {
        is_changed,
        count,
        text,
    })
}

/// Changes that are other minions' states.
fn of_minions(ret: &Value, style: Style<'_>) -> Option<(bool, String)> {
    let (mut is_changed, mut text) = (false, String::new());
    for (id, states) in ret.as_map()? {
        let host = host::show(id, states, style, 1)?;
        let lines = python::lines(&host.text).map(|line| format!("{:INDENT$}{line}", ""));
        text.push('\n');
        text.push_str(&lines.collect::<Vec<_>>().join("\n"));
        is_changed |= host.has_changes;
    }
    Some((is_changed, text))
}

fn as_nested(changed: &Value, style: Style<'_>) -> String {
    let style = Style {
        failed: false,
        ..style
    };
    let text = nested::show_at(changed, style, INDENT);
    format!("\n{}", text.trim_end_matches(python::is_space))
}

//! What can be said of a reaction file before it is rendered: functions that exist nowhere, and words that have no
//! effect.
//!
//! It looks at lines, so a function whose name a template computes is only found when it runs.

use crate::files::{Available, Functions};
use crate::problem::Problem;

/// Functions of a file that cannot run.
pub(crate) fn faults(
    file: &str,
    source: &str,
    functions: &Functions,
    no_salt: Option<&str>,
) -> Vec<Problem> {
    let mut found = Vec::new();
    for (nth, line) in source.lines().enumerate() {
        let Some((kind, fun)) = function(line) else {
            continue;
        };
        let why = match functions(kind, fun) {
            Available::Here => continue,
            Available::BySalt if no_salt.is_none() => continue,
            Available::BySalt | Available::Nowhere => format!(
                "{kind}.{fun} is not built in, and real Salt cannot run it: {}",
                no_salt.unwrap_or("it has no such function")
            ),
            Available::Refused(why) => format!("{kind}.{fun}: {why}"),
        };
        found.push(Problem::error(file, Some(nth + 1), why));
    }
    found
}

/// Words of a file that have no effect.
pub(crate) fn warnings(file: &str, source: &str) -> Vec<Problem> {
    let mut found = Vec::new();
    for (nth, line) in source.lines().enumerate() {
        let word = line
            .trim_start_matches(['-', ' '])
            .split(':')
            .next()
            .unwrap_or_default();
        let why = match word {
            "expr_form" => "expr_form has no effect, so the target is a glob; write tgt_type",
            "kwargs" => "kwargs is taken for an argument of that name; write kwarg or args",
            "include" if line.starts_with("include:") => {
                "a reaction file cannot include others; the whole file is left out"
            }
            _ => continue,
        };
        found.push(Problem::warning(file, Some(nth + 1), why));
    }
    found
}

/// The function that a line declares: `runner.state.orchestrate:`, or a whole short reaction.
fn function(line: &str) -> Option<(&str, &str)> {
    let line = line.split(" #").next().unwrap_or_default().trim();
    let word = match line.strip_suffix(':') {
        Some(word) => word,
        // `id: runner.jobs.active`, and `runner.x.y: []`
        None => {
            let (before, after) = line.split_once(": ")?;
            let (before, after) = (before.trim(), after.trim());
            if is_kind(before) { before } else { after }
        }
    };
    let word = word.trim_matches(['\'', '"']);
    let (kind, fun) = word.split_once('.')?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    (is_kind(word) && fun.contains('.') && fun.chars().all(is_word)).then_some((kind, fun))
}

fn is_kind(word: &str) -> bool {
    let kind = word.split('.').next().unwrap_or_default();
    word.contains('.') && matches!(kind, "local" | "cmd" | "runner" | "wheel" | "caller")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn functions_that_are_nowhere_are_named_with_their_line() {
        let functions: Functions = Arc::new(|kind, fun| match (kind, fun) {
            ("runner", "a.here") => Available::Here,
            ("runner", "a.salt") => Available::BySalt,
            ("caller", _) => Available::Refused("not on a master"),
            ("local", _) => Available::Here,
            _ => Available::Nowhere,
        });
        let source = "x:\n  runner.a.here:\n  - a: 1\ny:\n  runner.a.salt: []\nz: wheel.no.thing\nc:\n  caller.a.b: # x\n  - arg: [runner.a.b]\nl:\n  local.a.b:\n  - tgt: '*'\n  - note: 'x: wheel.no.thing'\n";
        let lines = |no_salt| {
            let faults = faults("f", source, &functions, no_salt);
            faults
                .iter()
                .map(|fault| fault.line.unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(lines(None), [6, 8]);
        assert_eq!(lines(Some("no Salt")), [5, 6, 8]);
    }

    #[test]
    fn words_without_effect_are_named_with_their_line() {
        let source =
            "a:\n  local.x.y:\n  - tgt: x\n  - expr_form: grain\n  - kwargs: {}\ninclude:\n  - b\n";
        let lines: Vec<_> = warnings("f", source)
            .iter()
            .map(|one| one.line.unwrap())
            .collect();
        assert_eq!(lines, [4, 5, 6]);
    }
}

//! What `salt-call` says of what came of a call: a value, or why there is none.
//!
//! A minion words a failure as a return value; `salt-call` words the same failures differently, on
//! stderr. Facts: Salt 3008.3 and 3006.28 as they behave.

use brine_node::functions::Outcome;
use brine_wire::Value;

/// Salt's code for a function that is not there.
const NOT_AVAILABLE: u8 = 255;
const GENERIC: u8 = 1;

/// What is said, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) stderr: String,
    pub(super) stdout: String,
    pub(super) code: u8,
}

/// What is said of a failure; `None` of a return value, which is printed by an outputter.
pub(super) fn failure(fun: &str, outcome: &Outcome) -> Option<Told> {
    if outcome.success {
        return None;
    }
    let Value::Str(text) = &outcome.ret else {
        return None;
    };
    let told = |stderr: String| {
        Some(Told {
            stderr,
            stdout: String::new(),
            code: GENERIC,
        })
    };
    if text.starts_with(&format!("'{fun}' is not available."))
        || text.starts_with(&format!("'{}' __virtual__ returned False", module(fun)))
    {
        return Some(Told {
            stderr: format!("{text}\n"),
            stdout: String::new(),
            code: NOT_AVAILABLE,
        });
    }
    if let Some(rest) = text.strip_prefix(&format!("Passed invalid arguments to {fun}: ")) {
        let (error, doc) = rest.split_once('\n').unwrap_or((rest, ""));
        return Some(Told {
            stderr: format!("\nPassed invalid arguments: {error}.\n\nUsage:\n"),
            stdout: format!("{doc}\n"),
            code: GENERIC,
        });
    }
    if let Some(error) = text.strip_prefix(&format!("ERROR executing '{fun}': ")) {
        return told(format!("{error}\n"));
    }
    if let Some(error) = text.strip_prefix("ERROR: ") {
        return told(format!("Error running '{fun}': {error}\n"));
    }
    if text.starts_with("Command required for '") {
        return told(format!("{text}\n"));
    }
    let raised = text.strip_prefix("The minion function caused an exception: ")?;
    told(format!("{}\n", raised.trim_end()))
}

fn module(fun: &str) -> &str {
    fun.split('.').next().unwrap_or(fun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fun: &str, text: &str) -> Option<Told> {
        failure(
            fun,
            &Outcome {
                ret: text.into(),
                retcode: 1,
                success: false,
                out: None,
            },
        )
    }

    #[test]
    fn failures_are_told_as_salt_call_tells_them() {
        for (text, stderr, stdout, code) in [
            (
                "'a.b' is not available.",
                "'a.b' is not available.\n",
                "",
                255,
            ),
            (
                "Passed invalid arguments to a.b: b() missing x\n\n    Doc\n",
                "\nPassed invalid arguments: b() missing x.\n\nUsage:\n",
                "\n    Doc\n\n",
                1,
            ),
            ("ERROR: no disk", "Error running 'a.b': no disk\n", "", 1),
            ("ERROR executing 'a.b': bad", "bad\n", "", 1),
            (
                "The minion function caused an exception: Traceback\nValueError: x\n",
                "Traceback\nValueError: x\n",
                "",
                1,
            ),
        ] {
            let told = of("a.b", text).unwrap();
            assert_eq!(
                (told.stderr.as_str(), told.stdout.as_str(), told.code),
                (stderr, stdout, code)
            );
        }
        assert_eq!(of("a.b", "a value"), None);
    }
}

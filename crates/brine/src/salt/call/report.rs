//! What `salt-call` prints when a call fails.
//!
//! A minion puts a failure into the return value; `salt-call` words the same failures differently, on stderr. Facts:
//! Salt 3008.3 and 3006.28, by running them.

use brine_node::functions::Outcome;
use brine_wire::Value;

/// Salt's exit code for a function that is not available.
const NOT_AVAILABLE: u8 = 255;
const GENERIC: u8 = 1;

/// What to print, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) stderr: String,
    pub(super) stdout: String,
    pub(super) code: u8,
}

/// What to print for a failed call; `None` for a return value, which an outputter prints.
pub(super) fn failure(fun: &str, outcome: &Outcome) -> Option<Failure> {
    if outcome.success {
        return None;
    }
    let Value::Str(text) = &outcome.ret else {
        return None;
    };
    let generic = |stderr: String| {
        Some(Failure {
            stderr,
            stdout: String::new(),
            code: GENERIC,
        })
    };
    if text.starts_with(&format!("'{fun}' is not available."))
        || text.starts_with(&format!("'{}' __virtual__ returned False", module(fun)))
    {
        return Some(Failure {
            stderr: format!("{text}\n"),
            stdout: String::new(),
            code: NOT_AVAILABLE,
        });
    }
    if let Some(rest) = text.strip_prefix(&format!("Passed invalid arguments to {fun}: ")) {
        let (error, doc) = rest.split_once('\n').unwrap_or((rest, ""));
        return Some(Failure {
            stderr: format!("\nPassed invalid arguments: {error}.\n\nUsage:\n"),
            stdout: format!("{doc}\n"),
            code: GENERIC,
        });
    }
    if let Some(error) = text.strip_prefix(&format!("ERROR executing '{fun}': ")) {
        return generic(format!("{error}\n"));
    }
    if let Some(error) = text.strip_prefix("ERROR: ") {
        return generic(format!("Error running '{fun}': {error}\n"));
    }
    if text.starts_with("Command required for '") {
        return generic(format!("{text}\n"));
    }
    let raised = text.strip_prefix("The minion function caused an exception: ")?;
    generic(format!("{}\n", raised.trim_end()))
}

fn module(fun: &str) -> &str {
    fun.split('.').next().unwrap_or(fun)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(fun: &str, text: &str) -> Option<Failure> {
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
    fn failures_are_worded_as_in_salt_call() {
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
            let failure = of("a.b", text).unwrap();
            assert_eq!(
                (
                    failure.stderr.as_str(),
                    failure.stdout.as_str(),
                    failure.code
                ),
                (stderr, stdout, code)
            );
        }
        assert_eq!(of("a.b", "a value"), None);
    }
}

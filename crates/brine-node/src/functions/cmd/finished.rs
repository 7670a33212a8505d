//! A command that has ended, and what counts as its success.

use brine_wire::{Value, python_text};

use super::Arguments;
use crate::functions::Failure;

/// A command that has ended.
pub(super) struct Finished {
    pub(super) pid: u32,
    pub(super) retcode: i64,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// What counts as success besides exit code 0.
pub(super) struct Success {
    retcodes: Vec<i64>,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

impl Success {
    pub(super) fn read(arguments: &Arguments) -> Result<Self, Failure> {
        let list = |name| match arguments.get(name) {
            Value::Nil => Vec::new(),
            Value::Array(values) => values.iter().map(python_text::str).collect(),
            value => python_text::str(value)
                .split(',')
                .map(|part| part.trim().to_owned())
                .collect(),
        };
        let codes = list("success_retcodes");
        let retcodes = codes.iter().map(|code| code.parse::<i64>());
        let retcodes: Result<Vec<i64>, _> = retcodes.collect();
        Ok(Self {
            retcodes: retcodes.map_err(|_| Failure::Invocation {
                message: "success_retcodes must be a list of integers".into(),
            })?,
            stdout: list("success_stdout"),
            stderr: list("success_stderr"),
        })
    }

    pub(super) fn applies(&self, done: &Finished) -> bool {
        self.retcodes.contains(&done.retcode)
            || self.stdout.iter().any(|text| done.stdout.contains(text))
            || self.stderr.iter().any(|text| done.stderr.contains(text))
    }
}

//! Programs in real Salt's Python that answer a line of JSON with a line of JSON, and the cases they are asked.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread;

use brine_testkit::salt;
use brine_wire::{Value, msgpack};
use serde_json::Value as Json;

/// How many cases there are: some in a plain run, as many as the variable `CASES` says otherwise.
pub(crate) fn cases(few: usize) -> usize {
    let wanted = std::env::var("CASES").ok();
    wanted.map_or(few, |count| count.parse().expect("CASES is a number"))
}

/// A release's answers to questions, in their order, from a program of the testkit.
pub(crate) fn ask<S: AsRef<OsStr>>(
    version: &str,
    script: &str,
    arguments: &[S],
    questions: &[Json],
) -> Vec<Json> {
    let mut process = salt::script(version, script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    // Both pipes are small: who writes all before reading would wait for ever.
    let answers: Vec<Json> = thread::scope(|scope| {
        scope.spawn(move || {
            for question in questions {
                writeln!(stdin, "{question}").unwrap();
            }
        });
        let lines = stdout.lines();
        lines
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    });
    assert!(process.wait().unwrap().success());
    assert_eq!(answers.len(), questions.len());
    answers
}

/// A value in msgpack, as hex.
pub(crate) fn packed(value: impl Into<Value>) -> String {
    let mut bytes = Vec::new();
    msgpack::encode(&value.into(), &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Numbers that are the same in every run, and whatever is chosen by them.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `end` (splitmix64).
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let number = (z ^ (z >> 31)) % u64::try_from(end).unwrap();
        usize::try_from(number).unwrap()
    }

    /// Whether something happens that does in so many of a hundred cases.
    pub(crate) fn is(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn item<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        *self.item(of)
    }

    pub(crate) fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 1);
        (0..count).map(|_| make(self)).collect()
    }
}

//! Programs in real Salt's Python that answer a line of JSON with a line of JSON, and the cases they are asked.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use brine_testkit::salt;
use brine_wire::{Value, msgpack};
use serde_json::Value as Json;

/// How many cases there are: some in a plain run, as many as the variable `CASES` says otherwise.
pub(crate) fn cases(few: usize) -> usize {
    let wanted = std::env::var("CASES").ok();
    wanted.map_or(few, |count| count.parse().expect("CASES is a number"))
}

/// A program of the testkit in a release's Python; ends when dropped.
pub(crate) struct Oracle {
    process: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    pub(crate) fn start<S: AsRef<OsStr>>(version: &str, script: &str, arguments: &[S]) -> Self {
        let mut process = salt::script(version, script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self {
            questions: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
        }
    }

    pub(crate) fn ask(&mut self, question: &Json) -> Json {
        let mut questions = self.questions.as_ref().unwrap();
        writeln!(questions, "{question}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{question}: {error} {line:?}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.questions.take()); // at the end of its questions it ends
        let _ = self.process.wait();
    }
}

/// A value in msgpack, as hex.
pub(crate) fn packed(value: impl Into<Value>) -> String {
    let mut bytes = Vec::new();
    msgpack::encode(&value.into(), &mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The value that was [`packed`].
pub(crate) fn unpacked(hex: &str) -> Value {
    let digits = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(digits).collect();
    msgpack::decode(&bytes).unwrap()
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

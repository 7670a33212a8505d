//! Words that must not come back: private vocabulary that has been replaced by the field's terms.
//!
//! The list is short on purpose. It names what once was a type, a function or a turn of speech
//! here; it does not judge anybody's English.

use std::fs;
use std::path::Path;

use anyhow::Context;

use crate::command::tracked_files;

/// A word or phrase, as it is written, and what to say instead. In pieces, so that this file passes.
const WORDS: &[(&str, &str)] = &[
    (concat!("many", "-eth"), "number in the stream"),
    (concat!("Sign", "OfLife"), "LivenessFile"),
    (concat!("Leav", "ings"), "LeftoverFiles"),
    (concat!("Pati", "ence"), "Timeouts"),
    (concat!("Pla", "ces"), "JobSlots"),
    (concat!("look", "out"), "liveness"),
    (concat!("told_", "to_end"), "shutdown_signal"),
    (concat!("means ", "nobody"), "no minion matches"),
    (concat!("lets ", "in"), "accepts"),
    (concat!("Crow", "d"), "StuckReaders"),
    (concat!("Place", "Arguments"), "BusArgs"),
    (concat!("Se", "ats"), "Occupancy"),
];

/// The faults in one file, as `file:line: …`.
pub(crate) fn faults(file: &str, text: &str) -> Vec<String> {
    if is_excused(file) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        for (word, instead) in WORDS {
            if holds(line, word) {
                faults.push(format!("{file}:{number}: instead of {word}: {instead}"));
            }
        }
    }
    faults
}

/// How often the words occur in a checkout.
pub(crate) fn count(root: &Path) -> anyhow::Result<usize> {
    let mut count = 0;
    for file in tracked_files(root).context("list files")? {
        if let Ok(text) = fs::read_to_string(root.join(&file)) {
            count += faults(&file, &text).len();
        }
    }
    Ok(count)
}

/// Texts that are not ours to word.
fn is_excused(file: &str) -> bool {
    file.ends_with("Cargo.lock")
        || file.contains("/salt_documentation/")
        || file.starts_with("fuzz/corpus/")
}

fn holds(line: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    line.match_indices(word).any(|(at, _)| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn a_word_is_found_as_a_whole() {
        assert!(holds("let x: Inbox = y", "Inbox"));
        assert!(holds("a well-known word", "well-known"));
        assert!(!holds("InboxControl", "Inbox"));
        assert!(!holds("my_Inbox", "Inbox"));
    }
}

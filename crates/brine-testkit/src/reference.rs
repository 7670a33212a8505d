//! Pages of the book that are made from the program: a test makes the text, and says when the page is another.

use std::env;
use std::fs;
use std::path::Path;

/// Compares a page in `docs/reference` with what it has to be. With `BRINE_WRITE_DOCS=1` it is written instead.
///
/// # Panics
/// When the page is stale, or cannot be written.
#[track_caller]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
pub fn is_current(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let path = path.join(name);
    if env::var_os("BRINE_WRITE_DOCS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = there
        .lines()
        .zip(text.lines())
        .position(|(one, other)| one != other);
    let differs = differs.unwrap_or_else(|| there.lines().count().min(text.lines().count()));
    assert!(
        there == text,
        "docs/reference/{name} is stale from line {} on, which has to be {:?}; BRINE_WRITE_DOCS=1 writes it",
        differs + 1,
        text.lines().nth(differs)
    );
}

/// Text as it can be in a cell of a table.
#[must_use]
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
}

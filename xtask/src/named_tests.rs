//! The tests that documents name exist: in tables whose last column is headed `test`, each name there is that of a test
//! or of a fuzz target.

use std::collections::BTreeSet;
use std::fs;

use crate::command::root;

/// The documents with such tables.
const DOCUMENTS: [&str; 1] = ["docs/security.md"];

/// Adds the names that no test has.
pub(crate) fn check(files: &BTreeSet<String>, faults: &mut Vec<String>) {
    let mut tests = BTreeSet::new();
    for file in files.iter().filter(|file| file.ends_with(".rs")) {
        if let Some(target) = file.strip_prefix("fuzz/targets/") {
            tests.insert(target.trim_end_matches(".rs").to_owned());
        } else if let Ok(text) = fs::read_to_string(root().join(file)) {
            tests.extend(tests_in(&text).map(str::to_owned));
        }
    }
    for document in DOCUMENTS {
        let text = fs::read_to_string(root().join(document)).unwrap_or_default();
        let rows: Vec<_> = rows(&text).collect();
        if rows.is_empty() {
            faults.push(format!("{document}: has no table with a column test"));
        }
        for (number, names) in rows {
            for name in names.split('`').skip(1).step_by(2) {
                let is_named = |test: &String| match name.strip_suffix('*') {
                    Some(start) => test.starts_with(start),
                    None => test == name,
                };
                if !tests.iter().any(is_named) {
                    faults.push(format!("{document}:{number}: no test has the name {name}"));
                }
            }
        }
    }
}

/// The functions of a file that have an attribute which makes tests of them.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut is_test = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        if line.starts_with("#[") {
            is_test |= line.contains("test");
            return None;
        }
        let function = line.strip_prefix("async ").unwrap_or(line);
        let name = function.strip_prefix("fn ")?.split(['(', '<']).next()?;
        std::mem::take(&mut is_test).then_some(name)
    })
}

/// The last cells of tables whose last column is headed `test`, with the numbers of their lines.
fn rows(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let (mut is_table, mut names_tests) = (false, false);
    text.lines().zip(1..).filter_map(move |(line, number)| {
        let row = line.strip_prefix('|').and_then(|row| row.strip_suffix('|'));
        let Some(row) = row else {
            is_table = false;
            return None;
        };
        let last = row.rsplit('|').next()?.trim();
        if !is_table {
            (is_table, names_tests) = (true, last == "test");
            return None;
        }
        names_tests.then_some((number, last))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_functions_with_an_attribute_that_says_so() {
        let text = "#[test]\nfn one() {}\nfn helper() {}\n#[tokio::test(flavor = \"multi_thread\")]\n#[cfg(unix)]\n\
                    async fn two() {}\n    #[test]\n    fn three(x in 0..1) {}\n#[inline]\nfn four() {}\n";
        let found: Vec<_> = tests_in(text).collect();
        assert_eq!(found, ["one", "two", "three"]);
    }

    #[test]
    fn only_tables_with_a_column_of_tests_count() {
        let text = "| a | test |\n| --- | --- |\n| x | `one`, `two` |\n\n| b | c |\n| --- | --- |\n| y | `z` |\n";
        let found: Vec<_> = rows(text).collect();
        assert_eq!(found, [(2, "---"), (3, "`one`, `two`")]);
    }
}

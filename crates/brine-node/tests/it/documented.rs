//! The table of functions in `docs/compatibility.md`, which tests compare with real Salt and with our minion.

/// The modules whose functions the table lists.
const MODULES: [&str; 10] = [
    "cmd", "config", "event", "grains", "key", "mine", "pillar", "saltutil", "sys", "test",
];

/// Whether a function belongs into the table.
pub(crate) fn is_listed(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(module, _)| MODULES.contains(&module))
}

/// The rows: the function, what 3006.28 and 3008.3 have, and Brine.
pub(crate) fn functions() -> Vec<[&'static str; 4]> {
    let text = include_str!("../../../../docs/compatibility.md");
    let (_, table) = text.split_once("### Function by function").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| {
        let cells: Vec<_> = row
            .trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().trim_matches('`'))
            .collect();
        <[&str; 4]>::try_from(cells).unwrap_or_else(|_| panic!("four cells in {row}"))
    });
    let rows: Vec<_> = cells.collect();
    assert!(!rows.is_empty(), "the table is there");
    rows
}

/// The column of a release.
pub(crate) fn column(version: &str) -> usize {
    if version.starts_with("3006") { 1 } else { 2 }
}

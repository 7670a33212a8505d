//! Every kind of event as a line: recorded from real sites of two releases (`tests/record/record.py`), and, for what no
//! small site fires, written after Salt's source. The golden files are there to be read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use brine_view::{Meaning, line};
use brine_wire::event_line;

/// How wide the lines are: what is cut at the end is not what a golden file is for.
const COLUMNS: usize = 150;

/// Checks the file of lines of a file of events.
fn lines(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    let mut shown = String::new();
    for (number, event) in text.lines().enumerate() {
        let (tag, data) = event_line::parse(event.as_bytes())
            .unwrap_or_else(|error| panic!("line {}: {error}", number + 1));
        let line = line::describe(&tag, &data);
        let mark = match line.severity() {
            Meaning::Bad => '-',
            Meaning::Warning => '!',
            Meaning::Good => '+',
            _ => ' ',
        };
        writeln!(shown, "{mark} {}\n      {tag}", line.cut(COLUMNS)).unwrap();
    }
    insta::with_settings!({ snapshot_path => "golden", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, shown);
    });
}

#[test]
fn a_3008_masters_events() {
    lines("events-3008.3-master");
}

#[test]
fn a_3008_minions_events() {
    lines("events-3008.3-minion");
}

#[test]
fn a_3006_masters_events() {
    lines("events-3006.28-master");
}

#[test]
fn a_3006_minions_events() {
    lines("events-3006.28-minion");
}

#[test]
fn events_that_no_small_site_fires() {
    lines("events-from-source");
}

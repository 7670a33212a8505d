//! Every kind of event as a line: recorded from real sites of two releases (`tests/record/record.py`), and, for what no
//! small site fires, written after Salt's source. The golden files are there to be read.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
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

/// The page of the book: a line for each kind of tag, and who fires it.
#[test]
fn the_reference_has_every_kind_of_event() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut kinds: BTreeMap<String, (String, Vec<&str>)> = BTreeMap::new();
    for (name, whose) in [
        ("events-3008.3-master", "3008.3 master"),
        ("events-3006.28-master", "3006.28 master"),
        ("events-3008.3-minion", "3008.3 minion"),
        ("events-3006.28-minion", "3006.28 minion"),
        ("events-from-source", ""),
    ] {
        let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
        for event in text.lines() {
            let (tag, data) = event_line::parse(event.as_bytes()).unwrap();
            let line = line::describe(&tag, &data).cut(100).to_string();
            let (_, seen) = kinds
                .entry(brine_view::site::shape(&tag))
                .or_insert((line, Vec::new()));
            if !whose.is_empty() && !seen.contains(&whose) {
                seen.push(whose);
            }
        }
    }
    let mut page = String::from(
        "# Kinds of events\n\nEvery kind of tag, with one event of it as `brine watch` shows it ([watch](../watch.md)), \
         and on whose bus it was recorded. Where nothing stands there, the event was written after Salt's source, or is \
         Brine's own.\n\n| tag | line | recorded |\n| --- | --- | --- |\n",
    );
    for (tag, (line, seen)) in kinds {
        let line = line.replace('`', "'").replace('|', "\\|");
        writeln!(
            page,
            "| `{}` | `{line}` | {} |",
            tag.replace('|', "\\|"),
            seen.join(", ")
        )
        .unwrap();
    }
    brine_testkit::reference::is_current("events.md", &page);
}

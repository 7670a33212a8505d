//! Pages of the book that can be followed from start to end: each is followed at a terminal, and everything that appears
//! there is compared with the page.
//!
//! A block that begins with the name of a file, such as `# /tmp/site/master`, is that file.

use std::fs;
use std::path::{Path, PathBuf};

use crate::desk::Desk;
use crate::page::{blocks, examples};

#[test]
fn the_tutorial_of_watching_works() {
    Desk::new().follow_page("docs/tutorials/watch.md", 12);
}

#[test]
fn the_tutorial_of_history_works() {
    Desk::new().follow_page("docs/tutorials/history.md", 14);
}

#[test]
fn the_tutorial_of_the_api_works() {
    Desk::new().follow_page("docs/tutorials/api.md", 8);
}

#[test]
fn the_tutorial_of_sinks_works() {
    Desk::new().follow_page("docs/tutorials/sinks.md", 10);
}

#[test]
fn the_tutorial_of_the_reactor_works() {
    Desk::new().follow_page("docs/tutorials/reactor.md", 9);
}

#[test]
fn the_recipes_work() {
    Desk::new().follow_page("docs/how-to.md", 20);
}

/// The page assumes a master, which is there with the page's own rules.
#[test]
fn the_reactors_page_is_true() {
    let mut desk = Desk::new();
    desk.of_master = true;
    desk.follow_page("docs/reactor.md", 6);
}

/// A page with commands is followed by a test here or beside.
#[test]
fn every_page_with_commands_is_run() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = package.join("../../docs");
    let tests = [
        include_str!("tutorials.rs"),
        include_str!("pages.rs"),
        include_str!("documented.rs"),
        include_str!("api_examples.rs"),
        include_str!("../cli/top.rs"),
    ];
    let mut missing = Vec::new();
    for folder in ["", "python", "protocol", "tutorials"] {
        for page in fs::read_dir(docs.join(folder)).unwrap() {
            let page = page.unwrap();
            let name = page.file_name().into_string().unwrap();
            if !name.ends_with(".md") {
                continue;
            }
            let name = PathBuf::from("docs").join(folder).join(name);
            let name = name.to_str().unwrap();
            let text = fs::read_to_string(page.path()).unwrap();
            let has_commands =
                !examples(&blocks(&text)).is_empty() || text.contains("\n    # brine ");
            let is_followed = tests.iter().any(|test| test.contains(&format!("{name}\"")));
            if has_commands && !is_followed {
                missing.push(name.to_owned());
            }
        }
    }
    assert!(
        missing.is_empty(),
        "no test runs the commands of {missing:?}"
    );
}

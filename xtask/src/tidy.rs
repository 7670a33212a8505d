//! House rules that no compiler checks.
//!
//! Every file says what it is for, crates import in one direction, documents name what exists, and
//! nothing points out of the project.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{bail, ensure};

use crate::command::{root, tracked_files};
use crate::{book, image, metadata, named_tests, source, words};

/// Which of our crates each may be built from; `ARCHITECTURE.md` draws it. Tests may use the test
/// parts, and nothing else may.
const ARROWS: &[(&str, &[&str])] = &[
    ("brine-wire", &[]),
    ("brine-log", &["brine-wire"]),
    ("brine-bus", &["brine-log", "brine-wire"]),
    ("brine-config", &["brine-wire"]),
    ("brine-auth", &["brine-wire"]),
    ("brine-net", &["brine-wire"]),
    (
        "brine-node",
        &[
            "brine-auth",
            "brine-bus",
            "brine-config",
            "brine-log",
            "brine-net",
            "brine-wire",
        ],
    ),
    (
        "brine-api",
        &[
            "brine-auth",
            "brine-bus",
            "brine-config",
            "brine-log",
            "brine-wire",
        ],
    ),
    ("brine-bridge", &["brine-log", "brine-wire"]),
    (
        "brine-reactor",
        &["brine-config", "brine-log", "brine-wire"],
    ),
    ("brine-view", &["brine-wire"]),
    ("brine-bench", &["brine-bus", "brine-net", "brine-wire"]),
    (
        "brine",
        &[
            "brine-api",
            "brine-auth",
            "brine-bench",
            "brine-bridge",
            "brine-bus",
            "brine-config",
            "brine-log",
            "brine-net",
            "brine-node",
            "brine-reactor",
            "brine-view",
            "brine-wire",
        ],
    ),
    ("brine-testkit", &["brine-wire"]),
    (
        "brine-benches",
        &[
            "brine-api",
            "brine-auth",
            "brine-bench",
            "brine-bus",
            "brine-log",
            "brine-wire",
        ],
    ),
    (
        "brine-fuzz",
        &[
            "brine-api",
            "brine-bus",
            "brine-config",
            "brine-log",
            "brine-net",
            "brine-node",
            "brine-testkit",
            "brine-wire",
        ],
    ),
    ("xtask", &[]),
];

/// Texts that must not occur, with the reason. In pieces, so that this file passes.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("/wo", "rk/"), "a path of one machine"),
    (concat!("/ro", "ot/"), "a path of one machine"),
    (concat!("shar", "ed/wire"), "a file outside the project"),
    (concat!("shar", "ed/surface"), "a file outside the project"),
    (concat!("shar", "ed/design"), "a file outside the project"),
    (concat!("shar", "ed/style"), "a file outside the project"),
    (concat!("shar", "ed/perf"), "a file outside the project"),
    (concat!("shar", "ed/dep"), "a file outside the project"),
    (concat!("../shar", "ed"), "a file outside the project"),
    (concat!("FIX", "ME"), "unfinished work"),
    (concat!("TO", "DO"), "unfinished work"),
    (concat!("#[ign", "ore"), "a test that is switched off"),
];

/// Checks all rules and names every fault.
pub(crate) fn run() -> anyhow::Result<()> {
    let mut faults = Vec::new();
    let files = tracked_files(&root())?;
    for file in &files {
        // What is no text is data: captures, corpora.
        if let Ok(text) = fs::read_to_string(root().join(file)) {
            check_heading(file, &text, &mut faults);
            check_forbidden(file, &text, &mut faults);
            faults.extend(words::faults(file, &text));
        }
    }
    image::check(&files, &mut faults);
    book::check(&files, &mut faults);
    named_tests::check(&files, &mut faults);
    check_arrows(&mut faults)?;
    check_paths_of_events(&mut faults)?;
    check_paths_named(&mut faults)?;
    check_clocks(&mut faults)?;
    check_terminals(&mut faults)?;
    if faults.is_empty() {
        println!("{} files are tidy", files.len());
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!("{} faults against house rules", faults.len());
}

fn check_heading(file: &str, text: &str, faults: &mut Vec<String>) {
    // Salt's documentation is there as it is printed.
    if text.is_empty() || file.contains("/salt_documentation/") {
        return;
    }
    let (wanted, fine) = match Path::new(file).extension().and_then(|end| end.to_str()) {
        Some("rs") => ("//!", text.starts_with("//!")),
        Some("py" | "pyi") => {
            let after_shebang = text.lines().find(|line| !line.starts_with("#!"));
            let opens = |line: &str| {
                ["\"\"\"", "r\"\"\"", "#"]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            ("a docstring or comment", after_shebang.is_none_or(opens))
        }
        _ => return,
    };
    if !fine {
        faults.push(format!(
            "{file}: expected {wanted} at the top, saying what the file is for"
        ));
    }
}

fn check_forbidden(file: &str, text: &str, faults: &mut Vec<String>) {
    // Pinned names and hashes are not ours to word.
    if file.ends_with("Cargo.lock") {
        return;
    }
    for (line, number) in text.lines().zip(1..) {
        for (forbidden, why) in FORBIDDEN {
            if line.contains(forbidden) {
                faults.push(format!("{file}:{number}: {forbidden} is {why}"));
            }
        }
    }
}

fn check_arrows(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let packages = metadata::packages()?;
    let own: Vec<_> = packages
        .iter()
        .filter(|package| package.source.is_none())
        .collect();
    let names: BTreeSet<&str> = own.iter().map(|package| package.name.as_str()).collect();
    for package in own {
        let name = &package.name;
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| known == name) else {
            faults.push(format!(
                "{name}: xtask/src/tidy.rs does not say what it may import"
            ));
            continue;
        };
        for used in &package.dependencies {
            if names.contains(used.as_str()) && !allowed.contains(&used.as_str()) {
                faults.push(format!("{name}: must not import {used}"));
            }
        }
    }
    Ok(())
}

/// The tables of `ARCHITECTURE.md` that follow an event: each row's function is in its files.
fn check_paths_of_events(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let is_path = |section: &&str| section.starts_with("The path of ");
    for section in document.split("\n## ").filter(is_path) {
        let title = section.lines().next().unwrap_or_default();
        let rows: Vec<_> = section
            .lines()
            .filter_map(|line| {
                let mut cells = line.strip_prefix('|')?.split('|').skip(1);
                let mut code = || cells.next()?.split('`').nth(1);
                Some((code()?, code()?))
            })
            .collect();
        ensure!(
            rows.len() >= 5,
            "ARCHITECTURE.md: \"{title}\" must be a table of functions and files, but has {} rows",
            rows.len()
        );
        for (item, file) in rows {
            let (owner, function) = item.rsplit_once("::").unwrap_or(("", item));
            let is_in = |file: String| {
                let text = fs::read_to_string(root().join(file)).unwrap_or_default();
                text.contains(&format!("fn {function}")) && text.contains(owner)
            };
            if !alternatives(file).into_iter().any(is_in) {
                faults.push(format!(
                    "ARCHITECTURE.md: \"{title}\" names {item} in {file}, where it is not"
                ));
            }
        }
    }
    Ok(())
}

/// Every path below `crates/` that `ARCHITECTURE.md` names exists.
fn check_paths_named(faults: &mut Vec<String>) -> anyhow::Result<()> {
    let document = fs::read_to_string(root().join("ARCHITECTURE.md"))?;
    let code = document.split('`').skip(1).step_by(2);
    for path in code.filter(|code| code.starts_with("crates/")) {
        for path in alternatives(path) {
            if !root().join(&path).exists() {
                faults.push(format!(
                    "ARCHITECTURE.md: names {path}, which does not exist"
                ));
            }
        }
    }
    Ok(())
}

/// `a/{b,c}/d` is two files.
fn alternatives(file: &str) -> Vec<String> {
    let Some((before, rest)) = file.split_once('{') else {
        return vec![file.to_owned()];
    };
    let (choices, after) = rest.split_once('}').unwrap_or((rest, ""));
    let choices = choices.split(',');
    choices
        .map(|choice| format!("{before}{choice}{after}"))
        .collect()
}

/// Code that gets the moment as an argument, so that tests need no waiting.
const WITHOUT_CLOCK: &[&str] = &[
    "crates/brine-bus/src/client/driver/",
    "crates/brine-bus/src/client/outbox.rs",
    "crates/brine-bus/src/client/session/",
    "crates/brine-config/src/",
    "crates/brine-wire/src/",
];

fn check_clocks(faults: &mut Vec<String>) -> anyhow::Result<()> {
    for source in source::product(&root())? {
        let file = &source.file;
        let is_pure = WITHOUT_CLOCK.iter().any(|start| file.starts_with(start));
        for (line, number) in source.lines.iter().zip(1..) {
            let looks = ["Instant::now", "SystemTime::now"]
                .iter()
                .any(|clock| line.contains(clock));
            if is_pure && looks && !line.trim_start().starts_with("//") {
                faults.push(format!(
                    "{file}:{number}: looks at the clock; take the moment as an argument"
                ));
            }
        }
    }
    Ok(())
}

/// The program prints through `terminal`, which escapes what comes from outside.
fn check_terminals(faults: &mut Vec<String>) -> anyhow::Result<()> {
    const WRITER: &str = "crates/brine/src/terminal.rs";
    for source in source::product(&root())? {
        let file = &source.file;
        if !file.starts_with("crates/brine/src/") || file == WRITER {
            continue;
        }
        for (line, number) in source.lines.iter().zip(1..) {
            let opens = ["io::stdout()", "io::stderr()"]
                .iter()
                .any(|stream| line.contains(stream));
            if opens && !line.contains("is_terminal") {
                faults.push(format!(
                    "{file}:{number}: opens a stream; print through `crate::terminal`, which escapes what comes from outside"
                ));
            }
            if line.contains("error:#}") {
                faults.push(format!(
                    "{file}:{number}: prints the causes of an error twice; use `show::one_line`, which prints each once"
                ));
            }
        }
    }
    Ok(())
}

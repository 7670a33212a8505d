//! Figures about the code: what to compare before and after a cleanup.
//!
//! It reads source text by the layout that rustfmt gives it, and does not parse Rust: the figures
//! are for comparing two checkouts, not for passing or failing. `cargo xtask measure DIR` measures
//! another checkout with the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::source::{self, Source};
use crate::{unused, words};

/// A file above this size that holds state is listed.
const LONG_FILE: usize = 500;
/// As many equal lines in a row, without comments and lone brackets, are a duplicated run.
const RUN: usize = 8;

/// Prints all figures for the checkout at `root`.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let sources = source::product(root)?;
    print_functions(&sources);
    print_long_files(&sources);
    print_duplicates(&sources);
    print_cycles(&sources);
    print_opts(&sources);
    let unused = unused::find(&root.join("Cargo.toml"))?;
    println!("unused dependencies: {}", unused.len());
    for dependency in unused {
        println!("    {dependency}");
    }
    println!("words on tidy's list: {}", words::count(root)?);
    Ok(())
}

fn print_functions(sources: &[Source]) {
    let mut functions: Vec<(usize, String)> = sources.iter().flat_map(functions).collect();
    functions.sort();
    let at = |share: usize| functions[functions.len().saturating_sub(1) * share / 100].0;
    if functions.is_empty() {
        return;
    }
    println!(
        "functions: {}, median {} lines, 99 % up to {}; longest:",
        functions.len(),
        at(50),
        at(99)
    );
    for (lines, name) in functions.iter().rev().take(3) {
        println!("    {lines} {name}");
    }
}

/// Each function's number of lines, with where it is.
fn functions(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (start, line) in source.lines.iter().enumerate() {
        let text = line.trim_start();
        let Some(name) = function_name(text) else {
            continue;
        };
        let end = format!("{}}}", &line[..line.len() - text.len()]);
        let body = source.lines[start..].iter().position(|line| *line == end);
        let next = source.lines[start..]
            .iter()
            .position(|line| line.ends_with(';') || line.ends_with('{') || line.ends_with('}'));
        // A declaration without a body, or a body on the same line.
        if next.is_some_and(|at| !source.lines[start + at].ends_with('{')) {
            continue;
        }
        if let Some(lines) = body {
            found.push((lines + 1, format!("{}:{} {name}", source.file, start + 1)));
        }
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let keywords = ["const", "async", "unsafe", "extern", "\"C\""];
    let is_signature = before
        .split_whitespace()
        .all(|word| word.starts_with("pub") || word.starts_with("in ") || keywords.contains(&word));
    let name = after.split(['(', '<']).next()?;
    (is_signature && !name.is_empty()).then_some(name)
}

fn print_long_files(sources: &[Source]) {
    let has_state = |source: &&Source| {
        source.lines.len() > LONG_FILE && source.lines.iter().any(|line| line.contains("&mut self"))
    };
    let long: Vec<_> = sources.iter().filter(has_state).collect();
    println!(
        "files over {LONG_FILE} lines (without tests) that hold state: {}",
        long.len()
    );
    for source in long {
        println!("    {} {}", source.lines.len(), source.file);
    }
}

fn print_duplicates(sources: &[Source]) {
    let runs = duplicates(sources);
    let lines: usize = runs.iter().map(|run| run.0).sum();
    println!(
        "duplicated runs of {RUN} lines or more: {}, {lines} lines in all",
        runs.len()
    );
    let mut pairs: BTreeMap<(&str, &str), (usize, usize)> = BTreeMap::new();
    for (lines, one, other) in runs {
        let pair = pairs.entry((one, other)).or_default();
        pair.0 += 1;
        pair.1 += lines;
    }
    for ((one, other), (runs, lines)) in pairs {
        println!("    {runs} ({lines} lines) {one} {other}");
    }
}

/// Maximal runs of equal lines: how long, and the two files.
fn duplicates(sources: &[Source]) -> Vec<(usize, &str, &str)> {
    let code: Vec<Vec<&str>> = sources.iter().map(telling_lines).collect();
    let mut seen: BTreeMap<&[&str], Vec<(usize, usize)>> = BTreeMap::new();
    for (file, lines) in code.iter().enumerate() {
        for (at, window) in lines.windows(RUN).enumerate() {
            seen.entry(window).or_default().push((file, at));
        }
    }
    let mut runs = Vec::new();
    for places in seen.values().filter(|places| places.len() > 1) {
        let (first, others) = (places[0], &places[1..]);
        for other in others {
            let before = |(file, at): (usize, usize)| at.checked_sub(1).map(|at| code[file][at]);
            let continues = before(first).is_some() && before(first) == before(*other);
            if continues {
                continue;
            }
            let ahead = code[first.0][first.1..].iter();
            let equal = ahead.zip(&code[other.0][other.1..]);
            let length = equal.take_while(|(one, other)| one == other).count();
            runs.push((
                length,
                sources[first.0].file.as_str(),
                sources[other.0].file.as_str(),
            ));
        }
    }
    runs
}

fn telling_lines(source: &Source) -> Vec<&str> {
    let lines = source.lines.iter().map(|line| line.trim());
    let tells = |line: &&str| {
        line.len() > 3
            && !line.starts_with("//")
            && !line.starts_with("use ")
            && !line.starts_with("#[")
    };
    lines.filter(tells).collect()
}

fn print_cycles(sources: &[Source]) {
    let cycles = cycles(sources);
    println!(
        "dependency cycles between neighbouring modules: {}",
        cycles.len()
    );
    for cycle in cycles {
        println!("    {cycle}");
    }
}

/// What each module of one folder imports from its neighbours.
type Edges<'a> = BTreeMap<&'a String, BTreeSet<String>>;

/// Modules of one folder (each with all below it) that import each other, as `crate: a, b`.
fn cycles(sources: &[Source]) -> Vec<String> {
    let known: BTreeSet<(&str, &[String])> = sources
        .iter()
        .map(|source| (source.package.as_str(), source.module.as_slice()))
        .collect();
    let mut edges: BTreeMap<(&str, Vec<String>), Edges<'_>> = BTreeMap::new();
    for source in sources {
        for path in source::imports(source) {
            let target = (0..=path.len())
                .rev()
                .map(|length| &path[..length])
                .find(|prefix| known.contains(&(source.package.as_str(), *prefix)));
            let target = target.unwrap_or_default();
            let own = &source.module;
            let common = own.iter().zip(target).take_while(|(a, b)| a == b).count();
            // One is the other's parent: a module and its parts are one subject.
            if common == own.len() || common == target.len() {
                continue;
            }
            let folder = (source.package.as_str(), own[..common].to_vec());
            let between = edges.entry(folder).or_default();
            let from = between.entry(&own[common]).or_default();
            from.insert(target[common].clone());
        }
    }
    let mut cycles = Vec::new();
    for ((package, folder), between) in edges {
        for group in strongly_connected(&between) {
            let folder = folder.join("::");
            cycles.push(format!("{package}: {folder}{{{}}}", group.join(", ")));
        }
    }
    cycles
}

/// Groups of nodes that reach each other; the graphs are small enough to ask for every pair.
fn strongly_connected(edges: &Edges<'_>) -> Vec<Vec<String>> {
    let reach = |start: &String| {
        let mut seen = BTreeSet::new();
        let mut open = vec![start.clone()];
        while let Some(node) = open.pop() {
            for next in edges.get(&node).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> =
        edges.keys().map(|node| (*node, reach(node))).collect();
    let mut done = BTreeSet::new();
    let mut groups = Vec::new();
    for (node, reachable) in &reached {
        let mutual = |other: &&String| reached.get(other).is_some_and(|back| back.contains(*node));
        let group: Vec<String> = reachable.iter().filter(mutual).cloned().collect();
        if group.len() > 1 && group.iter().all(|member| done.insert(member.clone())) {
            groups.push(group);
        }
    }
    groups
}

fn print_opts(sources: &[Source]) {
    let takes = |source: &&Source| {
        source.package != "brine-config"
            && source
                .lines
                .iter()
                .any(|line| !line.trim_start().starts_with("//") && has_word(line, "Opts"))
    };
    let files: Vec<_> = sources.iter().filter(takes).collect();
    println!("files outside brine-config that name Opts: {}", files.len());
    for source in files {
        println!("    {}", source.file);
    }
}

fn has_word(line: &str, word: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|found| found == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(module: &[&str], text: &str) -> Source {
        let module = module.iter().map(|&part| part.to_owned()).collect();
        Source::new("p", format!("{module:?}.rs"), module, text)
    }

    #[test]
    fn modules_that_import_each_other_are_a_cycle() {
        let sources = [
            source(&["a"], "use crate::{b::{One, two}, c};\n"),
            source(&["b", "inner"], "use super::super::a::f;\n"),
            source(&["b"], "mod inner;\n"),
            source(&["c"], "// crate::a\n"),
        ];
        assert_eq!(cycles(&sources), ["p: {a, b}"]);
    }

    #[test]
    fn a_module_and_its_parts_are_no_cycle() {
        let sources = [
            source(&["a"], "use crate::a::part::f;\n"),
            source(&["a", "part"], "use super::g;\n"),
        ];
        assert_eq!(cycles(&sources), [""; 0]);
    }

    #[test]
    fn functions_end_at_their_own_bracket() {
        let text = "impl T {\n    fn a() {\n        if x {\n        }\n    }\n    fn b();\n}\n\npub(crate) async fn c(\n    x: u8,\n) -> u8 {\n    x\n}\n";
        let found: Vec<_> = functions(&source(&["m"], text))
            .into_iter()
            .map(|(lines, name)| (lines, name.rsplit(' ').next().unwrap().to_owned()))
            .collect();
        assert_eq!(found, [(4, "a".to_owned()), (5, "c".to_owned())]);
    }

    #[test]
    fn equal_lines_in_a_row_are_one_run() {
        let text: String = (0..12).map(|n| format!("let line_{n} = {n};\n")).collect();
        let sources = [
            source(&["a"], &text),
            source(&["b"], &format!("other();\n{text}more();\n")),
        ];
        let runs = duplicates(&sources);
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0].0, 12);
    }
}

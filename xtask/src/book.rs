//! The book in `docs/`: every page is in its table of contents, and every link leads to a page and a heading that exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::command::root;

/// The table of contents.
const SUMMARY: &str = "docs/SUMMARY.md";

/// Adds what is wrong with links of documents, and with the book.
pub(crate) fn check(files: &BTreeSet<String>, faults: &mut Vec<String>) {
    let documents: BTreeMap<&str, Document> = files
        .iter()
        .filter(|file| file.ends_with(".md"))
        .filter_map(|file| Some((file.as_str(), Document::read(file)?)))
        .collect();
    for (file, document) in &documents {
        for link in &document.links {
            if let Some(fault) = fault(file, link, &documents) {
                faults.push(format!("{file}: links to {link}, {fault}"));
            }
        }
    }
    let Some(summary) = documents.get(SUMMARY) else {
        return;
    };
    let listed: BTreeSet<String> = summary
        .links
        .iter()
        .map(|link| beside(SUMMARY, link))
        .collect();
    for file in documents
        .keys()
        .filter(|file| file.starts_with("docs/") && **file != SUMMARY)
    {
        if !listed.contains(*file) {
            faults.push(format!(
                "{file}: not in {SUMMARY}, so that the book does not have it"
            ));
        }
    }
}

/// What is wrong with a link.
fn fault(file: &str, link: &str, documents: &BTreeMap<&str, Document>) -> Option<String> {
    let (target, heading) = link.split_once('#').unwrap_or((link, ""));
    let path = match target.is_empty() {
        true => file.to_owned(),
        false => beside(file, target),
    };
    if !root().join(&path).exists() {
        return Some("which does not exist".to_owned());
    }
    // mdBook copies what is in `docs` and nothing else.
    if file.starts_with("docs/") && !path.starts_with("docs/") {
        return Some("which the book does not have: name the file without a link".to_owned());
    }
    let document = documents.get(path.as_str())?;
    let is_there = heading.is_empty() || document.headings.contains(heading);
    (!is_there).then(|| format!("where no heading is #{heading}"))
}

/// A path from the folder of a file.
pub(crate) fn beside(file: &str, target: &str) -> String {
    let mut path = PathBuf::from(file);
    path.pop();
    for part in Path::new(target).components() {
        match part {
            Component::ParentDir => drop(path.pop()),
            Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path.to_string_lossy().into_owned()
}

/// What matters of a document here.
#[derive(Debug, Default)]
struct Document {
    /// Links to other files and headings; none that lead out of the project.
    links: Vec<String>,
    /// Its headings, as links name them.
    headings: BTreeSet<String>,
}

impl Document {
    fn read(file: &str) -> Option<Self> {
        Some(Self::of(&fs::read_to_string(root().join(file)).ok()?))
    }

    fn of(text: &str) -> Self {
        let mut document = Self::default();
        let mut is_code = false;
        for line in text.lines() {
            if line.trim_start().starts_with("```") {
                is_code = !is_code;
            }
            if is_code || line.starts_with("    ") && !line.trim_start().starts_with(['-', '*']) {
                continue;
            }
            if let Some(heading) = line.strip_prefix('#') {
                document.add_heading(heading.trim_start_matches('#').trim());
            }
            for after in line.split("](").skip(1) {
                let link = after.split(')').next().unwrap_or_default();
                if !link.is_empty() && !link.contains(':') && !link.contains(' ') {
                    document.links.push(link.to_owned());
                }
            }
        }
        document
    }

    /// As GitHub and mdBook name headings: lower case, hyphens for spaces, no other signs; `-1` for the second of a name.
    fn add_heading(&mut self, heading: &str) {
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let name: String = kept
            .flat_map(char::to_lowercase)
            .map(|c| if c == ' ' { '-' } else { c })
            .collect();
        let mut unique = name.clone();
        for number in 1.. {
            if self.headings.insert(unique) {
                return;
            }
            unique = format!("{name}-{number}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_named_as_in_the_book() {
        let document = Document::of(
            "# GET /events\n## GET /events\n### `brine: {acl}` & more\n```\n# code\n```\n    # output\n[x](a.md#b) [y](https://x)\n",
        );
        let names: Vec<_> = document.headings.iter().map(String::as_str).collect();
        assert_eq!(names, ["brine-acl--more", "get-events", "get-events-1"]);
        assert_eq!(document.links, ["a.md#b"]);
    }

    #[test]
    fn links_are_relative_to_their_page() {
        assert_eq!(beside("docs/python/bus.md", "../api.md"), "docs/api.md");
        assert_eq!(beside("docs/api.md", "./page.md"), "docs/page.md");
        assert_eq!(beside("docs/a.md", "../README.md"), "README.md");
    }
}

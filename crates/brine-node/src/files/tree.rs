//! Lists what is below a root: files, folders, empty folders and links.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use brine_wire::matching::TagMatch;

use super::path::SaltPath;

/// How deep folders are followed, and how many entries are listed: links may form loops.
const MAX_DEPTH: usize = 64;
const MAX_ENTRIES: usize = 1_000_000;

/// Everything below the roots of an environment.
#[derive(Debug, Default)]
pub(super) struct Entries {
    pub(super) files: Vec<String>,
    pub(super) folders: Vec<String>,
    pub(super) empty_folders: Vec<String>,
    /// Links with their targets, if those are below the root.
    pub(super) links: BTreeMap<String, String>,
}

impl Entries {
    /// The entries whose names begin with a prefix, sorted, without duplicates. As in Salt, a prefix is text, not a folder.
    pub(super) fn beginning(mut self, prefix: &str) -> Self {
        self.links.retain(|name, _| name.starts_with(prefix));
        for list in [&mut self.files, &mut self.folders, &mut self.empty_folders] {
            list.retain(|name| name.starts_with(prefix));
            list.sort_unstable();
            list.dedup();
        }
        self
    }
}

/// Adds the entries below a root.
pub(super) fn walk(root: &Path, follow_links: bool, ignored: &[TagMatch], all: &mut Entries) {
    // The folders above the current one, by device and inode: following a link to one of them would never end.
    let mut waiting = vec![(root.to_owned(), Vec::new())];
    let mut seen = 0_usize;
    while let Some((folder, mut within)) = waiting.pop() {
        let Ok(id) = fs::metadata(&folder).map(|about| (about.dev(), about.ino())) else {
            continue;
        };
        if within.contains(&id) {
            continue;
        }
        within.push(id);
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        let mut is_empty = true;
        for entry in entries.flatten() {
            is_empty = false;
            seen += 1;
            if seen > MAX_ENTRIES {
                return;
            }
            let path = entry.path();
            let Some(name) = name_below(root, &path) else {
                continue;
            };
            if ignored.iter().any(|pattern| pattern.matches(&name)) {
                continue;
            }
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if is_link {
                note_link(root, &path, &name, all);
                if !follow_links {
                    continue;
                }
            }
            if path.is_dir() {
                all.folders.push(name);
                if within.len() <= MAX_DEPTH {
                    waiting.push((path, within.clone()));
                }
            } else if path.is_file() {
                all.files.push(name);
            }
        }
        if is_empty && let Some(name) = name_below(root, &folder).filter(|name| !name.is_empty()) {
            all.empty_folders.push(name);
        }
    }
}

/// Whether any part of a path below a root is a link.
pub(super) fn goes_through_link(root: &Path, name: &SaltPath) -> bool {
    let mut at = root.to_owned();
    name.as_str().split('/').any(|part| {
        at.push(part);
        at.is_symlink()
    })
}

fn note_link(root: &Path, path: &Path, name: &str, all: &mut Entries) {
    let Ok(leads_to) = fs::read_link(path) else {
        return;
    };
    let folder = path.parent().unwrap_or(root);
    let inside = |target: &PathBuf| {
        let real = fs::canonicalize(folder.join(target));
        let root = fs::canonicalize(root);
        matches!((real, root), (Ok(real), Ok(root)) if real.starts_with(&root))
    };
    if inside(&leads_to)
        && let Some(text) = leads_to.to_str()
    {
        all.links.insert(name.to_owned(), text.to_owned());
    }
}

fn name_below(root: &Path, path: &Path) -> Option<String> {
    Some(path.strip_prefix(root).ok()?.to_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_in_circles_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        symlink(root.path(), root.path().join("one")).unwrap();
        symlink(root.path(), root.path().join("other")).unwrap();
        let mut all = Entries::default();
        walk(root.path(), true, &[], &mut all);
        assert_eq!(all.files, ["file"]);
    }
}

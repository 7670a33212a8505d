//! The product's source files as text, with what they import from their own crate.

use std::fs;
use std::path::Path;

/// One file below a crate's `src`, without its tests.
pub(crate) struct Source {
    pub(crate) package: String,
    /// Its path from the root of the checkout.
    pub(crate) file: String,
    /// Its module path; empty for `lib.rs` and `main.rs`.
    pub(crate) module: Vec<String>,
    pub(crate) lines: Vec<String>,
}

impl Source {
    /// Takes the text up to the tests at its end.
    pub(crate) fn new(package: &str, file: String, module: Vec<String>, text: &str) -> Self {
        let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
        Self {
            package: package.to_owned(),
            file,
            module,
            lines: lines.map(str::to_owned).collect(),
        }
    }
}

/// All files of the crates that ship.
pub(crate) fn product(root: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for package in fs::read_dir(root.join("crates"))? {
        let package = package?;
        let name = package.file_name().to_string_lossy().into_owned();
        let folder = package.path().join("src");
        for path in rust_files(&folder)? {
            let inside = path.strip_prefix(&folder)?;
            let text = fs::read_to_string(&path)?;
            let file = path.strip_prefix(root)?.to_string_lossy().into_owned();
            let is_tests = inside.components().any(|part| part.as_os_str() == "tests")
                || inside.ends_with("tests.rs");
            if !is_tests {
                sources.push(Source::new(&name, file, module(inside), &text));
            }
        }
    }
    sources.sort_by(|a, b| a.file.cmp(&b.file));
    Ok(sources)
}

/// Every `.rs` file below a folder; none if there is no such folder.
pub(crate) fn rust_files(folder: &Path) -> anyhow::Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn module(inside: &Path) -> Vec<String> {
    let mut module: Vec<String> = inside
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if module
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        module.pop();
    }
    module
}

/// The paths inside its own crate that a file names, as `crate::…` or `super::…`.
pub(crate) fn imports(source: &Source) -> Vec<Vec<String>> {
    let code: Vec<&str> = source
        .lines
        .iter()
        .map(|line| line.split("//").next().unwrap_or_default().trim())
        .collect();
    let code = code.join(" ");
    let mut paths = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let is_continued = code[..at].ends_with("::") || code[..at].ends_with('$');
            if is_continued {
                continue;
            }
            let mut rest = &code[at..];
            let mut base = Vec::new();
            if start == "crate::" {
                rest = &rest[start.len()..];
            } else {
                base.clone_from(&source.module);
                while let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                }
            }
            expand(&base, rest, &mut paths);
        }
    }
    paths
}

/// Follows one path, and each branch of a group in braces.
fn expand(base: &[String], text: &str, paths: &mut Vec<Vec<String>>) {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        let mut depth = 0;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' if depth > 0 => {}
                ',' | '}' => {
                    expand(base, &group[start..at], paths);
                    start = at + 1;
                    if c == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let mut path = base.to_vec();
    if end > 0 {
        path.push(text[..end].to_owned());
    }
    match text[end..].strip_prefix("::") {
        Some(rest) => expand(&path, rest, paths),
        None => paths.push(path),
    }
}

//! Dependencies that a crate declares and none of its files names.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use crate::command::{cargo, output};
use crate::source::rust_files;

/// Packages whose library has another name than they have.
const LIBRARIES: &[(&str, &str)] = &[("md-5", "md5")];

/// The unused dependencies of every package of a workspace, as `package: dependency`.
pub(crate) fn find(manifest: &Path) -> anyhow::Result<Vec<String>> {
    let mut command = cargo(&["metadata", "--format-version=1", "--no-deps"]);
    command.arg("--manifest-path").arg(manifest);
    let metadata: Value = serde_json::from_str(&output(&mut command)?)?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata: no packages")?;
    let mut unused = Vec::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let text = text_of(package)?;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let declared = dependency["rename"]
                .as_str()
                .or_else(|| dependency["name"].as_str())
                .unwrap_or_default();
            let library = LIBRARIES.iter().find(|(package, _)| *package == declared);
            let library = library.map_or(declared, |(_, library)| library);
            if !names(&text, &library.replace('-', "_")) {
                unused.push(format!("{name}: {declared}"));
            }
        }
    }
    Ok(unused)
}

/// All Rust text that belongs to a package: its sources, tests, benches and build script.
fn text_of(package: &Value) -> anyhow::Result<String> {
    let manifest = package["manifest_path"].as_str().unwrap_or_default();
    let folder = Path::new(manifest)
        .parent()
        .context("a manifest's folder")?;
    let mut text = String::new();
    // Targets may lie in folders of any name; other packages do not lie inside ours.
    for part in fs::read_dir(folder)? {
        let part = part?.path();
        let files = if part.is_dir() && !part.ends_with("target") {
            rust_files(&part)?
        } else if part.extension().is_some_and(|end| end == "rs") {
            vec![part]
        } else {
            continue;
        };
        for file in files {
            for line in fs::read_to_string(file)?.lines() {
                if !line.trim_start().starts_with("//") {
                    text.push_str(line);
                    text.push('\n');
                }
            }
        }
    }
    Ok(text)
}

/// Whether a crate is named: as the start of a path, or in a `use` or `extern crate`.
fn names(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = &text[at + name.len()..];
        let starts = before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
            && (!text[..at].ends_with("::") || text[..at].ends_with(" ::"));
        let is_imported = text[..at].ends_with("use ") || text[..at].ends_with("extern crate ");
        starts && (after.starts_with("::") || is_imported)
    })
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_crate_is_named_where_a_path_starts_with_it() {
        for (text, expected) in [
            ("use serde::Serialize;", true),
            ("let x = ::serde::de();", true),
            ("use {a, serde::b};", true),
            ("use serde;", true),
            ("serde_json::x()", false),
            ("my_serde::x()", false),
            ("crate::serde::x()", false),
            ("let serde = 1;", false),
        ] {
            assert_eq!(names(text, "serde"), expected, "{text}");
        }
    }
}

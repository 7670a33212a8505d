//! The packages of the workspace and all they are built from, as cargo resolves them.

use std::collections::BTreeSet;

use anyhow::Context;
use serde_json::Value;

use crate::command::{cargo, output};

/// One package of the tree.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) licence: Option<String>,
    /// Where it comes from; `None` for our own.
    pub(crate) source: Option<String>,
    /// Packages it is built with, by name.
    pub(crate) dependencies: BTreeSet<String>,
    /// Packages its tests are built with in addition.
    pub(crate) dev_dependencies: BTreeSet<String>,
}

/// The whole tree for Linux, as `Cargo.lock` has it.
pub(crate) fn packages() -> anyhow::Result<Vec<Package>> {
    let arguments = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform=x86_64-unknown-linux-gnu",
    ];
    let metadata: Value = serde_json::from_str(&output(&mut cargo(&arguments))?)?;
    let nodes = metadata["resolve"]["nodes"]
        .as_array()
        .context("expected resolved dependencies from cargo metadata, found none")?;
    let all = metadata["packages"]
        .as_array()
        .context("expected packages from cargo metadata, found none")?;
    let built = built()?;
    let is_built = |package: &Value| {
        built.contains(&format!(
            "{} v{}",
            text(&package["name"]),
            text(&package["version"])
        ))
    };
    let find = |id: &Value| {
        let mut packages = all.iter();
        packages.find(|package| package["id"] == *id && is_built(package))
    };
    let packages = nodes.iter().filter_map(|node| {
        let package = find(&node["id"])?;
        let of_kind = |dev: bool| {
            let used = |dependency: &&Value| {
                let kinds = dependency["dep_kinds"].as_array();
                kinds.is_some_and(|kinds| kinds.iter().any(|kind| (kind["kind"] == "dev") == dev))
            };
            let dependencies = node["deps"].as_array().into_iter().flatten();
            let used = dependencies.filter(used);
            used.filter_map(|dependency| Some(text(&find(&dependency["pkg"])?["name"])))
                .collect()
        };
        Some(Package {
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence: package["license"].as_str().map(str::to_owned),
            source: package["source"].as_str().map(str::to_owned),
            dependencies: of_kind(false),
            dev_dependencies: of_kind(true),
        })
    });
    Ok(packages.collect())
}

/// Names and versions of what is built. Metadata also names what only a weak feature (`ring?/std`)
/// speaks of and nothing builds.
fn built() -> anyhow::Result<BTreeSet<String>> {
    let arguments = [
        "tree",
        "--workspace",
        "--locked",
        "--edges=all",
        "--prefix=none",
        "--target=x86_64-unknown-linux-gnu",
    ];
    let tree = output(&mut cargo(&arguments))?;
    let package = |line: &str| {
        let mut words = line.split_whitespace();
        Some(format!("{} {}", words.next()?, words.next()?))
    };
    Ok(tree.lines().filter_map(package).collect())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

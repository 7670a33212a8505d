//! What is built in: licences, sources, bans and doubles, by the rules of `deny.toml`; and what is
//! declared and not used.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, bail};
use toml::{Table, Value};

use crate::command::root;
use crate::licence;
use crate::metadata::{self, Package};
use crate::unused;

/// What cargo calls the one registry that packages may come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Our workspaces, all looked through for dependencies that nothing uses.
const WORKSPACES: [&str; 2] = ["Cargo.toml", "python/Cargo.toml"];

/// Checks every dependency and shows those that are there in several versions.
pub(crate) fn run() -> anyhow::Result<()> {
    let rules = Rules::read()?;
    let packages = metadata::packages()?;
    let mut faults: Vec<String> = packages
        .iter()
        .flat_map(|package| rules.faults(package, &packages))
        .collect();
    for workspace in WORKSPACES {
        let unused = unused::find(&root().join(workspace))?;
        faults.extend(unused.into_iter().map(|it| format!("{it} is not used")));
    }
    for (name, versions) in doubles(&packages) {
        println!("in several versions: {name} {}", versions.join(", "));
    }
    if faults.is_empty() {
        println!("{} packages are as deny.toml wants them", packages.len());
        return Ok(());
    }
    for fault in &faults {
        eprintln!("{fault}");
    }
    bail!(
        "{} dependencies are not as deny.toml wants them",
        faults.len()
    );
}

struct Rules {
    licences: Vec<String>,
    /// Banned packages, each with those that may use it all the same.
    bans: BTreeMap<String, Vec<String>>,
}

impl Rules {
    fn read() -> anyhow::Result<Self> {
        let table: Table = fs::read_to_string(root().join("deny.toml"))?.parse()?;
        let list = |section: &str, key: &str| {
            let list = table.get(section).and_then(|section| section.get(key));
            list.and_then(Value::as_array)
                .with_context(|| format!("deny.toml: expected a list {section}.{key}, found none"))
        };
        let bans = list("bans", "deny")?.iter().map(|ban| {
            let name = ban.get("crate").and_then(Value::as_str);
            let name = name.context("deny.toml: expected bans.deny to name a crate")?;
            let wrappers = ban.get("wrappers").and_then(Value::as_array);
            Ok((
                name.to_owned(),
                wrappers.map_or_else(Vec::new, |list| texts(list)),
            ))
        });
        Ok(Self {
            licences: texts(list("licenses", "allow")?),
            bans: bans.collect::<anyhow::Result<_>>()?,
        })
    }

    fn faults(&self, package: &Package, all: &[Package]) -> Vec<String> {
        let Package { name, version, .. } = package;
        let mut faults = Vec::new();
        let accepted = |licence: &str| self.licences.iter().any(|allowed| allowed == licence);
        match &package.licence {
            None => faults.push(format!("{name} {version}: names no licence")),
            Some(licence) if !licence::holds(licence, accepted) => {
                faults.push(format!(
                    "{name} {version}: licence {licence} is not allowed"
                ));
            }
            Some(_) => {}
        }
        if let Some(source) = &package.source
            && source != REGISTRY
        {
            faults.push(format!("{name} {version}: comes from {source}"));
        }
        if let Some(wrappers) = self.bans.get(name) {
            let users = all.iter().filter(|user| {
                user.dependencies.contains(name) || user.dev_dependencies.contains(name)
            });
            for user in users.filter(|user| !wrappers.contains(&user.name)) {
                faults.push(format!(
                    "{name} {version}: is banned, but {} uses it",
                    user.name
                ));
            }
        }
        faults
    }
}

fn texts(list: &[Value]) -> Vec<String> {
    let texts = list.iter().filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

fn doubles(packages: &[Package]) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in packages {
        let of_name = versions.entry(&package.name).or_default();
        of_name.push(&package.version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

//! Copies users' modules from the file server into the minion's cache, as `saltutil.sync_*` do.
//!
//! Files come from the master by Salt's file requests, or with `--local` from `file_roots`. Each is
//! stored twice, as in Salt: as received in `<cachedir>/files/<env>/_modules`, and ready
//! to run in `<cachedir>/extmods/modules`. The master's answers are not trusted: a path that
//! would leave these directories is skipped, and sizes are limited.
//! Facts: `docs/protocol/network.md` §12; Salt 3006.28 and 3008.3, by running them.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use brine_wire::Value;

use super::context::Context;
use super::settings::names;
use super::signature::Bound;
use super::{Failure, digest};
use crate::file;
use source::Source;

/// The most files taken from one environment.
const MOST_FILES: usize = 10_000;

/// A kind of module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Execution modules.
    Modules,
    /// Utility modules.
    Utils,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Modules => "modules",
            Self::Utils => "utils",
        }
    }
}

/// Which modules to synchronise.
pub(super) struct Wanted {
    environments: Vec<String>,
    only: Option<Vec<String>>,
    but: Option<Vec<String>>,
}

impl Wanted {
    /// Reads the arguments of a `sync_*` function and the minion's options.
    pub(super) fn from_bound(
        context: &Context,
        bound: &Bound,
        kind: Kind,
    ) -> Result<Self, Failure> {
        let settings = &context.settings().sync;
        let environments = names(bound.get(0))
            .or_else(|| settings.environments.clone())
            .unwrap_or_else(|| vec!["base".into()]);
        for name in &environments {
            if !is_file_name(name) {
                let message =
                    format!("saltenv: expected the name of an environment, found {name:?}");
                return Err(Failure::Invocation { message });
            }
        }
        let listed = |given: &Value, option: &BTreeMap<String, Vec<String>>| {
            names(given).or_else(|| option.get(kind.name()).cloned())
        };
        Ok(Self {
            environments,
            only: listed(bound.get(2), &settings.whitelist),
            but: listed(bound.get(3), &settings.blacklist),
        })
    }

    fn takes(&self, name: &str) -> bool {
        let lists = |names: &Vec<String>| names.iter().any(|one| one == name);
        self.only.as_ref().is_none_or(lists) && !self.but.as_ref().is_some_and(lists)
    }
}

/// Fetches a file from the master, or from `file_roots` without one; `None` if it does not exist.
pub(super) async fn fetch_file(
    context: &Context,
    environment: &str,
    path: &str,
) -> Option<Vec<u8>> {
    let relative = Path::new(path);
    if !relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)))
    {
        return None;
    }
    let cache = context.settings().sync.cachedir.as_ref()?;
    let copy = cache.join("files").join(environment).join(relative);
    let source = Source::of(context, environment);
    if let Err(error) = source.fetch(path, &copy).await {
        tracing::error!("{error}");
        return None;
    }
    fs::read(copy).ok()
}

/// Synchronises modules; returns the names of new and changed ones, such as `modules.mine`.
pub(super) async fn sync(
    context: &Context,
    kind: Kind,
    wanted: &Wanted,
) -> Result<Vec<String>, Failure> {
    let settings = &context.settings().sync;
    let (Some(cache), Some(extensions)) = (&settings.cachedir, &settings.extension_modules) else {
        return Err(failed("option cachedir is not set"));
    };
    let run_from = extensions.join(kind.name());
    let prefix = format!("_{}", kind.name());
    let (mut new, mut there) = (Vec::new(), BTreeSet::new());
    for environment in &wanted.environments {
        let source = Source::of(context, environment);
        let came_to = cache.join("files").join(environment).join(&prefix);
        for path in source.list(&prefix).await?.into_iter().take(MOST_FILES) {
            let Some(relative) = module_path(&path, &prefix) else {
                tracing::warn!(path, "skipped: not a module's path below {prefix}");
                continue;
            };
            let copy = came_to.join(&relative);
            source.fetch(&path, &copy).await?;
            let name = dotted(&relative);
            if !wanted.takes(&name) {
                continue;
            }
            there.insert(relative.clone());
            let target = run_from.join(&relative);
            let changed = tokio::task::spawn_blocking(move || install(&copy, &target)).await;
            match changed {
                Ok(Ok(true)) => new.push(format!("{}.{name}", kind.name())),
                Ok(Ok(false)) => {}
                Ok(Err(err)) => return Err(failed(format!("{path}: {err}"))),
                Err(err) => return Err(failed(format!("{path}: {err}"))),
            }
        }
    }
    let removed = settings.removes_old && clean(&run_from, &run_from, &there);
    if removed || !new.is_empty() {
        // Salt's minions reload modules when the time of this file changes.
        let _ = write(&cache.join("module_refresh"), b"");
    }
    Ok(new)
}

fn failed(message: impl Into<String>) -> Failure {
    Failure::Execution {
        message: message.into(),
    }
}

/// The path of a file below its directory on the master; `None` unless it is plainly a module's path.
fn module_path(path: &str, prefix: &str) -> Option<PathBuf> {
    /// Accepted by any file system.
    const LONGEST: usize = 1024;
    let rest = path.strip_prefix(prefix)?.strip_prefix('/')?;
    let ends_well = [".py", ".pyx", ".so", ".zip"]
        .iter()
        .any(|end| rest.ends_with(end));
    let is_safe = rest.len() <= LONGEST && rest.split('/').all(is_file_name);
    let relative = PathBuf::from(rest);
    let is_plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    (ends_well && is_safe && is_plain).then_some(relative)
}

/// For the fuzz target: whatever the master says, a module stays below its folder.
pub(crate) fn fuzz_module_path(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Some(relative) = module_path(text, "_modules") {
        crate::fuzzing::stays_below(&relative);
    }
}

fn is_file_name(name: &str) -> bool {
    let is_control = |c: char| c.is_control();
    !matches!(name, "" | "." | "..")
        && name.len() <= 255
        && !name.contains(is_control)
        && !name.contains(['/', '\\'])
}

/// `a/b.py` as `a.b`.
fn dotted(relative: &Path) -> String {
    let stem = relative.with_extension("");
    stem.to_string_lossy().replace('/', ".")
}

/// Copies a file to the directory that modules run from, unless it is there already; returns whether it was copied.
fn install(from: &Path, to: &Path) -> io::Result<bool> {
    let new = fs::read(from)?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(false);
    }
    write(to, &new)?;
    Ok(true)
}

/// Writes a file atomically, readable by its owner only.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    file::make_folder(path.parent().unwrap_or(Path::new(".")))?;
    file::write(path, bytes)
}

/// Removes files that the master no longer has, and empty directories; returns whether there were any.
fn clean(root: &Path, dir: &Path, there: &BTreeSet<PathBuf>) -> bool {
    let mut removed = false;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        // A link counts as a file: its target must not be cleaned.
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_dir {
            removed |= clean(root, &path, there);
            let _ = fs::remove_dir(&path); // not empty: stays
        } else if path
            .strip_prefix(root)
            .is_ok_and(|relative| !there.contains(relative))
        {
            removed |= fs::remove_file(&path).is_ok();
        }
    }
    removed
}

/// Whether a file exists and has this digest.
fn has_digest(path: &Path, kind: &str, wanted: &str) -> bool {
    let bytes = fs::read(path);
    bytes.is_ok_and(|bytes| digest::hex(kind, &bytes).is_some_and(|own| own == wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_below_the_directory_are_taken() {
        let taken = |path| module_path(path, "_modules").map(|path| path.display().to_string());
        assert_eq!(taken("_modules/mine.py").as_deref(), Some("mine.py"));
        assert_eq!(taken("_modules/a/b.py").as_deref(), Some("a/b.py"));
        for path in [
            "_modules/../x.py",
            "_modules//etc/x.py",
            "_modules/a/../../x.py",
            "_modules/./x.py",
            "_modules/a\0.py",
            "_modules/a\\b.py",
            "_modules",
            "_modules/",
            "_modules/readme.txt",
            "_modulesx/a.py",
            "/etc/x.py",
            "../x.py",
            "",
        ] {
            assert_eq!(taken(path), None, "{path:?}");
        }
        assert_eq!(taken(&format!("_modules/{}.py", "x".repeat(300))), None);
    }
}

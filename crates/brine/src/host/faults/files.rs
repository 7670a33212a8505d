//! Files that a sink may not write: another sink's, Brine's own, and anything that is not a regular file.
//!
//! If two sinks wrote to one file, each would take the other's lines for remains of its own before a crash, and write
//! the lines again that it does not find.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use brine_bridge::file::record_file;
use brine_config::{SinkKind, SinkOptions};

use super::{Fault, Outlets, at};

/// What a sink writes.
struct Files<'a> {
    sink: &'a SinkOptions,
    /// As the option has it.
    path: &'a Path,
    /// The file, and the one that says how far it is: without links, as far as they are there.
    resolved: [PathBuf; 2],
    /// The file itself, which may have several names; `None` if it does not exist.
    inode: Option<(u64, u64)>,
}

/// The sinks whose file is another's, each with the one before it.
pub(super) fn shared(sinks: &[SinkOptions]) -> Vec<Fault> {
    let files: Vec<_> = sinks.iter().filter_map(Files::of).collect();
    let mut faults = Vec::new();
    for (nth, one) in files.iter().enumerate() {
        let Some(other) = files[..nth].iter().find(|other| one.shares_with(other)) else {
            continue;
        };
        let own = match one.path == other.path {
            true => String::new(),
            false => format!(" as {}", other.path.display()),
        };
        let error = anyhow!(
            "path: expected a file of its own, found {}, which {}{} has{own}",
            one.path.display(),
            other.sink.option,
            at(&other.sink.place),
        );
        faults.push(Fault::of(one.sink, error));
    }
    faults
}

/// The sinks whose file is one of Brine's own, or not a regular file.
pub(super) fn unfit(outlets: &Outlets<'_>) -> Vec<Fault> {
    let own = own_directories(outlets);
    let unfit = outlets.sinks.iter().filter_map(|sink| {
        let files = Files::of(sink)?;
        let path = files.path.display();
        let error = match (&files.is_own(&own), files.what_it_is()) {
            (Some((option, directory)), _) => anyhow!(
                "path: expected a file outside of {option} ({}), where Brine keeps its own, found {path}",
                directory.display()
            ),
            (None, Some(what)) => anyhow!("path: expected a file, found {path}, which is {what}"),
            (None, None) => return None,
        };
        Some(Fault::of(sink, error))
    });
    unfit.collect()
}

/// The directories whose files are Brine's, with the options that name them.
fn own_directories(outlets: &Outlets<'_>) -> Vec<(&'static str, PathBuf)> {
    let option = |name| {
        let text = outlets.opts?.text(name).ok()?;
        (!text.is_empty()).then(|| (name, resolved(Path::new(text))))
    };
    let history = outlets.brine.history.directory.as_deref();
    let history = history.map(|directory| ("brine: history", resolved(directory)));
    let options = ["pki_dir", "sock_dir", "cachedir"].into_iter();
    options.filter_map(option).chain(history).collect()
}

impl<'a> Files<'a> {
    fn of(sink: &'a SinkOptions) -> Option<Self> {
        let SinkKind::File(options) = &sink.kind else {
            return None;
        };
        let path = resolved(&options.path);
        let there = path.metadata().ok();
        Some(Self {
            sink,
            path: &options.path,
            inode: there.map(|file| (file.dev(), file.ino())),
            resolved: [record_file(&path), path],
        })
    }

    /// The directory of Brine's that it is in.
    fn is_own<'o>(
        &self,
        own: &'o [(&'static str, PathBuf)],
    ) -> Option<&'o (&'static str, PathBuf)> {
        own.iter()
            .find(|(_, directory)| self.resolved[1].starts_with(directory))
    }

    /// What is at the path, if lines cannot be appended to it.
    fn what_it_is(&self) -> Option<&'static str> {
        let kind = self.resolved[1].metadata().ok()?.file_type();
        match () {
            () if kind.is_dir() => Some("a directory"),
            () if kind.is_socket() => Some("a socket"),
            () if kind.is_fifo() => Some("a pipe"),
            () => None,
        }
    }

    fn shares_with(&self, other: &Self) -> bool {
        let is_others = |file| other.resolved.contains(file);
        self.resolved.iter().any(is_others) || (self.inode.is_some() && self.inode == other.inode)
    }
}

/// A path as the system follows it: without links, as far as it is there.
fn resolved(path: &Path) -> PathBuf {
    /// As many links as Linux follows.
    const MAX_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Ok(path) = path.canonicalize() {
            return path;
        }
        // A link whose target does not exist: the file will be created there.
        match (path.read_link(), path.parent()) {
            (Ok(target), Some(parent)) => path = parent.join(target),
            _ => break,
        }
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => resolved(parent).join(name),
        // It ends in `..`, below a directory that does not exist.
        (Some(parent), None) => {
            let parent = resolved(parent);
            parent.parent().map_or(parent.clone(), Path::to_owned)
        }
        (None, _) => path,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_where_it_leads() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir(root.join("real")).unwrap();
        symlink("real", root.join("link")).unwrap();
        symlink("link/later", root.join("dangling")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        let expected = root.join("real/later");
        for path in [
            "real/later",
            "link/later",
            "./real/../link/later",
            "dangling",
        ] {
            assert_eq!(resolved(&root.join(path)), expected, "{path}");
        }
        assert_eq!(resolved(&root.join("no/../real/x")), root.join("real/x"));
        assert_eq!(resolved(&root.join("loop")), root.join("loop"));
    }
}

//! The master's file server: answers minions' requests for files in `file_roots`.
//!
//! Answers look like those of real masters. A path from a minion is parsed into a [`SaltPath`], which cannot lead out
//! of the roots; the size of an answer is limited. Functions here block on the disk.
//! Facts: `docs/protocol/network.md` §8, compared with real masters' answers in `tests/it/files.rs`.

mod hash;
mod path;
mod tree;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use brine_config::{Opts, SHOWN_TO_MINIONS};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::field;
use brine_wire::{Map, Value};

pub use self::path::{PathError, SaltPath};

use self::tree::{Entries, walk};

/// The largest piece of a file in one answer, in bytes, whatever `file_buffer_size` says.
const MAX_PIECE: usize = 8 * 1024 * 1024;

/// The file server's options.
#[derive(Debug, Clone, Default)]
pub struct FileRoots {
    /// Folders by environment (`file_roots`). Of files with the same name the one in the first folder is served.
    roots: BTreeMap<String, Vec<PathBuf>>,
    /// `hash_type`
    hash: String,
    /// `file_buffer_size`, in bytes.
    piece: usize,
    /// `fileserver_followsymlinks`
    follow_links: bool,
    /// `file_ignore_glob` and `file_ignore_regex`
    ignored: Vec<TagMatch>,
    /// What `_master_opts` shows besides `file_roots`.
    master_opts: Map,
}

/// How many of the options in `_master_opts` are sent even if they are not set: those about merging top files.
const ALWAYS_SHOWN: usize = 3;

impl FileRoots {
    /// Reads a master's options.
    #[must_use]
    pub fn from_opts(opts: &Opts) -> Self {
        let folders = |value: &Value| match value {
            Value::Array(paths) => paths
                .iter()
                .filter_map(Value::as_str)
                .map(PathBuf::from)
                .collect(),
            _ => Vec::new(),
        };
        let roots = opts.get("file_roots").and_then(Value::as_map);
        let roots = roots.into_iter().flat_map(Map::iter);
        let shown = SHOWN_TO_MINIONS
            .into_iter()
            .filter_map(|name| Some((name, opts.get(name)?.clone())));
        Self {
            roots: roots
                .filter_map(|(env, paths)| Some((env.as_str()?.to_owned(), folders(paths))))
                .collect(),
            hash: opts.text("hash_type").unwrap_or("sha256").to_owned(),
            piece: opts
                .int("file_buffer_size")
                .ok()
                .and_then(|bytes| usize::try_from(bytes).ok())
                .unwrap_or(1 << 20),
            follow_links: opts.flag("fileserver_followsymlinks").unwrap_or(true),
            ignored: ignored(opts),
            master_opts: shown.collect(),
        }
    }
}

fn ignored(opts: &Opts) -> Vec<TagMatch> {
    let patterns = |name: &str, kind: MatchType| {
        let listed = match opts.get(name) {
            Some(Value::Array(patterns)) => patterns.clone(),
            _ => Vec::new(),
        };
        let compiled = listed
            .into_iter()
            .filter_map(move |pattern| TagMatch::new(kind, pattern.as_str()?).ok());
        compiled.collect::<Vec<_>>()
    };
    let mut all = patterns("file_ignore_glob", MatchType::Fnmatch);
    all.extend(patterns("file_ignore_regex", MatchType::Regex));
    all
}

/// Answers minions that ask for files.
#[derive(Debug, Clone)]
pub struct FileServer {
    config: FileRoots,
}

impl FileServer {
    /// A server for these roots.
    #[must_use]
    pub const fn new(config: FileRoots) -> Self {
        Self { config }
    }

    /// Whether a request is for the file server.
    #[must_use]
    pub fn handles(cmd: &str) -> bool {
        matches!(
            cmd,
            "_file_list"
                | "_file_list_emptydirs"
                | "_dir_list"
                | "_symlink_list"
                | "_file_find"
                | "_file_hash"
                | "_file_hash_and_stat"
                | "_serve_file"
                | "_file_envs"
                | "_master_opts"
        )
    }

    /// The answer to a request; `None` if it is not for the file server.
    #[must_use]
    pub fn answer(&self, cmd: &str, load: &Map) -> Option<Value> {
        Some(match cmd {
            "_file_list" => texts(self.entries(load).files),
            "_file_list_emptydirs" => texts(self.entries(load).empty_folders),
            "_dir_list" => texts(self.entries(load).folders),
            "_symlink_list" => self.entries(load).links.into_iter().collect::<Map>().into(),
            "_file_find" => self.file_find(load),
            "_file_hash" => self
                .find(load)
                .map_or_else(|| "".into(), |(path, _)| self.file_hash(&path)),
            "_file_hash_and_stat" => self.file_hash_and_stat(load),
            "_serve_file" => self.serve_file(load),
            "_file_envs" => texts(self.config.roots.keys().cloned().collect()),
            "_master_opts" => self.master_opts(load),
            _ => return None,
        })
    }

    fn folders(&self, load: &Map) -> &[PathBuf] {
        let env = field::text(load, "saltenv").unwrap_or_default();
        self.config.roots.get(env).map_or(&[], Vec::as_slice)
    }

    fn entries(&self, load: &Map) -> Entries {
        let prefix = field::text(load, "prefix")
            .unwrap_or_default()
            .trim_matches('/');
        let mut all = Entries::default();
        for root in self.folders(load) {
            walk(
                root,
                self.config.follow_links,
                &self.config.ignored,
                &mut all,
            );
        }
        all.beginning(prefix)
    }

    /// The file that a request names: its path on the disk and its name in the roots.
    fn find(&self, load: &Map) -> Option<(PathBuf, SaltPath)> {
        let name = SaltPath::parse(field::text(load, "path")?).ok()?;
        if self
            .config
            .ignored
            .iter()
            .any(|pattern| pattern.matches(name.as_str()))
        {
            return None;
        }
        let in_root = |root: &PathBuf| {
            let path = root.join(name.as_str());
            let is_link = || tree::goes_through_link(root, &name);
            (path.is_file() && (self.config.follow_links || !is_link())).then_some(path)
        };
        let path = self.folders(load).iter().find_map(in_root)?;
        Some((path, name))
    }

    fn file_find(&self, load: &Map) -> Value {
        let mut found = Map::new();
        match self.find(load) {
            Some((path, name)) => {
                found.insert("path", path.to_string_lossy().into_owned());
                found.insert("rel", name.as_str());
                found.insert("stat", stat(&path));
                found.insert("back", "roots");
            }
            None => {
                found.insert("path", "");
                found.insert("rel", "");
            }
        }
        found.into()
    }

    fn file_hash(&self, path: &Path) -> Value {
        let Some(hsum) = hash::of_file(&self.config.hash, path) else {
            return "".into();
        };
        let pairs = [("hash_type", self.config.hash.clone()), ("hsum", hsum)];
        pairs.into_iter().collect::<Map>().into()
    }

    fn file_hash_and_stat(&self, load: &Map) -> Value {
        match self.find(load) {
            Some((path, _)) => vec![self.file_hash(&path), stat(&path)].into(),
            None => vec!["".into(), Value::Nil].into(),
        }
    }

    /// A part of a file, beginning at `loc`; an empty one marks the end.
    fn serve_file(&self, load: &Map) -> Value {
        let nothing = || {
            [("data", ""), ("dest", "")]
                .into_iter()
                .collect::<Map>()
                .into()
        };
        let Some((path, name)) = self.find(load) else {
            return nothing();
        };
        let loc = load
            .get("loc")
            .and_then(Value::as_int)
            .and_then(|loc| u64::try_from(loc).ok());
        let Some(data) = self.piece(&path, loc.unwrap_or(0)) else {
            return nothing();
        };
        let mut answer = Map::new();
        answer.insert("data", Value::Bin(data));
        answer.insert("dest", name.as_str());
        answer.into()
    }

    fn piece(&self, path: &Path, loc: u64) -> Option<Vec<u8>> {
        let mut file = File::open(path).ok()?;
        file.seek(SeekFrom::Start(loc)).ok()?;
        let most = self.config.piece.clamp(1, MAX_PIECE) as u64;
        let mut data = Vec::new();
        file.take(most).read_to_end(&mut data).ok()?;
        Some(data)
    }

    fn master_opts(&self, load: &Map) -> Value {
        let environments = self.config.roots.keys();
        let roots: Map = environments
            .map(|env| (env.as_str(), Vec::<Value>::new()))
            .collect();
        let mut answer = Map::new();
        answer.insert("file_roots", roots);
        let only_first = load.get("env_only").is_some_and(Value::is_true);
        let shown = if only_first {
            ALWAYS_SHOWN
        } else {
            SHOWN_TO_MINIONS.len()
        };
        for name in SHOWN_TO_MINIONS.into_iter().take(shown) {
            answer.insert(
                name,
                self.config
                    .master_opts
                    .get(name)
                    .cloned()
                    .unwrap_or(Value::Nil),
            );
        }
        answer.into()
    }
}

fn texts(texts: Vec<String>) -> Value {
    Value::Array(texts.into_iter().map(Value::from).collect())
}

/// Python's `os.stat` as a list.
fn stat(path: &Path) -> Value {
    let Ok(about) = fs::metadata(path) else {
        return Value::Nil;
    };
    let unsigned = [
        about.ino(),
        about.dev(),
        about.nlink(),
        about.uid().into(),
        about.gid().into(),
        about.size(),
    ];
    let mut list = vec![Value::from(u64::from(about.mode()))];
    list.extend(unsigned.map(Value::from));
    list.extend([about.atime(), about.mtime(), about.ctime()].map(Value::from));
    list.into()
}

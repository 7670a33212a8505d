//! Which minions are accepted or rejected without an administrator: files of ids, stubs, grains.
//!
//! Facts: `docs/protocol/network.md` §6.2.

use std::fs::{self, Metadata};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};

use super::file;
use super::store::KeyStore;

/// The rules, as Salt's options of the same names say them.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Accept every minion.
    pub auto_accept: bool,
    /// A file of ids to accept.
    pub autosign_file: Option<PathBuf>,
    /// A file of ids to reject.
    pub autoreject_file: Option<PathBuf>,
    /// A folder of files named for grains, each with values to accept.
    pub autosign_grains_dir: Option<PathBuf>,
    /// How long a stub counts.
    pub autosign_timeout: Duration,
    /// Whether the files may be writable by their group.
    pub permissive_pki_access: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            auto_accept: false,
            autosign_file: None,
            autoreject_file: None,
            autosign_grains_dir: None,
            autosign_timeout: Duration::from_secs(120 * 60),
            permissive_pki_access: false,
        }
    }
}

/// Whether a rule accepts a minion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepts {
    /// None.
    No,
    /// One that stays.
    Yes,
    /// The stub, to be removed when the minion is let in.
    Stub,
}

impl Rules {
    /// Whether a file rejects an id.
    #[must_use]
    pub fn rejects(&self, id: &MinionId) -> bool {
        // What cannot be told is rejected.
        let may_name = |file| {
            self.lines(file)
                .iter()
                .any(|line| matches(line, id.as_str()) != Some(false))
        };
        self.autoreject_file.as_deref().is_some_and(may_name)
    }

    /// Whether some rule accepts an id with these grains.
    #[must_use]
    pub fn accepts(
        &self,
        id: &MinionId,
        grains: &Map,
        store: &KeyStore,
        now: SystemTime,
    ) -> Accepts {
        let named =
            || (self.autosign_file.as_deref()).is_some_and(|file| self.names(file, id.as_str()));
        if self.auto_accept || named() {
            return Accepts::Yes;
        }
        if self.has_stub(id, store, now) {
            return Accepts::Stub;
        }
        if self.grains_accept(grains) {
            return Accepts::Yes;
        }
        Accepts::No
    }

    fn has_stub(&self, id: &MinionId, store: &KeyStore, now: SystemTime) -> bool {
        let path = store.autosign_stub(id);
        let Ok(made) = fs::metadata(&path).and_then(|about| about.modified()) else {
            return false;
        };
        let age = now.duration_since(made).unwrap_or_default();
        if age > self.autosign_timeout {
            let _ = fs::remove_file(&path);
            return false;
        }
        true
    }

    fn grains_accept(&self, grains: &Map) -> bool {
        let Some(folder) = self.autosign_grains_dir.as_deref() else {
            return false;
        };
        grains.iter().any(|(grain, value)| {
            // A grain's name becomes a path: it must be a name.
            let Some(grain) = grain.as_str().and_then(|name| MinionId::parse(name).ok()) else {
                return false;
            };
            let Some(value) = as_line(value) else {
                return false;
            };
            self.lines(&folder.join(grain.as_str())).contains(&value)
        })
    }

    /// Whether a file has a line that matches an id: itself, a shell pattern, a regular expression.
    fn names(&self, file: &Path, id: &str) -> bool {
        self.lines(file)
            .iter()
            .any(|line| matches(line, id) == Some(true))
    }

    /// A file's lines without comments; none if others may write to it.
    fn lines(&self, path: &Path) -> Vec<String> {
        let Ok(about) = fs::metadata(path) else {
            return Vec::new();
        };
        if !self.is_trusted(&about) {
            tracing::warn!(path = %path.display(), "file ignored: users other than its owner may write to it");
            return Vec::new();
        }
        let text = file::read(path).ok().flatten().unwrap_or_default();
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    }

    fn is_trusted(&self, about: &Metadata) -> bool {
        let mode = about.permissions().mode();
        let group_writes = mode & 0o020 != 0;
        about.is_file() && mode & 0o002 == 0 && (!group_writes || self.permissive_pki_access)
    }
}

/// Whether a line matches an id; `None` if its expression runs into its limit.
fn matches(pattern: &str, id: &str) -> Option<bool> {
    if pattern == id {
        return Some(true);
    }
    // Files hold thousands of plain names, and strangers have them compared: an expression is compiled for no such line.
    if let Some(is_name) = matches_as_name(pattern, id) {
        return Some(is_name);
    }
    let matches = |kind, pattern: &str| match TagMatch::new(kind, pattern) {
        Ok(compiled) => compiled.try_matches(id),
        Err(_) => Some(false),
    };
    match matches(MatchType::Fnmatch, pattern) {
        Some(false) => matches(MatchType::Regex, &format!("\\A{pattern}\\Z")),
        known => known,
    }
}

/// Whether a line of letters, digits, `-`, `_` and dots, which is an expression in which a dot is any character, matches
/// an id; `None` for other lines.
fn matches_as_name(pattern: &str, id: &str) -> Option<bool> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !pattern.bytes().all(is_plain) {
        return None;
    }
    let mut wanted = pattern.chars();
    let is_same = |c| {
        wanted
            .next()
            .is_some_and(|wanted| wanted == '.' || wanted == c)
    };
    Some(id.chars().all(is_same) && wanted.next().is_none())
}

/// A grain's value as a line of a file would have it.
fn as_line(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        Value::Bool(true) => Some("True".into()),
        Value::Bool(false) => Some("False".into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::compat::Compat;

    fn id(text: &str) -> MinionId {
        MinionId::parse(text).unwrap()
    }

    #[test]
    fn files_name_ids_patterns_and_expressions() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("autosign.conf");
        fs::write(
            &path,
            "# web servers\nweb*\n\ndb[0-9]\n  exact.example \nn\\d+x?\n",
        )
        .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let mut rules = Rules {
            autoreject_file: Some(path.clone()),
            ..Rules::default()
        };
        for name in ["web1", "web", "db3", "exact.example", "n12", "n1x"] {
            assert!(rules.rejects(&id(name)), "{name}");
        }
        assert!(
            rules.rejects(&id("exact-example")),
            "a dot is any character"
        );
        for name in ["aweb1", "dbx", "exactly", "n", "n1xy", "# web servers"] {
            assert!(!rules.rejects(&id(name)), "{name}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o664)).unwrap();
        assert!(!rules.rejects(&id("web1")));
        rules.permissive_pki_access = true;
        assert!(rules.rejects(&id("web1")));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o646)).unwrap();
        assert!(!rules.rejects(&id("web1")));
    }

    #[test]
    fn what_cannot_be_told_is_rejected_and_not_accepted() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ids");
        fs::write(&path, "(?:a(?=.)|a)*b\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let rules = Rules {
            autosign_file: Some(path.clone()),
            autoreject_file: Some(path),
            ..Rules::default()
        };
        let store = KeyStore::open(root.path().join("pki"), Compat::NEWEST).unwrap();
        let accepts = |name: &str| rules.accepts(&id(name), &Map::new(), &store, SystemTime::now());
        let long = "a".repeat(200);
        assert!(rules.rejects(&id(&long)) && accepts(&long) == Accepts::No);
        assert!(rules.rejects(&id("aab")) && accepts("aab") == Accepts::Yes);
        assert!(!rules.rejects(&id("aac")) && accepts("aac") == Accepts::No);
    }

    #[test]
    fn plain_names_match_as_the_expressions_that_they_are() {
        for (pattern, name) in [
            ("web1", "web1"),
            ("web1", "web12"),
            ("web.1", "web-1"),
            ("web.1", "web1"),
            ("a-b_c.d", "a-b_c.d"),
            ("a", "A"),
            ("...", "ключ"),
            ("....", "ключ"),
        ] {
            let regex = TagMatch::new(MatchType::Regex, format!("\\A{pattern}\\Z"));
            let expected = regex.unwrap().matches(name);
            assert_eq!(
                matches_as_name(pattern, name),
                Some(expected),
                "{pattern} {name}"
            );
        }
        for pattern in ["a*", "[ab]", "a+", "(a", "a|b", "a b"] {
            assert_eq!(matches_as_name(pattern, "a"), None, "{pattern}");
        }
    }

    #[test]
    fn a_stub_counts_until_it_is_old() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path(), Compat::NEWEST).unwrap();
        let rules = Rules::default();
        let now = SystemTime::now();
        fs::write(store.autosign_stub(&id("m1")), "").unwrap();
        let accepts = |name: &str, now| rules.accepts(&id(name), &Map::new(), &store, now);
        assert_eq!(accepts("m1", now), Accepts::Stub);
        assert_eq!(accepts("m2", now), Accepts::No);
        assert_eq!(accepts("m1", now + Duration::from_secs(7201)), Accepts::No);
        assert!(!store.autosign_stub(&id("m1")).exists());
    }

    #[test]
    fn grains_name_files_and_never_paths() {
        let root = tempfile::tempdir().unwrap();
        let store = KeyStore::open(root.path().join("pki"), Compat::NEWEST).unwrap();
        let folder = root.path().join("grains");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("uuid"), "# ours\nabc\n").unwrap();
        fs::write(root.path().join("secret"), "abc\n").unwrap();
        let rules = Rules {
            autosign_grains_dir: Some(folder),
            ..Rules::default()
        };
        let accepts = |grain: &str, value: &str| {
            let grains: Map = [(grain, value)].into_iter().collect();
            rules.accepts(&id("m1"), &grains, &store, SystemTime::now())
        };
        assert_eq!(accepts("uuid", "abc"), Accepts::Yes);
        assert_eq!(accepts("uuid", "# ours"), Accepts::No);
        assert_eq!(accepts("uuid", "ab"), Accepts::No);
        assert_eq!(accepts("../secret", "abc"), Accepts::No);
    }
}

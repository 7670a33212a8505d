//! Salt's tokens in Salt's files: one file for each, named after the token, that only its owner can read.
//!
//! Salt 3008 keeps `<cachedir>/tokens/<token>.p`, with the expiry time beside the data; earlier releases keep
//! `<token_dir>/<token>`. Both forms are read wherever they are, so that tokens of a real master are valid here, and
//! ours are valid there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use brine_wire::{Map, Value, msgpack};
use sha2::{Digest, Sha256, Sha512};

/// The longest token that is looked up, in digits; those of SHA-512 have 128.
const MAX_DIGITS: usize = 128;
/// The largest token file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// A token of Salt's.
#[derive(Clone, PartialEq)]
pub struct Token {
    /// The token itself: whoever knows it is the user.
    pub token: String,
    /// When it was made, in seconds since the epoch.
    pub start: f64,
    /// When it expires, in seconds since the epoch.
    pub expire: f64,
    /// The user's name.
    pub name: String,
    /// The back end that knows the user.
    pub eauth: String,
    /// The user's groups, if the back end names any.
    pub groups: Vec<String>,
    /// The permissions, where tokens keep them (`keep_acl_in_token`).
    pub auth_list: Option<Vec<Value>>,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Token")
            .field("name", &self.name)
            .field("eauth", &self.eauth)
            .field("token", &"[redacted]")
            .finish_non_exhaustive()
    }
}

impl Token {
    /// The data of the token's file, in Salt's order.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let mut map = Map::new();
        map.insert("start", Value::Float(self.start));
        map.insert("expire", Value::Float(self.expire));
        map.insert("name", self.name.as_str());
        map.insert("eauth", self.eauth.as_str());
        if let Some(list) = &self.auth_list {
            map.insert("auth_list", list.clone());
        }
        if !self.groups.is_empty() {
            let groups = self.groups.iter().map(|group| group.as_str().into());
            map.insert("groups", groups.collect::<Vec<Value>>());
        }
        map.insert("token", self.token.as_str());
        map
    }

    /// Reads such data; `None` if something is missing.
    #[must_use]
    pub fn from_map(map: &Map) -> Option<Self> {
        let text = |key: &str| map.get(key).and_then(Value::as_str).map(str::to_owned);
        let groups = map.get("groups").and_then(Value::as_array);
        let groups = groups.unwrap_or_default().iter();
        let list = map.get("auth_list").and_then(Value::as_array);
        Some(Self {
            token: text("token").filter(|token| is_token(token))?,
            start: number(map.get("start")).unwrap_or_default(),
            expire: number(map.get("expire")).filter(|expire| expire.is_finite())?,
            name: text("name")?,
            eauth: text("eauth")?,
            groups: groups
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            auth_list: list.map(<[Value]>::to_vec),
        })
    }
}

fn number(value: Option<&Value>) -> Option<f64> {
    match value? {
        Value::Float(number) => Some(*number),
        #[expect(clippy::cast_precision_loss, reason = "seconds of this era are exact")]
        Value::Int(number) => Some(*number as f64),
        _ => None,
    }
}

/// Whether a text can be a token: hexadecimal digits alone. Nothing else becomes a file's name.
#[must_use]
pub fn is_token(text: &str) -> bool {
    (1..=MAX_DIGITS).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Where tokens lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenLayout {
    /// `<directory>/<token>`, as before 3008.
    Bare,
    /// `<directory>/<token>.p`, as since 3008.
    Cache,
}

/// Why a token cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct TokenError {
    path: PathBuf,
    error: io::Error,
}

/// The directory of Salt's tokens.
#[derive(Debug, Clone)]
pub struct TokenStore {
    directory: PathBuf,
    layout: TokenLayout,
    is_sha512: bool,
}

impl TokenStore {
    /// Tokens in a directory, written in a layout; `hash_type` decides how long they are.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, layout: TokenLayout, hash_type: &str) -> Self {
        Self {
            directory: directory.into(),
            layout,
            is_sha512: hash_type == "sha512",
        }
    }

    /// A new token's text: random, as long as Salt's.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn draw(&self) -> io::Result<String> {
        let mut random = [0; 64];
        let mut filled = 0;
        while filled < random.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut random[filled..], flags)?;
        }
        let digits = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(match self.is_sha512 {
            true => digits(&Sha512::digest(random)),
            false => digits(&Sha256::digest(random)),
        })
    }

    /// Keeps a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn keep(&self, token: &Token) -> Result<(), TokenError> {
        let mut data = Vec::new();
        match self.layout {
            TokenLayout::Bare => msgpack::encode(&token.to_map().into(), &mut data),
            TokenLayout::Cache => {
                let mut entry = Map::new();
                entry.insert("data", token.to_map());
                #[expect(clippy::cast_possible_truncation, reason = "seconds of this era fit")]
                entry.insert("_expires", Value::Int(token.expire as i128));
                msgpack::encode(&entry.into(), &mut data);
            }
        }
        let path = self.path(&token.token, self.layout);
        self.write(&path, &data)
            .map_err(|error| TokenError { path, error })
    }

    fn write(&self, path: &Path, data: &[u8]) -> io::Result<()> {
        let mut builder = fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let temporary = path.with_extension("tmp");
        let mut options = OpenOptions::new();
        // Made anew with its final mode: nobody has ever been able to open it.
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        let written = file
            .write_all(data)
            .and_then(|()| fs::rename(&temporary, path));
        written.inspect_err(|_| {
            let _ = fs::remove_file(&temporary); // nothing more can be done about it
        })
    }

    /// The token of a text, whether or not it has expired; `None` if there is none, or its file is damaged.
    ///
    /// # Errors
    /// When that cannot be told: its file may be there, but cannot be read now.
    pub fn find(&self, text: &str) -> io::Result<Option<Token>> {
        if !is_token(text) {
            return Ok(None);
        }
        for layout in [TokenLayout::Cache, TokenLayout::Bare] {
            if let Some(data) = read(&self.path(text, layout))? {
                let token = decode(&data).filter(|token| token.token == text);
                return Ok(token);
            }
        }
        Ok(None)
    }

    /// Whether there is a file for a text; `None` where that cannot be told.
    #[must_use]
    pub fn has(&self, text: &str) -> Option<bool> {
        fs::read_dir(&self.directory).ok()?;
        if !is_token(text) {
            return Some(false);
        }
        let is_there = |layout| self.path(text, layout).try_exists().ok();
        Some(is_there(TokenLayout::Cache)? || is_there(TokenLayout::Bare)?)
    }

    /// Removes a token.
    pub fn remove(&self, text: &str) {
        if is_token(text) {
            for layout in [TokenLayout::Cache, TokenLayout::Bare] {
                let _ = fs::remove_file(self.path(text, layout)); // mostly only one is there
            }
        }
    }

    /// Removes the tokens that had expired at a moment, in seconds since the epoch.
    pub fn sweep(&self, now: f64) {
        let Ok(entries) = fs::read_dir(&self.directory) else {
            return;
        };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_str().unwrap_or_default();
            let text = name.strip_suffix(".p").unwrap_or(name);
            let found = self.find(text).ok().flatten();
            if found.is_some_and(|token| token.expire < now) {
                self.remove(text);
            }
        }
    }

    /// The path of something that is a token.
    fn path(&self, text: &str, layout: TokenLayout) -> PathBuf {
        match layout {
            TokenLayout::Bare => self.directory.join(text),
            TokenLayout::Cache => self.directory.join(format!("{text}.p")),
        }
    }
}

/// The data of a token's file; `None` if there is no such file, or nothing that we wrote.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let read = || {
        let about = fs::symlink_metadata(path)?;
        let is_ours = about.is_file() && about.len() <= MAX_FILE;
        is_ours.then(|| fs::read(path)).transpose()
    };
    match read() {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        read => read,
    }
}

/// The token in a file's data.
fn decode(data: &[u8]) -> Option<Token> {
    let Ok(Value::Map(map)) = msgpack::decode(data) else {
        return None;
    };
    let inner = map.get("data").and_then(Value::as_map);
    Token::from_map(inner.unwrap_or(&map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn token(text: &str) -> Token {
        Token {
            token: text.to_owned(),
            start: 1_795_468_324.5,
            expire: 1_795_511_524.5,
            name: "fred".to_owned(),
            eauth: "file".to_owned(),
            groups: vec!["ops".to_owned()],
            auth_list: None,
        }
    }

    #[test]
    fn tokens_are_kept_in_either_form_and_read_from_both() {
        let directory = tempfile::tempdir().unwrap();
        let cache = TokenStore::new(directory.path(), TokenLayout::Cache, "sha256");
        let bare = TokenStore::new(directory.path(), TokenLayout::Bare, "sha512");
        let (one, two) = (cache.draw().unwrap(), bare.draw().unwrap());
        assert_eq!((one.len(), two.len()), (64, 128));
        cache.keep(&token(&one)).unwrap();
        bare.keep(&token(&two)).unwrap();
        for store in [&cache, &bare] {
            assert_eq!(
                (store.has(&one), store.has("ab")),
                (Some(true), Some(false))
            );
            assert_eq!(store.find(&one).unwrap(), Some(token(&one)));
            assert_eq!(store.find(&two).unwrap(), Some(token(&two)));
        }
        let file = directory.path().join(format!("{one}.p"));
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        bare.remove(&one);
        assert_eq!(cache.find(&one).unwrap(), None);
        cache.sweep(2e9);
        assert_eq!(cache.find(&two).unwrap(), None);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_but_digits_becomes_a_path() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("secret"), b"\x80").unwrap();
        let tokens = directory.path().join("tokens");
        let store = TokenStore::new(&tokens, TokenLayout::Bare, "sha256");
        assert_eq!(store.has("05a3"), None, "there is no directory");
        for text in [
            "",
            ".",
            "..",
            "../secret",
            "a/b",
            "A1",
            "0x1",
            "\u{661}",
            &"a".repeat(129),
        ] {
            assert!(
                !is_token(text) && store.find(text).unwrap().is_none(),
                "{text}"
            );
        }
        assert!(is_token("05a3"));
        fs::create_dir(&tokens).unwrap();
        std::os::unix::fs::symlink(directory.path().join("secret"), tokens.join("aa")).unwrap();
        assert_eq!(store.find("aa").unwrap(), None);
        fs::write(tokens.join("ab"), b"\xc1").unwrap();
        assert_eq!(store.find("ab").unwrap(), None, "damaged");
        let mut other = Vec::new();
        msgpack::encode(&token("cd").to_map().into(), &mut other);
        fs::write(tokens.join("ac"), other).unwrap();
        assert_eq!(store.find("ac").unwrap(), None, "another token's data");
        let loop_of_links = tokens.join("loop");
        std::os::unix::fs::symlink(&loop_of_links, &loop_of_links).unwrap();
        let store = TokenStore::new(&loop_of_links, TokenLayout::Bare, "sha256");
        assert!(store.find("ab").is_err(), "it cannot be told");
    }

    #[test]
    fn a_token_is_never_shown() {
        assert!(!format!("{:?}", token("abcdef")).contains("abcdef"));
    }
}

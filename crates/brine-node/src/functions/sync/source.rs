//! The source of modules: a master's file server, or local directories.

use std::path::{Path, PathBuf};

use brine_wire::{Map, Value};

use super::{Context, Failure, failed, has_digest, write};

/// The largest module accepted, in bytes.
const LARGEST: usize = 64 << 20;

/// One environment of a file server.
pub(super) enum Source<'a> {
    /// The master's.
    Master(&'a Context, &'a str),
    /// `file_roots` of the minion's own configuration.
    Roots(Vec<PathBuf>),
}

impl<'a> Source<'a> {
    pub(super) fn of(context: &'a Context, environment: &'a str) -> Self {
        let settings = context.settings();
        if !settings.is_local {
            return Self::Master(context, environment);
        }
        let roots = settings.sync.file_roots.get(environment);
        Self::Roots(roots.cloned().unwrap_or_default())
    }

    /// The paths of files below a directory, as the file server names them.
    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<String>, Failure> {
        let (context, environment) = match self {
            Self::Master(context, environment) => (context, *environment),
            Self::Roots(roots) => {
                let mut found = Vec::new();
                for root in roots {
                    list_files(root, &root.join(prefix), &mut found);
                }
                found.sort_unstable();
                found.dedup();
                return Ok(found);
            }
        };
        let mut load = Map::new();
        load.insert("saltenv", environment);
        load.insert("prefix", prefix);
        load.insert("cmd", "_file_list");
        let below = format!("{prefix}/");
        match ask(context, load).await? {
            Value::Array(paths) => {
                let paths = paths.iter().filter_map(Value::as_str);
                Ok(paths
                    .filter(|path| path.starts_with(&below))
                    .map(str::to_owned)
                    .collect())
            }
            _ => Err(failed(
                "_file_list: expected a list of the master, found another value",
            )),
        }
    }

    /// Updates `to` to the server's file.
    pub(super) async fn fetch(&self, path: &str, to: &Path) -> Result<(), Failure> {
        let bytes = match self {
            Self::Roots(roots) => {
                let file = roots
                    .iter()
                    .map(|root| root.join(path))
                    .find(|file| file.is_file());
                let file =
                    file.ok_or_else(|| failed(format!("{path}: gone while it was copied")))?;
                std::fs::read(&file).map_err(|err| failed(format!("{}: {err}", file.display())))?
            }
            Self::Master(context, environment) => match hash(context, environment, path).await? {
                Some((kind, hash)) if has_digest(to, &kind, &hash) => return Ok(()),
                _ => download(context, environment, path).await?,
            },
        };
        write(to, &bytes).map_err(|err| failed(format!("{}: {err}", to.display())))
    }
}

async fn ask(context: &Context, load: Map) -> Result<Value, Failure> {
    let answered = context.host().master(load).await;
    answered.map_err(|err| failed(err.to_string()))
}

/// The digest of a file on the master, with its algorithm, if the master sends one.
async fn hash(
    context: &Context,
    environment: &str,
    path: &str,
) -> Result<Option<(String, String)>, Failure> {
    let mut load = Map::new();
    load.insert("path", path);
    load.insert("saltenv", environment);
    load.insert("cmd", "_file_hash");
    let answer = ask(context, load).await?;
    let field = |name| Some(answer.as_map()?.get(name)?.as_str()?.to_owned());
    Ok(field("hash_type").zip(field("hsum")))
}

/// Fetches a file from the master in parts.
async fn download(context: &Context, environment: &str, path: &str) -> Result<Vec<u8>, Failure> {
    let mut whole = Vec::new();
    loop {
        let mut load = Map::new();
        load.insert("path", path);
        load.insert("saltenv", environment);
        load.insert("cmd", "_serve_file");
        load.insert("loc", u64::try_from(whole.len()).unwrap_or(u64::MAX));
        let Value::Map(mut answer) = ask(context, load).await? else {
            return Err(failed(format!(
                "{path}: expected a part of the file, found another value"
            )));
        };
        let part = match answer.remove("data") {
            Some(Value::Str(text)) => text.into_bytes(),
            Some(Value::Bin(bytes)) => bytes,
            _ => Vec::new(),
        };
        let is_found = answer.get("dest").is_some_and(Value::is_true);
        if part.is_empty() {
            return if is_found || !whole.is_empty() {
                Ok(whole)
            } else {
                Err(failed(format!("{path}: the master does not have it")))
            };
        }
        if whole.len() + part.len() > LARGEST {
            return Err(failed(format!(
                "{path}: expected at most {LARGEST} bytes, found more"
            )));
        }
        whole.extend(part);
    }
}

/// Paths of files below `dir`, relative to `root`.
fn list_files(root: &Path, dir: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            list_files(root, &path, found);
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.push(relative.to_string_lossy().into_owned());
        }
    }
}

//! The grains of a minion: those that targeting and modules use most.
//!
//! Read from system files, without starting programs or asking name servers, so that a minion starts in milliseconds.
//! Grains that need either are missing.
//! Facts: Salt 3006.28 and 3008.3, side by side on Debian; names of other systems from Salt's tables.

mod network;
mod system;

use std::path::{Path, PathBuf};

use brine_wire::{Map, Value};

/// All grains of a minion: the core ones, then those of the file `grains` beside its
/// configuration, then those of its option `grains`, later ones winning.
///
/// `salt_version` is the release the minion answers as. Reads small files; takes about a
/// millisecond.
#[must_use]
pub fn load(opts: &Map, salt_version: &str) -> Map {
    let mut grains = core(opts);
    grains.insert("saltversion", salt_version);
    grains.insert("saltversioninfo", version_info(salt_version));
    let from_opts = opts.get("grains").and_then(Value::as_map).cloned();
    for (name, value) in from_file(opts).into_iter().chain(from_opts).flatten() {
        grains.insert(name, value);
    }
    grains
}

/// The grains that follow from the machine and the minion's id.
#[must_use]
pub fn core(opts: &Map) -> Map {
    let mut grains = Map::new();
    network::insert_into(&mut grains);
    let id = opts.get("id").and_then(Value::as_str).unwrap_or_default();
    grains.insert("id", id);
    grains.insert("server_id", server_id(id));
    if let Some(master) = opts.get("master") {
        grains.insert("master", master.clone());
    }
    system::insert_into(&mut grains);
    grains.insert("brine_version", env!("CARGO_PKG_VERSION"));
    grains
}

/// A number derived from the id.
fn server_id(id: &str) -> i64 {
    use sha2::Digest;
    let digest = sha2::Sha256::digest(id.as_bytes());
    // The remainder by 2³¹ of the digest read as one big-endian number.
    let last = digest.last_chunk().copied().unwrap_or_default();
    i64::from(u32::from_be_bytes(last) & 0x7fff_ffff)
}

/// The numbers of a release, such as 3006 and 28.
fn version_info(version: &str) -> Vec<Value> {
    let numbers = version
        .split('.')
        .map_while(|part| part.parse::<i64>().ok());
    numbers.map(Value::from).collect()
}

/// The path of the file of a minion's own grains, beside its configuration.
pub(super) fn file(opts: &Map) -> Option<PathBuf> {
    let configuration = Path::new(opts.get("conf_file")?.as_str()?);
    if configuration.is_dir() {
        return Some(configuration.join("grains"));
    }
    Some(configuration.parent()?.join("grains"))
}

/// The grains in the file beside the configuration.
fn from_file(opts: &Map) -> Option<Map> {
    let path = file(opts)?;
    match read_file(&path) {
        Ok(grains) => grains,
        Err(why) => {
            tracing::warn!("{}: {why}; its grains are ignored", path.display());
            None
        }
    }
}

/// Reads a file of grains; `None` if there is none, or nothing in it.
pub(super) fn read_file(path: &Path) -> Result<Option<Map>, String> {
    /// In bytes; a larger file is not a list of grains.
    const LARGEST: u64 = 1 << 20;
    let Ok(metadata) = std::fs::metadata(path) else {
        return Ok(None);
    };
    if metadata.len() > LARGEST {
        return Err(format!("larger than {LARGEST} bytes"));
    }
    let text = std::fs::read(path).map_err(|err| err.to_string())?;
    let (loaded, duplicates) =
        brine_config::yaml::load_last_wins(&text).map_err(|err| err.to_string())?;
    for key in duplicates {
        tracing::warn!(
            "{}: {key} is given more than once; the last one counts",
            path.display()
        );
    }
    match loaded {
        Value::Map(grains) => Ok(Some(grains)),
        Value::Nil => Ok(None),
        _ => Err("not a mapping of names to values".into()),
    }
}

/// A small system file; empty if it does not exist.
fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grains_of_the_options_win_over_the_files_and_those_over_the_core() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("grains"), "role: web\nos: Own\nshelf: 1\n").unwrap();
        let own: Map = [("role", "db")].into_iter().collect();
        let conf_file = dir.path().join("minion").display().to_string();
        let mut opts: Map = [("id", "m1"), ("conf_file", &conf_file)]
            .into_iter()
            .collect();
        opts.insert("grains", own);
        let grains = load(&opts, "3008.3");
        let text = |name| grains.get(name).and_then(Value::as_str);
        assert_eq!((text("role"), text("os")), (Some("db"), Some("Own")));
        assert_eq!(grains.get("shelf"), Some(&Value::Int(1)));
        assert_eq!(text("id"), Some("m1"));
        assert_eq!(grains.get("server_id"), Some(&Value::Int(890_885_657))); // by Salt
    }
}

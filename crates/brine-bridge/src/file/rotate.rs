//! Rotating a file: renaming it with the time, compressing it while writing continues, removing the oldest ones.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use brine_wire::compat::StampStyle;
use brine_wire::stamp;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FileOptions, file_name};

/// The thread that compresses: none, one that has not yet looked for what was set aside last, or one that has.
#[derive(Debug, Clone, Default)]
pub(super) struct Compressing(Arc<AtomicU8>);

const NONE: u8 = 0;
const ASKED: u8 = 1;
const LOOKED: u8 = 2;

/// Gives the file another name, so that the next batch begins a new one.
pub(super) fn set_aside(options: &FileOptions, compressing: &Compressing) -> io::Result<()> {
    let name = format!("{}.{}", file_name(&options.path), name_of_now());
    fs::rename(&options.path, options.path.with_file_name(name))?;
    remove_oldest(options)?;
    compressing.go_on(options);
    Ok(())
}

impl Compressing {
    /// Compresses files that were set aside and are not compressed yet, on its own thread.
    pub(super) fn go_on(&self, options: &FileOptions) {
        if !options.compress || self.0.swap(ASKED, Ordering::AcqRel) != NONE {
            return;
        }
        let (options, state) = (options.clone(), Arc::clone(&self.0));
        let thread = std::thread::Builder::new().name("brine-gzip".to_owned());
        if thread.spawn(move || run(&options, &state)).is_err() {
            self.0.store(NONE, Ordering::Release);
        }
    }
}

/// The thread: ends when nothing was set aside since it has looked.
fn run(options: &FileOptions, state: &AtomicU8) {
    loop {
        state.store(LOOKED, Ordering::Release);
        if let Err(error) = compress_all(options) {
            tracing::warn!(
                file = %options.path.display(), err = %error,
                "cannot compress a rotated file; retrying at the next rotation"
            );
        }
        let ended = state.compare_exchange(LOOKED, NONE, Ordering::AcqRel, Ordering::Acquire);
        if ended.is_ok() {
            return;
        }
    }
}

fn compress_all(options: &FileOptions) -> io::Result<()> {
    for file in set_aside_files(options)? {
        if uncompressed_name(&file).is_none() {
            unless_gone(compress(&file))?;
        }
    }
    // One may have been removed, as the oldest, while it was compressed, and is there again.
    remove_oldest(options)
}

fn compress(file: &Path) -> io::Result<()> {
    let mut source = File::open(file)?;
    let new = PathBuf::from(format!("{}.new", file.display()));
    let mut encoder = GzEncoder::new(File::create(&new)?, Compression::default());
    io::copy(&mut source, &mut encoder)?;
    encoder.finish()?.sync_all()?;
    fs::rename(&new, compressed_name(file))?;
    fs::remove_file(file)
}

/// While one is compressed it has several names, and counts once.
fn remove_oldest(options: &FileOptions) -> io::Result<()> {
    let Some(keep) = options.keep else {
        return Ok(());
    };
    let mut by_time: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for file in set_aside_files(options)? {
        let time = uncompressed_name(&file).unwrap_or_else(|| file.clone());
        by_time.entry(time).or_default().push(file);
    }
    let surplus = by_time.len().saturating_sub(keep);
    for file in by_time.into_values().take(surplus).flatten() {
        unless_gone(fs::remove_file(file))?;
    }
    Ok(())
}

/// What the thread and the writer both work on may be gone when one of them comes to it.
fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// The files that were set aside, oldest first: their names begin with the time.
fn set_aside_files(options: &FileOptions) -> io::Result<Vec<PathBuf>> {
    let directory = options.path.parent().filter(|path| path.as_os_str() != "");
    let start = format!("{}.", file_name(&options.path));
    let mut files = Vec::new();
    for entry in fs::read_dir(directory.unwrap_or_else(|| ".".as_ref()))? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.strip_prefix(&start).is_some_and(is_time) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the end of a name comes from [`name_of_now`], compressed or not. Other files are somebody else's:
/// `events.2` may be another sink's file.
fn is_time(end: &str) -> bool {
    let end = end.strip_suffix(".new").unwrap_or(end);
    let end = end.strip_suffix(".gz").unwrap_or(end);
    let form = "20261129T080100-123456";
    // In the first microsecond of a second there is no fraction.
    let form = match end.len() {
        15 => &form[..15],
        _ => form,
    };
    let is_like = |(form, byte): (u8, u8)| match form.is_ascii_digit() {
        true => byte.is_ascii_digit(),
        false => byte == form,
    };
    end.len() == form.len() && form.bytes().zip(end.bytes()).all(is_like)
}

/// What a compressed file, or one that is being written, was called before.
fn uncompressed_name(file: &Path) -> Option<PathBuf> {
    let is_made = file
        .extension()
        .is_some_and(|end| end == "gz" || end == "new");
    is_made.then(|| file.with_extension(""))
}

fn compressed_name(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.gz", file.display()))
}

/// `20261129T080100-123456`, in UTC: never twice, and in the order of time.
fn name_of_now() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let stamp = stamp::format(now, StampStyle::Naive).replace('.', "-");
    let kept = stamp.char_indices().filter(|(at, one)| {
        // The dashes of the date and the colons of the time go.
        one.is_ascii_digit() || *one == 'T' || *at == "2026-11-29T08:01:00".len()
    });
    kept.map(|(_, one)| one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_set_aside_is_compressed_and_removed() {
        for end in [
            "20261129T080100-123456",
            "20261129T080100",
            "20261129T080100-123456.gz",
            "20261129T080100-123456.new",
        ] {
            assert!(is_time(end), "{end}");
        }
        assert!(is_time(&name_of_now()), "{}", name_of_now());
        for end in [
            "2",
            "2.gz",
            "2026",
            "20261129",
            "20261129T080100-12345x",
            "",
        ] {
            assert!(!is_time(end), "{end}");
        }
    }
}

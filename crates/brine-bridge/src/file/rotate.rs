//! Setting a file aside: a name with the time, compression beside the writing, the oldest ones removed.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use brine_wire::compat::StampStyle;
use brine_wire::stamp;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FileOptions, file_name};

/// Whether files are being compressed.
#[derive(Debug, Clone, Default)]
pub(super) struct Compressing(Arc<AtomicBool>);

/// Gives the file another name, so that the next batch begins a new one.
pub(super) fn set_aside(options: &FileOptions, compressing: &mut Compressing) -> io::Result<()> {
    let name = format!("{}.{}", file_name(&options.path), name_of_now());
    fs::rename(&options.path, options.path.with_file_name(name))?;
    remove_oldest(options)?;
    compressing.go_on(options);
    Ok(())
}

impl Compressing {
    /// Compresses what is set aside and not compressed yet, on a thread of its own.
    pub(super) fn go_on(&self, options: &FileOptions) {
        if !options.compress || self.0.swap(true, Ordering::AcqRel) {
            return;
        }
        let (options, running) = (options.clone(), Arc::clone(&self.0));
        let compress = move || {
            if let Err(error) = compress_all(&options) {
                tracing::warn!(
                    file = %options.path.display(), err = %error,
                    "a file that was set aside is not compressed; it is tried with the next one"
                );
            }
            running.store(false, Ordering::Release);
        };
        let thread = std::thread::Builder::new().name("brine-gzip".to_owned());
        if thread.spawn(compress).is_err() {
            self.0.store(false, Ordering::Release);
        }
    }
}

fn compress_all(options: &FileOptions) -> io::Result<()> {
    for file in set_aside_files(options)? {
        let is_done = file
            .extension()
            .is_some_and(|end| end == "gz" || end == "new");
        if is_done {
            continue;
        }
        let new = PathBuf::from(format!("{}.new", file.display()));
        let mut encoder = GzEncoder::new(File::create(&new)?, Compression::default());
        io::copy(&mut File::open(&file)?, &mut encoder)?;
        encoder.finish()?.sync_all()?;
        fs::rename(&new, compressed_name(&file))?;
        fs::remove_file(&file)?;
    }
    Ok(())
}

fn remove_oldest(options: &FileOptions) -> io::Result<()> {
    let Some(keep) = options.keep else {
        return Ok(());
    };
    let files = set_aside_files(options)?;
    for file in files.iter().take(files.len().saturating_sub(keep)) {
        fs::remove_file(file)?;
    }
    Ok(())
}

/// The files that were set aside, oldest first: their names begin with the time.
fn set_aside_files(options: &FileOptions) -> io::Result<Vec<PathBuf>> {
    let directory = options.path.parent().filter(|path| path.as_os_str() != "");
    let start = format!("{}.2", file_name(&options.path));
    let mut files = Vec::new();
    for entry in fs::read_dir(directory.unwrap_or_else(|| ".".as_ref()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&start) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn compressed_name(file: &std::path::Path) -> PathBuf {
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

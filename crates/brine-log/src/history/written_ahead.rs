//! What SQLite wrote ahead of a store's file, as far as it says what kind of store that is.
//!
//! To ask the engine, the file would have to be opened properly, which makes and locks files beside it. Facts: SQLite's
//! file format, "The Database Header" and "WAL-Mode File Format".

use std::fs::OpenOptions;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::history::directory::open_regular;

/// Numbers of a store's header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// `application_id`
    pub(super) application: i64,
    /// `user_version`
    pub(super) format: i64,
}

/// The file's own head, and that of each page in it.
const HEAD: usize = 32;
const FRAME_HEAD: usize = 24;
/// The number without its last bit, which says how the checksums read the file.
const MAGIC: u32 = 0x377f_0682;
/// Where the two numbers are on the first page.
const USER_VERSION: usize = 60;
const APPLICATION_ID: usize = 68;

/// The header in the newest commit that was written ahead of this file; `None` if none of them changed its first page.
pub(super) fn header(store: &Path) -> Option<Header> {
    // The engine has no locks on this file, so that it may be opened and closed here.
    newest_header(&read(&beside(store)?)?)
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut file = open_regular(path, OpenOptions::new().read(true)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// How many whole commits follow the first page of this file that is damaged: the engine reads none of them. A commit
/// that was torn when the machine stopped is the last one, and followed by none.
pub(crate) fn commits_behind_damage(store: &Path) -> usize {
    let wal = beside(store).and_then(|wal| read(&wal));
    wal.and_then(|wal| behind_damage(&wal)).unwrap_or(0)
}

fn beside(store: &Path) -> Option<PathBuf> {
    let mut name = store.file_name()?.to_owned();
    name.push("-wal");
    Some(store.with_file_name(name))
}

/// The pages that the engine reads from such a file: all before the first that is damaged, cut off, or older than the
/// file's head.
struct Pages<'a> {
    salts: &'a [u8],
    sums: [u32; 2],
    is_big_endian: bool,
    frame_bytes: usize,
    frames: std::slice::ChunksExact<'a, u8>,
}

impl<'a> Pages<'a> {
    fn of(wal: &'a [u8]) -> Option<Self> {
        let magic = number(wal, 0)?;
        let is_big_endian = match magic {
            MAGIC => false,
            _ if magic == MAGIC | 1 => true,
            _ => return None,
        };
        let page = usize::try_from(number(wal, 8)?).ok()?;
        if !page.is_power_of_two() || page < 512 {
            return None;
        }
        Some(Self {
            salts: wal.get(16..24)?,
            sums: add([0, 0], wal.get(..24)?, is_big_endian),
            is_big_endian,
            frame_bytes: FRAME_HEAD + page,
            frames: wal.get(HEAD..)?.chunks_exact(FRAME_HEAD + page),
        })
    }

    /// Whether a page was written since the file was begun anew.
    fn is_of_now(&self, head: &[u8]) -> bool {
        &head[8..16] == self.salts
    }
}

impl<'a> Iterator for Pages<'a> {
    /// A page's head and the page.
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (head, data) = self.frames.next()?.split_at(FRAME_HEAD);
        self.sums = add(self.sums, &head[..8], self.is_big_endian);
        self.sums = add(self.sums, data, self.is_big_endian);
        // What follows is older than the file's head, was cut off, or is damaged.
        let is_whole = self.is_of_now(head) && self.sums == [number(head, 16)?, number(head, 20)?];
        is_whole.then_some((head, data))
    }
}

/// Whether a page is the last of a commit: it has the size of the store.
fn ends_commit(head: &[u8]) -> bool {
    number(head, 4).is_some_and(|pages| pages != 0)
}

fn newest_header(wal: &[u8]) -> Option<Header> {
    let (mut committed, mut written) = (None, None);
    for (head, data) in Pages::of(wal)? {
        if number(head, 0)? == 1 {
            written = Some(Header {
                application: number(data, APPLICATION_ID)?.cast_signed().into(),
                format: number(data, USER_VERSION)?.cast_signed().into(),
            });
        }
        if ends_commit(head) {
            committed = written;
        }
    }
    committed
}

fn behind_damage(wal: &[u8]) -> Option<usize> {
    let mut pages = Pages::of(wal)?;
    let whole = pages.by_ref().count();
    let heads = wal.get(HEAD..)?.chunks_exact(pages.frame_bytes);
    let ends = heads
        .skip(whole)
        .filter(|head| pages.is_of_now(head) && ends_commit(head));
    // One of them is the commit with the damage.
    Some(ends.count().saturating_sub(1))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_be_bytes(bytes))
}

/// Goes on with a checksum.
fn add([mut first, mut second]: [u32; 2], bytes: &[u8], is_big_endian: bool) -> [u32; 2] {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().unwrap_or_default();
        match is_big_endian {
            true => u32::from_be_bytes(bytes),
            false => u32::from_le_bytes(bytes),
        }
    };
    for pair in bytes.chunks_exact(8) {
        let (one, other) = pair.split_at(4);
        first = first.wrapping_add(word(one)).wrapping_add(second);
        second = second.wrapping_add(word(other)).wrapping_add(first);
    }
    [first, second]
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A file of SQLite's that commits are written ahead of, and what was written.
    fn written(commits: &[&str]) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("store");
        let connection = Connection::open(&file).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (x)",
            )
            .unwrap();
        for commit in commits {
            connection.execute_batch(commit).unwrap();
        }
        std::fs::read(directory.path().join("store-wal")).unwrap()
    }

    #[test]
    fn the_newest_commit_counts() {
        let wal = written(&[
            "PRAGMA application_id = 7",
            "PRAGMA user_version = 1",
            "PRAGMA user_version = -2",
            "INSERT INTO t VALUES (1)",
        ]);
        let (application, format) = (7, -2);
        let expected = Header {
            application,
            format,
        };
        assert_eq!(newest_header(&wal), Some(expected));
    }

    #[test]
    fn what_is_cut_off_damaged_or_of_before_does_not_count() {
        let wal = written(&["PRAGMA user_version = 1"]);
        let frames = newest_header(&wal).map(|header| header.format);
        assert_eq!(frames, Some(1));
        let longer = written(&["PRAGMA user_version = 1", "PRAGMA user_version = 2"]);
        // The second commit is one page, whose end is missing.
        assert_eq!(
            newest_header(&longer[..longer.len() - 1]).unwrap().format,
            1
        );
        let mut damaged = longer.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(newest_header(&damaged).unwrap().format, 1);
        // A file that was begun anew has other salts in its head.
        let mut begun = longer;
        begun[16] ^= 1;
        assert_eq!(newest_header(&begun), None);
        for length in 0..64 {
            newest_header(&begun[..length]);
        }
        assert_eq!(newest_header(&[]), None);
    }
}

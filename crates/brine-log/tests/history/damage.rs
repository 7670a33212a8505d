//! Damage on the disk: torn writes and changed bytes.

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use brine_log::history::{ForeignHistory, GapReason, HistoryReader};

use crate::support::{Bus, Found, config, read_directory};

/// The files of a store whose process was killed, in `left`, and which bytes of the file that is
/// written ahead are the last commit's.
fn killed(directory: &Path, left: &Path) -> Range<u64> {
    let bus = Bus::open(config(directory)).expect("a test's own files");
    // The first commit is followed by a checkpoint; the others are written behind one another.
    for tag in ["first", "second", "third"] {
        bus.fire_durably(tag, "x");
    }
    for file in ["events.db", "events.db-wal"] {
        fs::copy(directory.join(file), left.join(file)).expect("a test's own files");
    }
    bus.history.close();
    last_commit(&fs::read(left.join("events.db-wal")).expect("a test's own files"))
}

/// The frames of the last commit: a header of 24 bytes and a page each. A frame belongs to the file
/// if it has the same salts; the last of a commit has a size in its second field.
fn last_commit(wal: &[u8]) -> Range<u64> {
    const HEADER: usize = 32;
    const FRAME: usize = 24 + 16_384;
    let salts = &wal[16..24];
    let frames: Vec<&[u8]> = wal[HEADER..]
        .chunks_exact(FRAME)
        .take_while(|frame| &frame[8..16] == salts)
        .collect();
    let ends_commit = |frame: &&[u8]| frame[4..8] != [0; 4];
    let before = frames[..frames.len() - 1].iter().rposition(ends_commit);
    let first = before.expect("an earlier commit in the same file") + 1;
    let at = |frame: usize| (HEADER + frame * FRAME) as u64;
    at(first)..at(frames.len())
}

/// A copy of the files with a change in the file that is written ahead.
fn changed(files: &Path, change: impl FnOnce(&File)) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a test's own files");
    for file in ["events.db", "events.db-wal"] {
        fs::copy(files.join(file), directory.path().join(file)).expect("a test's own files");
    }
    let wal = directory.path().join("events.db-wal");
    change(
        &OpenOptions::new()
            .read(true)
            .write(true)
            .open(wal)
            .expect("a test's own files"),
    );
    directory
}

fn tags(found: &Found) -> Vec<&str> {
    found.events.iter().map(|(_, tag)| tag.as_str()).collect()
}

fn flip(file: &File, at: u64) {
    let mut byte = [0];
    file.read_exact_at(&mut byte, at)
        .expect("a test's own files");
    file.write_all_at(&[byte[0] ^ 0x55], at)
        .expect("a test's own files");
}

/// A commit is torn at any of its bytes: it is not there, everything before it is. In the middle of
/// a page one byte is like another, and only some are tried.
#[test]
fn a_torn_commit_is_as_if_it_had_not_been() {
    let (directory, left) = (
        tempfile::tempdir().expect("a test's own files"),
        tempfile::tempdir().expect("a test's own files"),
    );
    let commit = killed(directory.path(), left.path());
    let is_edge = |at: u64| (at - commit.start) % (24 + 16_384) < 30 || commit.end - at < 10;
    let stride = stride();
    for at in commit.clone().filter(|at| is_edge(*at) || at % stride == 0) {
        let cut = changed(left.path(), |wal| {
            wal.set_len(at).expect("a test's own files")
        });
        assert_eq!(
            tags(&read_directory(cut.path())),
            ["first", "second"],
            "cut at {at}"
        );
        let flipped = changed(left.path(), |wal| flip(wal, at));
        assert_eq!(
            tags(&read_directory(flipped.path())),
            ["first", "second"],
            "changed at {at}"
        );
    }
    let whole = changed(left.path(), |_| {});
    assert_eq!(
        tags(&read_directory(whole.path())),
        ["first", "second", "third"]
    );
}

/// How far apart the bytes are that are tried. With `HISTORY_TORN_STRIDE=1`, which takes minutes,
/// every one is.
fn stride() -> u64 {
    let given = std::env::var("HISTORY_TORN_STRIDE").ok();
    given.and_then(|given| given.parse().ok()).unwrap_or(499)
}

#[test]
fn a_bus_starts_on_a_torn_commit() {
    let (directory, left) = (
        tempfile::tempdir().expect("a test's own files"),
        tempfile::tempdir().expect("a test's own files"),
    );
    let commit = killed(directory.path(), left.path());
    for at in [
        commit.start,
        commit.start + 3,
        commit.end - 9000,
        commit.end - 1,
    ] {
        let torn = changed(left.path(), |wal| {
            wal.set_len(at).expect("a test's own files")
        });
        let bus = Bus::open(config(torn.path())).expect("a test's own files");
        let next = bus.fire_durably("fourth", "x").0;
        bus.history.close();
        let found = read_directory(torn.path());
        assert_eq!(tags(&found), ["first", "second", "fourth"], "cut at {at}");
        assert_eq!(found.gaps, [(3..next, Some(GapReason::UncleanShutdown))]);
    }
}

#[test]
fn a_damaged_block_is_a_gap_and_the_rest_is_readable() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let mut random = 1u64;
    for _ in 0..1500 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        bus.fire("some/tag", &format!("{random:x}").repeat(60), 1000);
    }
    bus.history.close();
    let store =
        rusqlite::Connection::open(directory.path().join("events.db")).expect("a test's own files");
    let (first, last): (u64, u64) = store
        .query_row(
            "SELECT first, last FROM block ORDER BY first LIMIT 1 OFFSET 2",
            [],
            |row| {
                Ok((
                    row.get::<_, i64>(0)?.cast_unsigned(),
                    row.get::<_, i64>(1)?.cast_unsigned(),
                ))
            },
        )
        .expect("a test's own files");
    let change = "UPDATE body SET data = substr(data, 1, 100) || x'00112233' || substr(data, 105) WHERE first = ?1";
    store
        .execute(change, [first.cast_signed()])
        .expect("a test's own files");
    drop(store);

    let found = read_directory(directory.path());
    assert_eq!(found.gaps, [(first..last + 1, Some(GapReason::Damaged))]);
    assert_eq!(found.events.len() as u64, 1500 - (last + 1 - first));
    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    let mut reported = Vec::new();
    let readable = reader
        .verify(&mut |seqs, _| reported.push((seqs.start.0, seqs.end.0)))
        .expect("a test's own files");
    assert_eq!(readable, found.events.len() as u64);
    assert_eq!(reported, [(first, last + 1)]);
    // The bus starts and writes on.
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    assert_eq!(bus.fire_durably("after", "x").0, 1501);
    bus.history.close();
}

#[test]
fn commits_behind_a_damaged_page_are_counted_as_lost() {
    let (directory, left) = (
        tempfile::tempdir().expect("a test's own files"),
        tempfile::tempdir().expect("a test's own files"),
    );
    let last = killed(directory.path(), left.path());
    let lost_with = |damage: Option<u64>| {
        let files = changed(left.path(), |wal| {
            if let Some(at) = damage {
                flip(wal, at);
            }
        });
        let reader = HistoryReader::open(files.path()).expect("a test's own files");
        reader.lost_commits()
    };
    assert_eq!(lost_with(None), 0);
    // A machine that stops tears the last commit, which nobody was told of.
    assert_eq!(lost_with(Some(last.start + 100)), 0);
    assert_eq!(lost_with(Some(last.start - 100)), 1);
}

/// A backup of one file beside the other of later: what the store says of itself is older than its events.
#[test]
fn no_number_is_used_twice_in_a_store_put_together_of_two_times() {
    for closed in [1, 0] {
        let directory = tempfile::tempdir().expect("a test's own files");
        let bus = Bus::open(config(directory.path())).expect("a test's own files");
        for tag in ["first", "second", "third"] {
            bus.fire_durably(tag, "x");
        }
        bus.history.close();
        let store = directory.path().join("events.db");
        let store = rusqlite::Connection::open(store).expect("a test's own files");
        store
            .execute("UPDATE state SET ceiling = 2, closed = ?1", [closed])
            .expect("a test's own files");
        drop(store);
        let bus = Bus::open(config(directory.path())).expect("a test's own files");
        let next = bus.fire_durably("fourth", "x").0;
        bus.history.close();
        let found = read_directory(directory.path());
        assert_eq!(tags(&found), ["first", "second", "third", "fourth"]);
        assert_eq!(found.gaps, [(4..next, Some(GapReason::UncleanShutdown))]);
    }
}

#[test]
fn a_store_that_has_lost_its_first_bytes_is_not_taken_for_a_new_one() {
    let (directory, left) = (
        tempfile::tempdir().expect("a test's own files"),
        tempfile::tempdir().expect("a test's own files"),
    );
    killed(directory.path(), left.path());
    let store = left.path().join("events.db");
    let written_ahead = || fs::read(left.path().join("events.db-wal")).expect("a test's own files");
    let before = written_ahead();
    for is_there in [false, true] {
        match is_there {
            true => fs::write(&store, "").expect("a test's own files"),
            false => fs::remove_file(&store).expect("a test's own files"),
        }
        let refused = Bus::open(config(left.path())).err().expect("an error");
        assert!(
            refused.to_string().contains("events.db was emptied"),
            "{refused}"
        );
        // Nor do readers take it for one.
        assert!(HistoryReader::open(left.path()).is_err());
        assert!(ForeignHistory::open(left.path()).is_err());
        assert_eq!(written_ahead(), before);
    }
    // A start that ended before it wrote anything leaves such a file, too.
    fs::remove_file(left.path().join("events.db-wal")).expect("a test's own files");
    let bus = Bus::open(config(left.path())).expect("a new store");
    assert_eq!(bus.fire_durably("first", "x").0, 1);
    bus.history.close();
}

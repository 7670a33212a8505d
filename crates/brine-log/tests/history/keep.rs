//! What a history keeps, and for how long.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use brine_log::history::{
    Consumer, ConsumerName, ForeignHistory, GapReason, HistoryReader, Maintenance, OpenError,
    Paused, StoreError, Sync, TagAge, TagQuery,
};
use brine_log::{Millis, Position, Seq};
use brine_wire::matching::{MatchType, TagMatch};

use crate::support::{Bus, config, read_all, read_directory, until, wait};

fn glob(pattern: &str) -> TagMatch {
    TagMatch::new(MatchType::Fnmatch, pattern).expect("a test's own files")
}

#[test]
fn events_and_their_numbers_survive_a_restart() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let mut id = None;
    for round in 0..3u64 {
        let bus = Bus::open(config(directory.path())).expect("a test's own files");
        assert_eq!(
            *id.get_or_insert(bus.log.position().log),
            bus.log.position().log
        );
        for nth in 0..5 {
            let seqs = bus.fire(&format!("round/{round}/{nth}"), "x", 1000);
            assert_eq!(seqs.start.0, round * 5 + nth + 1);
        }
        bus.history.close();
    }
    let found = read_directory(directory.path());
    assert_eq!(found.seqs(), (1..=15).collect::<Vec<_>>());
    assert_eq!(found.events[7].1, "round/1/2");
    assert_eq!(found.gaps, []);
}

#[test]
fn an_acknowledged_event_is_there_after_a_crash_and_its_number_is_not_used_again() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let seq = bus.fire_durably("a", "x");
    // What a killed process leaves: the files as they are.
    let left = tempfile::tempdir().expect("a test's own files");
    for file in ["events.db", "events.db-wal"] {
        fs::copy(directory.path().join(file), left.path().join(file)).expect("a test's own files");
    }
    let shown = bus.fire("b", "x", 1000).start;
    bus.history.close();

    let bus = Bus::open(config(left.path())).expect("a test's own files");
    let next = bus.fire_durably("c", "x");
    assert!(next > shown, "{next} was shown before");
    bus.history.close();
    let found = read_directory(left.path());
    assert_eq!(found.seqs(), [seq.0, next.0]);
    let gap = (seq.0 + 1..next.0, Some(GapReason::UncleanShutdown));
    assert_eq!(found.gaps, [gap]);
}

#[test]
fn segments_become_blocks_and_readers_start_anywhere() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let data = "y".repeat(1000);
    for nth in 0..3000u64 {
        let seqs = bus.fire(&format!("job/{nth}"), &data, 5000 + nth);
        if nth % 500 == 0 {
            wait(bus.history.durable(seqs)).expect("a test's own files");
        }
    }
    bus.history.close();

    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    let info = reader.info().expect("a test's own files");
    assert_eq!(info.totals.events, 3000);
    assert!(
        (10..20).contains(&info.totals.blocks),
        "{}",
        info.totals.blocks
    );
    assert_eq!(info.oldest, Some((Seq(1), Millis(5000))));
    assert_eq!(info.newest, Some((Seq(3000), Millis(7999))));
    assert_eq!(info.writer, None);

    for from in [1u64, 2, 777, 2999, 3000] {
        reader.seek(Seq(from));
        let found = read_all(&mut reader, &TagQuery::default());
        assert_eq!(found.seqs(), (from..=3000).collect::<Vec<_>>());
    }
    for time in [0u64, 5000, 5777, 7999] {
        assert!(reader.seek_time(Millis(time)).expect("a test's own files"));
        let found = read_all(&mut reader, &TagQuery::default());
        assert_eq!(found.seqs()[0], time.max(5000) - 5000 + 1);
    }
    assert!(!reader.seek_time(Millis(8000)).expect("a test's own files"));
    assert_eq!(read_all(&mut reader, &TagQuery::default()).seqs(), []);
}

#[test]
fn a_search_for_a_tag_reads_the_blocks_that_may_have_it() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let data = "y".repeat(2000);
    for nth in 0..2000u64 {
        let tag = match nth {
            1234 => "rare/thing".to_owned(),
            _ => format!("salt/job/{nth}/ret/m"),
        };
        bus.fire(&tag, &data, 1000);
    }
    bus.history.close();
    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    for pattern in ["rare/*", "ra*", "*/thing"] {
        reader.seek(Seq(1));
        let found = read_all(&mut reader, &TagQuery::new(&[glob(pattern)]));
        assert!(found.events.contains(&(1235, "rare/thing".to_owned())));
        assert!(
            found.events.len() < 300,
            "{pattern}: {}",
            found.events.len()
        );
    }
    let found = read_all(&mut reader, &TagQuery::new(&[glob("none/*")]));
    assert_eq!(found.events, []);
}

#[test]
fn a_reader_sees_what_a_running_bus_has_written() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    bus.fire_durably("a", "x");
    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    assert_eq!(
        reader.info().expect("a test's own files").writer,
        Some(std::process::id())
    );
    assert_eq!(read_all(&mut reader, &TagQuery::default()).seqs(), [1]);
    bus.fire_durably("b", "x");
    assert_eq!(read_all(&mut reader, &TagQuery::default()).seqs(), [2]);
    bus.history.close();
}

#[test]
fn session_keys_and_secrets_do_not_reach_the_disk() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let mut options = config(directory.path());
    options.redact = vec!["d".to_owned()];
    let bus = Bus::open(options).expect("a test's own files");
    let secret = "kept-from-everybody-else".repeat(3);
    bus.fire("salt/auth/creds", &secret, 1000);
    bus.fire("some/tag", &secret, 1000);
    bus.fire_durably("salt/auth/creds", &secret);
    bus.fire_durably("other", &secret);
    bus.history.close();
    let found = read_directory(directory.path());
    let events = [(2, "some/tag".to_owned()), (4, "other".to_owned())];
    assert_eq!(found.events, events);
    assert_eq!(found.gaps, []);
    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    while let Some(brine_log::history::Read::Events(events)) = reader
        .next(&TagQuery::default())
        .expect("a test's own files")
    {
        for event in events.iter() {
            assert!(event.event.ends_with(b"***"));
        }
    }
}

#[test]
fn old_events_and_those_of_short_lived_tags_go() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let now = u64::try_from(
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("a test's own files")
            .as_millis(),
    )
    .expect("a test's own files");
    let hours = |count: u64| now - count * 3_600_000;
    let data = "y".repeat(3000);
    let mut options = config(directory.path());
    options.retention.max_bytes = None;
    let bus = Bus::open(options.clone()).expect("a test's own files");
    for (age, count) in [(100, 300), (10, 300), (1, 300)] {
        for nth in 0..count {
            let tag = if nth % 2 == 0 { "keep/a" } else { "noisy/a" };
            bus.fire(tag, &data, hours(age));
        }
    }
    bus.history.close();

    options.retention.max_age = Some(Duration::from_secs(48 * 3600));
    options.retention.tags = vec![TagAge {
        tags: glob("noisy/*"),
        max_age: Some(Duration::from_secs(2 * 3600)),
    }];
    let bus = Bus::open(options).expect("a test's own files");
    // What is newer than a block's end stays with it.
    until("old events are removed", || {
        let found = read_directory(directory.path());
        let old = |seq: u64| seq <= 500;
        !found
            .events
            .iter()
            .any(|(seq, tag)| *seq < 200 || tag == "noisy/a" && old(*seq))
    });
    let found = read_directory(directory.path());
    assert!(found.events.contains(&(700, "noisy/a".to_owned())));
    assert!(found.events.contains(&(449, "keep/a".to_owned())));
    assert_eq!(found.gaps, []);
    bus.history.close();
}

#[test]
fn no_more_is_kept_than_the_limit_allows() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let mut options = config(directory.path());
    options.retention.max_bytes = Some(3 << 20);
    let bus = Bus::open(options.clone()).expect("a test's own files");
    let mut random = 1u64;
    let mut noise = || {
        let mut noise = String::new();
        while noise.len() < 2000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            noise += &format!("{random:x}");
        }
        noise
    };
    for _ in 0..18 {
        for _ in 0..499 {
            bus.fire("noise", &noise(), 1000);
        }
        bus.fire_durably("noise", &noise());
        // Long before the next regular look.
        let reader = HistoryReader::open(directory.path()).expect("a test's own files");
        let used = { reader }
            .info()
            .expect("a test's own files")
            .totals
            .used_bytes;
        assert!(used < 5 << 20, "{used}");
    }
    bus.history.close();
    let bus = Bus::open(options).expect("a test's own files");
    until("the oldest are removed", || {
        bus.history.status().used_bytes.wrapping_sub(1) < 3 << 20
    });
    bus.history.close();
    let found = read_directory(directory.path());
    assert_eq!(found.seqs().last(), Some(&9000));
    assert!(
        (500..3500).contains(&found.events.len()),
        "{}",
        found.events.len()
    );
}

#[test]
fn a_store_in_use_is_refused_with_the_process_that_has_it() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let refused = Bus::open(config(directory.path())).err();
    let pid = std::process::id();
    assert!(matches!(refused, Some(OpenError::InUse { pid: other, .. }) if other == pid));
    assert!(Maintenance::open(directory.path()).is_err());
    bus.history.close();
    Bus::open(config(directory.path()))
        .expect("a test's own files")
        .history
        .close();
}

#[test]
fn an_error_says_what_is_known_and_what_to_do() {
    let directory = PathBuf::from("/h");
    let in_use = |pid| OpenError::InUse {
        directory: directory.clone(),
        pid,
    };
    assert!(in_use(7).to_string().ends_with("in use by process 7"));
    // It has not written its number yet.
    assert!(in_use(0).to_string().ends_with("in use by another process"));
    for (error, remedy) in [
        (
            StoreError::Damaged {
                reason: "malformed".to_owned(),
            },
            "malformed; move the directory away to begin a new history; ",
        ),
        (
            StoreError::Newer { found: 2, known: 1 },
            "; use that version, or set another directory",
        ),
    ] {
        let directory = directory.clone();
        let said = OpenError::Store { directory, error }.to_string();
        assert!(said.contains(remedy), "{said}");
    }
}

#[test]
fn files_are_their_owners_alone() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let path = directory.path().join("cache/history");
    let bus = Bus::open(config(&path)).expect("a test's own files");
    bus.fire_durably("a", "x");
    let mode = |path: &Path| {
        fs::metadata(path)
            .expect("a test's own files")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(&path), 0o700);
    for entry in fs::read_dir(&path).expect("a test's own files") {
        let entry = entry.expect("a test's own files").path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
    bus.history.close();
}

#[test]
fn a_directory_of_another_user_is_refused() {
    let directory = tempfile::tempdir().expect("a test's own files");
    // Only root can give a directory away.
    if std::os::unix::fs::chown(directory.path(), Some(12_345), None).is_err() {
        return;
    }
    let refused = Bus::open(config(directory.path())).err();
    assert!(matches!(
        refused,
        Some(OpenError::Owner { owner: 12_345, .. })
    ));
}

#[test]
fn newer_formats_and_other_programs_files_are_refused_and_left_alone() {
    for (sql, expected) in [
        (
            "PRAGMA user_version = 2",
            StoreError::Newer { found: 2, known: 1 },
        ),
        ("PRAGMA application_id = 7", StoreError::Foreign),
    ] {
        let directory = tempfile::tempdir().expect("a test's own files");
        Bus::open(config(directory.path()))
            .expect("a test's own files")
            .history
            .close();
        let file = directory.path().join("events.db");
        rusqlite::Connection::open(&file)
            .expect("a test's own files")
            .execute_batch(sql)
            .expect("a test's own files");
        let refused = Bus::open(config(directory.path())).err();
        assert!(matches!(refused, Some(OpenError::Store { error, .. }) if error == expected));
        let read = HistoryReader::open(directory.path()).err();
        assert!(matches!(read, Some(OpenError::Store { error, .. }) if error == expected));
    }
    let directory = tempfile::tempdir().expect("a test's own files");
    fs::write(
        directory.path().join("events.db"),
        "something else, and long enough to be read",
    )
    .expect("a test's own files");
    let refused = Bus::open(config(directory.path())).err();
    let foreign = StoreError::Foreign;
    assert!(matches!(refused, Some(OpenError::Store { error, .. }) if error == foreign));
}

/// The process that wrote it was killed: what it is stands in the file beside it.
#[test]
fn a_newer_format_that_is_only_written_ahead_is_refused_before_anything_is_changed() {
    let theirs = tempfile::tempdir().expect("a test's own files");
    Bus::open(config(theirs.path()))
        .expect("a test's own files")
        .history
        .close();
    let connection =
        rusqlite::Connection::open(theirs.path().join("events.db")).expect("a test's own files");
    connection
        .execute_batch("PRAGMA wal_autocheckpoint = 0; PRAGMA user_version = 9")
        .expect("a test's own files");
    let root = tempfile::tempdir().expect("a test's own files");
    let directory = root.path().join("history");
    fs::create_dir(&directory).expect("a test's own files");
    for file in ["events.db", "events.db-wal"] {
        fs::copy(theirs.path().join(file), directory.join(file)).expect("a test's own files");
    }
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&directory, mode).expect("a test's own files");
    let before = as_it_is(&directory);
    let expected = StoreError::Newer { found: 9, known: 1 };
    let refused = Bus::open(config(&directory)).err();
    assert!(matches!(refused, Some(OpenError::Store { error, .. }) if error == expected));
    let read = HistoryReader::open(&directory).err();
    assert!(matches!(read, Some(OpenError::Store { error, .. }) if error == expected));
    assert!(as_it_is(&directory) == before, "something was changed");
}

#[test]
fn there_is_nothing_to_read_where_no_history_is() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let read = HistoryReader::open(directory.path()).err();
    assert!(matches!(read, Some(OpenError::Nothing { .. })));
    assert_eq!(
        fs::read_dir(directory.path())
            .expect("a test's own files")
            .count(),
        0
    );
}

fn consumer(name: &str, position: Position) -> Consumer {
    Consumer {
        name: ConsumerName::parse(name).expect("a test's own files"),
        position,
        kind: "cursor".to_owned(),
        filter: "salt/job/*".to_owned(),
        paused: Paused::No,
        saved_at: Millis(7),
    }
}

#[test]
fn consumers_are_saved_moved_paused_and_removed() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let at = |seq| Position {
        log: bus.log.position().log,
        seq: Seq(seq),
    };
    wait(bus.history.save(consumer("audit", at(0)))).expect("a test's own files");
    let mut paused = consumer("sink", at(3));
    paused.paused = Paused::Until(Millis(99));
    wait(bus.history.save(paused.clone())).expect("a test's own files");
    let name = ConsumerName::parse("audit").expect("a test's own files");
    assert!(bus.history.acknowledge(&name, at(5)));
    assert!(!bus.history.acknowledge(
        &ConsumerName::parse("none").expect("a test's own files"),
        at(5)
    ));
    assert_eq!(
        bus.history
            .consumer(&name)
            .expect("a test's own files")
            .position,
        at(5)
    );
    bus.history.close();

    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let consumers = bus.history.consumers();
    assert_eq!(consumers.len(), 2);
    assert_eq!(consumers[0].position, at(5));
    assert_eq!(consumers[1], paused);
    assert!(wait(bus.history.remove(&name)).expect("a test's own files"));
    assert!(!wait(bus.history.remove(&name)).expect("a test's own files"));
    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    assert_eq!(reader.consumers().expect("a test's own files"), [paused]);
    bus.history.close();
}

#[test]
fn a_store_whose_bus_is_down_can_be_changed() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let data = "y".repeat(1500);
    for nth in 0..1000 {
        bus.fire(if nth % 2 == 0 { "a/x" } else { "b/x" }, &data, 1000);
    }
    bus.history.close();
    let mut store = Maintenance::open(directory.path()).expect("a test's own files");
    assert_eq!(
        store.purge_tags(&glob("b/*")).expect("a test's own files"),
        500
    );
    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    let foreseen = reader.before_purge(Seq(400)).expect("a test's own files");
    let purged = store.purge_before(Seq(400)).expect("a test's own files");
    assert_eq!(foreseen, purged);
    let oldest = purged.oldest.expect("a test's own files");
    assert!(oldest > Seq(1) && oldest <= Seq(400));
    // Half of them had gone before, by their tags.
    assert_eq!(purged.events, (oldest.0 - 1) / 2);
    let nothing = store.purge_before(oldest).expect("a test's own files");
    assert_eq!((nothing.events, nothing.oldest), (0, Some(oldest)));
    let imported = crate::support::event("imported", "x");
    let events = [brine_log::history::BlockEvent {
        at: Millis(2000),
        event: &imported,
        tag_bytes: 8,
        about: brine_log::history::About::default(),
    }];
    assert_eq!(store.import(events, &[]).expect("a test's own files"), 1);
    store
        .vacuum(&config(directory.path()).retention)
        .expect("a test's own files");
    store.close(directory.path()).expect("a test's own files");

    let found = read_directory(directory.path());
    assert!(found.seqs().iter().all(|seq| *seq >= oldest.0));
    assert!(!found.events.iter().any(|(_, tag)| tag == "b/x"));
    assert_eq!(found.events.last(), Some(&(1001, "imported".to_owned())));
    assert_eq!(found.gaps, []);
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    assert_eq!(bus.fire("c", "x", 3000).start, Seq(1002));
    bus.history.close();
}

/// Names, modes and bytes of a directory's files, and the directory's own mode.
fn as_it_is(directory: &Path) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a test's own files");
    let files = entries.map(|entry| entry.expect("a test's own files").path());
    files
        .chain([directory.to_owned()])
        .map(|path| {
            let about = fs::metadata(&path).expect("a test's own files");
            let bytes = match about.is_file() {
                true => fs::read(&path).expect("a test's own files"),
                false => Vec::new(),
            };
            (path, (about.permissions().mode(), bytes))
        })
        .collect()
}

#[test]
fn what_is_refused_is_not_changed_in_any_way() {
    for (sql, expected) in [
        (
            "PRAGMA application_id = 1114794350; PRAGMA user_version = 9; CREATE TABLE state (x)",
            StoreError::Newer { found: 9, known: 1 },
        ),
        (
            "PRAGMA journal_mode = WAL; PRAGMA application_id = 1114794350; PRAGMA user_version = 9",
            StoreError::Newer { found: 9, known: 1 },
        ),
        (
            "PRAGMA application_id = 7; CREATE TABLE theirs (x)",
            StoreError::Foreign,
        ),
        (
            "PRAGMA journal_mode = WAL; CREATE TABLE theirs (x)",
            StoreError::Foreign,
        ),
        ("CREATE TABLE theirs (x)", StoreError::Foreign),
    ] {
        let root = tempfile::tempdir().expect("a test's own files");
        // A name that a URI must quote.
        let directory = root.path().join("a 100% odd?name#");
        fs::create_dir(&directory).expect("a test's own files");
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(&directory, mode).expect("a test's own files");
        let file = directory.join("events.db");
        rusqlite::Connection::open(&file)
            .expect("a test's own files")
            .execute_batch(sql)
            .expect("a test's own files");
        let before = as_it_is(&directory);
        for refused in [
            Bus::open(config(&directory)).err(),
            HistoryReader::open(&directory).err(),
            Maintenance::open(&directory).err(),
            ForeignHistory::open(&directory).err(),
        ] {
            assert!(
                matches!(&refused, Some(OpenError::Store { error, .. }) if *error == expected),
                "{sql}: {refused:?}"
            );
            assert!(as_it_is(&directory) == before, "{sql}: something changed");
        }
    }
}

#[test]
fn a_store_that_was_closed_is_whole_in_its_one_file() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let copy = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    bus.fire_durably("a", "x");
    let mut reader = HistoryReader::open(directory.path()).expect("a test's own files");
    assert_eq!(reader.info().expect("a test's own files").next, None);
    bus.history.close();
    let wal = fs::metadata(directory.path().join("events.db-wal"));
    assert!(wal.map_or(0, |wal| wal.len()) == 0);
    let file = "events.db";
    fs::copy(directory.path().join(file), copy.path().join(file)).expect("a test's own files");
    assert_eq!(read_directory(copy.path()).seqs(), [1]);
    let info = reader.info().expect("a test's own files");
    assert_eq!(info.next, Some(Seq(2)));
}

#[test]
fn a_change_that_is_given_up_leaves_a_closed_store() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    bus.fire_durably("a", "x");
    bus.history.close();
    drop(Maintenance::open(directory.path()).expect("a test's own files"));
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    assert_eq!(bus.fire_durably("b", "x"), Seq(2));
    bus.history.close();
    assert_eq!(read_directory(directory.path()).gaps, []);
}

#[test]
fn of_imported_events_only_those_that_are_stored_count() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let mut store = Maintenance::open(directory.path()).expect("a test's own files");
    let tags = ["salt/auth/creds", "a/tag"];
    let events = tags.map(|tag| (crate::support::event(tag, "x"), tag.len()));
    let events = events
        .iter()
        .map(|(event, tag_bytes)| brine_log::history::BlockEvent {
            at: Millis(2000),
            event,
            tag_bytes: *tag_bytes,
            about: brine_log::history::About::default(),
        });
    assert_eq!(store.import(events, &[]).expect("a test's own files"), 1);
    assert_eq!(store.next(), Seq(3));
}

#[test]
fn every_way_to_sync_acknowledges() {
    for (_, sync) in Sync::WORDS {
        let directory = tempfile::tempdir().expect("a test's own files");
        let mut options = config(directory.path());
        options.sync = sync;
        let bus = Bus::open(options).expect("a test's own files");
        for _ in 0..20 {
            bus.fire_durably("a", "x");
        }
        bus.history.close();
        assert_eq!(read_directory(directory.path()).events.len(), 20);
    }
}

#[test]
fn a_thousand_who_wait_share_a_few_commits() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = Bus::open(config(directory.path())).expect("a test's own files");
    let fired: Vec<_> = (0..1000).map(|_| bus.fire("a", "x", 1000)).collect();
    wait(async {
        for seqs in fired {
            bus.history.durable(seqs).await.expect("a test's own files");
        }
    });
    let blocks = HistoryReader::open(directory.path())
        .expect("a test's own files")
        .info()
        .expect("a test's own files")
        .totals
        .blocks;
    assert!(blocks < 50, "{blocks}");
    bus.history.close();
}

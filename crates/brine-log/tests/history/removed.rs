//! Files that somebody removes or replaces while the store is open: nothing more is acknowledged.

use std::fs;
use std::path::Path;
use std::time::Duration;

use brine_log::Seq;
use brine_log::history::StoreError;

use crate::support::{Bus, config, read_directory, until, wait};

fn open(directory: &Path) -> Bus {
    let mut options = config(directory);
    options.give_up_after = Duration::from_millis(20);
    Bus::open(options).expect("a test's own files")
}

/// Fires one that cannot become durable; gives what is said to be wrong.
fn refused(bus: &Bus) -> Option<StoreError> {
    let lost = bus.fire("lost", "x", 1000);
    let refused = wait(bus.history.durable(lost)).expect_err("it went to a file without a name");
    // The numbers it says are those of the events: the last one too.
    assert_eq!(
        refused.to_string(),
        "event 2 could not be stored: not written"
    );
    bus.history.status().trouble
}

#[test]
fn nothing_is_acknowledged_once_a_file_of_the_store_is_gone() {
    for file in ["events.db", "events.db-wal", "events.db-shm", "lock"] {
        for is_replaced in [false, true] {
            let directory = tempfile::tempdir().expect("a test's own files");
            let bus = open(directory.path());
            bus.fire_durably("before", "x");
            let file = directory.path().join(file);
            fs::remove_file(&file).expect("a test's own files");
            if is_replaced {
                fs::write(&file, "").expect("a test's own files");
            }
            let expected = StoreError::Removed { file: file.clone() };
            assert_eq!(refused(&bus), Some(expected), "{}", file.display());
            bus.history.close();
        }
    }
}

#[test]
fn a_directory_that_was_removed_is_said_to_be_and_the_next_start_begins_anew() {
    let root = tempfile::tempdir().expect("a test's own files");
    let directory = root.path().join("history");
    let bus = open(&directory);
    bus.fire_durably("before", "x");
    fs::remove_dir_all(&directory).expect("a test's own files");
    let trouble = refused(&bus).expect("trouble").to_string();
    assert!(trouble.contains("events.db was removed"), "{trouble}");
    assert!(trouble.contains("restart the bus"), "{trouble}");
    // Another may have the directory now, and keeps it.
    let other = open(&directory);
    let first = other.fire_durably("other", "x");
    let lost = bus.fire("lost", "x", 1000);
    let refused = wait(bus.history.durable(lost)).expect_err("the directory is another's");
    assert_eq!(
        refused.to_string(),
        "events 2 to 3 could not be stored: not written"
    );
    bus.history.close();
    other.history.close();
    assert_eq!(read_directory(&directory).seqs(), [first.0]);
}

#[test]
fn history_goes_on_when_a_directory_is_moved_back() {
    let root = tempfile::tempdir().expect("a test's own files");
    let (directory, elsewhere) = (root.path().join("history"), root.path().join("moved"));
    let bus = open(&directory);
    bus.fire_durably("before", "x");
    fs::rename(&directory, &elsewhere).expect("a test's own files");
    assert!(matches!(refused(&bus), Some(StoreError::Removed { .. })));
    fs::rename(&elsewhere, &directory).expect("a test's own files");
    until("history goes on", || bus.history.status().trouble.is_none());
    let after = bus.fire_durably("after", "x");
    assert!(after > Seq(2));
    bus.history.close();
    let found = read_directory(&directory);
    assert_eq!(found.events.first(), Some(&(1, "before".to_owned())));
    assert_eq!(found.events.last(), Some(&(after.0, "after".to_owned())));
}

/// As by a tool that copies log files and empties them.
#[test]
fn nothing_is_acknowledged_once_the_store_is_emptied() {
    let directory = tempfile::tempdir().expect("a test's own files");
    let bus = open(directory.path());
    // The first commit is followed by a checkpoint, which would fill the file again.
    bus.fire_durably("before", "x");
    bus.fire_durably("before", "x");
    fs::File::options()
        .write(true)
        .truncate(true)
        .open(directory.path().join("events.db"))
        .expect("a test's own files");
    let lost = bus.fire("lost", "x", 1000);
    wait(bus.history.durable(lost)).expect_err("what was before it is gone");
    let trouble = bus.history.status().trouble.expect("trouble").to_string();
    assert!(trouble.contains("events.db was emptied"), "{trouble}");
    bus.history.close();
}

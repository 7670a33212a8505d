//! The record across restarts, torn lines and full files.

use super::line::{files, path};
use super::*;
use crate::call::{Call, Function};

const LOG: LogId = LogId(7);

fn at(seq: u64) -> Position {
    Position {
        log: LOG,
        seq: Seq(seq),
    }
}

fn run(seq: u64, nth: usize) -> Run {
    Run {
        number: 0,
        rule: "a/*".to_owned(),
        position: at(seq),
        nth: Some(nth),
        tag: "a/b".to_owned(),
        from: "/r.sls, ID x".to_owned(),
        call: Some(Call::Runner(Function {
            fun: "event.send".to_owned(),
            arg: vec!["t".into()],
            kwarg: Map::new(),
            is_flat: false,
        })),
        too_large: None,
        started: Millis(5),
        ended: None,
        outcome: Outcome::Running,
        repeats: None,
    }
}

#[test]
fn what_was_running_is_uncertain_and_what_was_started_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, left) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
    assert!(left.positions.is_empty());
    journal.at("a/*", at(3), Counts::default()).unwrap();
    let (mut one, mut two) = (run(4, 0), run(4, 1));
    journal.start(&mut one).unwrap();
    journal.start(&mut two).unwrap();
    journal
        .end(one.number, Millis(9), &Outcome::Done("true".to_owned()))
        .unwrap();
    drop(journal);

    let (_journal, left) = Journal::open(directory.path(), LOG, Millis(20)).unwrap();
    assert_eq!(left.positions["a/*"], at(3));
    assert_eq!(left.uncertain, 1);
    assert_eq!(
        left.started["a/*"],
        HashSet::from([(Seq(4), 0), (Seq(4), 1)])
    );
    let runs = read(directory.path()).unwrap();
    assert_eq!(runs[0].outcome, Outcome::Done("true".to_owned()));
    assert_eq!(runs[1].outcome, Outcome::Uncertain);
    assert_eq!(runs[1].call, two.call);
}

#[test]
fn another_log_is_another_story() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
    journal.at("a/*", at(3), Counts::default()).unwrap();
    journal.start(&mut run(4, 0)).unwrap();
    drop(journal);
    let (_, left) = Journal::open(directory.path(), LogId(8), Millis(0)).unwrap();
    assert!(left.positions.is_empty() && left.started.is_empty());
    assert_eq!(left.uncertain, 1);
}

#[test]
fn a_line_that_was_cut_off_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
    journal.start(&mut run(4, 0)).unwrap();
    let file = path(directory.path(), journal.number);
    drop(journal);
    let whole = fs::read(&file).unwrap();
    for end in 0..whole.len() {
        fs::write(&file, &whole[..end]).unwrap();
        assert!(read(directory.path()).unwrap().len() <= 1);
    }
}

#[test]
fn old_files_go_when_nothing_needs_them() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
    let mut kept = run(1, 0);
    journal.start(&mut kept).unwrap();
    for seq in 2..40 {
        journal.bytes = FILE_BYTES + 1; // as if the file were full
        let mut one = run(seq, 0);
        journal.start(&mut one).unwrap();
        journal
            .end(one.number, Millis(9), &Outcome::Done(String::new()))
            .unwrap();
        journal.at("a/*", at(seq), Counts::default()).unwrap();
        sync(&mut journal);
    }
    // The first reaction still runs.
    assert!(files(directory.path()).unwrap().len() > 30);
    journal
        .end(kept.number, Millis(9), &Outcome::Done(String::new()))
        .unwrap();
    journal.at("a/*", at(40), Counts::default()).unwrap();
    // A power cut may still take that.
    assert!(files(directory.path()).unwrap().len() > 30);
    sync(&mut journal);
    assert!(files(directory.path()).unwrap().len() <= KEEP_FILES);
    let (_, left) = Journal::open(directory.path(), LOG, Millis(0)).unwrap();
    assert_eq!(left.uncertain, 0);
    assert_eq!(left.positions["a/*"], at(40));
}

/// Makes what was written safe, as the reactor does every second.
fn sync(journal: &mut Journal) {
    let synced = journal.unsynced().unwrap().sync().unwrap();
    journal.synced(synced);
}

/// What a journal has when it is opened anew.
fn opened(directory: &Path) -> (Journal, Left) {
    Journal::open(directory, LOG, Millis(50)).unwrap()
}

#[test]
fn what_a_rule_has_done_survives_a_crash() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(directory.path());
    let events = Counts {
        events: 9,
        throttled: 2,
        ..Counts::default()
    };
    journal.at("a/*", at(3), events).unwrap();
    for (seq, outcome) in [
        (4, Some(Outcome::Done(String::new()))),
        (5, Some(Outcome::Failed(String::new()))),
        (6, None),
    ] {
        let mut one = run(seq, 0);
        journal.start(&mut one).unwrap();
        if let Some(outcome) = outcome {
            journal.end(one.number, Millis(9), &outcome).unwrap();
        }
    }
    drop(journal); // without a word
    let expected = Counts {
        done: 1,
        failed: 1,
        uncertain: 1,
        ..events
    };
    for _ in 0..3 {
        let (journal, _) = opened(directory.path());
        assert_eq!(journal.counts("a/*"), expected);
    }
    // Nor is anything counted twice when files begin anew.
    let (mut journal, _) = opened(directory.path());
    journal.bytes = FILE_BYTES + 1;
    let mut one = run(7, 0);
    journal.start(&mut one).unwrap();
    journal
        .end(one.number, Millis(9), &Outcome::Done(String::new()))
        .unwrap();
    drop(journal);
    let (journal, _) = opened(directory.path());
    assert_eq!(
        journal.counts("a/*"),
        Counts {
            done: 2,
            ..expected
        }
    );
}

#[test]
fn uncertain_reactions_are_listed_until_they_are_run_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(directory.path());
    let mut lost = run(1, 0);
    journal.start(&mut lost).unwrap();
    drop(journal);
    let (mut journal, left) = opened(directory.path());
    assert_eq!(left.uncertain, 1);
    let go_on = |journal: &mut Journal, seqs: std::ops::Range<u64>| {
        for seq in seqs {
            journal.bytes = FILE_BYTES + 1;
            let mut one = run(seq, 0);
            journal.start(&mut one).unwrap();
            let done = Outcome::Done(String::new());
            journal.end(one.number, Millis(9), &done).unwrap();
            journal.at("a/*", at(seq), Counts::default()).unwrap();
            sync(journal);
        }
    };
    go_on(&mut journal, 2..40);
    let uncertain = || {
        let runs = read(directory.path()).unwrap();
        let uncertain = runs
            .into_iter()
            .filter(|run| run.outcome == Outcome::Uncertain);
        uncertain.map(|run| run.number).collect::<Vec<_>>()
    };
    assert!(!path(directory.path(), 1).exists());
    assert_eq!(uncertain(), [lost.number]);
    drop(journal);
    let (mut journal, left) = opened(directory.path());
    assert_eq!(left.uncertain, 0);
    assert_eq!(uncertain(), [lost.number]);
    let mut again = Run {
        repeats: Some(lost.number),
        ..run(1, 0)
    };
    journal.start(&mut again).unwrap();
    go_on(&mut journal, 40..80);
    journal
        .end(again.number, Millis(9), &Outcome::Done(String::new()))
        .unwrap();
    go_on(&mut journal, 80..82);
    assert!(uncertain().is_empty());
}

#[test]
fn a_line_behind_one_that_was_cut_off_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(directory.path());
    journal.file.write_all(b"{\"start\": 1, \"at").unwrap();
    journal.is_torn = true; // as after a full disk
    journal.start(&mut run(4, 0)).unwrap();
    assert_eq!(read(directory.path()).unwrap().len(), 1);
}

#[test]
fn what_a_power_cut_takes_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(directory.path());
    journal.at("a/*", at(3), Counts::default()).unwrap();
    assert_eq!(journal.synced_position("a/*"), None);
    sync(&mut journal);
    let file = path(directory.path(), journal.number);
    let safe = fs::metadata(&file).unwrap().len();
    journal.start(&mut run(4, 0)).unwrap();
    journal.at("a/*", at(4), Counts::default()).unwrap();
    // Whoever keeps a position for the time after a power cut keeps this one.
    assert_eq!(journal.synced_position("a/*"), Some(at(3)));
    drop(journal);
    File::options()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(safe)
        .unwrap();
    let (journal, left) = opened(directory.path());
    assert_eq!(left.positions["a/*"], at(3));
    assert!(left.started.is_empty());
    assert_eq!(journal.synced_position("a/*"), None);
}

#[test]
fn a_file_that_could_not_be_begun_is_begun_by_the_next_line() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(directory.path());
    let mut lost = run(1, 0);
    journal.start(&mut lost).unwrap();
    drop(journal);
    let (mut journal, _) = opened(directory.path());
    journal.at("a/*", at(3), Counts::default()).unwrap();
    // A new file, and nothing can be written.
    let number = journal.number + 1;
    let file = create(directory.path(), number).unwrap();
    (journal.number, journal.is_begun) = (number, false);
    journal.file = File::open(path(directory.path(), number)).unwrap();
    assert!(journal.start(&mut run(4, 0)).is_err());
    journal.file = file;
    journal.start(&mut run(4, 0)).unwrap();
    drop(journal);
    for older in files(directory.path()).unwrap() {
        if older < number {
            fs::remove_file(path(directory.path(), older)).unwrap();
        }
    }
    let (_, left) = opened(directory.path());
    assert_eq!(left.positions["a/*"], at(3));
    let runs = read(directory.path()).unwrap();
    assert_eq!(runs[0].number, lost.number);
}

#[test]
fn interrupted_reactions_that_are_too_many_to_be_kept_have_ended_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(directory.path());
    journal.at("a/*", at(0), Counts::default()).unwrap();
    for seq in 1..=40 {
        let mut large = run(seq, 0);
        large.call = Some(Call::Runner(Function {
            fun: "http.query".to_owned(),
            arg: vec!["x".repeat(40_000).into()],
            kwarg: Map::new(),
            is_flat: false,
        }));
        journal.start(&mut large).unwrap();
    }
    drop(journal);
    for expected in [40, 0, 0] {
        let (journal, left) = opened(directory.path());
        assert_eq!(left.uncertain, expected);
        assert_eq!(journal.counts("a/*").uncertain, 40);
        let runs = read(directory.path()).unwrap();
        assert_eq!(runs.len(), 40);
        assert!(runs.iter().all(|run| run.outcome == Outcome::Uncertain));
    }
}

#[test]
fn of_a_call_that_is_too_large_the_function_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let (mut journal, _) = opened(directory.path());
    let mut large = run(1, 0);
    large.call = Some(Call::Runner(Function {
        fun: "http.query".to_owned(),
        arg: vec!["x".repeat(MAX_CALL_KIB << 10).into()],
        kwarg: Map::new(),
        is_flat: false,
    }));
    journal.start(&mut large).unwrap();
    drop(journal);
    for _ in 0..2 {
        let _ = opened(directory.path());
        let runs = read(directory.path()).unwrap();
        assert_eq!(runs[0].call, None);
        assert_eq!(runs[0].too_large.as_deref(), Some("runner.http.query"));
        fs::remove_file(path(directory.path(), 1)).unwrap_or_default();
    }
}

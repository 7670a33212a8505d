//! Crashes, simulated: a store in memory that records every commit, from any prefix of which a new
//! process may have to start.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use brine_log::history::{
    Batch, Block, BlockReader, BlockStore, Consumer, GapReason, Head, HistoryConfig, HistoryReader,
    RecordedGap, State, StoreError, TagQuery, Totals,
};
use brine_log::{Incoming, Millis, Seq};

use crate::support::{Bus, read_all, wait};

/// What the simulated disk holds, and what would be left of it after each commit.
#[derive(Default, Clone)]
struct Disk {
    synced: Content,
    /// The content after each commit, the oldest first.
    commits: Vec<Content>,
    /// Commits that fail from now on.
    is_full: bool,
}

#[derive(Default, Clone)]
struct Content {
    state: Option<State>,
    blocks: BTreeMap<u64, Block>,
    gaps: BTreeMap<u64, RecordedGap>,
    consumers: BTreeMap<String, Consumer>,
}

#[derive(Clone)]
struct Simulated(Arc<Mutex<Disk>>);

impl Simulated {
    fn new(content: Content) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            synced: content,
            ..Disk::default()
        })))
    }

    fn content(&self) -> Content {
        self.0
            .lock()
            .expect("no panic under the lock")
            .synced
            .clone()
    }
}

impl BlockStore for Simulated {
    fn reading(&mut self) -> &mut dyn BlockReader {
        self
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreError> {
        let mut disk = self.0.lock().expect("no panic under the lock");
        if disk.is_full {
            return Err(StoreError::Full);
        }
        let content = &mut disk.synced;
        for first in &batch.removed {
            content.blocks.remove(&first.0);
        }
        for block in &batch.blocks {
            if block.head.sealed {
                let range = block.head.first.0..=block.head.last.0;
                content.blocks.retain(|first, _| !range.contains(first));
            }
            let before = content.blocks.insert(block.head.first.0, block.clone());
            assert_eq!(before, None, "two runs begin with the same event");
        }
        for gap in &batch.gaps {
            content.gaps.insert(gap.first.0, gap.clone());
        }
        content.state = batch.state.or(content.state);
        for consumer in &batch.consumers {
            let name = consumer.name.to_string();
            content.consumers.insert(name, consumer.clone());
        }
        let content = content.clone();
        disk.commits.push(content);
        Ok(())
    }

    fn tidy_up(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn shrink(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn BlockReader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl BlockReader for Simulated {
    fn state(&mut self) -> Result<Option<State>, StoreError> {
        Ok(self.content().state)
    }

    fn block(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        let content = self.content();
        Ok(content
            .blocks
            .into_values()
            .find(|block| block.head.last >= at))
    }

    fn first_after(&mut self, at: Seq) -> Result<Option<Seq>, StoreError> {
        let content = self.content();
        Ok(content
            .blocks
            .into_keys()
            .find(|first| *first > at.0)
            .map(Seq))
    }

    fn block_before(&mut self, at: Seq) -> Result<Option<Block>, StoreError> {
        let content = self.content();
        Ok(content
            .blocks
            .into_values()
            .rfind(|block| block.head.first < at))
    }

    fn find(&mut self, at: Millis) -> Result<Option<Head>, StoreError> {
        let blocks = self.content().blocks;
        let mut heads = blocks.into_values().map(|block| block.head);
        Ok(heads.find(|head| head.until >= at))
    }

    fn tags(
        &mut self,
        _: Seq,
        _: &mut dyn FnMut(Seq, Seq, &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    fn unpruned(&mut self, _: Range<Millis>, _: u64) -> Result<Option<Block>, StoreError> {
        Ok(None)
    }

    fn oldest(&mut self, limit: usize) -> Result<Vec<Head>, StoreError> {
        let blocks = self.content().blocks;
        let heads = blocks.into_values().map(|block| block.head);
        Ok(heads.filter(|head| head.sealed).take(limit).collect())
    }

    fn totals(&mut self) -> Result<Totals, StoreError> {
        Ok(Totals::default())
    }

    fn used_bytes(&mut self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn gaps(&mut self) -> Result<Vec<RecordedGap>, StoreError> {
        Ok(self.content().gaps.into_values().collect())
    }

    fn consumers(&mut self) -> Result<Vec<Consumer>, StoreError> {
        Ok(self.content().consumers.into_values().collect())
    }

    fn check(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

fn config() -> HistoryConfig {
    let mut config = HistoryConfig::new("simulated");
    config.retention.max_age = None;
    config
}

/// What a process did before it crashed.
#[derive(Default)]
struct Run {
    /// The highest number a live reader may have seen after so many commits.
    shown: Vec<u64>,
    /// Events acknowledged before so many commits.
    acknowledged: Vec<(usize, u64)>,
}

fn run(disk: &Simulated, tags: &str, events: u64, data: &str) -> Run {
    let commits = || {
        disk.0
            .lock()
            .expect("no panic under the lock")
            .commits
            .len()
    };
    let bus = Bus::on(Box::new(disk.clone()), config());
    let mut run = Run::default();
    for nth in 0..events {
        let seqs = bus.fire(&format!("{tags}/{nth}"), data, 1000 + nth);
        run.shown.resize(commits() + 1, seqs.start.0);
        if nth % 7 == 0 {
            wait(bus.history.durable(seqs.clone())).expect("a test's own files");
            run.acknowledged.push((commits(), seqs.start.0));
        }
    }
    // Not closed: it crashes. What the thread still writes does not matter, it wrote to a copy.
    let before = disk
        .0
        .lock()
        .expect("no panic under the lock")
        .commits
        .len();
    run.shown
        .resize(before + 1, *run.shown.last().expect("a test's own files"));
    run
}

/// From every prefix of the commits a new process finds everything that was acknowledged before,
/// once and in order; numbers go on above all that were shown; what is missing is a gap.
#[test]
fn every_prefix_of_the_commits_is_a_start() {
    let data = "z".repeat(9000);
    let disk = Simulated::new(Content::default());
    let first = run(&disk, "first", 120, &data);
    let commits = disk
        .0
        .lock()
        .expect("no panic under the lock")
        .commits
        .clone();
    assert!(commits.len() > 15, "{}", commits.len());
    for (kept, content) in commits.iter().enumerate() {
        let again = Simulated::new(content.clone());
        let bus = Bus::on(Box::new(again.clone()), config());
        let shown = first.shown.get(kept + 1).copied().unwrap_or(0);
        let new = bus.fire_durably("second", "x").0;
        assert!(new > shown, "after {kept} commits {new} is used again");
        bus.history.close();

        let mut reader = HistoryReader::on(Box::new(again)).expect("a test's own files");
        let found = read_all(&mut reader, &TagQuery::default());
        let mut seqs = found.seqs();
        assert_eq!(seqs.pop(), Some(new));
        let whole: Vec<u64> = (1..=seqs.len() as u64).collect();
        assert_eq!(seqs, whole, "after {kept} commits");
        let acknowledged = first.acknowledged.iter().filter(|(at, _)| *at <= kept + 1);
        let last = acknowledged.map(|(_, seq)| *seq).max().unwrap_or(0);
        assert!(
            seqs.len() as u64 >= last,
            "after {kept} commits {last} is missing"
        );
        let gap = (seqs.len() as u64 + 1..new, Some(GapReason::UncleanShutdown));
        assert_eq!(found.gaps, [gap]);
    }
}

#[test]
fn crash_after_crash_loses_nothing_acknowledged() {
    let mut content = Content::default();
    let mut acknowledged = Vec::new();
    for round in 0..6 {
        let disk = Simulated::new(content);
        let run = run(&disk, &format!("round{round}"), 40, &"z".repeat(20_000));
        acknowledged.extend(run.acknowledged.iter().map(|(_, seq)| *seq));
        content = disk.content();
    }
    let mut reader =
        HistoryReader::on(Box::new(Simulated::new(content))).expect("a test's own files");
    let found = read_all(&mut reader, &TagQuery::default());
    let seqs = found.seqs();
    assert!(seqs.is_sorted() && seqs.windows(2).all(|pair| pair[0] < pair[1]));
    for seq in acknowledged {
        assert!(seqs.contains(&seq), "{seq} was acknowledged");
    }
    assert_eq!(found.gaps.len(), 5);
}

#[test]
fn a_short_trouble_costs_nothing() {
    let disk = Simulated::new(Content::default());
    let mut options = config();
    options.give_up_after = std::time::Duration::from_secs(60);
    let bus = Bus::on(Box::new(disk.clone()), options);
    bus.fire_durably("before", "x");
    disk.0.lock().expect("no panic under the lock").is_full = true;
    let meanwhile: Vec<_> = (0..50).map(|_| bus.fire("meanwhile", "x", 1000)).collect();
    crate::support::until("trouble is reported", || {
        bus.history.status().trouble.is_some()
    });
    disk.0.lock().expect("no panic under the lock").is_full = false;
    for seqs in meanwhile {
        wait(bus.history.durable(seqs)).expect("a test's own files");
    }
    assert_eq!(bus.history.status().trouble, None);
    bus.history.close();
    let mut reader = HistoryReader::on(Box::new(disk)).expect("a test's own files");
    let found = read_all(&mut reader, &TagQuery::default());
    assert_eq!((found.events.len(), found.gaps.len()), (51, 0));
}

#[test]
fn a_disk_that_hangs_is_reported_to_whoever_looks() {
    let disk = Simulated::new(Content::default());
    let mut options = config();
    options.give_up_after = std::time::Duration::from_millis(20);
    let bus = Bus::on(Box::new(disk.clone()), options);
    bus.fire_durably("before", "x");
    assert_eq!(bus.history.notice_hanging(), None);
    // A commit does not return as long as this is held.
    let hanging = disk.0.lock().expect("no panic under the lock");
    let seqs = bus.fire("meanwhile", "x", 1000);
    let history = bus.history.clone();
    let waiting = std::thread::spawn(move || wait(history.durable(seqs)));
    crate::support::until("the hang is reported", || {
        let trouble = bus.history.status().trouble;
        trouble.is_some_and(|trouble| trouble.to_string().contains("the disk has not answered"))
    });
    drop(hanging);
    waiting
        .join()
        .expect("no panic there")
        .expect("a test's own files");
    assert_eq!(bus.history.status().trouble, None);
    bus.history.close();
}

#[test]
fn after_a_long_trouble_history_goes_on_behind_a_gap() {
    let disk = Simulated::new(Content::default());
    let mut options = config();
    options.give_up_after = std::time::Duration::from_millis(20);
    let bus = Bus::on(Box::new(disk.clone()), options);
    let before = bus.fire_durably("before", "x").0;
    disk.0.lock().expect("no panic under the lock").is_full = true;
    let lost = bus.fire("lost", "x", 1000);
    let refused = wait(bus.history.durable(lost.clone()));
    assert!(refused.is_err(), "{refused:?}");
    for _ in 0..20 {
        bus.fire("lost", "x", 1000);
    }
    disk.0.lock().expect("no panic under the lock").is_full = false;
    crate::support::until("history goes on", || bus.history.status().trouble.is_none());
    let after = bus.fire_durably("after", "x").0;
    let missing = bus.history.status().missing;
    bus.history.close();
    let mut reader = HistoryReader::on(Box::new(disk)).expect("a test's own files");
    let found = read_all(&mut reader, &TagQuery::default());
    // The last of them may have come when it was over.
    assert!((1..=after - before - 1).contains(&missing), "{missing}");
    assert_eq!(found.events.len() as u64, after - before + 1 - missing);
    let gap = (
        before + 1..before + 1 + missing,
        Some(GapReason::NotWritten),
    );
    assert_eq!(found.gaps, [gap]);
}

#[test]
fn numbers_used_while_nothing_could_be_written_are_not_used_again_after_a_kill() {
    let disk = Simulated::new(Content::default());
    let bus = Bus::on(Box::new(disk.clone()), config());
    bus.fire_durably("before", "x");
    disk.0.lock().expect("no panic under the lock").is_full = true;
    let event = crate::support::event("lost", "");
    let incoming = Incoming {
        event: &event,
        tag_bytes: 4,
    };
    // More than any gap that a short stall would be given.
    let mut shown = Seq(0);
    for _ in 0..1200 {
        shown = bus.log.append([incoming; 1000], Millis(1000)).end;
    }
    // Killed: what is on the disk is all there is.
    let left = disk.content();
    bus.history.close();

    let bus = Bus::on(Box::new(Simulated::new(left)), config());
    let next = bus.fire_durably("after", "x");
    assert!(next >= shown, "{next} was shown before the crash");
    bus.history.close();
}

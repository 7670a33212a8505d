//! Compares the spool with a plain list, on a store that loses what was not synced.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use proptest::prelude::*;

use super::*;

/// A disk that may be full, and a machine that may lose its power.
#[derive(Debug, Clone, Default)]
struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Clone, Default)]
struct State {
    /// As programs see it, and as it is after a crash.
    files: BTreeMap<String, Vec<u8>>,
    synced: BTreeMap<String, Vec<u8>>,
    /// How many bytes more it takes before it is full.
    room: Option<usize>,
}

impl Disk {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// The power fails: of what was not synced, some of the bytes of some of the files are there.
    fn crash(&self, luck: u64) {
        let mut state = self.state();
        let State { files, synced, .. } = &mut *state;
        let mut luck = luck;
        let mut roll = |below: usize| {
            luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(luck >> 33).unwrap() % below.max(1)
        };
        let mut after = synced.clone();
        for (name, bytes) in files.iter() {
            let safe = synced.get(name).map_or(0, Vec::len);
            let kept = safe + roll(bytes.len().saturating_sub(safe) + 1);
            if roll(3) > 0 {
                let mut bytes = bytes[..kept.min(bytes.len())].to_vec();
                if roll(2) == 0 && bytes.len() > safe {
                    *bytes.last_mut().unwrap() ^= 0x55;
                }
                after.insert(name.clone(), bytes);
            }
        }
        // What was removed may have come back.
        for name in synced.keys() {
            if !files.contains_key(name) && roll(2) == 0 {
                after.remove(name);
            }
        }
        *files = after.clone();
        *synced = after;
        state.room = None;
    }
}

impl Store for Disk {
    fn list(&mut self) -> io::Result<Vec<String>> {
        Ok(self.state().files.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.state().files.get(name).cloned();
        file.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let taken = state.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        if let Some(room) = &mut state.room {
            *room -= taken;
        }
        let file = state.files.entry(name.to_owned()).or_default();
        let offset = usize::try_from(offset).unwrap();
        file.resize(file.len().max(offset + taken), 0);
        file[offset..offset + taken].copy_from_slice(&bytes[..taken]);
        match taken < bytes.len() {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.state().files.remove(name);
        Ok(())
    }

    fn unsynced(&mut self) -> io::Result<SyncJob> {
        let disk = self.clone();
        let files = disk.state().files.clone();
        Ok(Box::new(move || {
            disk.state().synced = files;
            Ok(())
        }))
    }
}

const NOW: Duration = Duration::from_secs(1_000_000);

fn limits(max_bytes: u64) -> SpoolLimits {
    SpoolLimits {
        max_bytes,
        max_age: Some(Duration::from_secs(100)),
    }
}

fn open(disk: &Disk, max_bytes: u64, boot: u64) -> Spool<Disk> {
    Spool::open(disk.clone(), limits(max_bytes), boot).unwrap()
}

fn request(n: u64) -> Body {
    Body::Request(n.to_be_bytes().to_vec())
}

/// What a master is told: requests by their number, and how many are missing.
fn shown(waiting: &Waiting) -> String {
    match &waiting.body {
        Body::Request(bytes) | Body::Asked(bytes) => {
            u64::from_be_bytes(bytes[..8].try_into().unwrap()).to_string()
        }
        Body::Dropped(dropped) => format!("{} {}", dropped.count, dropped.reason.word()),
    }
}

fn drain<S: Store>(spool: &mut Spool<S>, now: Duration) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let first = spool.first(100, 10_000, now).unwrap();
        let Some(last) = first.last() else { return all };
        all.extend(first.iter().map(shown));
        let through = last.id;
        spool.acknowledge(through);
    }
}

fn numbers(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn what_is_pushed_comes_out_in_order_after_a_kill_too() {
    let disk = Disk::default();
    let mut spool = open(&disk, 1 << 30, 1);
    // More than a few segments.
    for n in 0..20_000 {
        spool.push(request(n), NOW).unwrap();
    }
    let first = spool.first(3, 10_000, NOW).unwrap();
    assert_eq!(first.iter().map(shown).collect::<Vec<_>>(), ["0", "1", "2"]);
    spool.acknowledge(first[1].id);
    assert_eq!(spool.len(), 19_998);
    drop(spool);
    let mut spool = open(&disk, 1 << 30, 2);
    assert_eq!(spool.len(), 19_998);
    spool.push(request(20_000), NOW).unwrap();
    assert_eq!(drain(&mut spool, NOW), numbers(2..20_001));
    assert_eq!(spool.len(), 0);
    // The files of earlier boots are gone.
    assert!(
        disk.state().files.len() <= 2,
        "{:?}",
        disk.state().files.keys()
    );
}

#[test]
fn records_of_two_boots_do_not_go_together() {
    let disk = Disk::default();
    open(&disk, 1 << 20, 1).push(request(1), NOW).unwrap();
    let mut spool = open(&disk, 1 << 20, 2);
    spool.push(request(2), NOW).unwrap();
    let first = spool.first(10, 10_000, NOW).unwrap();
    assert_eq!((first.len(), first[0].id.boot), (1, 1));
}

#[test]
fn a_request_that_somebody_waits_for_ends_with_its_boot() {
    let disk = Disk::default();
    let mut first = open(&disk, 1 << 20, 1);
    first
        .push(Body::Asked(1_u64.to_be_bytes().to_vec()), NOW)
        .unwrap();
    first.push(request(2), NOW).unwrap();
    assert_eq!(drain(&mut open(&disk, 1 << 20, 2), NOW), ["2"]);
    assert_eq!(drain(&mut first, NOW), ["1", "2"]);
}

#[test]
fn a_full_spool_keeps_what_it_has_and_says_what_is_missing_in_its_place() {
    let disk = Disk::default();
    let mut full = open(&disk, 500, 1);
    let mut taken = 0;
    for n in 0..300 {
        taken += u64::from(full.push(request(n), NOW).is_ok());
    }
    assert!((5..15).contains(&taken));
    let missing = |drained: &[String]| -> u64 {
        let counts = drained.iter().filter_map(|one| one.split_once(" full"));
        counts.map(|(count, _)| count.parse::<u64>().unwrap()).sum()
    };
    // Killed, the minion had told nearly all of it.
    let copy = Disk(Arc::new(Mutex::new(disk.state().clone())));
    let after_a_kill = drain(&mut open(&copy, 500, 2), NOW);
    assert!(missing(&after_a_kill) > 200, "{after_a_kill:?}");
    let drained = drain(&mut full, NOW);
    let kept = usize::try_from(taken).unwrap();
    assert_eq!(drained[..kept], numbers(0..taken));
    assert_eq!(missing(&drained), 300 - taken);
    // Then there is room.
    full.push(request(7), NOW).unwrap();
    assert_eq!(drain(&mut full, NOW), ["7"]);
}

#[test]
fn what_waited_too_long_is_dropped_and_told() {
    let disk = Disk::default();
    let mut first = open(&disk, 1 << 20, 1);
    for n in 0..10 {
        first.push(request(n), NOW).unwrap();
    }
    let later = NOW + Duration::from_secs(60);
    first.push(request(10), later).unwrap();
    let much_later = NOW + Duration::from_secs(101);
    let report = first.first(10, 10_000, much_later).unwrap();
    assert_eq!(report.iter().map(shown).collect::<Vec<_>>(), ["10 age"]);
    // Not acknowledged: told again by the next start, with what is too old by then.
    drop(first);
    let mut second = open(&disk, 1 << 20, 2);
    second.push(request(11), much_later).unwrap();
    assert_eq!(drain(&mut second, much_later), ["10 age", "10", "11"]);
    assert!(second.first(1, 1, much_later).unwrap().is_empty());
}

#[test]
fn a_full_disk_is_made_up_for_by_memory_and_what_that_does_not_hold_is_told() {
    let disk = Disk::default();
    let mut spool = open(&disk, 1 << 30, 1);
    spool.push(request(0), NOW).unwrap();
    disk.state().room = Some(10);
    let large = || Body::Request([&1_u64.to_be_bytes()[..], &[0; 1 << 20]].concat());
    let mut taken = 0;
    while spool.push(large(), NOW).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, 3);
    disk.state().room = None;
    spool.push(request(2), NOW).unwrap();
    assert_eq!(drain(&mut spool, NOW), ["0", "1", "1", "1", "1 disk", "2"]);
}

#[test]
fn while_the_disk_is_full_the_master_gets_what_waits_in_memory() {
    let disk = Disk::default();
    let mut spool = open(&disk, 1 << 30, 1);
    disk.state().room = Some(0);
    for n in 0..10 {
        spool.push(request(n), NOW).unwrap();
    }
    let first = spool.first(3, 10_000, NOW).unwrap();
    disk.state().room = None;
    spool.push(request(10), NOW).unwrap();
    spool.acknowledge(first[2].id);
    assert_eq!(drain(&mut spool, NOW), numbers(3..11));
}

/// A step of a minion's life.
#[derive(Debug, Clone)]
enum Step {
    Push,
    Deliver {
        most: usize,
        /// Whether the master's answer arrives.
        is_answered: bool,
    },
    Sync,
    Kill,
    PowerCut(u64),
    /// The disk is full after so many bytes; never with `None`.
    Room(Option<usize>),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Push),
        4 => (1..6_usize, any::<bool>()).prop_map(|(most, is_answered)| Step::Deliver { most, is_answered }),
        2 => Just(Step::Sync),
        1 => Just(Step::Kill),
        1 => any::<u64>().prop_map(Step::PowerCut),
        1 => proptest::option::of(0..200_usize).prop_map(Step::Room),
    ]
}

/// A master that knows each boot's last number, as ours does.
#[derive(Default)]
struct Master {
    last: BTreeMap<u64, u64>,
    fired: Vec<u64>,
    missing: u64,
}

impl Master {
    fn take(&mut self, waiting: &Waiting) {
        let last = self.last.entry(waiting.id.boot).or_default();
        if waiting.id.number <= *last {
            return;
        }
        *last = waiting.id.number;
        match &waiting.body {
            Body::Dropped(dropped) => self.missing += dropped.count,
            _ => self.fired.push(shown(waiting).parse().unwrap()),
        }
    }
}

proptest! {
    /// Whatever happens in whatever order: nothing twice, all in order, everything there in the end that no power
    /// cut took before it was synced, and what was refused is told.
    #[test]
    fn a_master_gets_everything_once_and_in_order(steps in proptest::collection::vec(step(), 1..120)) {
        let disk = Disk::default();
        let (mut boot, mut n) = (1, 0);
        let mut spool = open(&disk, 4000, boot);
        let mut master = Master::default();
        // Which requests are safe, and which were taken at all.
        let (mut taken, mut safe) = (Vec::new(), Vec::new());
        let (mut refused, mut lost_reports) = (0_u64, false);
        for step in steps {
            match step {
                Step::Push => {
                    match spool.push(request(n), NOW) {
                        Ok(_) => taken.push(n),
                        Err(_) => refused += 1,
                    }
                    n += 1;
                }
                Step::Deliver { most, is_answered } => {
                    let first = spool.first(most, 10_000, NOW).unwrap();
                    for waiting in &first {
                        master.take(waiting);
                    }
                    if let (Some(last), true) = (first.last(), is_answered) {
                        spool.acknowledge(last.id);
                    }
                }
                Step::Sync => {
                    if spool.held.is_empty() {
                        spool.unsynced().unwrap()().unwrap();
                        safe.clone_from(&taken);
                    }
                }
                Step::Kill | Step::PowerCut(_) => {
                    // Memory is gone; the disk's bytes are not, unless the power is.
                    let held: Vec<u64> = spool.held.iter().filter_map(|held| shown(held).parse().ok()).collect();
                    lost_reports |= spool.refused.is_some() || spool.held.len() > held.len();
                    taken.retain(|n| !held.contains(n) || master.fired.contains(n));
                    if let Step::PowerCut(luck) = step {
                        disk.crash(luck);
                        lost_reports = true;
                        taken.retain(|n| safe.contains(n) || master.fired.contains(n));
                    } else {
                        disk.state().room = None;
                    }
                    boot += 1;
                    spool = open(&disk, 4000, boot);
                }
                Step::Room(room) => disk.state().room = room,
            }
        }
        disk.state().room = None;
        loop {
            let first = spool.first(7, 10_000, NOW).unwrap();
            let Some(last) = first.last() else { break };
            for waiting in &first {
                master.take(waiting);
            }
            spool.acknowledge(last.id);
        }
        prop_assert!(master.fired.is_sorted_by(|one, next| one < next), "{:?}", master.fired);
        for n in &taken {
            prop_assert!(master.fired.contains(n), "{n} is missing in {:?}", master.fired);
        }
        if !lost_reports {
            prop_assert_eq!(master.missing, refused);
        }
    }
}

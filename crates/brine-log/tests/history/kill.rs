//! A process that writes history, killed again and again, and a checker that believes only what it
//! was heard over a pipe.
//!
//! The tests' program starts itself as that process. `HISTORY_KILL_SECONDS` makes it go on longer.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use brine_log::{Incoming, Millis, Next, Seq, Start};

use crate::support::{Bus, config, event, read_directory, wait};

/// Says to the process which directory to write to, and to the checker how long to go on.
const DIRECTORY: &str = "HISTORY_KILL_DIRECTORY";
const SECONDS: &str = "HISTORY_KILL_SECONDS";
/// Events fired together, so many times a second: 5,000 events a second.
const BATCH: u64 = 50;
const PAUSE: Duration = Duration::from_millis(10);

/// The process: fires, and prints what a live reader sees (`s`) and what is acknowledged (`a`).
#[test]
fn the_process_that_is_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let bus = Bus::open(config(Path::new(&directory))).unwrap();
    let mut reader = bus.log.events(Start::Tail);
    let mut out = std::io::stdout().lock();
    for round in 0u64.. {
        let next = Instant::now() + PAUSE;
        let events: Vec<_> = (0..BATCH)
            .map(|nth| event(&format!("{}/{}", round, nth), "x"))
            .collect();
        let incoming = events.iter().map(|event| Incoming {
            event,
            tag_bytes: event.iter().position(|byte| *byte == b'\n').unwrap(),
        });
        let seqs = bus.log.append(incoming, Millis(1000 + round));
        while let Next::Ready(events) = reader.next() {
            let last = reader.seq().0 + events.len() as u64 - 1;
            writeln!(out, "s {last}").unwrap();
            reader.advance(&events, events.len());
        }
        wait(bus.history.durable(seqs.clone())).unwrap();
        writeln!(out, "a {} {} {round}", seqs.start, seqs.end).unwrap();
        out.flush().unwrap();
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

/// What the checker was heard.
#[derive(Default)]
struct Heard {
    /// By the first number of a batch: the one after its last, and which batch of which process.
    acknowledged: BTreeMap<u64, (u64, u64)>,
    /// The highest number a live reader has seen.
    shown: u64,
}

impl Heard {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        match (kind, numbers.as_slice()) {
            ("s", [last]) => self.shown = self.shown.max(*last),
            ("a", [first, end, round]) => {
                let before = self.acknowledged.insert(*first, (*end, *round));
                assert_eq!(before, None, "{first} was acknowledged before");
            }
            // The last line of a killed process may be torn, and the test program's own are there.
            _ => {}
        }
    }
}

#[test]
fn nothing_acknowledged_is_lost_or_doubled_however_often_the_process_is_killed() {
    let seconds = std::env::var(SECONDS)
        .ok()
        .and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(3));
    // Long runs are killed every five seconds, short ones as often as they can.
    let lives = if seconds.is_some() {
        Duration::from_secs(5)
    } else {
        Duration::from_millis(300)
    };
    let directory = tempfile::tempdir().unwrap();
    let mut heard = Heard::default();
    let mut kills = 0;
    while Instant::now() < end {
        let shown_before = heard.shown;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::the_process_that_is_killed", "--nocapture"])
            .env(DIRECTORY, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let killed_at = Instant::now() + lives + Duration::from_millis(kills * 7 % 90);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut is_first = true;
        for line in &mut lines {
            let line = line.unwrap();
            if is_first && line.starts_with("s ") {
                let first: u64 = line[2..].parse().unwrap();
                assert!(
                    first + 1 > shown_before + BATCH,
                    "{first} follows {shown_before}"
                );
                is_first = false;
            }
            heard.hear(&line);
            if !is_first && Instant::now() > killed_at {
                break;
            }
        }
        child.kill().unwrap();
        // What it still said before it died counts.
        lines
            .map_while(Result::ok)
            .for_each(|line| heard.hear(&line));
        child.wait().unwrap();
        kills += 1;
    }
    check(&heard, directory.path());
    let events: u64 = heard
        .acknowledged
        .iter()
        .map(|(first, (end, _))| end - first)
        .sum();
    eprintln!("{kills} kills, {events} acknowledged events, none lost or doubled");
}

fn check(heard: &Heard, directory: &Path) {
    let found = read_directory(directory);
    assert!(
        found.events.windows(2).all(|pair| pair[0].0 < pair[1].0),
        "doubled or out of order"
    );
    let stored: BTreeMap<u64, &str> = found
        .events
        .iter()
        .map(|(seq, tag)| (*seq, tag.as_str()))
        .collect();
    for (first, (end, round)) in &heard.acknowledged {
        for seq in *first..*end {
            let tag = format!("{round}/{}", seq - first);
            assert_eq!(stored.get(&seq), Some(&tag.as_str()), "event {}", Seq(seq));
        }
    }
    // A reader that resumes finds each number stored or in a gap.
    let mut next = 1;
    let mut gaps = found.gaps.iter().map(|(range, _)| range.clone()).peekable();
    for seq in stored.keys() {
        while gaps.peek().is_some_and(|gap| gap.start == next) {
            next = gaps.next().expect("peeked").end;
        }
        assert_eq!(*seq, next, "neither stored nor in a gap");
        next = seq + 1;
    }
}

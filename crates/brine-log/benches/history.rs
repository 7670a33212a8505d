//! History measured: `cargo bench -p brine-log --features history -- [EVENTS] [DIRECTORY]`.
//!
//! Fills a store with job returns that are all different, ends without closing it, and starts again:
//! time until ready, first event by number and by time, replay, a search for a rare tag, size and
//! memory. Then acknowledged events with 1, 32 and 1,000 in flight, beside what the disk itself does.
//! Without arguments 200,000 events in a scratch directory. Figures: `docs/benchmarks.md`.

#![allow(clippy::print_stdout, reason = "it reports")]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brine_log::history::{
    About, BlockEvent, Decoder, Effort, Encoder, History, HistoryConfig, HistoryReader,
    PreparedHistory, Read, Sync, TagQuery,
};
use brine_log::{Incoming, Log, LogConfig, Millis, Next, Seq, Start};
use brine_wire::matching::{MatchType, TagMatch};

fn main() {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let events = words
        .first()
        .and_then(|word| word.parse().ok())
        .unwrap_or(200_000);
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let directory = words
        .get(1)
        .map_or(scratch.path().join("history"), PathBuf::from);
    // A process of its own, so that the store is left as by a crash and memory is counted alone.
    match words.get(2).map(String::as_str) {
        Some("fill") => return fill(&directory, events),
        Some("read") => return read(&directory, events),
        _ => {}
    }
    let again = |part: &str| {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.args([&events.to_string(), &directory.display().to_string(), part]);
        let status = command.status().expect("this program runs");
        assert!(status.success() || part == "fill", "{part} failed");
    };
    again("fill");
    again("read");
    encoding();
    acknowledged(&scratch.path().join("acknowledged"));
}

/// What making and reading blocks costs, in this thread's own time: the figures to trust where
/// other programs run.
fn encoding() {
    let mut returns = Returns::new();
    let events: Vec<(Vec<u8>, usize, Millis)> = (0..80_000)
        .map(|_| {
            let (event, tag_bytes, at) = returns.next();
            (event.to_vec(), tag_bytes, at)
        })
        .collect();
    let bytes: usize = events.iter().map(|(event, ..)| event.len()).sum();
    let mut encoder = Encoder::new().expect("memory");
    let mut decoder = Decoder::new().expect("memory");
    for effort in [Effort::Ordinary, Effort::Fast] {
        let start = cpu();
        let blocks: Vec<_> = events
            .chunks(800)
            .map(|chunk| {
                let events = chunk.iter().map(|(event, tag_bytes, at)| BlockEvent {
                    at: *at,
                    event,
                    tag_bytes: *tag_bytes,
                    about: About::default(),
                });
                let block = encoder.encode(Seq(1), events, Millis(0), effort);
                block.expect("memory").data
            })
            .collect();
        let encoded = cpu() - start;
        let start = cpu();
        for block in &blocks {
            let decoded = decoder.decode(block).expect("a block");
            assert_eq!(decoded.iter().count(), 800);
        }
        let decoded = cpu() - start;
        let stored: usize = blocks.iter().map(Vec::len).sum();
        let each = |took: Duration| took.as_nanos() / events.len() as u128;
        println!(
            "{effort:?}: encoding {} ns an event, decoding {} ns, {:.3} of the bytes",
            each(encoded),
            each(decoded),
            stored as f64 / bytes as f64
        );
    }
}

/// The processor time of this thread.
fn cpu() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

/// Job returns as a master gets them: small ones, command output, a few states; all different.
struct Returns {
    nth: u64,
    random: u64,
    event: Vec<u8>,
    tag_bytes: usize,
}

impl Returns {
    const fn new() -> Self {
        Self {
            nth: 0,
            random: 88_172_645_463_325_252,
            event: Vec::new(),
            tag_bytes: 0,
        }
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// When the `nth` was taken in: about 2,000 a second.
    const fn time(nth: u64) -> Millis {
        Millis(1_764_400_000_000 + nth / 2)
    }

    fn next(&mut self) -> (&[u8], usize, Millis) {
        let nth = self.nth;
        self.nth += 1;
        let (job, minion) = (nth / 200, self.random() % 5000);
        // Microseconds do not begin with zeros only.
        let jid = format!("20261129{:012}", 104_421_000_000 + job * 7919);
        let tag = match nth % 1_000_003 {
            500_000 => format!("deploy/frontend/{nth}"),
            _ => format!("salt/job/{jid}/ret/web-{minion:04}.example.com"),
        };
        let stamp = format!(
            "2026-11-29T10:{:02}:{:02}.{:06}",
            nth / 120_000 % 60,
            nth / 2000 % 60,
            self.random() % 1_000_000
        );
        let event = &mut self.event;
        event.clear();
        event.extend_from_slice(tag.as_bytes());
        self.tag_bytes = tag.len();
        event.extend_from_slice(b"\n\n\x89");
        text(event, "cmd");
        text(event, "_return");
        text(event, "id");
        text(event, &format!("web-{minion:04}.example.com"));
        text(event, "success");
        event.push(0xc3);
        text(event, "retcode");
        event.push(0);
        text(event, "jid");
        text(event, &jid);
        text(event, "_stamp");
        text(event, &stamp);
        self.data();
        (&self.event, self.tag_bytes, Self::time(nth))
    }

    /// `fun`, `fun_args` and `return`.
    fn data(&mut self) {
        let kind = self.random() % 10;
        let numbers: [u64; 6] = std::array::from_fn(|_| self.random());
        let event = &mut self.event;
        text(event, "fun");
        match kind {
            0..=5 => {
                text(event, "test.ping");
                text(event, "fun_args");
                event.push(0x90);
                text(event, "return");
                event.push(0xc3);
            }
            6..=8 => {
                text(event, "cmd.run");
                text(event, "fun_args");
                event.push(0x91);
                text(event, "uptime; df -h /");
                text(event, "return");
                let [a, b, c, d, e, f] = numbers;
                text(
                    event,
                    &format!(
                        " 10:44:{:02} up {} days, {:2}:{:02}, 1 user, load average: {}.{:02}, {}.{:02}, 0.{:02}\n\
                     Filesystem      Size  Used Avail Use% Mounted on\n/dev/vda1       {}G  {}G  {}G  {}% /",
                        a % 60,
                        b % 400,
                        c % 24,
                        d % 60,
                        e % 4,
                        f % 100,
                        a % 3,
                        b % 90,
                        c % 80,
                        d % 500,
                        e % 300,
                        f % 200,
                        a % 100
                    ),
                );
            }
            _ => {
                text(event, "state.apply");
                text(event, "fun_args");
                event.push(0x90);
                text(event, "return");
                event.push(0x84);
                for (nth, number) in numbers.iter().take(4).enumerate() {
                    text(
                        event,
                        &format!("pkg_|-package-{nth}_|-nginx-{}_|-installed", number % 20),
                    );
                    event.push(0x85);
                    text(event, "result");
                    event.push(0xc3);
                    text(event, "comment");
                    text(event, "All specified packages are already installed");
                    text(event, "duration");
                    text(event, &format!("{}.{:03}", number % 900, number % 997));
                    text(event, "start_time");
                    text(
                        event,
                        &format!(
                            "10:{:02}:{:02}.{:06}",
                            number % 60,
                            number % 59,
                            number % 1_000_000
                        ),
                    );
                    text(event, "__run_num__");
                    event.push(nth as u8);
                }
            }
        }
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    match u8::try_from(text.len()) {
        Ok(length @ 0..=31) => out.push(0xa0 | length),
        Ok(length) => out.extend_from_slice(&[0xd9, length]),
        Err(_) => {
            out.push(0xda);
            out.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
        }
    }
    out.extend_from_slice(text.as_bytes());
}

fn config(directory: &Path) -> HistoryConfig {
    let mut config = HistoryConfig::new(directory);
    config.retention.max_age = None;
    config.retention.max_bytes = None;
    config
}

fn open(directory: &Path, sync: Sync) -> (Arc<Log>, History) {
    let mut config = config(directory);
    config.sync = sync;
    let prepared = PreparedHistory::open(config).expect("a history");
    let mut config = LogConfig::new(prepared.log_id());
    config.first = prepared.next();
    let log = Log::new(config);
    let history = prepared.start(&log).expect("a thread");
    (log, history)
}

fn fill(directory: &Path, events: u64) {
    let (log, history) = open(directory, Sync::Group);
    let mut returns = Returns::new();
    let start = Instant::now();
    let mut bytes = 0;
    for nth in 0..events {
        let (event, tag_bytes, at) = returns.next();
        bytes += event.len() as u64;
        log.append([Incoming { event, tag_bytes }], at);
        // No faster than the disk takes it: what a reader would see is not measured here.
        while nth % 1000 == 0 && nth > history.status().next.0 + 50_000 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    wait(history.durable(Seq(events)..Seq(events + 1))).expect("a disk that works");
    let took = start.elapsed().as_secs_f64();
    let stored = size(directory);
    println!(
        "filled with {events} job returns of {} bytes: {:.0}/s",
        bytes / events,
        events as f64 / took
    );
    println!(
        "stored bytes: {stored}, {:.3} of the events' own",
        stored as f64 / bytes as f64
    );
    println!("resident memory while filling: {} KiB", resident());
    // As if killed: nothing is closed.
    std::process::exit(1);
}

fn read(directory: &Path, events: u64) {
    let start = Instant::now();
    let (_log, history) = open(directory, Sync::Group);
    println!(
        "ready after a crash: {:.1} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    let mut reader = HistoryReader::open(directory).expect("a history");
    println!(
        "opened for reading: {:.1} ms after that",
        start.elapsed().as_secs_f64() * 1e3
    );

    let mut random = Returns::new();
    let mut by_number = Vec::new();
    let mut by_time = Vec::new();
    for _ in 0..200 {
        let seq = random.random() % events;
        let start = Instant::now();
        reader.seek(Seq(seq + 1));
        assert!(matches!(
            reader.next(&TagQuery::default()),
            Ok(Some(Read::Events(_)))
        ));
        by_number.push(start.elapsed());
        let start = Instant::now();
        assert!(
            reader
                .seek_time(Returns::time(seq))
                .expect("a readable store")
        );
        assert!(matches!(
            reader.next(&TagQuery::default()),
            Ok(Some(Read::Events(_)))
        ));
        by_time.push(start.elapsed());
    }
    for (what, times) in [("number", &mut by_number), ("time", &mut by_time)] {
        times.sort_unstable();
        println!(
            "first event by {what}: median {:?}, worst {:?}",
            times[times.len() / 2],
            times[times.len() - 1]
        );
    }

    for pattern in [
        "deploy/*",
        "dep*",
        "salt/job/20261129104421007919/*",
        "nothing/*",
    ] {
        let query =
            TagQuery::new(&[TagMatch::new(MatchType::Fnmatch, pattern).expect("a pattern")]);
        let start = Instant::now();
        reader.seek(Seq(1));
        let (mut runs, mut found) = (0, 0);
        while let Some(Read::Events(run)) = reader.next(&query).expect("a readable store") {
            runs += 1;
            let prefix = pattern.trim_end_matches('*').as_bytes();
            found += run
                .iter()
                .filter(|event| event.event.starts_with(prefix))
                .count();
            if run.iter().last().is_some_and(|event| event.seq.0 >= events) {
                break;
            }
        }
        println!(
            "{pattern}: {found} events in {runs} blocks, {:?}",
            start.elapsed()
        );
    }

    reader.seek(Seq(1));
    let start = Instant::now();
    let cpu_before = cpu();
    let (mut count, mut bytes) = (0u64, 0);
    while count < events {
        let Some(Read::Events(run)) = reader.next(&TagQuery::default()).expect("a readable store")
        else {
            break;
        };
        for event in run.iter() {
            count += 1;
            bytes += event.event.len();
        }
    }
    let took = start.elapsed().as_secs_f64();
    println!(
        "replay: {:.2} M events/s, {:.0} MB/s ({count} events)",
        count as f64 / took / 1e6,
        bytes as f64 / took / 1e6
    );
    println!(
        "  processor time: {} ns an event",
        (cpu() - cpu_before).as_nanos() / u128::from(count)
    );
    println!("resident memory after reading: {} KiB", resident());
    history.close();
}

/// Acknowledged events per second.
fn acknowledged(directory: &Path) {
    for (name, sync) in [("synced", Sync::Group), ("not synced", Sync::System)] {
        for in_flight in [1u64, 32, 1000] {
            let path = directory.join(format!("{name}-{in_flight}"));
            let (log, history) = open(&path, sync);
            let mut returns = Returns::new();
            let start = Instant::now();
            let mut count = 0u64;
            while start.elapsed() < Duration::from_secs(2) {
                let mut fired = Vec::new();
                for _ in 0..in_flight {
                    let (event, tag_bytes, at) = returns.next();
                    fired.push(log.append([Incoming { event, tag_bytes }], at));
                }
                wait(async {
                    for seqs in fired {
                        history.durable(seqs).await.expect("a disk that works");
                    }
                });
                count += in_flight;
            }
            let rate = count as f64 / start.elapsed().as_secs_f64();
            println!("acknowledged, {name}, {in_flight} in flight: {rate:.0}/s");
            history.close();
            let floor = floor(&path, in_flight, sync);
            println!("  the same events appended to a plain file: {floor:.0}/s");
        }
    }
    reading_beside(&directory.join("beside"));
}

/// What one thread does that appends to a file and syncs it.
fn floor(directory: &Path, in_flight: u64, sync: Sync) -> f64 {
    let mut file = File::create(directory.join("floor")).expect("a file");
    let mut returns = Returns::new();
    let mut batch = Vec::new();
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < Duration::from_secs(1) {
        batch.clear();
        for _ in 0..in_flight {
            batch.extend_from_slice(returns.next().0);
        }
        file.write_all(&batch).expect("room");
        if sync != Sync::System {
            file.sync_data().expect("a disk that works");
        }
        count += in_flight;
    }
    count as f64 / start.elapsed().as_secs_f64()
}

/// What history costs one reader of a log at full speed.
fn reading_beside(directory: &Path) {
    for with_history in [false, true, false, true] {
        let (log, history) = match with_history {
            true => {
                let (log, history) = open(directory, Sync::Group);
                (log, Some(history))
            }
            false => (Log::new(LogConfig::new(brine_log::LogId(1))), None),
        };
        let mut cursor = log.events(Start::Tail);
        let mut returns = Returns::new();
        let start = Instant::now();
        let mut count = 0u64;
        while start.elapsed() < Duration::from_secs(2) {
            for _ in 0..100 {
                let (event, tag_bytes, at) = returns.next();
                log.append([Incoming { event, tag_bytes }], at);
            }
            while let Next::Ready(events) = cursor.next() {
                count += events.iter().count() as u64;
                cursor.advance(&events, events.len());
            }
        }
        let rate = count as f64 / start.elapsed().as_secs_f64() / 1e6;
        let lag = history
            .as_ref()
            .map_or(0, |history| log.stats().next.0 - history.status().next.0);
        let missing = history
            .as_ref()
            .map_or(0, |history| history.status().missing);
        println!(
            "in one process, history {with_history}: {rate:.2} M events/s appended and read, {lag} behind, {missing} missing"
        );
        if let Some(history) = history {
            history.close();
        }
    }
}

fn size(directory: &Path) -> u64 {
    let files = fs::read_dir(directory).expect("a directory");
    files
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum()
}

/// This process's memory, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(future)
}

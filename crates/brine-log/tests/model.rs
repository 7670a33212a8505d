//! The log against a plain list of events: whatever is appended, read, lagged and dropped, in any
//! order, a reader gets every event from its start on once and in order, or the gap.

use std::sync::Arc;

use brine_log::{
    EventCursor, FrameCursor, Framings, Gap, Incoming, Log, LogConfig, LogId, Millis, Next,
    OverflowConfig, OverrunCause, Position, ReadsFrom, Seq, Start,
};
use brine_wire::frame::{Decoder, Framing, MAX_FRAME_BYTES};
use proptest::prelude::*;

const LOG: LogId = LogId(0x7f3a);
const ANOTHER_LOG: LogId = LogId(0x7f3b);
/// The largest event the steps make, with its frames, in bytes.
const LARGEST: usize = 700_100;
/// Memory that no run of steps fills, in bytes.
const AMPLE: usize = 1 << 30;

#[derive(Debug, Clone)]
enum Step {
    /// Events of these sizes, at a time that the clock has moved to by so much.
    Append(Vec<usize>, i64),
    /// Reader, and how many bytes it takes at most.
    Read(usize, usize),
    Open(Framing, From),
    Close(usize),
    ReadEvents,
    OpenEvents(From),
}

/// A [`Start`], in terms of a log that does not exist yet.
#[derive(Debug, Clone, Copy)]
enum From {
    Tail,
    Oldest,
    /// After the event this many before the tail, or beyond it.
    After(i64),
    Foreign(u64),
    /// At the time this much before the latest.
    Since(u64),
}

fn froms() -> impl Strategy<Value = From> {
    prop_oneof![
        2 => Just(From::Tail),
        1 => Just(From::Oldest),
        2 => (-3i64..60).prop_map(From::After),
        1 => (0u64..60).prop_map(From::Foreign),
        1 => (0u64..30).prop_map(From::Since),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![8 => 10usize..400, 2 => 400usize..70_000, 1 => 200_000usize..700_000];
    let sizes = proptest::collection::vec(size, 1..12);
    let time = prop_oneof![9 => 0i64..3, 1 => -20i64..0];
    let framing = prop_oneof![Just(Framing::Bare), Just(Framing::Prefixed)];
    let step = prop_oneof![
        4 => (sizes, time).prop_map(|(sizes, time)| Step::Append(sizes, time)),
        6 => (0usize..6, 1usize..600_000).prop_map(|(reader, bytes)| Step::Read(reader, bytes)),
        2 => (framing, froms()).prop_map(|(framing, from)| Step::Open(framing, from)),
        1 => (0usize..6).prop_map(Step::Close),
        2 => Just(Step::ReadEvents),
        1 => froms().prop_map(Step::OpenEvents),
    ];
    proptest::collection::vec(step, 1..60)
}

/// Every event ever appended, and when.
#[derive(Default)]
struct Model {
    events: Vec<(Vec<u8>, Millis)>,
    now: u64,
    has_overflow: bool,
}

impl Model {
    fn next(&self) -> u64 {
        self.events.len() as u64 + 1
    }

    fn event(&self, seq: u64) -> &(Vec<u8>, Millis) {
        &self.events[as_index(seq) - 1]
    }

    /// The start, and what the log must make of it while `oldest` is its oldest event: the first
    /// event, and the gap before it.
    fn start(&self, from: From, oldest: u64) -> (Start, u64, Option<Gap>) {
        let at = |log, seq| Position { log, seq: Seq(seq) };
        let after = |log, seq: u64, first| {
            let gap = Gap {
                from: at(log, seq + 1),
                to: at(LOG, first),
                reason: None,
                unused: 0,
            };
            let gap = (gap.from != gap.to).then_some(gap);
            (Start::After(at(log, seq)), first, gap)
        };
        match from {
            From::Tail => (Start::Tail, self.next(), None),
            From::Oldest => (Start::Oldest, oldest, None),
            From::After(back) => {
                let seq = (self.next() - 1).saturating_add_signed(-back);
                after(LOG, seq, (seq + 1).clamp(oldest, self.next()))
            }
            From::Foreign(seq) => after(ANOTHER_LOG, seq, oldest),
            From::Since(back) => {
                let time = Millis(self.now.saturating_sub(back));
                let first = (oldest..self.next()).find(|seq| self.event(*seq).1 >= time);
                (Start::Since(time), first.unwrap_or(self.next()), None)
            }
        }
    }

    /// A time that is on disk may start a cursor earlier, with its segment, but never later.
    fn check_first(&self, start: Start, found: Seq, first: u64) -> u64 {
        if self.has_overflow && matches!(start, Start::Since(_)) {
            assert!(found <= Seq(first), "{start:?}: {found} after {first}");
        } else {
            assert_eq!(found, Seq(first), "{start:?}");
        }
        found.0
    }

    fn bytes(&self, oldest: u64) -> usize {
        (oldest..self.next())
            .map(|seq| self.event(seq).0.len())
            .sum()
    }
}

fn event(number: u64, size: usize) -> Vec<u8> {
    let mut event = format!("tag/{number}\n\n").into_bytes();
    let fill = u8::try_from(number % 251).expect("below 251");
    event.resize(event.len() + size, fill);
    event
}

struct Reader {
    cursor: FrameCursor,
    decoder: Decoder,
    buffer: Vec<u8>,
    expected: u64,
}

impl Reader {
    fn open(log: &Arc<Log>, framing: Framing, from: From, model: &Model) -> Self {
        let (start, first, gap) = model.start(from, log.stats().oldest.0);
        let mut cursor = log.frames(framing, start);
        if let Some(expected) = gap {
            let Next::Gap(gap) = cursor.next() else {
                panic!("expected {expected:?} of {start:?}")
            };
            assert_eq!(gap, expected, "{start:?}");
            cursor.skip(gap);
        }
        let first = model.check_first(start, cursor.seq(), first);
        Self {
            cursor,
            decoder: Decoder::new(MAX_FRAME_BYTES),
            buffer: Vec::new(),
            expected: first,
        }
    }

    /// Reads at most `limit` bytes; `false` when the log has moved past it.
    fn read(&mut self, limit: usize, model: &Model, oldest: Seq) -> bool {
        match self.cursor.next() {
            Next::Tail => assert_eq!(self.expected, model.next(), "caught up too early"),
            Next::Stored => {
                block_on(self.cursor.load());
                return true;
            }
            Next::Gap(gap) => {
                check_gap(gap, self.expected, oldest.0);
                return false;
            }
            Next::Ready(chunk) => {
                let taken = chunk.bytes().len().min(limit);
                self.buffer.extend_from_slice(&chunk.bytes()[..taken]);
                self.cursor.advance(&chunk, taken);
            }
        }
        let mut at = 0;
        while let Some(frame) = self.decoder.next(&self.buffer[at..]).expect("whole frames") {
            assert!(
                frame.event == model.event(self.expected).0,
                "event {}",
                self.expected
            );
            self.expected += 1;
            at += frame.length;
        }
        self.buffer.drain(..at);
        true
    }
}

fn check_gap(gap: Gap, from: u64, to: u64) {
    let at = |seq| Position {
        log: LOG,
        seq: Seq(seq),
    };
    assert_eq!((gap.from, gap.to), (at(from), at(to)));
    assert_eq!(gap.missed(), Some(to - from));
    assert!(from < to);
}

/// An event cursor, and the event it must hand out next.
struct Walker {
    cursor: EventCursor,
    expected: u64,
}

impl Walker {
    fn open(log: &Arc<Log>, from: From, model: &Model) -> Self {
        let (start, first, gap) = model.start(from, log.stats().oldest.0);
        let mut cursor = log.events(start);
        if let Some(expected) = gap {
            let Next::Gap(gap) = cursor.next() else {
                panic!("expected {expected:?} of {start:?}")
            };
            assert_eq!(gap, expected, "{start:?}");
            cursor.skip(gap);
        }
        let first = model.check_first(start, cursor.seq(), first);
        Self {
            cursor,
            expected: first,
        }
    }

    fn read_all(&mut self, model: &Model) {
        loop {
            match self.cursor.next() {
                Next::Tail => break assert_eq!(self.expected, model.next()),
                Next::Stored => block_on(self.cursor.load()),
                Next::Gap(gap) => {
                    check_gap(gap, self.expected, gap.to.seq.0);
                    self.expected = gap.to.seq.0;
                    self.cursor.skip(gap);
                }
                Next::Ready(events) => {
                    for stored in events.iter() {
                        let (event, at) = model.event(self.expected);
                        assert_eq!(stored.seq.0, self.expected);
                        assert_eq!(stored.at, *at);
                        assert!(stored.event == event);
                        let tag = format!("tag/{}", self.expected);
                        assert_eq!(&stored.event[..stored.tag_bytes], tag.as_bytes());
                        self.expected += 1;
                    }
                    self.cursor.advance(&events, events.len());
                }
            }
            assert_eq!(self.cursor.seq(), Seq(self.expected));
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

fn as_index(number: u64) -> usize {
    usize::try_from(number).expect("a test's number")
}

fn append(log: &Log, model: &mut Model, sizes: &[usize], time: i64) {
    let first = model.next();
    model.now = model.now.saturating_add_signed(time);
    for size in sizes {
        let event = event(model.next(), *size);
        model.events.push((event, Millis(model.now)));
    }
    let batch = (first..model.next()).map(|number| Incoming {
        event: &model.event(number).0,
        tag_bytes: format!("tag/{number}").len(),
    });
    let appended = log.append(batch, Millis(model.now));
    assert_eq!(appended, Seq(first)..Seq(model.next()));
}

fn run(steps: &[Step], max_bytes: usize, keep_bytes: usize, overflow: Option<OverflowConfig>) {
    let log_has_overflow = overflow.is_some();
    let log = Log::new(LogConfig {
        max_bytes,
        keep_bytes,
        overflow,
        framings: Framings::Both,
        ..LogConfig::new(LOG)
    });
    let mut model = Model {
        now: 100,
        has_overflow: log_has_overflow,
        ..Model::default()
    };
    let mut readers: Vec<Reader> = Vec::new();
    let mut walker = Walker::open(&log, From::Oldest, &model);
    for step in steps {
        match step {
            Step::Append(sizes, time) => append(&log, &mut model, sizes, *time),
            Step::Open(framing, from) if readers.len() < 6 => {
                readers.push(Reader::open(&log, *framing, *from, &model));
            }
            Step::Open(..) => {}
            Step::Close(at) if *at < readers.len() => drop(readers.swap_remove(*at)),
            Step::Close(_) => {}
            Step::Read(at, limit) if *at < readers.len() => {
                if !readers[*at].read(*limit, &model, log.stats().oldest) {
                    readers.swap_remove(*at);
                }
            }
            Step::Read(..) => {}
            Step::ReadEvents => walker.read_all(&model),
            Step::OpenEvents(from) => walker = Walker::open(&log, *from, &model),
        }
        let stats = log.stats();
        // The newest segment is there even if it alone is over: the largest event in two framings.
        assert!(
            stats.bytes <= max_bytes.saturating_add(2 * LARGEST),
            "{stats:?} over {max_bytes}"
        );
        assert_eq!(stats.next.0, model.next());
        assert_eq!(log.position().seq.0, model.next() - 1);
        if max_bytes == AMPLE {
            let kept = model.bytes(stats.oldest.0);
            assert!(kept >= keep_bytes.min(model.bytes(1)), "{kept} kept");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_reader_gets_every_event_in_order_or_the_gap(
        steps in steps(),
        max in prop_oneof![3 => 1usize..4_000_000, 1 => Just(AMPLE)],
        keep in prop_oneof![Just(0), 1usize..3_000_000],
    ) {
        run(&steps, max, keep, None);
    }

    /// The disk may be slower than the test, and the overflow full.
    #[test]
    fn the_same_holds_with_an_overflow(
        steps in steps(),
        max in 1_000_000usize..8_000_000,
        overflow in prop_oneof![1 => 0u64..8_000_000, 3 => Just(1 << 30)],
    ) {
        let directory = tempfile::tempdir().expect("a scratch directory");
        let overflow = OverflowConfig {
            directory: directory.path().to_owned(),
            max_bytes: overflow,
        };
        run(&steps, max, 0, Some(overflow));
        prop_assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
    }
}

/// A log with little memory and an overflow in a scratch directory.
fn overflowing(max_bytes: usize, overflow_bytes: u64) -> (Arc<Log>, tempfile::TempDir) {
    let directory = tempfile::tempdir().expect("a scratch directory");
    let log = Log::new(LogConfig {
        max_bytes,
        overflow: Some(OverflowConfig {
            directory: directory.path().to_owned(),
            max_bytes: overflow_bytes,
        }),
        ..LogConfig::new(LOG)
    });
    (log, directory)
}

/// Appends numbered events as a publisher does that waits for the disk.
fn append_patiently(log: &Log, numbers: std::ops::RangeInclusive<u64>, size: usize) {
    for number in numbers {
        let event = event(number, size);
        let tag_bytes = format!("tag/{number}").len();
        log.append(
            [Incoming {
                event: &event,
                tag_bytes,
            }],
            Millis(number),
        );
        while log.is_backed_up() {
            block_on(log.overflow_progress());
        }
    }
}

#[test]
fn lagging_cursors_miss_nothing_and_return_to_memory() {
    let (log, _directory) = overflowing(4 << 20, 1 << 30);
    let mut lagging = log.frames(Framing::Bare, Start::Tail);
    let mut walker = log.events(Start::Tail);
    append_patiently(&log, 1..=3000, 20_000);
    let stats = log.stats();
    assert!(stats.bytes <= 4 << 20, "{stats:?}");
    assert!(stats.overflow_bytes > 50 << 20, "{stats:?}");
    assert_eq!(log.lag(Seq(1)).reads_from, ReadsFrom::Disk);
    assert_eq!(log.lag(Seq(1)).events, 3000);

    // A write of this size ends inside frames.
    let (mut decoder, mut buffer) = (Decoder::new(MAX_FRAME_BYTES), Vec::new());
    let mut expected = 1;
    while expected <= 3000 {
        match lagging.next() {
            Next::Ready(chunk) => {
                let taken = chunk.bytes().len().min(77_777);
                buffer.extend_from_slice(&chunk.bytes()[..taken]);
                lagging.advance(&chunk, taken);
            }
            Next::Stored => block_on(lagging.load()),
            other => panic!("{other:?} at {expected}"),
        }
        let mut at = 0;
        while let Some(frame) = decoder.next(&buffer[at..]).expect("whole frames") {
            assert!(frame.event == event(expected, 20_000), "event {expected}");
            expected += 1;
            at += frame.length;
        }
        buffer.drain(..at);
    }
    assert!(matches!(lagging.next(), Next::Tail));
    // The other one keeps the segments on disk until it has read them, too.
    assert!(log.stats().overflow_bytes > 50 << 20);
    let mut expected = 1;
    while expected <= 3000 {
        let events = block_on(walker.ready()).expect("no gap");
        for stored in events.iter() {
            assert_eq!((stored.seq.0, stored.at.0), (expected, expected));
            assert!(stored.event == event(expected, 20_000));
            expected += 1;
        }
        walker.advance(&events, events.len());
    }
    assert_eq!(log.stats().overflow_bytes, 0);
    assert_eq!(log.lag(walker.seq()).reads_from, ReadsFrom::Memory);
}

#[test]
fn a_cursor_may_start_on_disk() {
    let (log, _directory) = overflowing(4 << 20, 1 << 30);
    let _lagging = log.frames(Framing::Bare, Start::Tail);
    append_patiently(&log, 1..=2000, 5000);
    while log.lag(Seq(701)).reads_from != ReadsFrom::Disk {
        std::thread::yield_now(); // the writer's thread is at it
    }
    let after = Start::After(Position {
        log: LOG,
        seq: Seq(700),
    });
    let mut frames = log.frames(Framing::Bare, after);
    block_on(frames.load());
    let Next::Ready(chunk) = frames.next() else {
        panic!("expected frames")
    };
    let mut decoder = Decoder::new(MAX_FRAME_BYTES);
    let frame = decoder
        .next(chunk.bytes())
        .expect("a frame")
        .expect("whole");
    assert!(frame.event == event(701, 5000));
    // By time: at the latest with the event, at the earliest with its segment.
    let since = log.events(Start::Since(Millis(700))).seq().0;
    assert!((600..=700).contains(&since), "{since}");
}

#[test]
fn at_the_limit_of_the_overflow_the_cursor_furthest_behind_is_overrun() {
    let (log, _directory) = overflowing(4 << 20, 4 << 20);
    let mut furthest = log.events(Start::Tail);
    append_patiently(&log, 1..=200, 10_000);
    let mut other = log.events(Start::Tail);
    append_patiently(&log, 201..=500, 10_000);
    assert!(matches!(furthest.next(), Next::Stored));
    append_patiently(&log, 501..=700, 10_000);
    assert!(matches!(furthest.next(), Next::Gap(_)));
    assert_eq!(log.overrun_cause(), OverrunCause::OverflowFull);
    let events = block_on(other.ready()).expect("no gap");
    assert_eq!(events.iter().next().map(|event| event.seq), Some(Seq(201)));
    let stats = log.stats();
    assert!(stats.overflow_bytes <= 4 << 20, "{stats:?}");
}

#[test]
fn without_a_directory_a_log_does_as_without_overflow() {
    let log = Log::new(LogConfig {
        max_bytes: 1 << 20,
        overflow: Some(OverflowConfig {
            directory: "/proc/nowhere".into(),
            max_bytes: 1 << 30,
        }),
        ..LogConfig::new(LOG)
    });
    let mut lagging = log.events(Start::Tail);
    append_copies(&log, 500, &event(1, 10_000));
    assert!(matches!(lagging.next(), Next::Gap(_)));
    assert_eq!(log.overrun_cause(), OverrunCause::MemoryFull);
}

#[test]
fn a_disk_that_stalls_is_given_up_and_tried_again_after_a_minute() {
    let (log, _directory) = overflowing(4 << 20, 1 << 30);
    let lagging = log.events(Start::Tail);
    log.give_up_overflow();
    let late = |number: u64| {
        let event = event(number, 10_000);
        log.append(
            [Incoming {
                event: &event,
                tag_bytes: 5,
            }],
            Millis(59_000),
        );
    };
    (1..=500).for_each(late);
    assert!(log.stats().overflow_bytes == 0 && log.stats().oldest > Seq(1));
    drop(lagging);
    let _lagging = log.events(Start::Tail);
    append_copies_at(&log, 1, &event(1, 10_000), Millis(60_000));
    append_patiently(&log, 60_001..=60_500, 10_000);
    assert!(log.stats().overflow_bytes > 1 << 20);
}

#[test]
fn nothing_is_written_while_no_cursor_lags() {
    let (log, _directory) = overflowing(4 << 20, 1 << 30);
    let mut prompt = log.events(Start::Tail);
    for _ in 0..2000 {
        append_copies(&log, 1, &event(1, 10_000));
        let events = block_on(prompt.ready()).expect("no gap");
        prompt.advance(&events, events.len());
        assert_eq!(log.stats().overflow_bytes, 0);
    }
}

fn append_copies(log: &Log, count: usize, event: &[u8]) {
    append_copies_at(log, count, event, Millis(0));
}

fn append_copies_at(log: &Log, count: usize, event: &[u8], at: Millis) {
    for _ in 0..count {
        log.append(
            [Incoming {
                event,
                tag_bytes: 5,
            }],
            at,
        );
    }
}

#[test]
fn memory_is_let_go_when_the_lagging_cursor_goes() {
    let log = Log::new(LogConfig::new(LOG));
    let stuck = log.frames(Framing::Bare, Start::Tail);
    append_copies(&log, 20_000, &event(1, 1000));
    assert!(log.stats().bytes > 20 << 20);
    drop(stuck);
    assert!(log.stats().bytes < 2 << 20, "{:?}", log.stats());
}

/// Whatever the size of events, and with a reader that never lags.
#[test]
fn the_newest_megabyte_of_events_stays_and_little_more() {
    for size in [10, 300, 5_000, 300_000] {
        let log = Log::new(LogConfig::new(LOG));
        let mut prompt = log.events(Start::Tail);
        let event = event(1, size);
        for _ in 0..(3 << 20) / event.len() {
            append_copies(&log, 1, &event);
            let Next::Ready(events) = prompt.next() else {
                panic!("expected the event")
            };
            prompt.advance(&events, 1);
        }
        let stats = log.stats();
        let kept = as_index(stats.next.0 - stats.oldest.0) * event.len();
        assert!(kept >= 1 << 20, "{kept} bytes of {size}");
        assert!(kept < (1 << 20) + 650_000, "{kept} bytes of {size}");
    }
}

#[test]
fn a_batch_is_kept_as_one_run_in_one_framing() {
    let log = Log::new(LogConfig {
        framings: Framings::Prefixed,
        ..LogConfig::new(LOG)
    });
    let mut cursor = log.frames(Framing::Prefixed, Start::Tail);
    let events: Vec<_> = (1..=100).map(|number| event(number, 50)).collect();
    log.append(
        events.iter().map(|event| Incoming {
            event,
            tag_bytes: 5,
        }),
        Millis(0),
    );
    let Next::Ready(chunk) = cursor.next() else {
        panic!("expected events")
    };
    let bytes = chunk.bytes().len();
    cursor.advance(&chunk, bytes);
    assert_eq!(cursor.seq(), Seq(101));
    assert!(matches!(cursor.next(), Next::Tail));
}

#[tokio::test]
async fn waiting_cursors_wake_for_appends_and_for_overruns() {
    let log = Log::new(LogConfig {
        max_bytes: 1 << 20,
        ..LogConfig::new(LOG)
    });
    let mut reader = log.frames(Framing::Bare, Start::Tail);
    let stuck = log.frames(Framing::Bare, Start::Tail);
    let event = event(1, 100_000);
    let woken = tokio::join!(
        async {
            reader.readable().await;
            matches!(reader.next(), Next::Ready(_) | Next::Gap(_))
        },
        stuck.overrun(),
        async {
            for _ in 0..40 {
                append_copies(&log, 1, &event);
                tokio::task::yield_now().await;
            }
        },
    );
    assert!(woken.0);
}

#[tokio::test]
async fn ready_waits_for_events_and_reports_the_gap() {
    let log = Log::new(LogConfig::new(LOG));
    let foreign = Position {
        log: ANOTHER_LOG,
        seq: Seq(41),
    };
    let mut cursor = log.events(Start::After(foreign));
    let gap = cursor
        .ready()
        .await
        .expect_err("a position of another log is a gap");
    assert_eq!(gap.missed(), None);
    cursor.skip(gap);
    let event = event(1, 10);
    let (events, ()) = tokio::join!(cursor.ready(), async { append_copies(&log, 1, &event) });
    let events = events.expect("no gap");
    cursor.advance(&events, events.len());
    assert_eq!(cursor.position(), log.position());
}

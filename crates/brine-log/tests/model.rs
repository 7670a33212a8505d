//! The log against a plain list of events: whatever is appended, read, lagged and dropped, in any
//! order, a reader gets every event once and in order, or is told the gap.

use std::sync::Arc;

use brine_log::{
    EventCursor, FrameCursor, Framings, Incoming, Log, LogConfig, Millis, Next, NextEvent, Seq,
};
use brine_wire::frame::{Decoder, Framing, MAX_FRAME_BYTES};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append(Vec<usize>),
    /// Reader, and how many bytes it takes at most.
    Read(usize, usize),
    Open(Framing),
    Close(usize),
    ReadEvents,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let size = prop_oneof![8 => 10usize..400, 2 => 400usize..70_000, 1 => 200_000usize..700_000];
    let framing = prop_oneof![Just(Framing::Bare), Just(Framing::Prefixed)];
    let step = prop_oneof![
        4 => proptest::collection::vec(size, 1..12).prop_map(Step::Append),
        6 => (0usize..6, 1usize..600_000).prop_map(|(reader, bytes)| Step::Read(reader, bytes)),
        1 => framing.prop_map(Step::Open),
        1 => (0usize..6).prop_map(Step::Close),
        2 => Just(Step::ReadEvents),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Reader {
    cursor: FrameCursor,
    decoder: Decoder,
    buffer: Vec<u8>,
    expected: u64,
}

fn event(number: u64, size: usize) -> Vec<u8> {
    let mut event = format!("tag/{number}\n\n").into_bytes();
    let fill = u8::try_from(number % 251).expect("below 251");
    event.resize(event.len() + size, fill);
    event
}

impl Reader {
    fn new(log: &Arc<Log>, framing: Framing) -> Self {
        let cursor = log.tail(framing);
        let expected = cursor.seq().0;
        Self {
            cursor,
            decoder: Decoder::new(MAX_FRAME_BYTES),
            buffer: Vec::new(),
            expected,
        }
    }

    /// Reads at most `limit` bytes; `false` when the log has moved past it.
    fn read(&mut self, limit: usize, events: &[Vec<u8>], oldest: Seq) -> bool {
        match self.cursor.next() {
            Next::Tail => assert_eq!(
                self.expected,
                events.len() as u64 + 1,
                "caught up too early"
            ),
            Next::Gap(gap) => {
                assert!(
                    gap.from < gap.to && gap.to == oldest,
                    "{gap:?}, oldest {oldest}"
                );
                assert_eq!(gap.from.0, self.expected);
                return false;
            }
            Next::Chunk(chunk) => {
                let taken = chunk.bytes().len().min(limit);
                self.buffer.extend_from_slice(&chunk.bytes()[..taken]);
                self.cursor.advance(&chunk, taken);
            }
        }
        let mut at = 0;
        while let Some(frame) = self.decoder.next(&self.buffer[at..]).expect("whole frames") {
            assert!(
                frame.event == events[as_index(self.expected) - 1],
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

fn read_events(cursor: &mut EventCursor, expected: &mut u64, events: &[Vec<u8>]) {
    loop {
        match cursor.next() {
            NextEvent::Tail => break assert_eq!(*expected, events.len() as u64 + 1),
            NextEvent::Gap(gap) => {
                assert_eq!(gap.from.0, *expected);
                assert!(gap.to > gap.from);
                *expected = gap.to.0;
            }
            NextEvent::Events(run) => {
                for stored in run.iter() {
                    assert_eq!(stored.seq.0, *expected);
                    assert_eq!(stored.at, Millis(stored.seq.0));
                    assert!(stored.event == events[as_index(*expected) - 1]);
                    assert_eq!(
                        &stored.event[..stored.tag_bytes],
                        format!("tag/{expected}").as_bytes()
                    );
                    *expected += 1;
                }
            }
        }
    }
}

fn as_index(number: u64) -> usize {
    usize::try_from(number).expect("a test's number")
}

fn run(steps: &[Step], max_bytes: usize) {
    let log = Log::new(LogConfig {
        max_bytes,
        framings: Framings::Both,
        ..LogConfig::default()
    });
    let mut events: Vec<Vec<u8>> = Vec::new();
    let mut readers: Vec<Reader> = Vec::new();
    let (mut walker, mut walked) = (log.events(Seq(1)), 1);
    for step in steps {
        match step {
            Step::Append(sizes) => {
                for size in sizes {
                    let number = events.len() as u64 + 1;
                    events.push(event(number, *size));
                    let event = &events[events.len() - 1];
                    let tag_bytes = format!("tag/{number}").len();
                    log.append([Incoming { event, tag_bytes }], Millis(number));
                }
            }
            Step::Open(framing) if readers.len() < 6 => readers.push(Reader::new(&log, *framing)),
            Step::Open(_) => {}
            Step::Close(at) if *at < readers.len() => drop(readers.swap_remove(*at)),
            Step::Close(_) => {}
            Step::Read(at, limit) if *at < readers.len() => {
                if !readers[*at].read(*limit, &events, log.stats().oldest) {
                    readers.swap_remove(*at);
                }
            }
            Step::Read(..) => {}
            Step::ReadEvents => read_events(&mut walker, &mut walked, &events),
        }
        let stats = log.stats();
        // The newest segment is there even if it alone is over: the largest event in two framings.
        let newest = 2 * 700_100;
        assert!(
            stats.bytes <= max_bytes + newest,
            "{stats:?} over {max_bytes}"
        );
        assert_eq!(stats.next.0, events.len() as u64 + 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_reader_gets_every_event_in_order_or_the_gap(steps in steps(), max in 1usize..4_000_000) {
        run(&steps, max);
    }
}

#[test]
fn memory_is_let_go_when_the_lagging_cursor_goes() {
    let log = Log::new(LogConfig {
        max_bytes: 64 << 20,
        ..LogConfig::default()
    });
    let stuck = log.tail(Framing::Bare);
    let event = event(1, 1000);
    for _ in 0..20_000 {
        log.append(
            [Incoming {
                event: &event,
                tag_bytes: 5,
            }],
            Millis(0),
        );
    }
    assert!(log.stats().bytes > 20 << 20);
    drop(stuck);
    assert!(log.stats().bytes < 2 << 20, "{:?}", log.stats());
}

#[test]
fn a_batch_is_kept_as_one_run_in_one_framing() {
    let log = Log::new(LogConfig {
        framings: Framings::Prefixed,
        ..LogConfig::default()
    });
    let mut cursor = log.tail(Framing::Prefixed);
    let events: Vec<_> = (1..=100).map(|number| event(number, 50)).collect();
    log.append(
        events.iter().map(|event| Incoming {
            event,
            tag_bytes: 5,
        }),
        Millis(0),
    );
    let Next::Chunk(chunk) = cursor.next() else {
        panic!("events wait")
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
        ..LogConfig::default()
    });
    let (mut reader, stuck) = (log.tail(Framing::Bare), log.tail(Framing::Bare));
    let event = event(1, 100_000);
    let woken = tokio::join!(
        async {
            reader.readable().await;
            matches!(reader.next(), Next::Chunk(_) | Next::Gap(_))
        },
        stuck.overrun(),
        async {
            for _ in 0..40 {
                log.append(
                    [Incoming {
                        event: &event,
                        tag_bytes: 5,
                    }],
                    Millis(0),
                );
                tokio::task::yield_now().await;
            }
        },
    );
    assert!(woken.0);
}

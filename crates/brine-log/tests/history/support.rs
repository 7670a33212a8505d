//! A log with history in a scratch directory, and readers that check what they find.

use std::future::Future;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use brine_log::history::{
    BlockStore, GapReason, History, HistoryConfig, HistoryReader, OpenError, PreparedHistory, Read,
    TagQuery,
};
use brine_log::{EventCursor, Incoming, Log, LogConfig, LogId, Millis, Seq};

/// A bus without sockets.
pub(crate) struct Bus {
    pub(crate) log: Arc<Log>,
    pub(crate) history: History,
}

impl Bus {
    pub(crate) fn open(config: HistoryConfig) -> Result<Self, OpenError> {
        Self::start(PreparedHistory::open(config)?)
    }

    pub(crate) fn on(store: Box<dyn BlockStore>, config: HistoryConfig) -> Self {
        let prepared = PreparedHistory::on(store, config).expect("a store that works");
        Self::start(prepared).expect("a thread")
    }

    fn start(prepared: PreparedHistory) -> Result<Self, OpenError> {
        Self::with_memory(prepared, LogConfig::new(LogId(0)))
    }

    /// With a log that uses memory as this says.
    pub(crate) fn with_memory(
        prepared: PreparedHistory,
        config: LogConfig,
    ) -> Result<Self, OpenError> {
        let log = Log::with_history(config, &prepared);
        let history = prepared.start(&log)?;
        Ok(Self { log, history })
    }

    pub(crate) fn fire(&self, tag: &str, data: &str, at: u64) -> Range<Seq> {
        let event = event(tag, data);
        let incoming = Incoming {
            event: &event,
            tag_bytes: tag.len(),
        };
        self.log.append([incoming], Millis(at))
    }

    /// Fires one and waits until it is on disk.
    pub(crate) fn fire_durably(&self, tag: &str, data: &str) -> Seq {
        let seqs = self.fire(tag, data, 1000);
        wait(self.history.durable(seqs.clone())).expect("a disk that works");
        seqs.start
    }
}

/// An event whose data is `{"d": data}`.
pub(crate) fn event(tag: &str, data: &str) -> Vec<u8> {
    let mut event = format!("{tag}\n\n").into_bytes();
    event.extend_from_slice(b"\x81\xa1d\xda");
    let length = u16::try_from(data.len()).expect("short data");
    event.extend_from_slice(&length.to_be_bytes());
    event.extend_from_slice(data.as_bytes());
    event
}

pub(crate) fn config(directory: &Path) -> HistoryConfig {
    let mut config = HistoryConfig::new(directory);
    // Times in these tests are small numbers.
    config.retention.max_age = None;
    config
}

/// What a reader finds: number and tag of each event, and the gaps between.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) events: Vec<(u64, String)>,
    pub(crate) gaps: Vec<(Range<u64>, Option<GapReason>)>,
}

impl Found {
    pub(crate) fn seqs(&self) -> Vec<u64> {
        self.events.iter().map(|(seq, _)| *seq).collect()
    }
}

pub(crate) fn read_all(reader: &mut HistoryReader, query: &TagQuery) -> Found {
    let mut found = Found::default();
    while let Some(read) = reader.next(query).expect("a readable store") {
        match read {
            Read::Events(events) => found.events.extend(events.iter().map(|event| {
                let tag = String::from_utf8_lossy(&event.event[..event.tag_bytes]);
                (event.seq.0, tag.into_owned())
            })),
            Read::Gap { seqs, reason, .. } => found.gaps.push((seqs.start.0..seqs.end.0, reason)),
        }
    }
    found
}

/// What a cursor of a running log finds before `end`.
pub(crate) fn read_to(cursor: &mut EventCursor, end: Seq) -> Found {
    let mut found = Found::default();
    while cursor.seq() < end {
        match wait(cursor.ready()) {
            Ok(events) => {
                found.events.extend(events.iter().map(|event| {
                    let tag = String::from_utf8_lossy(&event.event[..event.tag_bytes]);
                    (event.seq.0, tag.into_owned())
                }));
                cursor.advance(&events, events.len());
            }
            Err(gap) => {
                found.gaps.push((gap.from.seq.0..gap.to.seq.0, gap.reason));
                cursor.skip(gap);
            }
        }
    }
    found
}

pub(crate) fn read_directory(directory: &Path) -> Found {
    let mut reader = HistoryReader::open(directory).expect("a history");
    read_all(&mut reader, &TagQuery::default())
}

/// Waits for a future; fails the test when it takes unreasonably long.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), future)
            .await
            .expect("an answer within a minute")
    })
}

/// Waits until something holds; fails the test when that takes unreasonably long.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

//! A bus without sockets, sinks that run beside it, and an other side that does what a test says.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use brine_bridge::{Batch, Batching, Filter, Pump, Sink, SinkConfig, SinkError, SinkHandle};
use brine_log::history::{ConsumerName, History, HistoryConfig, PreparedHistory};
use brine_log::{Incoming, Log, LogConfig, LogId, Millis, Position, Seq};
pub(crate) use brine_testkit::wait_until;
use brine_wire::{Map, Value, msgpack};
use tokio::sync::oneshot;

/// A bus without sockets.
pub(crate) struct Bus {
    pub(crate) log: Arc<Log>,
    pub(crate) history: History,
}

impl Bus {
    pub(crate) fn open(directory: &Path) -> Self {
        let config = HistoryConfig::new(directory.join("history"));
        let prepared = PreparedHistory::open(config).expect("a history");
        let log = Log::with_history(LogConfig::new(LogId(0)), &prepared);
        let history = prepared.start(&log).expect("a thread");
        Self { log, history }
    }

    /// Fires events whose data is `{"n": n}`.
    pub(crate) fn fire_numbers(&self, numbers: impl IntoIterator<Item = i64>) {
        for number in numbers {
            self.fire("my/tag", &[("n", number.into())]);
        }
    }

    pub(crate) fn fire(&self, tag: &str, data: &[(&str, Value)]) -> Seq {
        let map: Map = data.iter().cloned().collect();
        let mut event = format!("{tag}\n\n").into_bytes();
        msgpack::encode_map(&map, &mut event);
        let incoming = Incoming {
            event: &event,
            tag_bytes: tag.len(),
        };
        self.log.append([incoming], Millis(1_795_939_260_000)).start
    }

    pub(crate) fn position_of(&self, name: &str) -> Position {
        let name = ConsumerName::parse(name).expect("a name");
        self.history.consumer(&name).expect("a consumer").position
    }

    /// Starts a sink of this name, of all events.
    pub(crate) fn start<S: Sink + 'static>(
        &self,
        directory: &Path,
        name: &str,
        sink: S,
    ) -> Running {
        self.start_with(config(directory, name), sink)
    }

    pub(crate) fn start_with<S: Sink + 'static>(&self, config: SinkConfig, sink: S) -> Running {
        let (pump, handle) = Pump::new(&self.log, &self.history, config).expect("a sink");
        let (stop, stopped) = oneshot::channel::<()>();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let thread = std::thread::spawn(move || {
            runtime.block_on(pump.run(sink, async {
                let _ = stopped.await;
            }));
        });
        Running {
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

pub(crate) fn config(directory: &Path, name: &str) -> SinkConfig {
    SinkConfig {
        name: ConsumerName::parse(name).expect("a name"),
        filter: Filter::default(),
        shown_filter: String::new(),
        batching: Batching::default(),
        attempts: 2,
        from_oldest: false,
        dead_letters: directory.join("dead").join(name),
        waits_for_disk: true,
        redact: Vec::new(),
    }
}

/// A sink that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) handle: SinkHandle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(
                ended.is_ok() || std::thread::panicking(),
                "the sink panicked"
            );
        }
    }
}

/// An other side that takes numbers, and does what a test says.
#[derive(Clone, Default)]
pub(crate) struct Scripted(Arc<Mutex<Script>>);

#[derive(Default)]
pub(crate) struct Script {
    /// The numbers it has, in their order.
    pub(crate) has: Vec<i64>,
    /// It does not answer.
    pub(crate) is_away: bool,
    /// The numbers it refuses.
    pub(crate) refuses: BTreeSet<i64>,
    /// The numbers for which something goes wrong with it.
    pub(crate) breaks_at: BTreeSet<i64>,
    /// It takes so many of a batch at most.
    pub(crate) takes: Option<usize>,
    /// The position it says it has.
    pub(crate) own: Option<Position>,
    /// How many events each delivery held.
    pub(crate) sizes: Vec<usize>,
}

impl Scripted {
    pub(crate) fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock().expect("a script"));
    }

    pub(crate) fn has(&self) -> Vec<i64> {
        self.0.lock().expect("a script").has.clone()
    }
}

impl Sink for Scripted {
    async fn begin(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(self.0.lock().expect("a script").own)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        let mut script = self.0.lock().expect("a script");
        script.sizes.push(batch.len());
        if script.is_away {
            return Err(SinkError::unavailable("away"));
        }
        let numbers = batch.events().map(|event| number(event.data));
        let numbers: Vec<_> = numbers.collect();
        if numbers.iter().any(|number| script.refuses.contains(number)) {
            return Err(SinkError::refused("refused"));
        }
        if numbers.iter().any(|n| script.breaks_at.contains(n)) {
            return Err(SinkError::uncertain("broken"));
        }
        let taken = script.takes.unwrap_or(usize::MAX).min(numbers.len());
        script.has.extend(&numbers[..taken]);
        Ok(taken)
    }
}

pub(crate) fn number(data: &[u8]) -> i64 {
    let value = msgpack::decode(data).expect("data");
    let number = value.as_map().and_then(|map| map.get("n")?.as_int());
    number
        .and_then(|number| i64::try_from(number).ok())
        .unwrap_or(-1)
}

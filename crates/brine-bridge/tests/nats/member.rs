//! A log with a history that shares its events, as a master's bus does.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use brine_bridge::nats::{
    Connection, Intake, IntakeFigures, IntakeOptions, NatsSink, PublishOptions, StreamOptions,
};
use brine_bridge::{Batching, Filter, Pump, SinkConfig, SinkHandle};
use brine_log::history::{ConsumerName, History, HistoryConfig, PreparedHistory};
use brine_log::{Incoming, Log, LogConfig, LogId, Millis, Next, Start};
use brine_testkit::wait_until;
use tempfile::TempDir;
use tokio::sync::watch;

pub(crate) struct Member {
    pub(crate) name: &'static str,
    connection: Connection,
    stream: StreamOptions,
    root: TempDir,
    running: Option<Running>,
    /// What earlier runs have published.
    published: u64,
}

struct Running {
    log: Arc<Log>,
    history: History,
    publisher: SinkHandle,
    intake: Arc<Mutex<IntakeFigures>>,
    closing: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Member {
    pub(crate) fn start(name: &'static str, address: &str) -> Self {
        let connection = Connection {
            servers: vec![address.to_owned()],
            ..Connection::default()
        };
        Self::start_on(name, connection, StreamOptions::default())
    }

    pub(crate) fn start_on(
        name: &'static str,
        connection: Connection,
        stream: StreamOptions,
    ) -> Self {
        let mut member = Self {
            name,
            connection,
            stream,
            root: TempDir::new().unwrap(),
            running: None,
            published: 0,
        };
        member.restart();
        member
    }

    pub(crate) fn restart(&mut self) {
        assert!(self.running.is_none());
        self.running = Some(self.run());
    }

    fn run(&self) -> Running {
        let prepared = PreparedHistory::open(HistoryConfig::new(self.root.path().join("history")));
        let prepared = prepared.unwrap();
        let log = Log::with_history(LogConfig::new(LogId(1)), &prepared);
        let history = prepared.start(&log).unwrap();
        let (connection, stream) = (self.connection.clone(), self.stream.clone());
        let publish = PublishOptions {
            connection: connection.clone(),
            stream: stream.clone(),
            master: self.name.to_owned(),
        };
        let sink = NatsSink::new(publish, Some(history.clone()));
        let config = sink_config(self.root.path().join("dead"), Filter::default());
        let (pump, publisher) = Pump::new(&log, &history, config).unwrap();
        let intake = IntakeOptions {
            connection,
            stream,
            master: self.name.to_owned(),
            state: self.state(),
        };
        let (intake, figures) = Intake::new(intake, &log, &history);
        let closing = watch::Sender::new(false);
        let (mut publish_until, read_until) = (closing.subscribe(), closing.subscribe());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let end = async move {
                    let _ = publish_until.wait_for(|is_closing| *is_closing).await;
                };
                tokio::join!(pump.run(sink, end), intake.run(read_until));
            });
        });
        Running {
            log,
            history,
            publisher,
            intake: figures,
            closing,
            thread,
        }
    }

    pub(crate) fn stop(&mut self) {
        let running = self.running.take().unwrap();
        running.closing.send_replace(true);
        running.thread.join().unwrap();
        self.published += running.publisher.figures().delivered;
        running.history.close();
    }

    /// Where it remembers what it has taken in.
    pub(crate) fn state(&self) -> PathBuf {
        self.root.path().join("cluster")
    }

    pub(crate) fn fire(&self, nth: u64) {
        let (event, tag_bytes) = event(&format!("test/{}/{nth}", self.name), nth);
        let incoming = Incoming {
            event: &event,
            tag_bytes,
        };
        self.running().log.append([incoming], Millis(nth));
    }

    /// The numbers of all events of a master that are here, in their order.
    pub(crate) fn numbers(&self, of: &str) -> Vec<u64> {
        let log = &self.running().log;
        let mut cursor = log.events(Start::Oldest);
        let mut numbers = Vec::new();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        loop {
            match cursor.next() {
                Next::Ready(events) => {
                    for event in events.iter() {
                        let tag = std::str::from_utf8(&event.event[..event.tag_bytes]).unwrap();
                        let Some((master, nth)) =
                            tag.strip_prefix("test/").unwrap().split_once('/')
                        else {
                            panic!("unknown tag {tag}")
                        };
                        // What is known of it is what it says of itself.
                        let origin = event.origin.map_or(self.name, |origin| origin.master());
                        assert_eq!(origin, master);
                        if master == of {
                            numbers.push(nth.parse().unwrap());
                        }
                    }
                    cursor.advance(&events, events.len());
                }
                Next::Stored => runtime.block_on(cursor.load()),
                Next::Gap(gap) => {
                    assert_eq!(gap.missed().unwrap_or(0), 0);
                    cursor.skip(gap);
                }
                Next::Tail => return numbers,
            }
        }
    }

    pub(crate) fn published(&self) -> u64 {
        self.published + self.running().publisher.figures().delivered
    }

    pub(crate) fn waits_for(&self) -> Option<String> {
        self.running().publisher.figures().waits_for
    }

    pub(crate) fn figures(&self) -> IntakeFigures {
        self.running().intake.lock().unwrap().clone()
    }

    pub(crate) fn wait_connected(&self) {
        wait_until("it reads the stream", || self.figures().is_connected);
    }

    fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        if self.running.is_some() && !std::thread::panicking() {
            self.stop();
        }
    }
}

pub(crate) fn sink_config(dead_letters: PathBuf, filter: Filter) -> SinkConfig {
    SinkConfig {
        name: ConsumerName::parse("nats").unwrap(),
        filter,
        shown_filter: String::new(),
        batching: Batching::default(),
        attempts: 2,
        from_oldest: false,
        dead_letters,
        waits_for_disk: false,
        redact: Vec::new(),
    }
}

/// An event with this number in its data, and the length of its tag.
pub(crate) fn event(tag: &str, nth: u64) -> (Vec<u8>, usize) {
    let mut event = format!("{tag}\n\n").into_bytes();
    event.extend_from_slice(b"\x81\xa1n\xcf");
    event.extend_from_slice(&nth.to_be_bytes());
    (event, tag.len())
}

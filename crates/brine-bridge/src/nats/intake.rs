//! Takes in what other masters have published: once, in each master's order, marked with its origin.
//!
//! It reads the stream from where the last run stopped. Its progress is saved in two places: now and then in a file
//! ([`State`]), never before the history has the events on disk, and with each event in the history itself. So after
//! any crash, the file together with the later events in the history says what is here; nothing is lost, and nothing
//! arrives twice. The server keeps no state for us.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::stream::{RawMessageErrorKind, Stream};
use async_nats::jetstream::{self, ErrorCode};
use brine_log::history::History;
use brine_log::{Log, Next, Position, Seq, Start};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::connect::{Link, Unavailable};
use super::message::{MESSAGE_ID, Received};
use super::options::{Connection, StreamOptions};
use super::order::Order;
use super::state::{State, StreamPosition};
use crate::reader::now;

/// Messages that are appended under one lock of the log.
const CHUNK: usize = 512;
/// What one request asks the server for.
const PULL: usize = 1000;
/// How often what was read is written down.
const SAVE: Duration = Duration::from_secs(1);
/// After so long without a word the server counts as gone.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the overflow's disk may take nothing before it is given up, as at the bus's own sockets.
const STALLED: Duration = Duration::from_secs(2);

/// What an intake is made from.
#[derive(Debug, Clone)]
pub struct IntakeOptions {
    /// How to reach NATS.
    pub connection: Connection,
    /// The stream.
    pub stream: StreamOptions,
    /// The id of the own master, whose events are left out.
    pub master: String,
    /// The file in which it remembers where it is.
    pub state: PathBuf,
}

/// Reads the events of other masters into a log.
pub struct Intake {
    options: IntakeOptions,
    log: Arc<Log>,
    history: History,
    order: Order,
    stream: StreamPosition,
    /// Whether an earlier run has read the stream.
    is_known: bool,
    is_changed: bool,
    began: Instant,
    /// The same by the clock.
    started: SystemTime,
    saving: Option<JoinHandle<()>>,
    figures: Arc<Mutex<IntakeFigures>>,
}

/// What an intake has done since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IntakeFigures {
    /// It is connected and reads.
    pub is_connected: bool,
    /// Events of other masters that were appended.
    pub taken: u64,
    /// Events that had come before.
    pub repeated: u64,
    /// Events that came before the one they follow, and were held until that was there.
    pub early: u64,
    /// How often events of a master never came.
    pub holes: u64,
    /// Messages that were no events.
    pub refused: u64,
    /// Messages that the stream had dropped before they were read.
    pub missed: u64,
    /// Messages in the stream that are still to be read.
    pub behind: u64,
}

impl Intake {
    /// An intake that has not begun; and what it will have done.
    #[must_use]
    pub fn new(
        options: IntakeOptions,
        log: &Arc<Log>,
        history: &History,
    ) -> (Self, Arc<Mutex<IntakeFigures>>) {
        let figures = Arc::<Mutex<IntakeFigures>>::default();
        let intake = Self {
            options,
            log: Arc::clone(log),
            history: history.clone(),
            order: Order::default(),
            stream: StreamPosition {
                seq: 0,
                message_id: None,
            },
            is_known: false,
            is_changed: false,
            began: Instant::now(),
            started: SystemTime::now(),
            saving: None,
            figures: Arc::clone(&figures),
        };
        (intake, figures)
    }

    /// Reads until `closing`. Dropping the future loses what was remembered in the last second, which is found again.
    pub async fn run(mut self, closing: watch::Receiver<bool>) {
        self.remember().await;
        let mut is_told = false;
        let mut failures = 0;
        loop {
            let taken = self.figures().taken;
            let ended = self.session(closing.clone()).await;
            self.note(|figures| figures.is_connected = false);
            let Err(error) = ended else {
                break;
            };
            // It has been connected in between.
            if self.figures().taken > taken {
                (failures, is_told) = (0, false);
            }
            if !is_told {
                tracing::warn!(
                    %error,
                    "cannot read other masters' events; this master continues alone, and reads them when NATS is back"
                );
                is_told = true;
            }
            let pause = Duration::from_millis(250 << failures.min(5));
            failures += 1;
            let mut closing = closing.clone();
            tokio::select! {
                () = sleep(pause) => {}
                _ = closing.wait_for(|is_closing| *is_closing) => break,
            }
        }
        self.save();
        if let Some(saving) = self.saving.take() {
            let _ = saving.await; // a panic is printed
        }
    }

    /// Finds out what an earlier run has taken in.
    async fn remember(&mut self) {
        let state = State::read(&self.options.state).unwrap_or_else(|error| {
            tracing::error!(
                %error, path = %self.options.state.display(),
                "cannot read the saved positions in other masters' events; continuing with new events"
            );
            None
        });
        self.is_known = state.is_some();
        let state = state.unwrap_or_else(|| State::new(self.log.id()));
        for (master, position) in &state.masters {
            self.order.note(master, *position);
        }
        self.stream = state.stream;
        if state.own.log == self.log.id() && self.is_known {
            self.scan(state.own).await;
        }
    }

    /// Looks for events of other masters that came after the file was written.
    async fn scan(&mut self, from: Position) {
        let end = self.log.position();
        let mut cursor = self.log.events(Start::After(from));
        while cursor.seq() <= end.seq {
            match cursor.next() {
                Next::Ready(events) => {
                    for origin in events.iter().filter_map(|event| event.origin) {
                        self.order.note(origin.master(), origin.position());
                    }
                    cursor.advance(&events, events.len());
                }
                Next::Stored => cursor.load().await,
                Next::Gap(gap) => cursor.skip(gap),
                Next::Tail => return,
            }
        }
    }

    /// One connection; returns when the process ends.
    async fn session(&mut self, mut closing: watch::Receiver<bool>) -> Result<(), Unavailable> {
        let opening = async {
            let name = format!("brine {} intake", self.options.master);
            let link = Link::open(&self.options.connection, &name).await?;
            let stream = link.stream(&self.options.stream).await?;
            Ok((link, stream))
        };
        let (link, stream) = tokio::select! {
            opened = opening => opened?,
            _ = closing.wait_for(|is_closing| *is_closing) => return Ok(()),
        };
        let start = self.resume(&stream).await?;
        let consumer = stream.create_consumer(self.consumer(start)).await;
        let consumer =
            consumer.map_err(|error| Unavailable::new("cannot read the stream", error))?;
        if !self.is_known {
            (self.is_known, self.is_changed) = (true, true);
            self.stream.seq = stream.cached_info().state.last_sequence;
        }
        let messages = consumer
            .stream()
            .max_messages_per_batch(PULL)
            .heartbeat(HEARTBEAT)
            .expires(Duration::from_secs(30))
            .messages()
            .await;
        let messages =
            messages.map_err(|error| Unavailable::new("cannot read the stream", error))?;
        let mut chunks = messages.ready_chunks(CHUNK);
        self.note(|figures| figures.is_connected = true);
        tracing::info!(stream = %self.options.stream.name, from = ?start, "reading other masters' events");
        let mut ticks = interval(SAVE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut delivered = 0;
        loop {
            tokio::select! {
                biased;
                _ = closing.wait_for(|is_closing| *is_closing) => return Ok(()),
                _ = ticks.tick() => self.tick(),
                chunk = chunks.next() => {
                    let chunk = chunk.ok_or_else(|| Unavailable("the stream's consumer has ended".to_owned()))?;
                    self.take(chunk, &mut delivered).await?;
                }
                () = link.lost() => return Err(Unavailable("the connection to NATS was lost".to_owned())),
            }
        }
    }

    fn consumer(&self, start: DeliverPolicy) -> pull::Config {
        pull::Config {
            deliver_policy: start,
            ack_policy: AckPolicy::None,
            filter_subject: format!("{}.>", self.options.stream.events()),
            inactive_threshold: Duration::from_secs(60),
            memory_storage: true,
            num_replicas: 1,
            description: Some(format!("intake of {}", self.options.master)),
            ..pull::Config::default()
        }
    }

    /// Where in the stream to continue.
    async fn resume(&mut self, stream: &Stream) -> Result<DeliverPolicy, Unavailable> {
        let state = &stream.cached_info().state;
        let (first, last) = (state.first_sequence, state.last_sequence);
        if !self.is_known {
            // A master that is new begins with what comes, from its start on: another that starts with it may publish
            // before this one is connected.
            return Ok(DeliverPolicy::ByStartTime {
                start_time: self.started.into(),
            });
        }
        let at = self.stream.seq;
        if at > last || !self.is_same(stream).await? {
            tracing::warn!(
                at, last, stream = %self.options.stream.name,
                "the stream was replaced, or has lost its newest messages; reading all of it again, and skipping what is already here"
            );
            self.stream.seq = first.saturating_sub(1);
            self.expect_holes();
        } else if at + 1 < first {
            let missed = first - 1 - at;
            tracing::error!(
                missed, stream = %self.options.stream.name,
                "the stream dropped messages before this master read them: it was away for longer than the stream keeps them"
            );
            self.note(|figures| figures.missed += missed);
            self.stream.seq = first - 1;
            self.expect_holes();
        }
        Ok(DeliverPolicy::ByStartSequence {
            start_sequence: self.stream.seq + 1,
        })
    }

    /// Whether the last message that was read is still the same.
    async fn is_same(&self, stream: &Stream) -> Result<bool, Unavailable> {
        let Some(id) = self
            .stream
            .message_id
            .as_ref()
            .filter(|_| self.stream.seq > 0)
        else {
            return Ok(true);
        };
        match stream.get_raw_message(self.stream.seq).await {
            Ok(message) => {
                let found = message.headers.get(MESSAGE_ID);
                Ok(found.is_some_and(|found| found.as_str() == id))
            }
            Err(error) => match error.kind() {
                // Removed since.
                RawMessageErrorKind::NoMessageFound => Ok(true),
                RawMessageErrorKind::JetStream(error)
                    if error.error_code() == ErrorCode::NO_MESSAGE_FOUND =>
                {
                    Ok(true)
                }
                _ => Err(Unavailable::new("cannot read the stream", error)),
            },
        }
    }

    fn expect_holes(&mut self) {
        let mut due = Vec::new();
        self.order.expect_holes(&mut due);
        self.append(&due);
    }

    /// Takes messages in. `delivered` is how many this consumer has had.
    async fn take(
        &mut self,
        chunk: Vec<Result<jetstream::Message, pull::MessagesError>>,
        delivered: &mut u64,
    ) -> Result<(), Unavailable> {
        let mut due = Vec::new();
        let mut fault = None;
        for message in chunk {
            let taken = message
                .map_err(|error| Unavailable::new("cannot read the stream", error))
                .and_then(|message| self.take_one(&message, delivered, &mut due));
            if let Err(error) = taken {
                fault = Some(error);
                break;
            }
        }
        while self.log.is_backed_up() {
            if timeout(STALLED, self.log.overflow_progress())
                .await
                .is_err()
            {
                self.log.give_up_overflow();
            }
        }
        self.append(&due);
        fault.map_or(Ok(()), Err)
    }

    fn take_one(
        &mut self,
        message: &jetstream::Message,
        delivered: &mut u64,
        due: &mut Vec<Received>,
    ) -> Result<(), Unavailable> {
        let info = message.info();
        let info = info.map_err(|error| Unavailable::new("a message without its number", error))?;
        *delivered += 1;
        if info.consumer_sequence != *delivered {
            return Err(Unavailable("messages were lost on the way".to_owned()));
        }
        let seq = info.stream_sequence;
        let id = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(MESSAGE_ID));
        self.stream = StreamPosition {
            seq,
            message_id: id.map(|id| id.as_str().to_owned()),
        };
        self.is_changed = true;
        let behind = info.pending;
        self.note(|figures| figures.behind = behind);
        let prefix = self.options.stream.events();
        let headers = message.headers.as_ref();
        match Received::parse(&prefix, &message.subject, headers, &message.payload) {
            Ok(received) if received.master == self.options.master => {}
            Ok(received) => self.order.take(seq, received, self.began.elapsed(), due),
            Err(error) => {
                tracing::warn!(%error, seq, "ignoring a message in the stream that is not an event");
                self.note(|figures| figures.refused += 1);
            }
        }
        Ok(())
    }

    fn append(&self, due: &[Received]) {
        if !due.is_empty() {
            self.log
                .append_sourced(due.iter().map(Received::incoming), now());
        }
        let counts = self.order.counts();
        self.note(|figures| {
            figures.taken += due.len() as u64;
            figures.repeated = counts.repeated;
            figures.early = counts.early;
            figures.holes = counts.holes;
        });
    }

    fn tick(&mut self) {
        let mut due = Vec::new();
        self.order.expire(self.began.elapsed(), &mut due);
        self.append(&due);
        let is_saved = self.saving.as_ref().is_none_or(JoinHandle::is_finished);
        if self.is_changed && is_saved {
            self.save();
        }
    }

    /// Writes down what is here, as soon as it is on the disk.
    fn save(&mut self) {
        self.is_changed = false;
        let own = self.log.position();
        let stream = match self.order.first_held() {
            // It is read again, and all after it, of which most will have come before.
            Some(held) => StreamPosition {
                seq: held - 1,
                message_id: None,
            },
            None => self.stream.clone(),
        };
        let masters = self.order.positions();
        let state = State {
            own,
            stream,
            masters: masters
                .map(|(master, at)| (master.to_owned(), at))
                .collect(),
        };
        let before = self.saving.take();
        let (history, path) = (self.history.clone(), self.options.state.clone());
        self.saving = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await; // a panic is printed
            }
            // What cannot be stored is recorded as missing, and is not to come again.
            let _ = history.durable(own.seq..Seq(own.seq.0 + 1)).await;
            let shown = path.display().to_string();
            let written = spawn_blocking(move || state.write(&path)).await;
            if let Ok(Err(error)) = written {
                tracing::error!(
                    %error, path = shown,
                    "cannot save the positions in other masters' events; a restart takes them from the history"
                );
            }
        }));
    }

    fn note(&self, change: impl FnOnce(&mut IntakeFigures)) {
        // Held for a few instructions; what it guards is whole after each.
        change(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn figures(&self) -> IntakeFigures {
        self.figures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

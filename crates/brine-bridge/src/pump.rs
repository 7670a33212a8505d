//! From the log to the other side: one consumer's loop.
//!
//! It reads from the consumer's saved position, delivers, and saves the position that the other side has reached.
//! Whatever interrupts it (a pause, a move of the position, the end of the process), it continues from the saved
//! position.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use brine_log::Log;
use brine_log::history::{Consumer, History, Paused};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use crate::batch::{Batch, Gathered};
use crate::dead::{DeadError, DeadLetter, DeadLetters};
use crate::figures::Counted;
use crate::handle::{Request, Resent, SinkHandle};
use crate::moved::Moved;
use crate::plan::{Backoff, Plan, Reaction};
use crate::reader::{Closing, Interrupted, Reader, SinkConfig, now};
use crate::sink::{Sink, SinkError};

/// How long a pump that must end continues with what is in the log.
const DRAIN: Duration = Duration::from_secs(5);

/// A sink that is to run.
pub struct Pump {
    reader: Reader,
    dead: DeadLetters,
    counted: Arc<Counted>,
    requests: mpsc::Receiver<Request>,
    backoff: Backoff,
    moved: Moved,
    /// The last event that the other side took, by which it shows later that it still takes events.
    taken: Option<Gathered>,
}

impl Pump {
    /// A sink of a log, and the consumer in its history, which is created if there is none of that name. It gets the
    /// events appended after this.
    ///
    /// # Errors
    /// [`DeadError`] if its dead letters cannot be read.
    pub fn new(
        log: &Arc<Log>,
        history: &History,
        config: SinkConfig,
    ) -> Result<(Self, SinkHandle), DeadError> {
        let dead = DeadLetters::open(&config.dead_letters)?;
        let counted = Arc::new(Counted::default());
        counted.note(|figures| figures.dead = dead.len() as u64);
        let (sender, requests) = mpsc::channel(1);
        let handle = SinkHandle {
            name: config.name.clone(),
            dead_letters: config.dead_letters.clone(),
            counted: Arc::clone(&counted),
            requests: sender,
        };
        let pump = Self {
            moved: Moved::beside(&config.dead_letters),
            reader: Reader::new(log, history, config, Arc::clone(&counted)),
            dead,
            counted,
            requests,
            backoff: Backoff::default(),
            taken: None,
        };
        Ok((pump, handle))
    }

    /// Delivers until `shutdown` is done; then what is in the log, for a few seconds at most. Dropping the future
    /// leaves it open whether the other side has the batch under way: it comes again.
    pub async fn run<S: Sink>(mut self, mut sink: S, shutdown: impl Future<Output = ()> + Send) {
        let (closed, closing) = tokio::sync::watch::channel(false);
        let closing = Closing(closing);
        let end = async {
            shutdown.await;
            closed.send_replace(true);
            sleep(DRAIN).await;
        };
        tokio::select! {
            () = self.work(&mut sink, &closing) => {}
            () = end => {}
        }
        if self.reader.is_moved() {
            // The move came too late for this process; the next one tells the other side.
            self.moved.note();
        }
        if let Some(why) = self.counted.figures().waits_for {
            tracing::warn!(
                sink = %self.reader.config.name, position = %self.reader.saved,
                "stopped before everything was delivered: {why}; the next start continues there"
            );
        }
    }

    async fn work<S: Sink>(&mut self, sink: &mut S, closing: &Closing) {
        self.register().await;
        if self.begin(sink, closing).await.is_err() {
            return;
        }
        self.reader.start_at(self.reader.saved);
        let mut gathered = Gathered::at(self.reader.saved);
        loop {
            let done = match self.step(sink, &mut gathered, closing).await {
                Err(Interrupted::Changed) => {
                    gathered.clear();
                    self.go_elsewhere(sink, closing).await
                }
                done => done,
            };
            if done.is_err() {
                return;
            }
            if gathered.len() == 0 {
                gathered.through = self.reader.saved;
            }
        }
    }

    /// Somebody has paused, moved or removed the consumer: does as it says.
    async fn go_elsewhere<S: Sink>(
        &mut self,
        sink: &mut S,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        self.rest(sink, closing).await?;
        self.follow_move(sink, closing).await?;
        self.reader.start_at(self.reader.saved);
        Ok(())
    }

    /// One batch, or a request.
    async fn step<S: Sink>(
        &mut self,
        sink: &mut S,
        gathered: &mut Gathered,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        self.reader.check_consumer()?;
        tokio::select! {
            biased;
            Some(request) = self.requests.recv() => {
                self.answer(request, sink).await;
                return Ok(());
            }
            result = self.reader.gather(gathered, closing) => result?,
        }
        self.reader.settled(gathered).await;
        // A sink that was paused while it gathered delivers nothing that was fired after that.
        self.reader.check_consumer()?;
        let delivered = self.deliver(sink, gathered, closing).await;
        gathered.clear();
        delivered
    }

    /// Makes the consumer, or notes its filter.
    async fn register(&mut self) {
        let name = &self.reader.config.name;
        let consumer = self.reader.history.consumer(name).unwrap_or(Consumer {
            name: name.clone(),
            position: self.reader.saved,
            kind: String::new(),
            filter: String::new(),
            paused: Paused::No,
            saved_at: now(),
        });
        let consumer = Consumer {
            kind: "sink".to_owned(),
            filter: self.reader.config.shown_filter.clone(),
            ..consumer
        };
        if let Err(error) = self.reader.history.save(consumer).await {
            tracing::warn!(sink = %name, err = %error, "cannot save the position");
        }
    }

    /// Waits for the other side. What that has already is not delivered again.
    async fn begin<S: Sink>(&mut self, sink: &mut S, closing: &Closing) -> Result<(), Interrupted> {
        if self.moved.is_noted() {
            self.tell_move(sink, closing).await?;
        }
        loop {
            let error = match sink.begin(self.reader.log.id()).await {
                Ok(own) => {
                    self.recovered();
                    let own = own.filter(|own| own.log == self.reader.log.id());
                    let saved = self.reader.saved;
                    if let Some(own) = own
                        && (saved.log != own.log || saved.seq < own.seq)
                    {
                        self.reader.save(own);
                    }
                    return Ok(());
                }
                Err(error) => error,
            };
            let until = Instant::now() + self.failed(&error);
            self.wait(sink, until, std::future::pending(), closing)
                .await?;
        }
    }

    /// Waits while it is paused.
    async fn rest<S: Sink>(&mut self, sink: &mut S, closing: &Closing) -> Result<(), Interrupted> {
        let history = self.reader.history.clone();
        loop {
            let changed = history.consumers_changed();
            let consumer = history.consumer(&self.reader.config.name);
            let rest = match consumer.map_or(Paused::No, |consumer| consumer.paused) {
                paused if !paused.is_paused(now()) => return Ok(()),
                Paused::Until(time) => Duration::from_millis(time.0.saturating_sub(now().0)),
                _ => Duration::from_secs(86_400),
            };
            self.wait(sink, Instant::now() + rest, changed, closing)
                .await?;
        }
    }

    /// Goes where somebody has moved the consumer; a consumer that was removed is made again where it was.
    async fn follow_move<S: Sink>(
        &mut self,
        sink: &mut S,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        let Some(consumer) = self.reader.history.consumer(&self.reader.config.name) else {
            self.register().await;
            return Ok(());
        };
        if consumer.position == self.reader.saved {
            return Ok(());
        }
        tracing::info!(sink = %self.reader.config.name, from = %self.reader.saved, to = %consumer.position, "moved");
        self.reader.saved = consumer.position;
        self.moved.note();
        self.tell_move(sink, closing).await
    }

    /// Tells the other side where the consumer is, whatever that has for its position.
    async fn tell_move<S: Sink>(
        &mut self,
        sink: &mut S,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        loop {
            let told = sink.move_to(self.reader.saved).await;
            let Err(error) = told.and_then(|()| self.moved.settle()) else {
                break;
            };
            let until = Instant::now() + self.failed(&error);
            self.wait(sink, until, std::future::pending(), closing)
                .await?;
        }
        self.recovered();
        Ok(())
    }

    /// Delivers what is gathered, however long that takes.
    async fn deliver<S: Sink>(
        &mut self,
        sink: &mut S,
        gathered: &Gathered,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        let mut plan = Plan::new(gathered.len(), self.reader.config.attempts);
        while let Some(range) = plan.next() {
            let start = range.start;
            let Some(batch) = gathered.piece(range) else {
                break;
            };
            let error = match sink.deliver(&batch).await {
                Ok(count) if count > 0 => {
                    plan.delivered(count);
                    self.delivered(count.min(batch.len()));
                    let last = batch.events().nth(count.min(batch.len()) - 1);
                    self.taken = last.as_ref().map(Gathered::one);
                    if let Some(piece) = gathered.piece(start..plan.dealt_with()) {
                        self.reader.save(piece.through());
                    }
                    continue;
                }
                Ok(_) => SinkError::unavailable("the other side took none of the events"),
                Err(error) => error,
            };
            let pause = match plan.failed(&error) {
                Reaction::GoOn => continue,
                Reaction::Wait => self.failed(&error),
                Reaction::Probe => match self.probe(sink, gathered, &mut plan).await {
                    Some(true) => {
                        plan.is_there();
                        continue;
                    }
                    Some(false) => self.failed(&error),
                    None => {
                        let pause = self.failed(&error);
                        self.pause(sink, pause, closing).await?;
                        // With what has come since, to have another event to ask for.
                        return Err(Interrupted::Changed);
                    }
                },
                Reaction::SetAside(event) => {
                    let Some(piece) = gathered.piece(event..event + 1) else {
                        break;
                    };
                    match self.set_aside(&piece, &error, plan.attempts()) {
                        Ok(()) => {
                            plan.set_aside();
                            self.reader.save(piece.through());
                            continue;
                        }
                        Err(error) => self.failed(&SinkError::unavailable(error)),
                    }
                }
            };
            self.pause(sink, pause, closing).await?;
        }
        self.reader.save(gathered.through);
        Ok(())
    }

    /// Whether the other side accepts another event now: the last one it accepted, or one that is still to come.
    /// `None` if there is none.
    async fn probe<S: Sink>(
        &self,
        sink: &mut S,
        gathered: &Gathered,
        plan: &mut Plan,
    ) -> Option<bool> {
        let to_come = match self.taken {
            Some(_) => None,
            None => {
                let another = plan.another()?;
                let event = gathered.piece(another..another + 1)?.events().next()?;
                Some(Gathered::one(&event))
            }
        };
        let batch = self.taken.as_ref().or(to_come.as_ref())?.piece(0..1)?;
        // One that it refuses, it has looked at.
        Some(matches!(
            sink.probe(&batch).await,
            Ok(()) | Err(SinkError::Refused { .. })
        ))
    }

    /// Waits before the next attempt. A change of the consumer ends the wait.
    async fn pause<S: Sink>(
        &mut self,
        sink: &mut S,
        pause: Duration,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        let until = Instant::now() + pause;
        let history = self.reader.history.clone();
        while Instant::now() < until {
            let changed = history.consumers_changed();
            self.reader.check_consumer()?;
            self.wait(sink, until, changed, closing).await?;
        }
        Ok(())
    }

    /// Waits for a moment or a change, whichever comes first. Requests are answered meanwhile.
    async fn wait<S: Sink>(
        &mut self,
        sink: &mut S,
        until: Instant,
        changed: impl Future<Output = ()>,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        let mut changed = std::pin::pin!(changed);
        loop {
            tokio::select! {
                () = sleep_until(until) => return Ok(()),
                () = &mut changed => return Ok(()),
                () = closing.wait() => return Err(Interrupted::Closing),
                Some(request) = self.requests.recv() => self.answer(request, sink).await,
            }
        }
    }

    fn set_aside(
        &mut self,
        piece: &Batch<'_>,
        error: &SinkError,
        attempts: u32,
    ) -> Result<(), DeadError> {
        for event in piece.events() {
            let letter = DeadLetter::of(&event, &error.to_string(), attempts, now());
            self.dead.add(&letter)?;
            tracing::warn!(
                sink = %self.reader.config.name, position = %event.position, tag = %event.tag_text(), err = %error,
                "the other side refuses one event, which is kept as a dead letter; delivery continues"
            );
        }
        self.backoff.reset();
        self.counted.note(|figures| {
            figures.dead = self.dead.len() as u64;
            figures.waits_for = None;
        });
        Ok(())
    }

    /// The caller may have gone.
    async fn answer<S: Sink>(&mut self, request: Request, sink: &mut S) {
        match request {
            Request::Resend(answer) => {
                let _ = answer.send(self.resend(sink).await);
            }
            Request::Discard(which, answer) => {
                let discarded = self.dead.discard(&which);
                self.counted
                    .note(|figures| figures.dead = self.dead.len() as u64);
                let _ = answer.send(discarded);
            }
        }
    }

    /// Sends the dead letters once more, each alone.
    async fn resend<S: Sink>(&mut self, sink: &mut S) -> Result<Resent, DeadError> {
        let (mut result, mut delivered) = (Resent::default(), Vec::new());
        for letter in DeadLetters::read(&self.reader.config.dead_letters)? {
            let letter = letter?;
            if result.away.is_some() {
                result.unsent += 1;
                continue;
            }
            // Where an error may have either cause, the others are still tried.
            let sent = send_letter(sink, &letter).await;
            if matches!(sent, Ok(1..)) {
                delivered.push(letter.position);
            }
            result.count(sent);
        }
        if !delivered.is_empty() {
            self.dead.remove(&delivered)?;
            self.delivered(delivered.len());
        }
        self.counted
            .note(|figures| figures.dead = self.dead.len() as u64);
        Ok(result)
    }

    fn delivered(&mut self, events: usize) {
        self.backoff.reset();
        if self.counted.delivered(events) {
            tracing::info!(sink = %self.reader.config.name, "delivers again");
        }
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        self.counted.note(|figures| figures.waits_for = None);
    }

    /// How long to wait after a failure, which is reported once until something succeeds.
    fn failed(&mut self, error: &SinkError) -> Duration {
        if self.counted.failed(&error.to_string(), now()) {
            tracing::warn!(
                sink = %self.reader.config.name, position = %self.reader.saved, err = %error,
                "cannot deliver; nothing is lost, retrying until it succeeds"
            );
        }
        self.backoff.next()
    }
}

async fn send_letter<S: Sink>(sink: &mut S, letter: &DeadLetter) -> Result<usize, SinkError> {
    match Gathered::one(&letter.event()).piece(0..1) {
        Some(batch) => sink.deliver(&batch).await,
        None => Ok(0),
    }
}

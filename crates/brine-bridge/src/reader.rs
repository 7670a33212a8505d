//! A consumer's view of the log: its position, and what comes next. It knows nothing of the other side.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use brine_log::history::{ConsumerName, History, Redactor, Stored};
use brine_log::{
    EventCursor, Gap, GapReason, Log, Millis, Next, Position, Seq, Start, StoredEvent,
};
use tokio::time::{Instant, timeout_at};

use crate::batch::Gathered;
use crate::figures::Counted;
use crate::filter::Filter;
use crate::plan::Batching;

/// Events looked at in one turn, so that a filter that matches little lets other tasks run.
const TURN: usize = 4096;

/// One sink, whatever is on its other side.
#[derive(Debug, Clone)]
pub struct SinkConfig {
    /// The consumer.
    pub name: ConsumerName,
    /// Which events it takes.
    pub filter: Filter,
    /// The filter as people are shown it.
    pub shown_filter: String,
    /// When a batch is delivered.
    pub batching: Batching,
    /// After how many refusals one event is set aside.
    pub attempts: u32,
    /// Where a consumer that is new starts: with what is kept, or with what comes.
    pub from_oldest: bool,
    /// The file of its dead letters.
    pub dead_letters: PathBuf,
    /// Whether an event waits until the history has it on disk, as its option `sync` says, so that the other side has
    /// none that a crash takes from the history. A sink that sees to that itself does not ask for it.
    pub waits_for_disk: bool,
    /// Names of fields whose values the other side must not have, as the history must not.
    pub redact: Vec<String>,
}

/// Why a delivery stopped before its end.
pub(crate) enum Interrupted {
    /// The consumer was moved, paused or removed.
    Changed,
    /// The process ends.
    Closing,
}

/// The side of the log: where the consumer is, and what comes next.
pub(crate) struct Reader {
    pub(crate) log: Arc<Log>,
    pub(crate) history: History,
    pub(crate) config: SinkConfig,
    redactor: Redactor,
    cursor: EventCursor,
    /// The last event that the other side is known to have.
    pub(crate) saved: Position,
    counted: Arc<Counted>,
}

impl Reader {
    /// At the saved position of a consumer: that of its name, or of one that begins now.
    pub(crate) fn new(
        log: &Arc<Log>,
        history: &History,
        config: SinkConfig,
        counted: Arc<Counted>,
    ) -> Self {
        let saved = match history.consumer(&config.name) {
            Some(consumer) => consumer.position,
            None if config.from_oldest => Position {
                log: log.id(),
                seq: Seq(log.oldest().0.saturating_sub(1)),
            },
            None => log.position(),
        };
        Self {
            redactor: Redactor::new(config.redact.iter().map(String::as_str)),
            cursor: log.events(Start::After(saved)),
            log: Arc::clone(log),
            history: history.clone(),
            config,
            saved,
            counted,
        }
    }

    pub(crate) fn start_at(&mut self, position: Position) {
        self.cursor = self.log.events(Start::After(position));
        self.cursor.select(self.config.filter.stored.clone());
        self.cursor.expect(self.config.filter.expected());
    }

    /// Whether somebody has paused, moved or removed the consumer.
    pub(crate) fn check_consumer(&self) -> Result<(), Interrupted> {
        match self.history.consumer(&self.config.name) {
            Some(consumer)
                if consumer.position == self.saved && !consumer.paused.is_paused(now()) =>
            {
                Ok(())
            }
            _ => Err(Interrupted::Changed),
        }
    }

    /// Whether somebody has moved the consumer, and this has not been noticed yet.
    pub(crate) fn is_moved(&self) -> bool {
        let consumer = self.history.consumer(&self.config.name);
        consumer.is_some_and(|consumer| consumer.position != self.saved)
    }

    /// Gathers what is due: as much as one batch holds, at least one event, or a position after events that do not
    /// pass. Dropping the future loses nothing: what it took from the cursor is in `gathered`.
    pub(crate) async fn gather(
        &mut self,
        gathered: &mut Gathered,
        closing: &Closing,
    ) -> Result<(), Interrupted> {
        let batching = self.config.batching;
        let before = gathered.through;
        let mut due = None;
        loop {
            self.fill(gathered);
            let is_passed_over = gathered.len() == 0 && gathered.through != before;
            if self.is_full(gathered) || is_passed_over {
                // Lets the other tasks of its thread run, however much there is to deliver.
                tokio::task::yield_now().await;
                return Ok(());
            }
            if gathered.len() > 0 {
                let due = *due.get_or_insert_with(|| Instant::now() + batching.wait);
                let is_over = batching.wait.is_zero()
                    || closing.is_closing()
                    || timeout_at(due, self.cursor.readable()).await.is_err();
                if is_over && !matches!(self.cursor.next(), Next::Stored) {
                    return Ok(());
                }
            }
            let changed = self.history.consumers_changed();
            self.check_consumer()?;
            tokio::select! {
                biased;
                _ = self.cursor.ready() => {}
                () = changed => {}
                () = closing.wait() => return Err(Interrupted::Closing),
            }
        }
    }

    /// Waits until what is gathered is on disk. What cannot be stored is on the bus all the same, and others may have it.
    pub(crate) async fn settled(&self, gathered: &Gathered) {
        if self.config.waits_for_disk && gathered.len() > 0 {
            let _ = self.history.settled(Seq(gathered.through.seq.0 + 1)).await;
        }
    }

    /// Takes what the log has at the cursor into the batch, as much as fits.
    fn fill(&mut self, gathered: &mut Gathered) {
        let mut looked_at = 0;
        loop {
            match self.cursor.next() {
                Next::Gap(gap) => self.skip(gap),
                Next::Ready(events) => {
                    let mut passed = events.len();
                    for event in events.iter() {
                        self.push(&event, gathered);
                        if self.is_full(gathered) {
                            let count = event.seq.0 + 1 - self.cursor.seq().0;
                            passed = usize::try_from(count).unwrap_or(usize::MAX);
                            break;
                        }
                    }
                    self.cursor.advance(&events, passed);
                    gathered.through = self.cursor.position();
                    looked_at += passed;
                    if self.is_full(gathered) || looked_at >= TURN && gathered.len() == 0 {
                        return;
                    }
                }
                Next::Tail | Next::Stored => return,
            }
        }
    }

    /// Takes one event in, if it passes, without what the disk must not have either.
    fn push(&mut self, event: &StoredEvent<'_>, gathered: &mut Gathered) {
        if !self.config.filter.passes(event) {
            return;
        }
        match self.redactor.apply(event.event, event.tag_bytes) {
            Stored::AsItIs => gathered.push(event, event.event),
            Stored::Redacted(redacted) => gathered.push(event, redacted),
            Stored::Withheld => {}
        }
    }

    fn is_full(&self, gathered: &Gathered) -> bool {
        let batching = self.config.batching;
        gathered.len() >= batching.max_events || gathered.bytes() >= batching.max_bytes
    }

    /// Goes on behind events that are gone, and tells of them.
    fn skip(&mut self, gap: Gap) {
        // Numbers that a killed process left unused need not be reported. Until an event is stored after them, the gap
        // does not know that they are unused, but the history does.
        let missed = match gap.reason {
            Some(GapReason::Expired) => gap.missed(),
            _ => gap
                .missed()
                .map(|_| self.history.count(gap.from.seq..gap.to.seq)),
        };
        self.counted
            .note(|figures| figures.missed += missed.unwrap_or(0));
        if gap.reason != Some(GapReason::UncleanShutdown) && missed != Some(0) {
            tracing::warn!(
                sink = %self.config.name, from = %gap.from, to = %gap.to,
                reason = gap.reason.map_or("no longer kept", GapReason::word),
                "events were removed before they were delivered"
            );
        }
        self.cursor.skip(gap);
    }

    pub(crate) fn save(&mut self, position: Position) {
        if position != self.saved {
            // A consumer that was moved or removed meanwhile is noticed before the next batch.
            let is_ours = self
                .history
                .consumer(&self.config.name)
                .is_some_and(|consumer| consumer.position == self.saved);
            if is_ours {
                self.saved = position;
                self.history.acknowledge(&self.config.name, position);
            }
        }
    }
}

/// Whether the process ends.
pub(crate) struct Closing(pub(crate) tokio::sync::watch::Receiver<bool>);

impl Closing {
    fn is_closing(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn wait(&self) {
        // A sender that is gone ends it too.
        let _ = self.0.clone().wait_for(|is_closing| *is_closing).await;
    }
}

pub(crate) fn now() -> Millis {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

//! Which requests of its minions the master already has: for each minion, the last number of each boot from which it
//! may still send.
//!
//! A Brine minion keeps a request until it is answered, and sends it again after a crash of either side. The master
//! fires the request's events, writes the numbers that they have on its bus to a file together with the minion's
//! number, and answers once both the file and the history are on disk ([`Durable`]). After a restart, a line of the
//! file is valid if the history holds its events; otherwise they were lost with the machine's memory, and the minion
//! sends them again. Before it fires them, the master writes another line. If it is killed between the two lines, the
//! next master asks the history whether it has the events. The minion decides which number belongs to which request;
//! requests without a number are not handled here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::future::Future;
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use brine_log::{LogId, Position, Seq};
use brine_wire::network::MinionId;
use brine_wire::network::delivery::Delivery;
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::task::spawn_blocking;

/// Waits until events are as safe as they get.
pub type Durable =
    Arc<dyn Fn(Range<Seq>) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// A minion that is killed again and again has records of several boots, and sends them in order: the newest of so
/// many are known.
const BOOTS: usize = 8;
/// The file is rewritten when it is this large, in bytes, and most of it is obsolete.
const MIN_REWRITE_BYTES: usize = 4 << 20;

/// What all minions have delivered.
pub(super) struct Deliveries {
    path: PathBuf,
    /// Held for a look, or while a line is written to the system's memory.
    state: Mutex<State>,
    /// How many lines are on disk. Held while they are synced: those who wait for it then find their own lines among
    /// them.
    synced: AsyncMutex<u64>,
    settled: Notify,
    durable: OnceLock<Durable>,
}

#[derive(Debug, Default)]
struct State {
    minions: HashMap<MinionId, Vec<Boot>>,
    /// `None` where it cannot be written.
    file: Option<Arc<File>>,
    bytes: usize,
    lines: u64,
}

#[derive(Debug, Clone, Copy)]
struct Boot {
    boot: u64,
    /// Fired up to this number, the last with this number on the bus; and safely so up to that.
    fired: u64,
    seq: Seq,
    settled: u64,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// So many of its items are known; the others are to be fired, noted and settled.
    New {
        /// How many.
        known: u64,
    },
    /// All of them are; it is to be settled.
    Known,
    /// Unknown: the same bytes came before, and nothing is known of their boot. Perhaps the master was killed before
    /// it had acted on them, perhaps somebody replays what was recorded long ago. Only the minion can encrypt the
    /// request again, so this one is refused.
    Doubtful,
}

impl Deliveries {
    /// Reads what an earlier master has written below `cachedir`, of minions whose keys are accepted.
    pub(super) fn open(cachedir: &Path, is_accepted: impl Fn(&MinionId) -> bool) -> Self {
        let deliveries = Self {
            path: cachedir.join("deliveries"),
            state: Mutex::default(),
            synced: AsyncMutex::new(0),
            settled: Notify::new(),
            durable: OnceLock::new(),
        };
        {
            let mut state = deliveries.state();
            let mut text = header(log_of(&deliveries.path));
            for entry in entries(&deliveries.path) {
                match entry {
                    Entry::Fired(line) if is_accepted(&line.id) => {
                        state.take_in(&line);
                        text.push_str(&line.to_text());
                    }
                    Entry::Intended(intent) if is_accepted(&intent.id) => {
                        text.push_str(&intent.to_text());
                    }
                    Entry::Fired(_) | Entry::Intended(_) => {}
                }
            }
            // Line by line as before: which of them count is known later.
            deliveries.replace(&mut state, &text);
        }
        deliveries
    }

    /// From now on requests are answered when their events are safe. The history holds events up to `stored`: what
    /// came later and was lost is forgotten here, too. `held` says how many events of a minion it has from a number on.
    pub(super) fn wait_for(
        &self,
        durable: Durable,
        stored: Position,
        held: &dyn Fn(&str, Seq) -> u64,
    ) {
        {
            let mut state = self.state();
            if log_of(&self.path) == Some(stored.log) {
                state.take_in_all(entries(&self.path), stored.seq, held);
            }
            self.rewrite(&mut state, Some(stored.log));
        }
        // A second one would be of the same bus.
        let _ = self.durable.set(durable);
    }

    /// What is new about a request. `is_repeated`: its bytes have come before.
    pub(super) fn begin(&self, id: &MinionId, delivery: Delivery, is_repeated: bool) -> Begun {
        let mut state = self.state();
        let boots = state.minions.get(id).into_iter().flatten();
        if is_repeated && !boots.into_iter().any(|boot| boot.boot == delivery.boot) {
            return Begun::Doubtful;
        }
        let boot = state.boot(id, delivery.boot);
        let known = (boot.fired + 1).saturating_sub(delivery.first);
        boot.fired = boot.fired.max(delivery.last);
        match known >= delivery.count() {
            true => Begun::Known,
            false => Begun::New { known },
        }
    }

    /// Writes down that what is not known of a request is about to be fired, with this number or later ones.
    pub(super) fn intend(&self, id: &MinionId, delivery: Delivery, known: u64, from: Seq) {
        let intent = Intent {
            boot: delivery.boot,
            first: delivery.first + known,
            last: delivery.last,
            from,
            id: id.clone(),
        };
        if let Err(error) = self.state().write(&intent.to_text()) {
            self.complain(&error);
        }
    }

    /// Writes down that a request was fired, with these numbers; they are empty if it made no event.
    pub(super) fn note(&self, id: &MinionId, delivery: Delivery, fired: &Range<Seq>) {
        let mut state = self.state();
        let boot = state.boot(id, delivery.boot);
        boot.seq = boot.seq.max(Seq(fired.end.0.saturating_sub(1)));
        let line = Line {
            boot: boot.boot,
            last: delivery.last,
            seq: boot.seq,
            id: id.clone(),
        };
        if state.bytes > MIN_REWRITE_BYTES.max(4 * state.live_bytes()) {
            let log = log_of(&self.path);
            self.rewrite(&mut state, log);
        }
        if let Err(error) = state.write(&line.to_text()) {
            self.complain(&error);
        }
    }

    /// Waits until what was fired of a request is safe; for one that was known, until that is so of the one that came
    /// first. Dropping the future leaves it unsettled.
    pub(super) async fn settle(
        &self,
        id: &MinionId,
        delivery: Delivery,
        fired: Option<Range<Seq>>,
    ) {
        let Some(fired) = fired else {
            return self.is_settled(id, delivery).await;
        };
        if let Err(error) = self.sync().await {
            self.complain(&error);
        }
        if let Some(durable) = self.durable.get().filter(|_| !fired.is_empty()) {
            durable(fired).await;
        }
        {
            let mut state = self.state();
            let boot = state.boot(id, delivery.boot);
            boot.settled = boot.settled.max(delivery.last);
        }
        self.settled.notify_waiters();
    }

    async fn is_settled(&self, id: &MinionId, delivery: Delivery) {
        loop {
            let settled = self.settled.notified();
            let mut settled = std::pin::pin!(settled);
            settled.as_mut().enable();
            let is_settled = {
                let state = self.state();
                let boots = state.minions.get(id).into_iter().flatten();
                let mut boots = boots.filter(|boot| boot.boot == delivery.boot);
                boots.all(|boot| boot.settled >= delivery.last.min(boot.fired))
            };
            if is_settled {
                return;
            }
            settled.await;
        }
    }

    /// Has every line that is written now on the disk. All who wait at a moment share one sync.
    async fn sync(&self) -> io::Result<()> {
        let wanted = self.state().lines;
        let mut synced = self.synced.lock().await;
        if *synced >= wanted {
            return Ok(());
        }
        let (file, lines) = {
            let state = self.state();
            (state.file.clone(), state.lines)
        };
        if let Some(file) = file {
            let done = spawn_blocking(move || file.sync_data()).await;
            done.unwrap_or(Ok(()))?;
        }
        *synced = lines;
        Ok(())
    }

    /// A new file with what still counts.
    fn rewrite(&self, state: &mut State, log: Option<LogId>) {
        let mut text = header(log);
        for (id, boots) in &state.minions {
            for boot in boots {
                let line = Line {
                    boot: boot.boot,
                    last: boot.fired,
                    seq: boot.seq,
                    id: id.clone(),
                };
                text.push_str(&line.to_text());
            }
        }
        self.replace(state, &text);
    }

    fn replace(&self, state: &mut State, text: &str) {
        match replace(&self.path, text) {
            Ok(file) => {
                state.file = Some(Arc::new(file));
                state.bytes = text.len();
            }
            Err(error) => self.complain(&error),
        }
    }

    fn complain(&self, error: &io::Error) {
        tracing::error!(%error, path = %self.path.display(), "cannot record what minions have delivered; after a restart, events may be fired twice");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in what counts of a file: what the history holds, which goes up to `stored`.
    fn take_in_all(&mut self, entries: Vec<Entry>, stored: Seq, held: &dyn Fn(&str, Seq) -> u64) {
        self.minions.clear();
        let mut open: Vec<Intent> = Vec::new();
        for entry in entries {
            match entry {
                Entry::Intended(intent) => open.push(intent),
                Entry::Fired(line) => {
                    let is_done = |intent: &Intent| {
                        (&intent.id, intent.boot) == (&line.id, line.boot)
                            && intent.last <= line.last
                    };
                    open.retain(|intent| !is_done(intent));
                    if line.seq <= stored {
                        self.take_in(&line);
                    }
                }
            }
        }
        for intent in open {
            let count = held(intent.id.as_str(), intent.from);
            if let Some(last) = (intent.first + count).checked_sub(1).filter(|_| count > 0) {
                self.take_in(&Line {
                    boot: intent.boot,
                    last: last.min(intent.last),
                    seq: stored,
                    id: intent.id,
                });
            }
        }
    }

    fn take_in(&mut self, line: &Line) {
        let boot = self.boot(&line.id, line.boot);
        boot.fired = boot.fired.max(line.last);
        boot.settled = boot.fired;
        boot.seq = boot.seq.max(line.seq);
    }

    /// A boot; one that is new is the newest of its minion.
    fn boot(&mut self, id: &MinionId, boot: u64) -> &mut Boot {
        let boots = self.minions.entry(id.clone()).or_default();
        let at = match boots.iter().position(|known| known.boot == boot) {
            Some(at) => at,
            None => {
                if boots.len() == BOOTS {
                    boots.remove(0);
                }
                boots.push(Boot {
                    boot,
                    fired: 0,
                    seq: Seq(0),
                    settled: 0,
                });
                boots.len() - 1
            }
        };
        &mut boots[at]
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        self.lines += 1;
        self.bytes += text.len();
        match self.file.as_deref() {
            Some(mut file) => file.write_all(text.as_bytes()),
            None => Ok(()),
        }
    }

    /// About what the file takes at least, in bytes.
    fn live_bytes(&self) -> usize {
        const LINE_BYTES: usize = 64;
        self.minions.values().map(Vec::len).sum::<usize>() * LINE_BYTES
    }
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    boot: u64,
    /// The minion's number, and the bus's of the last event with it.
    last: u64,
    seq: Seq,
    id: MinionId,
}

impl Line {
    fn to_text(&self) -> String {
        let mut text = String::new();
        let Self {
            boot,
            last,
            seq,
            id,
        } = self;
        let _ = writeln!(text, "{boot:x} {last} {seq} {id}"); // into memory
        text
    }

    /// Only complete lines count, not one that a crash has torn.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.strip_suffix('\n')?.splitn(4, ' ');
        Some(Self {
            boot: u64::from_str_radix(words.next()?, 16).ok()?,
            last: words.next()?.parse().ok()?,
            seq: Seq(words.next()?.parse().ok()?),
            id: MinionId::parse(words.next()?).ok()?,
        })
    }
}

/// A line of the file that is written before a request is fired.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Intent {
    boot: u64,
    /// The minion's numbers, and the bus's from which on it has them.
    first: u64,
    last: u64,
    from: Seq,
    id: MinionId,
}

impl Intent {
    fn to_text(&self) -> String {
        let mut text = String::new();
        let Self {
            boot,
            first,
            last,
            from,
            id,
        } = self;
        let _ = writeln!(text, "+ {boot:x} {first} {last} {from} {id}"); // into memory
        text
    }

    fn parse(line: &str) -> Option<Self> {
        let line = line.strip_prefix("+ ")?.strip_suffix('\n')?;
        let mut words = line.splitn(5, ' ');
        Some(Self {
            boot: u64::from_str_radix(words.next()?, 16).ok()?,
            first: words.next()?.parse().ok()?,
            last: words.next()?.parse().ok()?,
            from: Seq(words.next()?.parse().ok()?),
            id: MinionId::parse(words.next()?).ok()?,
        })
    }
}

enum Entry {
    Intended(Intent),
    Fired(Line),
}

impl Entry {
    fn parse(line: &str) -> Option<Self> {
        let intent = Intent::parse(line).map(Self::Intended);
        intent.or_else(|| Line::parse(line).map(Self::Fired))
    }
}

fn entries(path: &Path) -> Vec<Entry> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    text.split_inclusive('\n')
        .filter_map(Entry::parse)
        .collect()
}

/// The first line of a file: the log whose numbers it has.
fn header(log: Option<LogId>) -> String {
    log.map_or_else(String::new, |log| format!("log {log}\n"))
}

/// The log whose numbers a file has.
fn log_of(path: &Path) -> Option<LogId> {
    let text = fs::read(path).ok()?;
    let first = text.split(|byte| *byte == b'\n').next()?;
    str::from_utf8(first)
        .ok()?
        .strip_prefix("log ")?
        .parse()
        .ok()
}

/// A new file in the place of an old one.
fn replace(path: &Path, text: &str) -> io::Result<File> {
    let beside = path.with_extension("new");
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId(7);

    fn id() -> MinionId {
        MinionId::parse("m1").unwrap()
    }

    const fn delivery(boot: u64, first: u64, last: u64) -> Delivery {
        Delivery { boot, first, last }
    }

    fn durable() -> Durable {
        Arc::new(|_| Box::pin(std::future::ready(())))
    }

    const fn stored(seq: u64) -> Position {
        Position {
            log: LOG,
            seq: Seq(seq),
        }
    }

    /// Takes a request whose last event gets this number.
    async fn take(deliveries: &Deliveries, delivery: Delivery, seq: u64) -> Begun {
        let begun = deliveries.begin(&id(), delivery, false);
        let fired = Seq(seq)..Seq(seq + 1);
        deliveries.note(&id(), delivery, &fired);
        deliveries.settle(&id(), delivery, Some(fired)).await;
        begun
    }

    #[tokio::test]
    async fn what_came_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Deliveries::open(directory.path(), |_| true);
        let deliveries = open();
        let begun = take(&deliveries, delivery(7, 1, 3), 1).await;
        assert_eq!(begun, Begun::New { known: 0 });
        // Begun and not noted: it comes again.
        deliveries.begin(&id(), delivery(7, 4, 4), false);
        let deliveries = open();
        let begin = |delivery, is_repeated| deliveries.begin(&id(), delivery, is_repeated);
        assert_eq!(begin(delivery(7, 2, 3), true), Begun::Known);
        assert_eq!(begin(delivery(7, 2, 6), true), Begun::New { known: 2 });
        // Another boot starts its own numbers; a request of an unknown boot must not have come before.
        assert_eq!(begin(delivery(8, 1, 1), false), Begun::New { known: 0 });
        assert_eq!(begin(delivery(9, 1, 1), true), Begun::Doubtful);
        assert_eq!(begin(delivery(9, 1, 1), false), Begun::New { known: 0 });
    }

    #[tokio::test]
    async fn what_the_history_has_lost_is_forgotten_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let open = |seq| {
            let deliveries = Deliveries::open(directory.path(), |_| true);
            deliveries.wait_for(durable(), stored(seq), &|_, _| 0);
            deliveries
        };
        let deliveries = open(0);
        take(&deliveries, delivery(1, 1, 1), 10).await;
        take(&deliveries, delivery(2, 1, 1), 12).await;
        take(&deliveries, delivery(1, 2, 2), 13).await;
        // A crash: the history ends with number 11.
        open(11);
        // Another one, by which time numbers have gone beyond what was lost.
        let deliveries = open(1000);
        let begin = |boot, last| deliveries.begin(&id(), delivery(boot, 1, last), false);
        assert_eq!(begin(1, 2), Begun::New { known: 1 });
        assert_eq!(begin(2, 1), Begun::New { known: 0 });
    }

    #[tokio::test]
    async fn what_was_fired_and_not_written_down_is_known_from_the_history() {
        for (held, known) in [(0, 0), (2, 2), (3, 3)] {
            let directory = tempfile::tempdir().unwrap();
            let open = |seq, held: u64| {
                let deliveries = Deliveries::open(directory.path(), |_| true);
                deliveries.wait_for(durable(), stored(seq), &|id, from| {
                    assert_eq!((id, from), ("m1", Seq(11)));
                    held
                });
                deliveries
            };
            let deliveries = open(0, 0);
            deliveries.intend(&id(), delivery(1, 1, 1), 0, Seq(5));
            take(&deliveries, delivery(1, 1, 1), 10).await;
            // Killed before it is noted: two of four are new.
            deliveries.begin(&id(), delivery(1, 1, 4), false);
            deliveries.intend(&id(), delivery(1, 1, 4), 1, Seq(11));
            let deliveries = open(10 + held, held);
            let begun = deliveries.begin(&id(), delivery(1, 2, 4), true);
            let expected = match known {
                3 => Begun::Known,
                known => Begun::New { known },
            };
            assert_eq!(begun, expected);
            // And it stays so.
            let deliveries = open(1000, 0);
            assert_eq!(deliveries.begin(&id(), delivery(1, 2, 4), true), expected);
        }
    }

    #[tokio::test]
    async fn a_new_history_forgets_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let deliveries = Deliveries::open(directory.path(), |_| true);
        deliveries.wait_for(durable(), stored(0), &|_, _| 0);
        take(&deliveries, delivery(1, 1, 1), 10).await;
        let deliveries = Deliveries::open(directory.path(), |_| true);
        let other = Position {
            log: LogId(8),
            seq: Seq(0),
        };
        deliveries.wait_for(durable(), other, &|_, _| 0);
        assert_eq!(
            deliveries.begin(&id(), delivery(1, 1, 1), false),
            Begun::Known
        );
    }

    #[tokio::test]
    async fn whoever_repeats_a_request_waits_until_the_first_is_safe() {
        let directory = tempfile::tempdir().unwrap();
        let deliveries = Arc::new(Deliveries::open(directory.path(), |_| true));
        let (safe, is_safe) = tokio::sync::watch::channel(false);
        let durable: Durable = Arc::new(move |_| {
            let mut is_safe = is_safe.clone();
            Box::pin(async move { drop(is_safe.wait_for(|safe| *safe).await) })
        });
        deliveries.wait_for(durable, stored(0), &|_, _| 0);
        let one = delivery(1, 1, 1);
        deliveries.begin(&id(), one, false);
        assert_eq!(deliveries.begin(&id(), one, true), Begun::Known);
        let settle = |fired| {
            let deliveries = Arc::clone(&deliveries);
            tokio::spawn(async move { deliveries.settle(&id(), one, fired).await })
        };
        let (first, again) = (settle(Some(Seq(1)..Seq(2))), settle(None));
        tokio::task::yield_now().await;
        assert!(!first.is_finished() && !again.is_finished());
        safe.send_replace(true);
        first.await.unwrap();
        again.await.unwrap();
    }

    #[tokio::test]
    async fn memory_and_file_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let deliveries = Deliveries::open(directory.path(), |_| true);
        for boot in 0..20 {
            take(&deliveries, delivery(boot, 1, 1), boot).await;
        }
        assert_eq!(deliveries.state().minions[&id()].len(), BOOTS);
        let count = || entries(&directory.path().join("deliveries")).len();
        assert_eq!(count(), 20);
        let known = Deliveries::open(directory.path(), |_| true);
        known.wait_for(durable(), stored(100), &|_, _| 0);
        assert_eq!(count(), BOOTS);
        // A minion whose key is gone is forgotten.
        Deliveries::open(directory.path(), |_| false);
        assert_eq!(count(), 0);
    }

    #[test]
    fn a_torn_line_is_not_read() {
        assert!(Line::parse("7 3 9 m1\n").is_some());
        for line in [
            "7 3 9 m1",
            "7 3 9\n",
            "x 3 9 m1\n",
            "7 -3 9 m1\n",
            "\n",
            "7 3 9 ../x\n",
        ] {
            assert!(Line::parse(line).is_none(), "{line:?}");
        }
    }
}

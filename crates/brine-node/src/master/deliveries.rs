//! What the master has from its minions already: for each, the last number of the boots it may still send from.
//!
//! A minion of ours keeps a request until it is answered, and sends it again after a crash of either side. It is
//! answered when its events are as safe as this bus makes them ([`Durable`]) and this file knows its number, which is
//! on the disk then. A crash before that lets it come again; what of it the history does not hold is fired. Which
//! number belongs to which request is the minion's to say; a request that says nothing is not looked at here.

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

use brine_log::Seq;
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
/// The file is written anew when it is this large, in bytes, and most of it is of no use any more.
const MIN_REWRITE_BYTES: usize = 4 << 20;

/// What all minions have delivered.
pub(super) struct Deliveries {
    path: PathBuf,
    /// Held for a look or a number.
    state: Mutex<State>,
    /// Held while the file is written and synced; whoever waits for it finds its entry written by another.
    file: Arc<AsyncMutex<Journal>>,
    settled: Notify,
    durable: OnceLock<Durable>,
}

#[derive(Debug, Default)]
struct State {
    minions: HashMap<MinionId, Vec<Boot>>,
    /// Lines to be written, and how many there ever were.
    lines: String,
    added: u64,
}

#[derive(Debug, Clone, Copy)]
struct Boot {
    boot: u64,
    /// Fired up to this number, and safely so.
    fired: u64,
    settled: u64,
}

#[derive(Debug)]
struct Journal {
    file: Option<File>,
    bytes: usize,
    /// How many lines are on the disk.
    written: u64,
}

/// What is to be done with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begun {
    /// So many of its items are known; the others are to be fired, and then settled.
    New {
        /// How many.
        known: u64,
    },
    /// All of them are.
    Known,
}

impl Deliveries {
    /// Reads what an earlier master has written below `cachedir`, of minions whose keys are accepted.
    pub(super) fn open(cachedir: &Path, is_accepted: impl Fn(&MinionId) -> bool) -> Self {
        let path = cachedir.join("deliveries");
        let mut state = State::default();
        for line in fs::read_to_string(&path)
            .unwrap_or_default()
            .split_inclusive('\n')
        {
            if let Some((id, boot, last)) = parse(line)
                && is_accepted(&id)
            {
                let boot = state.boot(&id, boot);
                boot.fired = boot.fired.max(last);
                boot.settled = boot.fired;
            }
        }
        let journal = Journal::create(&path, &state).unwrap_or_else(|error| {
            tracing::error!(%error, path = %path.display(), "cannot keep what minions have delivered; after a restart it may come twice");
            Journal { file: None, bytes: 0, written: 0 }
        });
        Self {
            path,
            state: Mutex::new(state),
            file: Arc::new(AsyncMutex::new(journal)),
            settled: Notify::new(),
            durable: OnceLock::new(),
        }
    }

    /// From now on requests are answered when their events are safe.
    pub(super) fn wait_for(&self, durable: Durable) {
        // A second one would be of the same bus.
        let _ = self.durable.set(durable);
    }

    /// What is new about a request. `is_repeated`: its bytes have come before. Must be followed by
    /// [`Deliveries::settle`].
    pub(super) fn begin(&self, id: &MinionId, delivery: Delivery, is_repeated: bool) -> Begun {
        let mut state = self.state();
        let is_known = state.minions.get(id).is_some_and(|boots| {
            let mut boots = boots.iter();
            boots.any(|boot| boot.boot == delivery.boot)
        });
        if is_repeated && !is_known {
            // Of a boot so long ago that it is forgotten: somebody plays it again.
            return Begun::Known;
        }
        let boot = state.boot(id, delivery.boot);
        let known = (boot.fired + 1).saturating_sub(delivery.first);
        boot.fired = boot.fired.max(delivery.last);
        match known >= delivery.count() {
            true => Begun::Known,
            false => Begun::New { known },
        }
    }

    /// Waits until what was fired of a request is safe, and its number written down; for a request that was known,
    /// until that is so of the first that came. Dropping the future leaves it unsettled.
    pub(super) async fn settle(
        &self,
        id: &MinionId,
        delivery: Delivery,
        fired: Option<Range<Seq>>,
    ) {
        let Some(fired) = fired else {
            return self.is_settled(id, delivery).await;
        };
        if let Some(durable) = self.durable.get() {
            durable(fired).await;
        }
        let line = {
            let mut state = self.state();
            let _ = writeln!(state.lines, "{:x} {} {id}", delivery.boot, delivery.last); // into memory
            state.added += 1;
            state.added
        };
        self.write(line).await;
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

    /// Has everything up to this line on the disk, together with what others have added meanwhile.
    async fn write(&self, line: u64) {
        let mut journal = Arc::clone(&self.file).lock_owned().await;
        if journal.written >= line {
            return;
        }
        let (lines, added, live) = {
            let mut state = self.state();
            let live = state.live_bytes();
            (std::mem::take(&mut state.lines), state.added, live)
        };
        let rewrite = journal.bytes + lines.len() > MIN_REWRITE_BYTES.max(4 * live);
        let snapshot = rewrite.then(|| self.state().to_text());
        let path = self.path.clone();
        let written = spawn_blocking(move || {
            let written = match snapshot {
                Some(text) => Journal::replace(&path, &text).map(|new| *journal = new),
                None => journal.append(lines.as_bytes()),
            };
            journal.written = added;
            written
        });
        if let Ok(Err(error)) = written.await {
            tracing::error!(%error, path = %self.path.display(), "what minions have delivered is not on the disk; after a restart it may come twice");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// A boot, which is now the newest of its minion.
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
                    settled: 0,
                });
                boots.len() - 1
            }
        };
        &mut boots[at]
    }

    /// About what the file takes at least, in bytes.
    fn live_bytes(&self) -> usize {
        const LINE_BYTES: usize = 64;
        self.minions.values().map(Vec::len).sum::<usize>() * LINE_BYTES
    }

    fn to_text(&self) -> String {
        let mut text = String::new();
        for (id, boots) in &self.minions {
            for boot in boots {
                let _ = writeln!(text, "{:x} {} {id}", boot.boot, boot.settled); // into memory
            }
        }
        text
    }
}

/// A whole line.
fn parse(line: &str) -> Option<(MinionId, u64, u64)> {
    let mut words = line.strip_suffix('\n')?.splitn(3, ' ');
    let boot = u64::from_str_radix(words.next()?, 16).ok()?;
    let last = words.next()?.parse().ok()?;
    Some((MinionId::parse(words.next()?).ok()?, boot, last))
}

impl Journal {
    fn create(path: &Path, state: &State) -> io::Result<Self> {
        Self::replace(path, &state.to_text())
    }

    /// A new file in the place of the old one.
    fn replace(path: &Path, text: &str) -> io::Result<Self> {
        let beside = path.with_extension("new");
        let mut options = File::options();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        Ok(Self {
            file: Some(file),
            bytes: text.len(),
            written: 0,
        })
    }

    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        file.write_all(lines)?;
        self.bytes += lines.len();
        file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> MinionId {
        MinionId::parse("m1").unwrap()
    }

    const fn delivery(boot: u64, first: u64, last: u64) -> Delivery {
        Delivery { boot, first, last }
    }

    const SEQS: Range<Seq> = Seq(1)..Seq(2);

    #[tokio::test]
    async fn what_came_is_known_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let open = || Deliveries::open(directory.path(), |_| true);
        let deliveries = open();
        assert_eq!(
            deliveries.begin(&id(), delivery(7, 1, 3), false),
            Begun::New { known: 0 }
        );
        deliveries
            .settle(&id(), delivery(7, 1, 3), Some(SEQS))
            .await;
        // Begun and not settled: it comes again.
        deliveries.begin(&id(), delivery(7, 4, 4), false);
        let deliveries = open();
        assert_eq!(
            deliveries.begin(&id(), delivery(7, 2, 3), true),
            Begun::Known
        );
        assert_eq!(
            deliveries.begin(&id(), delivery(7, 2, 6), true),
            Begun::New { known: 2 }
        );
        // Another boot begins anew, and of one that nobody knows a repeated request is not new.
        assert_eq!(
            deliveries.begin(&id(), delivery(8, 1, 1), false),
            Begun::New { known: 0 }
        );
        assert_eq!(
            deliveries.begin(&id(), delivery(9, 1, 1), true),
            Begun::Known
        );
    }

    #[tokio::test]
    async fn whoever_repeats_a_request_waits_until_the_first_is_safe() {
        let directory = tempfile::tempdir().unwrap();
        let deliveries = Arc::new(Deliveries::open(directory.path(), |_| true));
        let (safe, is_safe) = tokio::sync::watch::channel(false);
        deliveries.wait_for(Arc::new(move |_| {
            let mut is_safe = is_safe.clone();
            Box::pin(async move { drop(is_safe.wait_for(|safe| *safe).await) })
        }));
        let one = delivery(1, 1, 1);
        deliveries.begin(&id(), one, false);
        assert_eq!(deliveries.begin(&id(), one, true), Begun::Known);
        let settle = |fired| {
            let deliveries = Arc::clone(&deliveries);
            tokio::spawn(async move { deliveries.settle(&id(), one, fired).await })
        };
        let (first, again) = (settle(Some(SEQS)), settle(None));
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
            deliveries.begin(&id(), delivery(boot, 1, 1), false);
            deliveries
                .settle(&id(), delivery(boot, 1, 1), Some(SEQS))
                .await;
        }
        assert_eq!(deliveries.state().minions[&id()].len(), BOOTS);
        let lines = || {
            fs::read_to_string(directory.path().join("deliveries"))
                .unwrap()
                .lines()
                .count()
        };
        assert_eq!(lines(), 20);
        Deliveries::open(directory.path(), |_| true);
        assert_eq!(lines(), BOOTS);
        // A minion whose key is gone is forgotten.
        Deliveries::open(directory.path(), |_| false);
        assert_eq!(lines(), 0);
    }

    #[test]
    fn a_torn_line_is_not_read() {
        assert!(parse("7 3 m1\n").is_some());
        for line in [
            "7 3 m1",
            "7 3\n",
            "x 3 m1\n",
            "7 -3 m1\n",
            "\n",
            "7 3 ../x\n",
        ] {
            assert!(parse(line).is_none(), "{line:?}");
        }
    }
}

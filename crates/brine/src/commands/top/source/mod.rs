//! Where events come from: a Brine bus, a Salt bus, the bus of another machine, or a file.
//!
//! Each has a thread that reads it and passes on batches through a limited channel: when the screen cannot keep up,
//! the thread waits and the bus's log holds the events. A second thread asks for status and reads older events from
//! history.

mod bus;
mod file;

pub(super) use self::bus::BUS_AWAY;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, fchown};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel,
};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;
use brine_view::site::{Gap, Row};
use brine_view::text::counted;
use brine_wire::Map;

use super::app::{App, Link, Wish};
use crate::bus_location::BusLocation;
use crate::clock;
use crate::commands::late::StopWatch;
use crate::commands::local_events;
use crate::remote::{Kind, Remote};

/// What a source gives.
#[derive(Debug)]
pub(super) enum Item {
    /// An event.
    Event {
        tag: String,
        data: Vec<u8>,
        at: u64,
        seq: u64,
    },
    Gap(Gap),
    Link(Link),
    Status {
        status: Option<Map>,
        consumers: Vec<Map>,
    },
    /// Older events, oldest first.
    Past(Vec<Row>),
    /// One event that was asked for.
    One {
        tag: String,
        data: Option<Map>,
        at: u64,
        seq: u64,
    },
    /// Something to say to the user.
    Message(String),
    /// Nothing will come, and why.
    Refused(String),
}

/// Events are passed on in batches of at most this many …
const BATCH: usize = 512;
/// … of which at most this many wait.
const BATCHES: usize = 16;
/// So many wishes wait at most.
const WISHES: usize = 16;
/// The time between two questions for the status.
const STATUS_EVERY: Duration = Duration::from_secs(2);
/// How long a thread waits at most before it looks whether it is to end.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many older events are read at a time.
const PAGE: u64 = 500;

/// A source that runs; its threads end when it is dropped.
pub(super) struct Source {
    /// What people call it.
    pub(super) name: String,
    pub(super) is_recording: bool,
    batches: Receiver<Vec<Item>>,
    wishes: SyncSender<Wish>,
    stop: Arc<AtomicBool>,
    /// What is read over its API, if not this machine's.
    remote: Option<Remote>,
}

impl Source {
    /// A local bus: Brine's own socket, or Salt's where there is none.
    pub(super) fn bus(location: &BusLocation, last: u64) -> anyhow::Result<Self> {
        let name = location.address.publish().to_string();
        let is_ours = local_events::connect_unless_salts(location)?.is_some();
        let local = location.local_address().filter(|_| is_ours);
        let (source, out, wishes) = Self::new(name, false);
        match local {
            Some(local) => {
                let (address, mut asks) = (local.clone(), out.clone());
                let stop_watch = StopWatch::new(location.address.clone());
                thread::spawn(move || {
                    bus::read_local(local, last, None, Some(stop_watch), &mut Out::new(out));
                });
                thread::spawn(move || {
                    serve(&wishes, &mut asks, &mut bus::Local::new(address));
                });
            }
            None => {
                let (address, mut asks) = (location.address.clone(), out.clone());
                let is_closed = local_events::connect(location.local_address()).err();
                thread::spawn(move || {
                    bus::read_salts(&address, is_closed.as_ref(), &mut Out::new(out));
                });
                thread::spawn(move || serve(&wishes, &mut asks, &mut Nothing));
            }
        }
        Ok(source)
    }

    /// The bus of another machine.
    pub(super) fn remote(remote: Remote, last: u64) -> Self {
        let (mut source, out, wishes) = Self::new(remote.name.clone(), false);
        let (address, trouble) = (remote.address(), remote.trouble());
        let last = match remote.kind {
            Kind::Brine => last,
            Kind::Salt => 0,
        };
        let (events, mut asks) = (address.clone(), out.clone());
        thread::spawn(move || {
            bus::read_local(events, last, Some(&trouble), None, &mut Out::new(out));
        });
        thread::spawn(move || serve(&wishes, &mut asks, &mut bus::Local::new(address)));
        source.remote = Some(remote);
        source
    }

    /// A file of events.
    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        let file = file::open(path)?;
        let (source, out, wishes) = Self::new(path.display().to_string(), true);
        let mut asks = out.clone();
        thread::spawn(move || file::read(file, &mut Out::new(out)));
        thread::spawn(move || serve(&wishes, &mut asks, &mut Nothing));
        Ok(source)
    }

    fn new(name: String, is_recording: bool) -> (Self, Sending, Receiver<Wish>) {
        let (batch_sender, batches) = sync_channel(BATCHES);
        let (wishes, wish_receiver) = sync_channel(WISHES);
        let stop = Arc::new(AtomicBool::new(false));
        let sending = Sending {
            batches: batch_sender,
            stop: Arc::clone(&stop),
        };
        (
            Self {
                name,
                is_recording,
                batches,
                wishes,
                stop,
                remote: None,
            },
            sending,
            wish_receiver,
        )
    }

    /// Gives the app what has come, for as long as a picture may wait; whether there was anything.
    pub(super) fn drain(&self, app: &mut App) -> anyhow::Result<bool> {
        const TIME: Duration = Duration::from_millis(50);
        let began = Instant::now();
        let mut is_changed = false;
        while began.elapsed() < TIME {
            match self.batches.try_recv() {
                Ok(batch) => batch.into_iter().for_each(|item| app.take(item)),
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => bail!("the reader of events ended"),
            }
            is_changed = true;
        }
        Ok(is_changed)
    }

    /// Has something done; gives the wish back if many wait already, as when the bus does not answer.
    pub(super) fn ask(&self, wish: Wish) -> Result<(), Wish> {
        self.wishes.try_send(wish).map_err(|error| match error {
            TrySendError::Full(wish) | TrySendError::Disconnected(wish) => wish,
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Where a thread passes on what it has.
#[derive(Debug, Clone)]
struct Sending {
    batches: SyncSender<Vec<Item>>,
    stop: Arc<AtomicBool>,
}

/// The user has seen enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Over;

impl Sending {
    /// Hands over, and waits for room.
    fn send(&self, batch: Vec<Item>) -> Result<(), Over> {
        let mut batch = batch;
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Over);
            }
            match self.batches.try_send(batch) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Disconnected(_)) => return Err(Over),
                Err(TrySendError::Full(back)) => batch = back,
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Gathers items into batches.
struct Out {
    sending: Sending,
    batch: Vec<Item>,
}

impl Out {
    const fn new(sending: Sending) -> Self {
        Self {
            sending,
            batch: Vec::new(),
        }
    }

    fn push(&mut self, item: Item) -> Result<(), Over> {
        self.batch.push(item);
        if self.batch.len() >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Hands over what there is; also the place to notice the end.
    fn flush(&mut self) -> Result<(), Over> {
        match self.batch.is_empty() {
            true if self.sending.stop.load(Ordering::Relaxed) => Err(Over),
            true => Ok(()),
            false => self.sending.send(std::mem::take(&mut self.batch)),
        }
    }

    /// Waits; also notices the end.
    fn pause(&mut self, time: Duration) -> Result<(), Over> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.flush()?;
            thread::sleep(LOOK_EVERY.min(until.saturating_duration_since(Instant::now())));
        }
        Ok(())
    }

    /// Says whether events come.
    fn link(&mut self, link: Link) -> Result<(), Over> {
        self.push(Item::Link(link))?;
        self.flush()
    }
}

/// What a source can be asked for, besides live events.
trait Questions {
    /// What runs, and the consumers.
    fn status(&mut self) -> Option<(Map, Vec<Map>)>;
    /// Events before a number, oldest first.
    fn before(&mut self, seq: u64, count: u64) -> Vec<Row>;
    /// One event.
    fn one(&mut self, seq: u64) -> Option<(String, Option<Map>, u64)>;
}

/// A source without answers.
struct Nothing;

impl Questions for Nothing {
    fn status(&mut self) -> Option<(Map, Vec<Map>)> {
        None
    }

    fn before(&mut self, _: u64, _: u64) -> Vec<Row> {
        Vec::new()
    }

    fn one(&mut self, _: u64) -> Option<(String, Option<Map>, u64)> {
        None
    }
}

/// Answers until the user has seen enough.
fn serve(wishes: &Receiver<Wish>, out: &mut Sending, source: &mut dyn Questions) {
    let mut next_status = Instant::now();
    loop {
        let wait = next_status.saturating_duration_since(Instant::now());
        let answer = match wishes.recv_timeout(wait) {
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                next_status = Instant::now() + STATUS_EVERY;
                match source.status() {
                    Some((status, consumers)) => Item::Status {
                        status: Some(status),
                        consumers,
                    },
                    None => continue,
                }
            }
            Ok(Wish::Before { seq }) => Item::Past(source.before(seq, PAGE)),
            Ok(Wish::One { seq }) => match source.one(seq) {
                Some((tag, data, at)) => Item::One { tag, data, at, seq },
                None => Item::Message("that event is not kept any more".to_owned()),
            },
        };
        if out.send(vec![answer]) == Err(Over) {
            return;
        }
    }
}

/// Writes lines to a new file in the current directory; returns what to tell the user. Returns may hold secrets, so
/// nobody else may read it; under sudo it belongs to the user whose terminal this is. On a full disk, no part of it is
/// left.
pub(super) fn save(lines: &str) -> String {
    let name = format!("brine-top-{}.ndjson", clock::since_epoch().as_secs());
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&name);
    let mut file = match file {
        Ok(file) => file,
        Err(error) => return format!("{name}: {error}"),
    };
    if let Err(error) = file
        .write_all(lines.as_bytes())
        .and_then(|()| file.sync_data())
    {
        let _ = fs::remove_file(&name); // the disk is full or broken, which the user is told
        return format!("{name}: {error}");
    }
    let id = |name: &str| std::env::var(name).ok()?.parse().ok();
    if let (Some(user), Some(group)) = (id("SUDO_UID"), id("SUDO_GID")) {
        let _ = fchown(&file, Some(user), Some(group)); // it stays root's
    }
    format!(
        "{} written to {name}",
        counted(lines.lines().count(), "event")
    )
}

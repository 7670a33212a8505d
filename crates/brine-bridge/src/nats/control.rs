//! What masters tell each other beside events: that they are there, which minions they have, and jobs.
//!
//! These are messages of the moment, without a stream: a job that a master was not there to hear is not published by it
//! later. Each master says every second that it is alive; those that do are waited for when a job is passed on. With a
//! secret that all masters share, every message carries a code made with it, and without one no job is passed on or
//! taken: whoever may write to NATS could otherwise run commands on every minion.

use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{Client, HeaderMap, Message};
use brine_wire::{Map, Value, msgpack, nats_subject};
use futures_util::StreamExt as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::connect::{Link, Unavailable};
use super::options::{Connection, StreamOptions};

/// How often a master says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// After so long without a word it is not waited for any more.
const ALIVE: Duration = Duration::from_millis(3500);
/// All minions are told at least every so many beats, for those who missed it.
const FULL_BEATS: u64 = 10;
/// How long masters may take to answer a job.
const ANSWER: Duration = Duration::from_secs(1);
/// How far clocks may differ, and how old a message may be.
const WINDOW: Duration = Duration::from_secs(30);
/// Messages of that time that are remembered, so that none is acted on twice.
const KNOWN: usize = 16_384;
/// Jobs that wait to be passed on.
const WAITING: usize = 64;
/// Jobs of others that are published at the same time.
const AT_ONCE: usize = 64;
/// The code of a message, made with the secret.
const CODE: &str = "Brine-Code";

/// Publishes a job that another master has passed on; gives the answer.
pub type OnJob =
    Arc<dyn Fn(String, Vec<u8>) -> Pin<Box<dyn Future<Output = Vec<u8>> + Send>> + Send + Sync>;
/// The ids of the minions that are connected here.
pub type Present = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// What is needed to talk to other masters.
#[derive(Clone)]
pub struct ControlOptions {
    /// How to reach NATS.
    pub connection: Connection,
    /// Where the subjects begin.
    pub stream: StreamOptions,
    /// The own master's id.
    pub master: String,
    /// A number that tells this master from another with the same id.
    pub instance: u64,
    /// What all masters share.
    pub secret: Option<String>,
}

/// The other masters, as this one knows them; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<PassedOn>,
}

/// The task behind [`Peers`].
pub struct Control {
    options: ControlOptions,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<PassedOn>,
    on_job: OnJob,
    present: Present,
}

/// One master, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its id.
    pub master: String,
    /// It was heard in the last seconds.
    pub is_alive: bool,
    /// How many minions are connected to it.
    pub minions: usize,
}

struct Shared {
    has_secret: bool,
    /// Held for a look or a change.
    peers: Mutex<HashMap<String, Peer>>,
    known: Mutex<Known>,
}

struct Peer {
    instance: u64,
    seen: Instant,
    present: Vec<String>,
}

#[derive(Default)]
struct Known {
    order: VecDeque<(String, u64)>,
    ids: std::collections::HashSet<(String, u64)>,
}

struct PassedOn {
    job: Vec<u8>,
    answers: oneshot::Sender<Vec<(String, Vec<u8>)>>,
}

impl Peers {
    /// Has the other masters that are alive publish a job to their minions; their answers, as far as they come within a
    /// second. Blocks: not for a thread that others wait for.
    #[must_use]
    pub fn publish(&self, job: Vec<u8>) -> Vec<(String, Vec<u8>)> {
        if !self.shared.has_secret || self.shared.alive().is_empty() {
            return Vec::new();
        }
        let (answers, answered) = oneshot::channel();
        let passed_on = PassedOn { job, answers };
        match self.jobs.blocking_send(passed_on) {
            Ok(()) => answered.blocking_recv().unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    /// The ids of the minions that are connected to other masters that are alive.
    #[must_use]
    pub fn present(&self) -> Vec<String> {
        let peers = self.shared.peers();
        let alive = peers.values().filter(|peer| peer.is_alive());
        let mut present: Vec<_> = alive
            .flat_map(|peer| peer.present.iter().cloned())
            .collect();
        present.sort_unstable();
        present.dedup();
        present
    }

    /// The other masters that were heard since this one started, by id.
    #[must_use]
    pub fn status(&self) -> Vec<PeerStatus> {
        let peers = self.shared.peers();
        let mut status: Vec<_> = (peers.iter())
            .map(|(master, peer)| PeerStatus {
                master: master.clone(),
                is_alive: peer.is_alive(),
                minions: peer.present.len(),
            })
            .collect();
        status.sort_by(|a, b| a.master.cmp(&b.master));
        status
    }
}

impl Control {
    /// The task, and what others hold of it.
    #[must_use]
    pub fn new(options: ControlOptions, on_job: OnJob, present: Present) -> (Self, Peers) {
        let (sender, jobs) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            has_secret: options.secret.is_some(),
            peers: Mutex::default(),
            known: Mutex::default(),
        });
        let peers = Peers {
            shared: Arc::clone(&shared),
            jobs: sender,
        };
        let control = Self {
            options,
            shared,
            jobs,
            on_job,
            present,
        };
        (control, peers)
    }

    /// Talks to the other masters until `closing`.
    pub async fn run(mut self, closing: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let mut closed = closing.clone();
            let ended = tokio::select! {
                ended = self.session() => ended,
                _ = closed.wait_for(|is_closing| *is_closing) => return,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "not connected to other masters");
            }
            let was_connected = !self.shared.peers().is_empty();
            self.shared.peers().clear();
            if was_connected {
                failures = 0;
            }
            let pause = sleep(Duration::from_millis(250 << failures.min(4)));
            failures += 1;
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    // Nobody is there to answer.
                    Some(passed_on) = self.jobs.recv() => drop(passed_on),
                    _ = closed.wait_for(|is_closing| *is_closing) => return,
                }
            }
        }
    }

    async fn session(&mut self) -> Result<(), Unavailable> {
        let name = format!("brine {}", self.options.master);
        let link = Link::open(&self.options.connection, &name).await?;
        let prefix = self.options.stream.control();
        let failed = |error| Unavailable::new("cannot subscribe", error);
        let subscribe = async |kind: &str| {
            let subject = format!("{prefix}.{kind}.*");
            link.client.subscribe(subject).await.map_err(failed)
        };
        let mut beats = subscribe("alive").await?;
        let mut jobs = subscribe("job").await?;
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Told::default();
        let mut tasks = JoinSet::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => self.beat(&link.client, &mut told).await?,
                Some(beat) = beats.next() => {
                    if self.heard(&beat) {
                        // One that is new knows nothing of our minions.
                        told.is_due = true;
                    }
                }
                Some(message) = jobs.next() => self.take_job(&link.client, message, &mut tasks),
                Some(passed_on) = self.jobs.recv() => self.pass_on(&link.client, passed_on, &mut tasks),
                Some(_) = tasks.join_next() => {}
                () = link.lost() => return Err(Unavailable("the connection to NATS was lost".to_owned())),
            }
        }
    }

    /// Says that this master is there, and which minions it has if that is new.
    async fn beat(&self, client: &Client, told: &mut Told) -> Result<(), Unavailable> {
        let present = (self.present)();
        let is_full = told.is_due || told.beats % FULL_BEATS == 0 || told.present != present;
        let mut body = self.body();
        if is_full {
            let ids = present.iter().map(|id| Value::from(id.as_str()));
            body.insert("present", Value::Array(ids.collect()));
            told.present = present;
        }
        told.beats += 1;
        told.is_due = false;
        let own = nats_subject::name_word(&self.options.master);
        let subject = format!("{}.alive.{own}", self.options.stream.control());
        let (headers, payload) = self.options.sealed(&subject, body);
        let sent = client
            .publish_with_headers(subject, headers, payload.into())
            .await;
        sent.map_err(|error| Unavailable::new("cannot publish", error))
    }

    /// Another master is there; whether it is a new one.
    fn heard(&self, message: &Message) -> bool {
        let Some((from, body)) = self.options.opened(message) else {
            return false;
        };
        if !is_from(message, &from) {
            return false;
        }
        let instance = number(&body, "instance").unwrap_or_default();
        if from == self.options.master {
            if instance != self.options.instance {
                tracing::error!(
                    master = from,
                    "another master has the same id: each takes the other's events for its own; set option id"
                );
            }
            return false;
        }
        let present = match body.get("present") {
            Some(Value::Array(ids)) => {
                Some(ids.iter().filter_map(Value::as_str).map(str::to_owned))
            }
            _ => None,
        };
        let mut peers = self.shared.peers();
        let is_new = peers
            .get(&from)
            .is_none_or(|peer| peer.instance != instance);
        if is_new {
            tracing::info!(master = from, "another master is there");
        }
        let peer = peers.entry(from).or_insert_with(|| Peer {
            instance,
            seen: Instant::now(),
            present: Vec::new(),
        });
        peer.instance = instance;
        peer.seen = Instant::now();
        if let Some(present) = present {
            peer.present = present.collect();
        }
        is_new
    }

    /// Publishes a job of another master to our own minions, and answers.
    fn take_job(&self, client: &Client, message: Message, tasks: &mut JoinSet<()>) {
        let Some((from, body)) = self.options.opened(&message) else {
            return;
        };
        let (Some(reply), Some(id)) = (message.reply.clone(), number(&body, "id")) else {
            return;
        };
        let Some(Value::Bin(job)) = body.get("job") else {
            return;
        };
        if from == self.options.master || self.options.secret.is_none() || !is_from(&message, &from)
        {
            return;
        }
        if !self.shared.is_first(&from, id) {
            tracing::warn!(master = from, "a job came a second time and is left out");
            return;
        }
        if tasks.len() >= AT_ONCE {
            tracing::error!(
                master = from,
                "job not published: too many of other masters at once"
            );
            return;
        }
        let answer = (self.on_job)(from, job.clone());
        let (client, options, mut body) = (client.clone(), self.options.clone(), self.body());
        tasks.spawn(async move {
            body.insert("id", Value::Int(id.into()));
            body.insert("answer", Value::Bin(answer.await));
            let (headers, payload) = options.sealed(&reply, body);
            let sent = client.publish_with_headers(reply, headers, payload.into());
            if let Err(error) = sent.await {
                tracing::warn!(%error, "another master's job is published, but the answer is lost");
            }
        });
    }

    /// Passes a job on to the others.
    fn pass_on(&self, client: &Client, passed_on: PassedOn, tasks: &mut JoinSet<()>) {
        let mut waiting = self.shared.alive();
        let (client, options, mut body) = (client.clone(), self.options.clone(), self.body());
        let PassedOn { job, answers } = passed_on;
        tasks.spawn(async move {
            let until = Instant::now() + ANSWER;
            let id = random();
            body.insert("id", Value::Int(id.into()));
            body.insert("job", Value::Bin(job));
            let inbox = client.new_inbox();
            let Ok(mut subscriber) = client.subscribe(inbox.clone()).await else {
                return;
            };
            let own = nats_subject::name_word(&options.master);
            let subject = format!("{}.job.{own}", options.stream.control());
            let (headers, payload) = options.sealed(&subject, body);
            let sent = client
                .publish_with_reply_and_headers(subject, inbox, headers, payload.into())
                .await;
            if sent.is_err() {
                return;
            }
            let mut answered = Vec::new();
            while !waiting.is_empty() {
                let Ok(Some(message)) = timeout_at(until, subscriber.next()).await else {
                    tracing::warn!(
                        masters = waiting.join(", "),
                        "masters did not answer a job in time"
                    );
                    break;
                };
                let Some((from, body)) = options.opened(&message) else {
                    continue;
                };
                let is_ours = number(&body, "id") == Some(id);
                if let Some(Value::Bin(answer)) = body.get("answer").filter(|_| is_ours)
                    && let Some(at) = waiting.iter().position(|master| *master == from)
                {
                    waiting.swap_remove(at);
                    answered.push((from, answer.clone()));
                }
            }
            let _ = answers.send(answered); // whoever asked may have gone
        });
    }

    fn body(&self) -> Map {
        let mut body = Map::new();
        body.insert("from", self.options.master.as_str());
        body.insert("instance", Value::Int(self.options.instance.into()));
        let at = i128::try_from(since_epoch().as_millis()).unwrap_or(i128::MAX);
        body.insert("at", Value::Int(at));
        body
    }
}

/// What was told of our minions.
#[derive(Default)]
struct Told {
    beats: u64,
    present: Vec<String>,
    is_due: bool,
}

impl ControlOptions {
    /// A message, and its code.
    fn sealed(&self, subject: &str, body: Map) -> (HeaderMap, Vec<u8>) {
        let mut payload = Vec::new();
        msgpack::encode_map(&body, &mut payload);
        let mut headers = HeaderMap::new();
        if let Some(code) = self.code(subject, &payload) {
            headers.insert(CODE, hex(&code.finalize().into_bytes()));
        }
        (headers, payload)
    }

    /// A message of another master, if it is one and of now; who says so.
    fn opened(&self, message: &Message) -> Option<(String, Map)> {
        let code = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(CODE));
        if let Some(own) = self.code(&message.subject, &message.payload) {
            let code = code
                .and_then(|code| unhex(code.as_str()))
                .unwrap_or_default();
            // Compares in constant time.
            if own.verify_slice(&code).is_err() {
                tracing::warn!(
                    subject = %message.subject,
                    "a message that was not made with the secret is left out: do all masters have the same?"
                );
                return None;
            }
        }
        let Ok(Value::Map(body)) = msgpack::decode(&message.payload) else {
            return None;
        };
        let from = body.get("from").and_then(Value::as_str)?.to_owned();
        let at = Duration::from_millis(number(&body, "at")?);
        if at.abs_diff(since_epoch()) > WINDOW {
            tracing::warn!(
                master = from,
                "a message of another master is older than {} s and left out: do the clocks agree?",
                WINDOW.as_secs()
            );
            return None;
        }
        Some((from, body))
    }

    fn code(&self, subject: &str, payload: &[u8]) -> Option<Hmac<Sha256>> {
        let secret = self.secret.as_ref()?;
        let mut code = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        code.update(subject.as_bytes());
        code.update(b"\n");
        code.update(payload);
        Some(code)
    }
}

impl Shared {
    /// The masters that are waited for.
    fn alive(&self) -> Vec<String> {
        let peers = self.peers();
        let alive = peers.iter().filter(|(_, peer)| peer.is_alive());
        alive.map(|(master, _)| master.clone()).collect()
    }

    /// Whether a message has not come before.
    fn is_first(&self, from: &str, id: u64) -> bool {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let message = (from.to_owned(), id);
        if !known.ids.insert(message.clone()) {
            return false;
        }
        known.order.push_back(message);
        if known.order.len() > KNOWN
            && let Some(oldest) = known.order.pop_front()
        {
            known.ids.remove(&oldest);
        }
        true
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<String, Peer>> {
        // Held for a few instructions; what it guards is whole after each.
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn is_alive(&self) -> bool {
        self.seen.elapsed() < ALIVE
    }
}

/// Whether a message says that it is of the master whose subject it has: servers can be told who may publish what.
fn is_from(message: &Message, master: &str) -> bool {
    let last = message.subject.rsplit('.').next().unwrap_or_default();
    last == nats_subject::name_word(master)
}

fn number(body: &Map, key: &str) -> Option<u64> {
    u64::try_from(body.get(key)?.as_int()?).ok()
}

fn random() -> u64 {
    // Nobody has to be kept from guessing it: it tells messages apart.
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(since_epoch())
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(secret: Option<&str>) -> ControlOptions {
        ControlOptions {
            connection: Connection::default(),
            stream: StreamOptions::default(),
            master: "m1".to_owned(),
            instance: 7,
            secret: secret.map(str::to_owned),
        }
    }

    fn message(options: &ControlOptions, subject: &str, at: Duration) -> Message {
        let mut body = Map::new();
        body.insert("from", "m2");
        body.insert("at", Value::Int(i128::try_from(at.as_millis()).unwrap()));
        let (headers, payload) = options.sealed(subject, body);
        Message {
            subject: subject.into(),
            reply: None,
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_message_without_the_secret_is_left_out() {
        let (own, other) = (options(Some("a")), options(Some("b")));
        let now = since_epoch();
        let made = message(&own, "salt.cluster.job.m2", now);
        assert_eq!(own.opened(&made).unwrap().0, "m2");
        assert!(other.opened(&made).is_none());
        assert!(
            own.opened(&message(&options(None), "salt.cluster.job.m2", now))
                .is_none()
        );
        // The same words about something else, and changed ones.
        let mut moved = made.clone();
        moved.subject = "salt.cluster.alive.m2".into();
        assert!(own.opened(&moved).is_none());
        let mut changed = made.clone();
        changed.payload = [&*made.payload, b"x"].concat().into();
        assert!(own.opened(&changed).is_none());
    }

    #[test]
    fn an_old_message_is_left_out() {
        let own = options(Some("a"));
        let old = since_epoch().checked_sub(WINDOW * 2).unwrap();
        assert!(own.opened(&message(&own, "s", old)).is_none());
    }

    #[test]
    fn a_job_is_known_the_second_time_and_memory_is_bounded() {
        let (control, peers) = Control::new(
            options(None),
            Arc::new(|_, _| Box::pin(async { Vec::new() })),
            Arc::new(Vec::new),
        );
        assert!(control.shared.is_first("m2", 1) && control.shared.is_first("m3", 1));
        assert!(!control.shared.is_first("m2", 1));
        for id in 0..2 * KNOWN as u64 {
            control.shared.is_first("m4", id);
        }
        let known = control.shared.known.lock().unwrap();
        assert_eq!((known.order.len(), known.ids.len()), (KNOWN, KNOWN));
        drop(known);
        assert!(peers.publish(Vec::new()).is_empty());
    }
}

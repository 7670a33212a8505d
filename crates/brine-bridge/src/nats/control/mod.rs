//! What masters tell each other besides events: that they are alive, which minions they have, and jobs.
//!
//! These messages are not stored in a stream: a master that was down when a job was sent does not publish it later.
//! Each master says every second that it is alive; a master that passes on a job waits for those that do. With a
//! secret that all masters share, every message carries a code made with it. Without a secret, no job is passed on or
//! accepted: anybody who can write to NATS could otherwise run commands on every minion.

mod peers;
mod seal;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message};
use brine_wire::{Map, Value, nats_subject};
use futures_util::StreamExt as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout_at};

use super::connect::{Link, Unavailable};
use peers::{PassedOn, Peer, Shared};
pub use peers::{PeerStatus, Peers};
pub use seal::ControlOptions;
use seal::{is_from, number, since_epoch};

/// How often a master says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// All minions are announced again at least every this many beats, for masters that missed it.
const FULL_BEATS: u64 = 10;
/// How long masters may take to answer a job.
const ANSWER: Duration = Duration::from_secs(1);
/// A master with the id of this one is reported this often at most: it is heard every second.
const NAMESAKE_EVERY: Duration = Duration::from_secs(600);
/// Jobs that wait to be passed on.
const WAITING: usize = 64;
/// Jobs of others that are published at the same time.
const AT_ONCE: usize = 64;

/// Publishes a job that another master has passed on; gives the answer.
pub type OnJob =
    Arc<dyn Fn(String, Vec<u8>) -> Pin<Box<dyn Future<Output = Vec<u8>> + Send>> + Send + Sync>;
/// The ids of the minions that are connected here.
pub type Present = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// The task behind [`Peers`].
pub struct Control {
    options: ControlOptions,
    shared: Arc<Shared>,
    jobs: mpsc::Receiver<PassedOn>,
    on_job: OnJob,
    present: Present,
    /// Another master was heard since the last connection was made.
    was_connected: bool,
    /// When a master with the id of this one was reported.
    namesake_reported: Option<Instant>,
}

impl Control {
    /// The task, and what others hold of it.
    #[must_use]
    pub fn new(options: ControlOptions, on_job: OnJob, present: Present) -> (Self, Peers) {
        let (sender, jobs) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared::new(options.secret.is_some()));
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
            was_connected: false,
            namesake_reported: None,
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
            if std::mem::take(&mut self.was_connected) {
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
                    self.was_connected = true;
                    if self.heard(&beat) {
                        // One that is new knows nothing of our minions.
                        told.is_due = true;
                    }
                }
                Some(message) = jobs.next() => self.take_job(&link.client, &message, &mut tasks),
                Some(passed_on) = self.jobs.recv() => self.pass_on(&link.client, passed_on, &mut tasks),
                Some(_) = tasks.join_next() => {}
                () = link.lost() => return Err(Unavailable("the connection to NATS was lost".to_owned())),
            }
        }
    }

    /// Says that this master is there, and which minions it has if that is new.
    async fn beat(&self, client: &Client, told: &mut Told) -> Result<(), Unavailable> {
        let present = (self.present)();
        let is_full =
            told.is_due || told.beats.is_multiple_of(FULL_BEATS) || told.present != present;
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
        let (headers, payload) = self.options.sealed(&subject, &body);
        let sent = client
            .publish_with_headers(subject, headers, payload.into())
            .await;
        sent.map_err(|error| Unavailable::new("cannot publish", error))
    }

    /// Another master is there; whether it is a new one.
    fn heard(&mut self, message: &Message) -> bool {
        let Some((from, body)) = self.options.opened(message) else {
            return false;
        };
        if !is_from(message, &from) {
            return false;
        }
        let instance = number(&body, "instance").unwrap_or_default();
        if from == self.options.master {
            let now = Instant::now();
            let reported = self.namesake_reported;
            let is_due = reported.is_none_or(|at| now.duration_since(at) >= NAMESAKE_EVERY);
            if instance != self.options.instance && is_due {
                self.namesake_reported = Some(now);
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
            tracing::info!(master = from, "found another master");
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
    fn take_job(&self, client: &Client, message: &Message, tasks: &mut JoinSet<()>) {
        let Some((from, body)) = self.options.opened(message) else {
            return;
        };
        let (Some(reply), Some(id)) = (message.reply.clone(), number(&body, "id")) else {
            return;
        };
        let Some(Value::Bin(job)) = body.get("job") else {
            return;
        };
        if from == self.options.master || self.options.secret.is_none() || !is_from(message, &from)
        {
            return;
        }
        if !self.shared.is_first(&from, id) {
            tracing::warn!(master = from, "ignoring a job that was received before");
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
            let (headers, payload) = options.sealed(&reply, &body);
            let sent = client.publish_with_headers(reply, headers, payload.into());
            if let Err(error) = sent.await {
                tracing::warn!(%error, "published another master's job, but cannot answer");
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
            let (headers, payload) = options.sealed(&subject, &body);
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

/// What was announced about our minions.
#[derive(Default)]
struct Told {
    beats: u64,
    present: Vec<String>,
    is_due: bool,
}

fn random() -> u64 {
    // Nobody has to be kept from guessing it: it tells messages apart.
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one(since_epoch())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a master says every second.
    fn beat(of: &ControlOptions) -> Message {
        let control = Control::new(
            of.clone(),
            Arc::new(|_, _| unreachable!()),
            Arc::new(Vec::new),
        );
        let subject = format!("{}.alive.{}", of.stream.control(), of.master);
        let (headers, payload) = of.sealed(&subject, &control.0.body());
        Message {
            subject: subject.into(),
            reply: None,
            length: payload.len(),
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
        }
    }

    #[test]
    fn a_master_with_the_id_of_this_one_is_not_reported_at_every_beat() {
        let own = seal::tests::options(Some("secret"));
        let other = ControlOptions {
            instance: own.instance + 1,
            ..own.clone()
        };
        let (mut control, _peers) = Control::new(
            own.clone(),
            Arc::new(|_, _| unreachable!()),
            Arc::new(Vec::new),
        );
        // Its own beats come back to it.
        assert!(!control.heard(&beat(&own)));
        assert_eq!(control.namesake_reported, None);
        assert!(!control.heard(&beat(&other)));
        let reported = control.namesake_reported;
        assert!(reported.is_some());
        for _ in 0..10 {
            control.heard(&beat(&other));
        }
        assert_eq!(control.namesake_reported, reported);
    }
}

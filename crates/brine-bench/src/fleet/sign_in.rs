//! Phase one: every minion signs in.
//!
//! The answers are kept while the clock runs and judged afterwards, since a minion decrypts two
//! keys where its master signs once: on one machine the fleet would otherwise be what is measured.
//! As with real minions sign-ins go over connections of their own; a few are shared by all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brine_net::crypto::rsa::PrivateKey;
use brine_net::minion::{Answer, SignIn, Trust};
use brine_wire::network::algorithm::{EncryptionAlgorithm, SigningAlgorithm};
use brine_wire::{Map, Value};

use super::link::{Link, Links};
use super::member::Member;
use super::memory::Watch;
use super::{Fleet, FleetError, pool};
use crate::histogram::{Histogram, Percentiles};
use crate::process::thread_cpu;

/// How often a sign-in without an answer is tried.
const TRIES: u32 = 5;

/// What signing in came to.
#[derive(Debug, Clone, Default)]
pub struct SignInReport {
    /// Minions that were let in.
    pub accepted: usize,
    /// Others, by the answer they got.
    pub others: Vec<(String, usize)>,
    /// From the first request to the last answer.
    pub answered_after: Duration,
    /// How long one answer took.
    pub latency: Percentiles,
    /// What the fleet needed to judge the answers: its own RSA operations, on all cores.
    pub judged_after: Duration,
    /// What the master's processes spent meanwhile, if they are known.
    pub master_cpu: Option<Duration>,
    /// Whether the minions knew the master's key, which costs the master another RSA operation.
    pub with_token: bool,
}

impl SignInReport {
    /// Answers per second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.answers() as f64 / self.answered_after.as_secs_f64().max(1e-9)
    }

    /// Processor time of the master per answer: what holds on a busy machine, too.
    #[must_use]
    pub fn cpu_per_answer(&self) -> Option<Duration> {
        let answers = u32::try_from(self.answers()).unwrap_or(u32::MAX);
        Some(self.master_cpu? / answers.max(1))
    }

    fn answers(&self) -> usize {
        self.accepted + self.others.iter().map(|(_, count)| count).sum::<usize>()
    }
}

/// RSA operations of one core, as a raw loop does them: what a master's sign-in rate can reach.
#[derive(Debug, Clone, Copy, Default)]
pub struct RsaRates {
    /// Signatures per second: one per sign-in.
    pub signs: f64,
    /// Decryptions per second: one more where the minion knows the master.
    pub decrypts: f64,
    /// Encryptions per second: two or three per sign-in.
    pub encrypts: f64,
}

impl RsaRates {
    pub(super) fn measure(key: &PrivateKey) -> Result<Self, FleetError> {
        let text = [b'x'; 76];
        let sealed = key
            .public()
            .encrypt(EncryptionAlgorithm::default(), &text)?;
        Ok(Self {
            signs: rate(|| key.sign(SigningAlgorithm::default(), &text).map(drop))?,
            decrypts: rate(|| {
                let decrypted = key.decrypt(EncryptionAlgorithm::default(), &sealed);
                decrypted.map(drop)
            })?,
            encrypts: rate(|| {
                let encrypted = key.public().encrypt(EncryptionAlgorithm::default(), &text);
                encrypted.map(drop)
            })?,
        })
    }

    /// Sign-ins per second and core if there were nothing but these operations.
    #[must_use]
    pub fn sign_ins(&self, with_token: bool) -> f64 {
        let always = 1.0 / self.signs + 2.0 / self.encrypts;
        let token = 1.0 / self.decrypts + 1.0 / self.encrypts;
        1.0 / (always + if with_token { token } else { 0.0 })
    }
}

fn rate<E>(mut operation: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    const MEASURED: Duration = Duration::from_millis(150);
    // In time of this thread: what others do on a busy machine is not the library's.
    let began = thread_cpu();
    let mut done = 0_u32;
    loop {
        operation()?;
        done += 1;
        let spent = thread_cpu().saturating_sub(began);
        if spent >= MEASURED {
            return Ok(f64::from(done) / spent.as_secs_f64());
        }
    }
}

/// A sign-in and the master's answer.
struct Asked {
    member: Arc<Member>,
    sign_in: Option<SignIn>,
    reply: Result<Value, String>,
    took: Duration,
}

impl Fleet {
    pub(super) async fn sign_in(&self, master: &Watch) -> Result<SignInReport, FleetError> {
        let concurrency = self.options.concurrency.min(self.members.len());
        let mut links = Links::new(&self.options);
        let links = (0..concurrency).map(|_| links.open()).collect::<Vec<_>>();
        let links = Arc::new(links);
        let wait = self.options.timeout;
        let cpu_before = master.cpu();
        let began = Instant::now();
        let asked = pool::for_all(&self.members, concurrency, move |worker, member| {
            let links = links.clone();
            async move { ask(member, &links[worker], wait).await }
        })
        .await;
        let answered_after = began.elapsed();
        let spent = master.cpu().zip(cpu_before);
        let mut latency = Histogram::new();
        for one in &asked {
            latency.record(u64::try_from(one.took.as_nanos()).unwrap_or(u64::MAX));
        }
        let judging = Instant::now();
        let outcomes = judge_all(asked).await;
        let mut report = SignInReport {
            answered_after,
            latency: latency.percentiles(),
            judged_after: judging.elapsed(),
            master_cpu: spent.map(|(after, before)| after.saturating_sub(before)),
            with_token: self.members.iter().any(|member| member.master.is_some()),
            ..SignInReport::default()
        };
        let mut others = HashMap::<String, usize>::new();
        for outcome in outcomes {
            match outcome {
                None => report.accepted += 1,
                Some(other) => *others.entry(other).or_default() += 1,
            }
        }
        report.others = others.into_iter().collect();
        report
            .others
            .sort_by_key(|other| std::cmp::Reverse(other.1));
        if report.accepted == 0 {
            let first = report.others.first().map(|(text, _)| text.clone());
            return Err(FleetError::NobodyIn(first.unwrap_or_default()));
        }
        Ok(report)
    }
}

async fn ask(member: Arc<Member>, link: &Link, wait: Duration) -> Asked {
    let trust = Trust {
        master: member.master.clone(),
        ..Trust::default()
    };
    let began = Instant::now();
    let (sign_in, reply) = match SignIn::begin(&member.id, &member.key, trust, Map::new()) {
        Ok(sign_in) => {
            let reply = exchange(&sign_in, link, wait).await;
            (Some(sign_in), reply)
        }
        Err(error) => (None, Err(error.to_string())),
    };
    Asked {
        member,
        sign_in,
        reply,
        took: began.elapsed(),
    }
}

async fn exchange(sign_in: &SignIn, link: &Link, wait: Duration) -> Result<Value, String> {
    let payload = sign_in.payload();
    let mut tries = 1;
    loop {
        match link.request(&payload, wait).await {
            Ok(reply) => return Ok(reply),
            Err(_) if tries < TRIES => {
                tokio::time::sleep(Duration::from_millis(100) * tries).await;
                tries += 1;
            }
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// The answer each got, `None` for those accepted.
async fn judge_all(asked: Vec<Asked>) -> Vec<Option<String>> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shares: Vec<Vec<Asked>> = (0..cores).map(|_| Vec::new()).collect();
    for (number, one) in asked.into_iter().enumerate() {
        shares[number % cores].push(one);
    }
    let mut judging = tokio::task::JoinSet::new();
    for share in shares {
        judging.spawn_blocking(move || share.into_iter().map(judge).collect::<Vec<_>>());
    }
    judging.join_all().await.into_iter().flatten().collect()
}

fn judge(asked: Asked) -> Option<String> {
    let reply = match asked.reply {
        Ok(reply) => reply,
        Err(text) => return Some(text),
    };
    match asked.sign_in?.judge(&reply, &asked.member.key) {
        Ok(Answer::Accepted(session)) => {
            asked.member.set_session(*session);
            None
        }
        Ok(Answer::Pending) => Some("their keys are pending".into()),
        Ok(Answer::Rejected) => Some("their keys are rejected".into()),
        Ok(Answer::Full) => Some("it takes no more minions".into()),
        Ok(Answer::Unproven { ret }) => Some(format!("it answers {ret:?}")),
        Ok(Answer::BadAlgorithm { ret }) => Some(ret),
        Err(distrust) => Some(distrust.to_string()),
    }
}

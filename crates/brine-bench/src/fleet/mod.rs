//! A fleet of simulated minions on one master, Salt's or Brine's: the engine of `brine bench fleet`.
//!
//! All minions live in this process. Each has an id and an RSA key of its own (or one shared with
//! others, since making thousands takes long), signs in, subscribes, fires events and answers jobs
//! through `brine-net`, whose cryptography and checks are those of a real minion; none runs
//! functions or keeps pillar data. It must not know how a master works: what it measures it sees at
//! the two ports and, if its location is given, on the master's bus.
//! Facts: `docs/protocol/network.md`.

mod arrivals;
mod events;
mod jobs;
mod keys;
mod link;
mod member;
mod memory;
mod pool;
mod report;
mod sign_in;
mod start;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use brine_bus::address::{Address, AddressError};
use brine_net::crypto::NoRandom;
use brine_net::crypto::rsa::{KeyError, PrivateKey, RsaError};
use brine_net::keys::StoreError;
use brine_wire::network::MinionId;
use tokio::sync::mpsc;

use arrivals::Arrivals;
use link::Links;
use member::Member;
use start::Subscriptions;

pub use events::EventsReport;
pub use jobs::JobReport;
pub use link::Transport;
pub use memory::MemoryReport;
pub use report::FleetReport;
pub use sign_in::{RsaRates, SignInReport};
pub use start::StartReport;

/// What the fleet is and what it does.
#[derive(Debug, Clone)]
pub struct FleetOptions {
    /// The master's name or address.
    pub master: String,
    /// Its request port.
    pub ret_port: u16,
    /// Its publish port; `None` for the one it names at sign-in.
    pub publish_port: Option<u16>,
    /// How to talk to it.
    pub transport: Transport,
    /// How many minions.
    pub minions: usize,
    /// How many connections carry their requests; beyond, minions share them.
    pub requesters: usize,
    /// What their ids begin with; a number follows.
    pub prefix: String,
    /// How many different RSA keys they have.
    pub keys: usize,
    /// Where those keys are kept for the next run.
    pub key_dir: PathBuf,
    /// The master's `pki_dir`, to put the keys among the accepted ones.
    pub pki_dir: Option<PathBuf>,
    /// How many requests may be under way at once while signing in and starting.
    pub concurrency: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// How many events are fired in all.
    pub events: usize,
    /// Which share of the fleet fires them: the first so many minions.
    pub senders: usize,
    /// Events per second in all; `None` for each as soon as the last is answered.
    pub rate: Option<f64>,
    /// Bytes of padding in each event's data.
    pub data_bytes: usize,
    /// How many jobs are published, one after the other.
    pub jobs: usize,
    /// The key that lets publish: the content of the master's `.root_key`.
    pub publish_key: Option<String>,
    /// Whose key that is.
    pub user: String,
    /// Whether all drop their connections at the end and come back.
    pub reconnect: bool,
    /// The master's bus, to see what arrives there.
    pub bus: Option<Address>,
    /// The master's process, to measure its memory and that of its children.
    pub pid: Option<u32>,
}

/// The fleet could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FleetError {
    /// Without minions there is nothing to measure.
    #[error("expected at least one minion, one key and a concurrency of one")]
    Empty,
    /// The prefix makes no ids.
    #[error("--prefix {0}: expected the beginning of a minion id")]
    Prefix(String),
    /// A key cannot be made.
    #[error("cannot make an RSA key: {0}")]
    Key(#[from] KeyError),
    /// A key cannot be used.
    #[error(transparent)]
    Rsa(#[from] RsaError),
    /// Keys cannot be kept, or put among the accepted ones.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of ours.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// No random numbers.
    #[error(transparent)]
    NoRandom(#[from] NoRandom),
    /// The bus's address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// Nobody listens on the bus.
    #[error("the master's bus: {0}")]
    Bus(#[from] brine_bus::client::ReceiveError),
    /// No runtime or thread.
    #[error("cannot start threads: {0}")]
    Threads(std::io::Error),
    /// The master accepts no minion.
    #[error(
        "expected the master to let the minions in, but {0}; accept their keys, use --pki-dir, or set auto_accept"
    )]
    NobodyIn(String),
    /// The master refuses the job.
    #[error("expected the master to publish the job, found {0}")]
    NotPublished(String),
}

/// Puts the fleet on the master and measures. Returns when the last phase is over.
///
/// # Errors
/// [`FleetError`]. Single requests that fail are counted in the report instead.
pub fn run(options: FleetOptions) -> Result<FleetReport, FleetError> {
    if options.minions == 0 || options.keys == 0 || options.concurrency == 0 {
        return Err(FleetError::Empty);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(FleetError::Threads)?;
    runtime.block_on(measure(Arc::new(options)))
}

async fn measure(options: Arc<FleetOptions>) -> Result<FleetReport, FleetError> {
    let memory = memory::Watch::new(options.pid);
    let keys = keys::open(&options.key_dir, options.keys.min(options.minions))?;
    let ids = ids(&options)?;
    if let Some(pki_dir) = &options.pki_dir {
        keys::accept(pki_dir, &ids, &keys)?;
    }
    let rsa = RsaRates::measure(&keys[0])?;
    let arrivals = match &options.bus {
        Some(address) => Some(Arrivals::listen(address, &options.prefix)?),
        None => None,
    };
    let mut fleet = Fleet::new(options.clone(), ids, &keys)?;
    let mut report = FleetReport::new(&options, rsa);
    report.sign_in = fleet.sign_in(&memory).await?;
    report.start = fleet.start().await?;
    report.memory = memory.report(options.minions);
    if options.events > 0 {
        report.events = Some(events::run(&fleet, arrivals.as_ref(), &memory).await);
    }
    for _ in 0..options.jobs {
        report
            .jobs
            .push(jobs::run(&mut fleet, arrivals.as_ref()).await?);
    }
    if options.reconnect {
        fleet.drop_connections()?;
        memory.settle().await;
        let began = Instant::now();
        report.sign_in_again = Some(fleet.sign_in(&memory).await?);
        report.start_again = Some(fleet.start().await?);
        report.back_after = Some(began.elapsed());
    }
    report.memory_after = memory.report(options.minions);
    Ok(report)
}

fn ids(options: &FleetOptions) -> Result<Vec<MinionId>, FleetError> {
    let numbers = 1..=options.minions;
    let ids = numbers.map(|number| MinionId::parse(&format!("{}{number:05}", options.prefix)));
    ids.collect::<Result<_, _>>()
        .map_err(|_| FleetError::Prefix(options.prefix.clone()))
}

/// All minions and what they hold open.
struct Fleet {
    options: Arc<FleetOptions>,
    links: Links,
    members: Vec<Arc<Member>>,
    subscriptions: Subscriptions,
    /// What came of publishes: a subscriber's report per job and minion.
    answered: mpsc::Receiver<jobs::Answered>,
    tell: mpsc::Sender<jobs::Answered>,
}

impl Fleet {
    fn new(
        options: Arc<FleetOptions>,
        ids: Vec<MinionId>,
        keys: &[Arc<PrivateKey>],
    ) -> Result<Self, FleetError> {
        let mut links = Links::new(&options);
        let mut members = Vec::with_capacity(ids.len());
        for (number, id) in ids.into_iter().enumerate() {
            let key = keys[number % keys.len()].clone();
            members.push(Arc::new(Member::new(id, key, links.open())));
        }
        let (tell, answered) = mpsc::channel(1024);
        Ok(Self {
            options,
            links,
            members,
            subscriptions: Subscriptions::default(),
            answered,
            tell,
        })
    }

    /// Ends every connection, keeping ids, keys and the master's key, as minions whose master is
    /// gone do.
    fn drop_connections(&mut self) -> Result<(), FleetError> {
        self.subscriptions = Subscriptions::default();
        self.links = Links::new(&self.options);
        for member in &mut self.members {
            let known = member.session().map(|session| session.master().clone());
            let link = self.links.open();
            *member = Arc::new(Member::again(member, link, known));
        }
        Ok(())
    }
}

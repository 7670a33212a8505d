//! Publishing jobs as a local client, and collecting what they return: Salt's `LocalClient`.
//!
//! [`LocalClient`] runs beside a master, ours or Salt's: the user's key in the master's `cachedir` proves that the
//! user may publish, and returns are read from the master's bus. Our own master waits for returns in-process by the
//! same code (`wait`), through its handle. Facts: `docs/protocol/network.md` §5, §12.

pub(crate) mod batch;
mod call;
mod config;
mod reply;
pub(crate) mod wait;

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use brine_bus::client::tokio::Subscriber;
use brine_bus::client::{ConnectError, ReceiveError, SubscriberConfig, Wait};
use brine_net::client::{RequestError, Requester};
use brine_net::{tcp, ws, zeromq};
use brine_wire::matching::{MatchError, MatchType, TagMatch};
use brine_wire::network::payload::Payload;
use brine_wire::network::{Jid, MinionId};
use brine_wire::nodegroup::{NodeGroupError, without_nodegroups};
use brine_wire::python_text;
use brine_wire::returns::{JOB_TAG, Timeouts};
use brine_wire::{Map, Value};

pub use self::batch::{BatchSize, Pace, Progress};
pub use self::call::{RunnerCalls, runner, wheel};
pub use self::config::{ClientConfig, ClientOptionsError};
pub use self::reply::{MinionReply, ReplyKind};
use self::wait::MasterLink;
use crate::job_request::{JobRequest, PublishError, Published};
use crate::options::Transport;

/// The version of payloads that need no signature beside the key.
const VERSION: u32 = 3;
/// How long to wait for the master's bus to accept the connection.
const FIND_BUS_WITHIN: Duration = Duration::from_secs(1);

/// A job could not be published, or its returns cannot be read. The texts are Salt's where it has some.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nothing listens on the master's bus.
    #[error("The salt master could not be contacted. Is master running?")]
    NoMaster,
    /// The master refused the job with this message.
    #[error("{0}")]
    Refused(String),
    /// The master does not answer.
    #[error("Salt request timed out. The master is not responding. {0}")]
    NoAnswer(#[source] RequestError),
    /// The connection to the master's bus.
    #[error(transparent)]
    Bus(#[from] ReceiveError),
    /// A subscription.
    #[error(transparent)]
    Match(#[from] MatchError),
    /// Our own master refuses the job.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Publishes jobs and does not look at what they return.
pub struct JobPublisher {
    config: ClientConfig,
    master: Requester,
}

impl JobPublisher {
    /// For the master of a configuration. Connects when there is something to publish.
    #[must_use]
    pub fn new(config: ClientConfig) -> Self {
        Self {
            master: requester(&config),
            config,
        }
    }

    /// Publishes a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn publish(&self, request: &JobRequest) -> Result<Published, ClientError> {
        publish(&self.config, &self.master, request).await
    }
}

/// A local client that is subscribed to the events of jobs.
pub struct LocalClient {
    config: ClientConfig,
    master: Requester,
    bus: Subscriber,
    jobs: TagMatch,
}

impl LocalClient {
    /// Connects to the master's bus, so that no return is missed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn open(config: ClientConfig) -> Result<Self, ClientError> {
        let mut bus = Subscriber::new(&config.bus, SubscriberConfig::default());
        match bus.connect(FIND_BUS_WITHIN).await {
            Ok(()) => {}
            Err(ReceiveError::Connect(error)) => {
                match error {
                    // Salt's line below does not say what is wrong.
                    ConnectError::Denied { .. } => tracing::error!("{error}"),
                    _ => tracing::debug!("{error}"),
                }
                let sock_dir = &config.sock_dir;
                tracing::error!("Unable to connect to the salt master publisher at {sock_dir}");
                return Err(ClientError::NoMaster);
            }
            Err(error) => return Err(error.into()),
        }
        let jobs = TagMatch::new(MatchType::StartsWith, JOB_TAG)?;
        bus.subscribe(jobs.clone());
        Ok(Self {
            master: requester(&config),
            config,
            bus,
            jobs,
        })
    }

    /// Publishes a job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn publish(&self, request: &JobRequest) -> Result<Published, ClientError> {
        publish(&self.config, &self.master, request).await
    }

    /// Waits for the returns of a job and passes each to `report` as it arrives; at the end, the minions that did not
    /// return. Ends early if `report` breaks. Dropping the future stops the waiting, not the job.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn wait(
        &mut self,
        job: &Published,
        timeouts: Timeouts,
        report: impl FnMut(MinionReply) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        wait::wait(self, job, timeouts, report).await
    }

    /// Runs a job on a limited number of minions at a time, and passes what happens to `report`. Ends early if that
    /// breaks. Dropping the future neither stops nor takes back parts of the job that were sent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batch(
        &mut self,
        request: &JobRequest,
        minions: Vec<String>,
        pace: Pace,
        timeouts: Timeouts,
        report: impl FnMut(Progress) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        batch::run(self, request, minions, pace, timeouts, report).await
    }

    /// Runs a job on those minions of its target that answer a ping, a limited number at a time. Returns their
    /// returns, without those of minions that did not return in time. Dropping the future takes back nothing that was
    /// sent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn batch_on_target(
        &mut self,
        request: &JobRequest,
        size: BatchSize,
        timeouts: Timeouts,
    ) -> Result<Vec<(String, Option<MinionReply>)>, ClientError> {
        batch::run_on_target(self, request, size, timeouts).await
    }
}

async fn publish(
    config: &ClientConfig,
    master: &Requester,
    request: &JobRequest,
) -> Result<Published, ClientError> {
    let mut request = expanded(config, request)?;
    for (name, value) in &config.login {
        request.kwargs.insert(name.clone(), value.clone());
    }
    let payload = Payload::Clear {
        version: VERSION,
        load: request.to_load(&config.user, &config.key),
    };
    let answer = master
        .request(&payload.to_value(), config.answer_within())
        .await;
    published(&answer.map_err(ClientError::NoAnswer)?)
}

/// The request with its node groups replaced: masters of Salt leave that to the client.
fn expanded(config: &ClientConfig, request: &JobRequest) -> Result<JobRequest, ClientError> {
    let groups = &config.nodegroups;
    match without_nodegroups(&request.tgt, &request.tgt_type, groups) {
        Ok(Some(compound)) => {
            for fault in &compound.faults {
                tracing::error!("{fault}");
            }
            Ok(JobRequest {
                tgt: compound.words.join(" ").into(),
                tgt_type: "compound".to_owned(),
                ..request.clone()
            })
        }
        Ok(None) => Ok(request.clone()),
        Err(NodeGroupError::Unknown { name }) => {
            let file = &config.conf_file;
            let text = format!("Node group {name} unavailable in {file}");
            Err(ClientError::Refused(text))
        }
        Err(error) => Err(ClientError::Refused(error.to_string())),
    }
}

/// Sends a clear request to the master's port and returns the answer: `mk_token`, `runner` and the like.
///
/// # Errors
/// [`ClientError`].
pub async fn ask(config: &ClientConfig, load: Map) -> Result<Value, ClientError> {
    let payload = Payload::Clear {
        version: VERSION,
        load,
    };
    let (payload, within) = (payload.to_value(), config.answer_within());
    let answer = requester(config).request(&payload, within).await;
    answer.map_err(ClientError::NoAnswer)
}

impl MasterLink for LocalClient {
    async fn publish(&mut self, request: JobRequest) -> Result<Published, ClientError> {
        Self::publish(self, &request).await
    }

    async fn next_event(&mut self, until: Instant) -> Result<Option<(String, Map)>, ClientError> {
        loop {
            let Some(event) = self.bus.get_event(&self.jobs, Wait::Until(until)).await? else {
                return Ok(None);
            };
            if let Ok(Value::Map(data)) = event.decode() {
                return Ok(Some((event.tag().to_owned(), data)));
            }
        }
    }
}

fn requester(config: &ClientConfig) -> Requester {
    let (interface, port) = (&config.interface, config.ret_port);
    match config.transport {
        Transport::Tcp => {
            Requester::Tcp(tcp::client::Requester::new(format!("{interface}:{port}")))
        }
        Transport::Ws => Requester::Ws(ws::client::Requester::new(format!("{interface}:{port}"))),
        Transport::ZeroMq => {
            let mut zmq = zeromq::client::ClientConfig::requests(interface, port);
            zmq.ipv6 = config.ipv6;
            Requester::ZeroMq(zeromq::client::Requester::open(zmq))
        }
    }
}

/// Reads the master's answer to a publish.
fn published(answer: &Value) -> Result<Published, ClientError> {
    const REFUSED: &str = "The master refused the job.";
    let refused = |text: &str| Err(ClientError::Refused(text.to_owned()));
    let Some(answer) = answer.as_map() else {
        return refused(
            "Failed to authenticate! This is most likely because this user is not permitted to \
             execute commands, but there is a small possibility that a disk error occurred \
             (check disk/inode usage).",
        );
    };
    match answer.get("error") {
        Some(Value::Map(error)) => {
            let message = error.get("message").and_then(Value::as_str);
            return refused(message.unwrap_or(REFUSED));
        }
        Some(error) => return refused(&python_text::str(error)),
        None => {}
    }
    let Some(load) = answer.get("load").and_then(Value::as_map) else {
        return refused(REFUSED);
    };
    let ids = |name| match load.get(name) {
        Some(Value::Array(ids)) => {
            let ids = ids.iter().filter_map(Value::as_str);
            ids.filter_map(|id| MinionId::parse(id).ok()).collect()
        }
        _ => Vec::new(),
    };
    let minions: Vec<_> = ids("minions");
    let jid = load.get("jid").and_then(Value::as_str);
    let jid = jid.and_then(|jid| Jid::parse(jid).ok());
    Ok(Published {
        jid: jid.filter(|_| !minions.is_empty()),
        minions,
        missing: ids("missing"),
    })
}

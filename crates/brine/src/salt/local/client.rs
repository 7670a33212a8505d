//! Publishing a job as a local client, and hearing of it on the master's bus.
//!
//! The user's key in the master's `cachedir` shows that we may; a real master takes it too. Who does
//! not answer in time is asked whether the job still runs there. Facts: `docs/protocol/network.md`
//! §5, §12; waiting as in Salt 3008.3.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use brine_bus::address::Node;
use brine_bus::client::tokio::Subscriber;
use brine_bus::client::{ReceiveError, SubscriberConfig, Wait};
use brine_config::Opts;
use brine_net::{keys, tcp, zeromq};
use brine_node::target::{self, TargetError};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::payload::Payload;
use brine_wire::{Map, Value};

pub(crate) use super::report::{Came, Heard};
use crate::bus_location;
use crate::salt::{python, start};

/// The version of payloads that need no signature beside the key.
const VERSION: u32 = 3;
/// How long the bus may take to take us.
const FIND_BUS_WITHIN: Duration = Duration::from_secs(1);

/// A job to publish.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) tgt: Value,
    pub(crate) tgt_type: String,
    pub(crate) fun: Value,
    pub(crate) arg: Vec<Value>,
    pub(crate) ret: String,
    /// What goes with the job besides: `delimiter`, `metadata`.
    pub(crate) kwargs: Map,
}

/// A job that is out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) jid: String,
    pub(crate) minions: Vec<String>,
    /// Ids of the target that no minion has.
    pub(crate) missing: Vec<String>,
}

/// Why there is no job.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// There is no master's bus.
    #[error("The salt master could not be contacted. Is master running?")]
    NoMaster,
    /// The master says no, in these words.
    #[error("{0}")]
    Refused(String),
    /// The master does not answer.
    #[error("Salt request timed out. The master is not responding. {0}")]
    NoAnswer(String),
    /// Something of this machine.
    #[error(transparent)]
    System(#[from] anyhow::Error),
}

/// How long minions are waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// Until they are asked whether the job still runs.
    pub(crate) timeout: Duration,
    /// For that answer.
    pub(crate) gather: Duration,
}

/// A local client, listening already.
pub(crate) struct Client {
    master: Requester,
    bus: Subscriber,
    key: String,
    user: String,
    timeout: Duration,
    nodegroups: Map,
    conf_file: String,
}

enum Requester {
    Tcp(tcp::client::Requester),
    ZeroMq(zeromq::client::Requester),
}

impl Client {
    /// Finds the master of a configuration: its bus, its port and the user's key.
    pub(crate) async fn open(opts: &Opts) -> Result<Self, ClientError> {
        let address = bus_location::address(opts, &Node::Master, None)?;
        let mut bus = Subscriber::new(&address, SubscriberConfig::default());
        match bus.connect(FIND_BUS_WITHIN).await {
            Ok(()) => {}
            Err(ReceiveError::Connect(error)) => {
                tracing::debug!("{error}");
                let sock_dir = opts.text("sock_dir").unwrap_or_default();
                tracing::error!("Unable to connect to the salt master publisher at {sock_dir}");
                return Err(ClientError::NoMaster);
            }
            Err(error) => return Err(anyhow::Error::from(error).into()),
        }
        let listens = TagMatch::new(MatchType::StartsWith, "salt/job/");
        bus.subscribe(listens.context("salt/job/")?);
        let user = start::user();
        Ok(Self {
            master: requester(opts)?,
            bus,
            key: key(opts, &user)?,
            user,
            timeout: Duration::from_secs(5).max(seconds(opts, "timeout")?),
            nodegroups: target::nodegroups(opts.get("nodegroups")),
            conf_file: opts.text("conf_file").unwrap_or_default().to_owned(),
        })
    }

    /// Publishes a job.
    pub(crate) async fn publish(&self, order: &Order) -> Result<Published, ClientError> {
        let (tgt, tgt_type) = self.target(order)?;
        let mut load = Map::new();
        load.insert("cmd", "publish");
        load.insert("tgt", tgt);
        load.insert("fun", order.fun.clone());
        load.insert("arg", order.arg.clone());
        load.insert("key", self.key.as_str());
        load.insert("tgt_type", tgt_type);
        load.insert("ret", order.ret.as_str());
        load.insert("jid", "");
        load.insert("kwargs", order.kwargs.clone());
        load.insert("user", self.user.as_str());
        let payload = Payload::Clear {
            version: VERSION,
            load,
        };
        let payload = payload.to_value();
        let answer = match &self.master {
            Requester::Tcp(master) => {
                let answer = master.request(&payload, self.timeout).await;
                answer.map_err(|error| ClientError::NoAnswer(error.to_string()))?
            }
            Requester::ZeroMq(master) => {
                let answer = master.request(&payload, self.timeout).await;
                answer.map_err(|error| ClientError::NoAnswer(error.to_string()))?
            }
        };
        published(&answer)
    }

    /// The target as masters take it: node groups are this side's.
    fn target(&self, order: &Order) -> Result<(Value, String), ClientError> {
        match target::without_nodegroups(&order.tgt, &order.tgt_type, &self.nodegroups) {
            Ok(Some(compound)) => Ok((compound.into(), "compound".to_owned())),
            Ok(None) => Ok((order.tgt.clone(), order.tgt_type.clone())),
            Err(TargetError::NodeGroup { name }) => {
                let file = &self.conf_file;
                let text = format!("Node group {name} unavailable in {file}");
                Err(ClientError::Refused(text))
            }
            Err(error) => Err(ClientError::Refused(error.to_string())),
        }
    }

    /// Waits for the returns of a job and tells each; minions that are gone are told too.
    pub(crate) async fn hear(
        &mut self,
        job: &Published,
        patience: Patience,
        mut tell: impl FnMut(Heard) -> anyhow::Result<()>,
    ) -> Result<(), ClientError> {
        let mut waiting: BTreeSet<String> = job.minions.iter().cloned().collect();
        let mut until = Instant::now() + patience.timeout;
        let mut asked: Option<Asked> = None;
        while !waiting.is_empty() {
            match self.next(until).await? {
                Some(Return { jid, id, ret }) if jid == job.jid => {
                    waiting.remove(&id);
                    tell(Heard::returned(&id, &ret))?;
                }
                Some(Return { jid, id, ret }) => {
                    if let Some(asked) = asked.as_mut().filter(|asked| asked.jid == jid) {
                        asked.take(&id, &ret);
                        if !asked.is_answered() {
                            continue;
                        }
                        until = Instant::now();
                    }
                }
                None => {}
            }
            if Instant::now() < until {
                continue;
            }
            until = match asked.take() {
                None => {
                    asked = Some(self.ask(job, &waiting).await?);
                    Instant::now() + patience.gather
                }
                Some(asked) => {
                    for id in asked.gone() {
                        if waiting.remove(id) {
                            tell(Heard::no_response(id, &job.jid))?;
                        }
                    }
                    Instant::now() + patience.timeout
                }
            };
        }
        for id in &job.missing {
            tell(Heard::no_response(id, &job.jid))?;
        }
        Ok(())
    }

    /// Asks minions whether a job still runs there.
    async fn ask(&self, job: &Published, ids: &BTreeSet<String>) -> Result<Asked, ClientError> {
        let target: Vec<Value> = ids.iter().map(|id| id.as_str().into()).collect();
        let order = Order {
            tgt: target.into(),
            tgt_type: "list".to_owned(),
            fun: "saltutil.find_job".into(),
            arg: vec![job.jid.as_str().into()],
            ret: String::new(),
            kwargs: Map::new(),
        };
        let published = self.publish(&order).await?;
        Ok(Asked {
            jid: published.jid,
            unanswered: ids.clone(),
            gone: BTreeSet::new(),
        })
    }

    /// The next return of any job, until a moment.
    async fn next(&mut self, until: Instant) -> Result<Option<Return>, ClientError> {
        let wanted = TagMatch::new(MatchType::StartsWith, "salt/job/").context("salt/job/")?;
        loop {
            let event = self.bus.get_event(&wanted, Wait::Until(until)).await;
            let Some(event) = event.map_err(anyhow::Error::from)? else {
                return Ok(None);
            };
            let mut parts = event.tag().splitn(5, '/').skip(2);
            let (Some(jid), Some("ret"), Some(id)) = (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            if let Ok(Value::Map(ret)) = event.decode() {
                return Ok(Some(Return {
                    jid: jid.to_owned(),
                    id: id.to_owned(),
                    ret,
                }));
            }
        }
    }
}

/// Publishes a job and waits for all of it.
pub(crate) async fn gather(
    opts: &Opts,
    order: &Order,
    patience: Patience,
) -> Result<Vec<Heard>, ClientError> {
    let mut client = Client::open(opts).await?;
    let job = client.publish(order).await?;
    let mut all = Vec::new();
    let tell = |heard| {
        all.push(heard);
        Ok(())
    };
    client.hear(&job, patience, tell).await?;
    Ok(all)
}

/// A return as it came.
struct Return {
    jid: String,
    id: String,
    ret: Map,
}

/// Minions that were asked whether a job still runs.
struct Asked {
    jid: String,
    unanswered: BTreeSet<String>,
    /// Those that say it does not.
    gone: BTreeSet<String>,
}

impl Asked {
    fn take(&mut self, id: &str, ret: &Map) {
        self.unanswered.remove(id);
        if !ret.get("return").is_some_and(Value::is_true) {
            self.gone.insert(id.to_owned());
        }
    }

    fn is_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Those that do not run it, and those that do not answer.
    fn gone(&self) -> impl Iterator<Item = &String> {
        self.gone.iter().chain(&self.unanswered)
    }
}

/// What the master answers to a publish.
fn published(answer: &Value) -> Result<Published, ClientError> {
    let told = |error: &Value| match error {
        Value::Map(error) => {
            let message = error.get("message").and_then(Value::as_str);
            message.unwrap_or("The master refused the job.").to_owned()
        }
        other => python::str(other),
    };
    let Some(answer) = answer.as_map() else {
        return Err(ClientError::Refused(
            "Failed to authenticate! This is most likely because this user is not permitted to \
             execute commands, but there is a small possibility that a disk error occurred \
             (check disk/inode usage)."
                .to_owned(),
        ));
    };
    if let Some(error) = answer.get("error") {
        return Err(ClientError::Refused(told(error)));
    }
    let Some(load) = answer.get("load").and_then(Value::as_map) else {
        return Err(ClientError::Refused(
            "The master refused the job.".to_owned(),
        ));
    };
    let ids = |name| match load.get(name) {
        Some(Value::Array(ids)) => {
            let ids = ids.iter().filter_map(Value::as_str);
            ids.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    Ok(Published {
        jid: load
            .get("jid")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        minions: ids("minions"),
        missing: ids("missing"),
    })
}

fn requester(opts: &Opts) -> Result<Requester, ClientError> {
    let interface = opts.text("interface").map_err(anyhow::Error::from)?;
    let port = opts.int("ret_port").map_err(anyhow::Error::from)?;
    let port = u16::try_from(port)
        .with_context(|| format!("option ret_port: expected a port, found {port}"))?;
    Ok(match opts.text("transport") {
        Ok("tcp") => Requester::Tcp(tcp::client::Requester::new(format!("{interface}:{port}"))),
        _ => {
            let mut config = zeromq::client::ClientConfig::requests(interface, port);
            config.ipv6 = opts.flag("ipv6").unwrap_or(false);
            let opened = zeromq::client::Requester::open(config);
            Requester::ZeroMq(opened.map_err(anyhow::Error::from)?)
        }
    })
}

/// The key that shows who we are; empty if there is none, which the master answers.
fn key(opts: &Opts, user: &str) -> Result<String, ClientError> {
    let cachedir = opts.text("cachedir").map_err(anyhow::Error::from)?;
    let own = opts.text("user").unwrap_or("root");
    let name = if user == "root" || user.starts_with("sudo_") {
        own
    } else {
        user
    };
    let Some(path) = keys::local::path(Path::new(cachedir), name) else {
        return Ok(String::new());
    };
    match std::fs::read_to_string(&path) {
        Ok(key) => Ok(key.trim().to_owned()),
        Err(error) => {
            tracing::debug!("{}: {error}", path.display());
            Ok(String::new())
        }
    }
}

/// An option in seconds.
pub(crate) fn seconds(opts: &Opts, name: &str) -> anyhow::Result<Duration> {
    let seconds = opts.number(name)?;
    Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("option {name}: expected seconds, found {seconds}"))
}

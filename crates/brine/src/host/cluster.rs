//! A master that shares its bus with other masters: publishes to NATS JetStream, reads from it and passes jobs on, on
//! its own thread.
//!
//! Three independent tasks: a sink whose position is saved like any sink's, an intake, and the messages between
//! masters. `docs/cluster.md` describes them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, bail};
use brine_bridge::nats::{
    Connection, Control, ControlOptions, Intake, IntakeFigures, IntakeOptions, Login, NatsSink,
    PublishOptions, StreamOptions,
};
use brine_bridge::tls::{TlsOptions, Trust};
use brine_bridge::{Batching, Filter, Pump, SinkConfig, SinkHandle};
use brine_bus::BusHandle;
use brine_config::{Age, Brine, NatsOptions};
use brine_log::history::{ConsumerName, History};
use brine_node::master::{MasterHandle, Peers};
use brine_wire::{Map, Value};
use tokio::sync::watch;

use super::sinks;

/// The consumer that publishes.
const CONSUMER: &str = "cluster";
/// What is about one master's log, and means nothing to the others.
const NOT_SHARED: [&str; 1] = ["brine/gap"];

/// A running cluster. Dropping it ends its tasks, once they have published what is there or a few seconds have passed.
pub(crate) struct RunningCluster {
    closing: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
    /// What it says of itself.
    pub(crate) status: ClusterStatus,
}

/// How a cluster is, for people who look.
#[derive(Clone)]
pub(crate) struct ClusterStatus {
    publisher: SinkHandle,
    intake: Arc<Mutex<IntakeFigures>>,
    peers: brine_bridge::nats::Peers,
}

/// Starts what the options say; `None` if they say nothing. Must be called within the runtime.
pub(crate) fn start(
    brine: &Brine,
    id: &str,
    cachedir: &Path,
    bus: &BusHandle,
    history: Option<&History>,
    master: &MasterHandle,
) -> anyhow::Result<Option<RunningCluster>> {
    let Some(options) = &brine.cluster else {
        return Ok(None);
    };
    let Some(history) = history else {
        // One that is switched off is refused before this.
        bail!("brine: cluster needs a history, which remembers what was published and taken in");
    };
    let (connection, stream) = nats(&options.nats).with_context(|| match &options.place {
        Some((file, line)) => format!("{file}, line {line}: brine: cluster"),
        None => "brine: cluster".to_owned(),
    })?;
    warn(&connection, options.secret.is_some());
    let publisher = NatsSink::new(
        PublishOptions {
            connection: connection.clone(),
            stream: stream.clone(),
            master: id.to_owned(),
        },
        Some(history.clone()),
    );
    let (pump, publishing) = Pump::new(bus.log(), history, sink_config(brine, history)?)?;
    let (intake, figures) = Intake::new(
        IntakeOptions {
            connection: connection.clone(),
            stream: stream.clone(),
            master: id.to_owned(),
            state: cachedir.join("cluster"),
        },
        bus.log(),
        history,
    );
    let control = ControlOptions {
        connection,
        stream,
        master: id.to_owned(),
        instance: super::new_log_id()?.0,
        secret: options.secret.clone(),
    };
    let (control, peers) = messages(control, master);
    master.join(Arc::new(OtherMasters(peers.clone())));
    let closing = watch::Sender::new(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of the cluster")?;
    let (publish_until, read_until, talk_until) = (
        closing.subscribe(),
        closing.subscribe(),
        closing.subscribe(),
    );
    let work = move || {
        runtime.block_on(async {
            tokio::join!(
                pump.run(publisher, super::requested(publish_until)),
                intake.run(read_until),
                control.run(talk_until),
            )
        });
    };
    let thread = std::thread::Builder::new().name("brine-cluster".to_owned());
    let thread = thread
        .spawn(work)
        .context("cannot start the thread of the cluster")?;
    Ok(Some(RunningCluster {
        closing,
        thread: Some(thread),
        status: ClusterStatus {
            publisher: publishing,
            intake: figures,
            peers,
        },
    }))
}

/// The messages between masters: jobs of others, which this master publishes to its minions, and which minions it has.
fn messages(
    options: ControlOptions,
    master: &MasterHandle,
) -> (Control, brine_bridge::nats::Peers) {
    let (handle, connected) = (master.clone(), master.clone());
    Control::new(
        options,
        Arc::new(move |from, job| {
            let handle = handle.clone();
            Box::pin(async move { handle.publish_for_peer(from, job).await })
        }),
        Arc::new(move || {
            let connected = connected.connected();
            connected.iter().map(ToString::to_string).collect()
        }),
    )
}

impl Drop for RunningCluster {
    fn drop(&mut self) {
        self.closing.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}

impl ClusterStatus {
    /// The sink that publishes.
    pub(crate) const fn publisher(&self) -> &SinkHandle {
        &self.publisher
    }

    /// What is published and read, and which masters are there.
    pub(crate) fn show(&self) -> Map {
        let number = |number: u64| Value::Int(number.into());
        let mut status = Map::new();
        let published = self.publisher.figures();
        status.insert("published", number(published.delivered));
        status.insert("not_kept_long_enough", number(published.missed));
        status.insert("dead_letters", number(published.dead));
        let waits = published.waits_for.map_or(Value::Nil, Value::from);
        status.insert("waits_for", waits);
        let read = {
            let figures = self.intake.lock();
            figures.unwrap_or_else(PoisonError::into_inner).clone()
        };
        status.insert("connected", read.is_connected);
        status.insert("taken_in", number(read.taken));
        status.insert("came_again", number(read.repeated));
        status.insert("came_early", number(read.early));
        status.insert("never_came", number(read.holes));
        status.insert("refused", number(read.refused));
        status.insert("dropped_by_stream", number(read.missed));
        status.insert("behind", number(read.behind));
        let masters = self.peers.status().into_iter().map(|peer| {
            let mut entry = Map::new();
            entry.insert("id", peer.master);
            entry.insert("alive", peer.is_alive);
            entry.insert("minions", number(peer.minions as u64));
            Value::from(entry)
        });
        status.insert("masters", masters.collect::<Vec<_>>());
        status
    }
}

/// The other masters, over NATS.
struct OtherMasters(brine_bridge::nats::Peers);

impl Peers for OtherMasters {
    fn publish(&self, job: Vec<u8>) -> Vec<Vec<u8>> {
        let answers = self.0.publish(job).into_iter();
        answers.map(|(_, answer)| answer).collect()
    }

    fn present(&self) -> Vec<String> {
        self.0.present()
    }
}

/// How to reach NATS, and the stream, as a master's or a sink's options say.
pub(crate) fn nats(options: &NatsOptions) -> anyhow::Result<(Connection, StreamOptions)> {
    // Before anything starts: a connection would only say that it cannot be made.
    let tls = TlsOptions {
        trust: options.ca.clone().map_or(Trust::Anyone, Trust::Roots),
        identity: options.certificate.clone(),
    };
    tls.client_config()?;
    let login = match options {
        NatsOptions {
            user: Some((user, password)),
            ..
        } => Login::Password {
            user: user.clone(),
            password: password.clone(),
        },
        NatsOptions {
            token: Some(token), ..
        } => Login::Token(token.clone()),
        NatsOptions {
            credentials: Some(file),
            ..
        } => Login::Credentials(file.clone()),
        NatsOptions {
            nkey: Some(file), ..
        } => Login::NKey(file.clone()),
        _ => Login::None,
    };
    let defaults = StreamOptions::default();
    let stream = StreamOptions {
        name: options.stream.clone().unwrap_or(defaults.name),
        prefix: options.prefix.clone().unwrap_or(defaults.prefix),
        replicas: options.replicas.unwrap_or(defaults.replicas),
        max_age: options.max_age.map_or(defaults.max_age, duration),
        max_bytes: options.max_bytes,
    };
    let connection = Connection {
        servers: options.servers.clone(),
        login,
        is_tls_required: options.is_tls_required,
        ca: options.ca.clone(),
        certificate: options.certificate.clone(),
    };
    connection.check()?;
    Ok((connection, stream))
}

/// Where the subjects begin to which these options publish.
pub(crate) fn prefix(options: &NatsOptions) -> String {
    let prefix = options.prefix.clone();
    prefix.unwrap_or_else(|| StreamOptions::default().prefix)
}

/// Says so where a bus that is not a master's has the option.
pub(crate) fn warn_if_ignored(brine: &Brine) {
    if brine.cluster.is_some() {
        tracing::warn!(
            "brine: cluster is ignored: only Brine's salt-master can be a member of a cluster"
        );
    }
}

const fn duration(age: Age) -> Option<Duration> {
    match age {
        Age::Forever => None,
        Age::For(duration) => Some(duration),
    }
}

fn sink_config(brine: &Brine, history: &History) -> anyhow::Result<SinkConfig> {
    // Where those of all sinks are.
    let dead_letters = sinks::dead_letters(&history.status().directory).join(CONSUMER);
    Ok(SinkConfig {
        name: ConsumerName::parse(CONSUMER)?,
        filter: Filter::new(&[], &NOT_SHARED, "")?,
        shown_filter: String::new(),
        batching: Batching::default(),
        attempts: 3,
        from_oldest: false,
        dead_letters,
        // The publisher waits itself, and hurries the disk: other masters wait for the event.
        waits_for_disk: false,
        redact: brine.redact.clone(),
    })
}

fn warn(connection: &Connection, has_secret: bool) {
    if connection.is_open() {
        tracing::warn!(
            "brine: cluster: NATS is on another machine, without TLS or without a login: whoever can reach it reads \
             all events; set tls, and user, token, credentials or nkey"
        );
    }
    if !has_secret {
        tracing::warn!(
            "brine: cluster: no secret: events and presence are shared, but jobs stay with the master that publishes them"
        );
    }
}

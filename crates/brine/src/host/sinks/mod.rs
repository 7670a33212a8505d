//! The sinks of a bus: made from options, each on its own thread, so that a sink that waits delays neither the bus
//! nor another sink.

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod databases;
#[cfg(any(feature = "otlp", feature = "webhook"))]
mod http;
mod make;
mod returner;
mod shown;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::Context;
use brine_api::Sinks;
#[cfg(any(feature = "mysql", feature = "postgres", feature = "webhook"))]
use brine_bridge::Secret;
use brine_bridge::{Pump, Sink, SinkConfig, SinkHandle};
use brine_config::{Brine, Opts, SinkOptions};
use brine_log::Log;
use brine_log::history::History;
use tokio::sync::watch;

use crate::bus_location::BusLocation;
pub(crate) use shown::SinkList;

/// Sinks whose options are known to be good. Nothing is connected.
pub(crate) struct PreparedSinks(Vec<Prepared>);

struct Prepared {
    config: SinkConfig,
    start: Start,
}

/// Starts a sink's thread, on which it takes what the pump hands it until it ends.
type Start =
    Box<dyn FnOnce(&str, Pump, watch::Receiver<bool>) -> anyhow::Result<JoinHandle<()>> + Send>;

/// What a sink needs of its node's configuration.
#[derive(Clone, Copy)]
struct Node<'a> {
    opts: Option<&'a Opts>,
    brine: &'a Brine,
}

/// Sinks that run. Dropping them has them deliver what is in the log, for a few seconds at most, and waits for that.
pub(crate) struct RunningSinks {
    handles: Vec<SinkHandle>,
    shutdown: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// How they are, for requests, and how the one is that publishes to other masters; `None` without history.
pub(crate) fn shown(
    sinks: Option<&RunningSinks>,
    publisher: Option<&SinkHandle>,
    history: Option<&History>,
) -> Option<Arc<dyn Sinks>> {
    let handles = sinks.into_iter().flat_map(|sinks| &sinks.handles);
    let handles = handles.chain(publisher).cloned().collect();
    let list = SinkList::running(handles, &history?.status().directory);
    Some(Arc::new(list))
}

/// What is wrong with a sink by itself.
pub(crate) fn check(
    opts: Option<&Opts>,
    brine: &Brine,
    options: &SinkOptions,
) -> anyhow::Result<()> {
    make::parts(Node { opts, brine }, options).map(drop)
}

/// Where a history keeps the dead letters of its sinks.
pub(crate) fn dead_letters(history: &Path) -> PathBuf {
    history.join("dead")
}

impl PreparedSinks {
    /// Those of a bus. Finds everything that is wrong without asking the other sides.
    pub(crate) fn of(location: &BusLocation) -> anyhow::Result<Self> {
        let node = Node {
            opts: location.opts.as_ref(),
            brine: &location.brine,
        };
        let sinks = location.sinks.iter().map(|options| {
            let (config, start) = make::sink(node, options)?;
            anyhow::Ok(Prepared { config, start })
        });
        Ok(Self(sinks.collect::<Result<_, _>>()?))
    }

    /// Starts them; `None` if there are none. They get the events that are appended from now on.
    pub(crate) fn start(
        self,
        log: &Arc<Log>,
        history: Option<&History>,
    ) -> anyhow::Result<Option<RunningSinks>> {
        if self.0.is_empty() {
            return Ok(None);
        }
        // One that is switched off is refused before this.
        let history = history.context("sinks need a history, which keeps their positions")?;
        let directory = dead_letters(&history.status().directory);
        let (shutdown, ends) = watch::channel(false);
        let (mut handles, mut threads) = (Vec::new(), Vec::new());
        for Prepared { mut config, start } in self.0 {
            config.dead_letters = directory.join(config.name.as_str());
            let name = config.name.to_string();
            let (pump, handle) = Pump::new(log, history, config)?;
            handles.push(handle);
            threads.push(start(&name, pump, ends.clone())?);
        }
        Ok(Some(RunningSinks {
            handles,
            shutdown,
            threads,
        }))
    }
}

fn starting<S: Sink + 'static>(sink: S) -> Start {
    Box::new(move |name, pump, ends| run(name, pump, sink, ends))
}

#[cfg(any(feature = "mysql", feature = "postgres", feature = "webhook"))]
fn secret(secret: Option<&brine_config::Secret>) -> Option<Secret> {
    secret.map(|secret| Secret::new(secret.0.clone()))
}

fn run<S: Sink + 'static>(
    name: &str,
    pump: Pump,
    sink: S,
    mut ends: watch::Receiver<bool>,
) -> anyhow::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime of a sink")?;
    let work = move || {
        let ended = async move {
            let _ = ends.wait_for(|is_over| *is_over).await; // a sender that is gone ends it too
        };
        runtime.block_on(pump.run(sink, ended));
    };
    let thread = std::thread::Builder::new().name(format!("sink {name}"));
    thread
        .spawn(work)
        .context("cannot start the thread of a sink")
}

impl Drop for RunningSinks {
    fn drop(&mut self) {
        self.shutdown.send_replace(true);
        for thread in self.threads.drain(..) {
            let _ = thread.join(); // a panic there has been printed
        }
    }
}

//! Running a function in this process: without a master (`--local`), or with a sign-in of our own.
//!
//! Functions ask for what only a minion can do; the answers are here. Events for this machine go to
//! the minion's bus if one runs.

use std::time::Duration;

use anyhow::Context;
use brine_bus::address::Address;
use brine_bus::client::PublisherConfig;
use brine_bus::client::tokio::Publisher;
use brine_config::Opts;
use brine_node::functions::{Call, Caller, Functions, Host, HostError, HostRequest, Outcome};
use tokio::sync::mpsc;

use crate::salt::minion;

/// How long an event may look for the bus.
const FIND_BUS_WITHIN: Duration = Duration::from_millis(200);

/// Runs a function without any master.
pub(super) fn run_local(
    opts: &Opts,
    address: &Address,
    config: PublisherConfig,
    call: Call,
) -> anyhow::Result<Outcome> {
    let (host, requests) = Host::new();
    let mut functions = minion::functions_config(opts);
    functions.caller = Caller::SaltCall;
    let functions = Functions::new(functions, host);
    let bus = Publisher::new(address, config);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    Ok(runtime.block_on(async {
        let running = tokio::spawn(answer(requests, bus));
        let outcome = functions.run(call).await;
        running.abort();
        outcome
    }))
}

/// Answers what functions ask, until nobody asks.
async fn answer(mut requests: mpsc::Receiver<HostRequest>, mut bus: Publisher) {
    let no_master = || HostError::NoMaster {
        why: "--local".to_owned(),
    };
    while let Some(request) = requests.recv().await {
        // Whoever asked may be gone.
        match request {
            HostRequest::Fire {
                tag,
                mut data,
                answer,
            } => {
                let fired = bus.fire_event(&tag, &mut data, Some(FIND_BUS_WITHIN)).await;
                let _ = answer.send(fired.map_err(|error| HostError::NoMaster {
                    why: error.to_string(),
                }));
            }
            HostRequest::SendEvent { answer, .. } => {
                let _ = answer.send(Err(no_master()));
            }
            HostRequest::Master { answer, .. } => {
                let _ = answer.send(Err(no_master()));
            }
            HostRequest::Running { answer } => {
                let _ = answer.send(Ok(Vec::new()));
            }
            HostRequest::Kill { answer, .. } => {
                let _ = answer.send(Ok(false));
            }
        }
    }
}

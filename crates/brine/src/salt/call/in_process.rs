//! Runs a function in this process: without a master (`--local`), or after signing in to the masters itself.
//!
//! A function that needs its minion (to fire an event, to reach the master) sends a [`HostRequest`]; this file
//! answers those requests. Events for this machine go to the minion's bus if a minion is running.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use brine_bus::address::Address;
use brine_bus::client::PublisherConfig;
use brine_bus::client::tokio::Publisher;
use brine_config::Loaded;
use brine_net::keys::minion::MinionKeys;
use brine_node::functions::{Call, Caller, Functions, Host, HostError, HostRequest, Outcome};
use brine_node::minion::MinionOptions;
use brine_node::minion::master_client::MasterClient;
use brine_wire::{Map, Value};
use tokio::sync::mpsc;

use super::via_minion::ReportTo;
use crate::access;
use crate::node;

/// How long to wait for the minion's bus to accept an event.
const FIND_BUS_WITHIN: Duration = Duration::from_millis(200);

/// The bus of the minion on this machine, for events.
pub(super) struct MinionBus {
    pub(super) address: Address,
    pub(super) config: PublisherConfig,
}

/// Runs a function without any master.
pub(super) fn run_local(loaded: &Loaded, bus: &MinionBus, call: Call) -> anyhow::Result<Outcome> {
    let (host, requests) = Host::new();
    let functions = functions(loaded, host);
    let bus = Publisher::new(&bus.address, bus.config);
    runtime()?.block_on(async {
        tokio::spawn(answer(requests, bus, Vec::new()));
        Ok(functions.run(call).await)
    })
}

/// Signs in to every master and runs a function; `written` are its arguments as typed.
pub(super) fn run_signed_in(
    loaded: &Loaded,
    bus: &MinionBus,
    call: Call,
    written: &[String],
    report_to: ReportTo,
) -> anyhow::Result<Outcome> {
    let options = MinionOptions::from_opts(&loaded.opts, &loaded.brine)?;
    access::require("pki_dir", &options.pki_dir, access::READ)?;
    node::remember_id(loaded);
    let id = options.id.clone();
    let (host, requests) = Host::new();
    let functions = functions(loaded, host);
    let bus = Publisher::new(&bus.address, bus.config);
    runtime()?.block_on(async {
        let masters = sign_in(options, &functions.grains()).await?;
        if let Some(master) = masters.first() {
            match master.pillar(Map::clone(&functions.grains())).await {
                Ok(pillar) => functions.set_pillar(pillar),
                Err(error) => tracing::warn!("no pillar: {error}"),
            }
        }
        tokio::spawn(answer(requests, bus, masters.clone()));
        let fun = call.fun.clone();
        let outcome = functions.run(call).await;
        if let (ReportTo::Master, Some(master)) = (report_to, masters.first()) {
            let written = written.iter().map(|word| Value::from(word.as_str()));
            let load = outcome.call_return(&id, &fun, written.collect());
            if let Err(error) = master.request(load).await {
                tracing::warn!("cannot report the return to the master: {error}");
            }
        }
        Ok(outcome)
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn functions(loaded: &Loaded, host: Host) -> Functions {
    let mut config = node::functions_config(loaded);
    config.caller = Caller::SaltCall;
    Functions::new(config, host)
}

/// Connections to the masters that accepted the sign-in. Fails with the last refusal if none did.
async fn sign_in(options: MinionOptions, grains: &Map) -> anyhow::Result<Vec<MasterClient>> {
    let keys = MinionKeys::open(&options.pki_dir, &options.key_options)?;
    let (options, keys) = (Arc::new(options), Arc::new(keys));
    let mut masters = Vec::new();
    let mut refused = anyhow!("option master is empty: name a master");
    for master in &options.masters {
        let name = master.with_port(master.port);
        // Requests wait for a name that resolves, as a minion does that starts before the network.
        if !master.resolves().await {
            let host = &master.host;
            refused = anyhow!(
                "cannot resolve master \"{host}\": correct option master, or the name service"
            );
            continue;
        }
        let client = MasterClient::new(options.clone(), keys.clone(), grains, master.clone())?;
        match client.sign_in(None).await {
            Ok(_) => masters.push(client),
            Err(error) => {
                tracing::debug!("{name}: {error}");
                refused = anyhow::Error::from(error).context(format!("master {name}"));
            }
        }
    }
    if masters.is_empty() {
        return Err(refused);
    }
    Ok(masters)
}

/// Answers the requests of functions until the last function is gone.
async fn answer(
    mut requests: mpsc::Receiver<HostRequest>,
    mut bus: Publisher,
    masters: Vec<MasterClient>,
) {
    while let Some(request) = requests.recv().await {
        // A function that was dropped no longer waits for its answer: ignore failed sends.
        match request {
            HostRequest::Fire {
                tag,
                mut data,
                answer,
            } => {
                let fired = bus.fire_event(&tag, &mut data, Some(FIND_BUS_WITHIN)).await;
                let _ = answer.send(fired.map_err(no_master));
            }
            HostRequest::SendEvent { load, answer } => {
                let _ = answer.send(send_event(&masters, load).await);
            }
            HostRequest::Master { load, answer } => {
                let _ = answer.send(match masters.first() {
                    Some(master) => master.request(load).await.map_err(no_master),
                    None => Err(no_master("--local")),
                });
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

/// Sends an event to every master.
async fn send_event(masters: &[MasterClient], load: Map) -> Result<(), HostError> {
    if masters.is_empty() {
        return Err(no_master("--local"));
    }
    // In Salt's order: the id first, which each request sets.
    let load: Map = std::iter::once(("id".into(), Value::Nil))
        .chain(load)
        .collect();
    for master in masters {
        master.request(load.clone()).await.map_err(no_master)?;
    }
    Ok(())
}

fn no_master(why: impl std::fmt::Display) -> HostError {
    HostError::NoMaster {
        why: why.to_string(),
    }
}

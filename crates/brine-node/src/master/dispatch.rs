//! Where a master's requests go: opened, told apart, answered.
//!
//! One task, so that the requests of a minion are acted on in the order they came. Nothing here waits:
//! sign-ins and files are handed on. Facts: `docs/protocol/network.md` §3, §8, §12, §15.

use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use brine_net::channel::Incoming;
use brine_net::master::Request;
use brine_net::replay::Seen;
use brine_wire::network::payload::{self, Payload};
use brine_wire::network::{Jid, MinionId, events, job_return, minion_event};
use brine_wire::{Map, Value};
use tokio::sync::mpsc;

use super::clear;
use super::publish::Publishing;
use super::sign_in::SignIns;
use super::stats::Stats;
use crate::files::FileServer;
use crate::own_bus::since_epoch;

/// Takes the requests.
pub(super) struct Dispatcher {
    master: Arc<Publishing>,
    sign_ins: SignIns,
    /// `None` unless `master_stats` is set.
    stats: Option<Stats>,
}

impl Dispatcher {
    pub(super) fn new(master: Arc<Publishing>) -> Self {
        let sign_ins = SignIns::start(&master);
        let compat = master.options.compat();
        let stats = master
            .options
            .stats_every
            .map(|every| Stats::new(every, compat));
        Self {
            master,
            sign_ins,
            stats,
        }
    }

    /// Takes requests until no more can come.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Incoming>) {
        while let Some(incoming) = requests.recv().await {
            self.take(incoming);
        }
    }

    fn take(&mut self, mut incoming: Incoming) {
        let value = incoming.take_payload();
        let channel = &self.master.channel;
        match Payload::from_value(value, channel.minimum_version()) {
            Ok(Payload::Encrypted(sealed)) => {
                match channel.open_request(&sealed, SystemTime::now()) {
                    Ok(mut request) => {
                        incoming.peer.trust();
                        let began = Instant::now();
                        self.act(incoming, &mut request);
                        self.count(&request, began.elapsed());
                    }
                    Err(refused) => {
                        tracing::info!(%refused, "request refused");
                        incoming.answer(refused.reply().into());
                    }
                }
            }
            Ok(Payload::Clear { load, .. }) => self.clear(incoming, load),
            Err(error) => {
                tracing::debug!(%error, "no request");
                incoming.answer(payload::BAD_LOAD.into());
            }
        }
    }

    fn count(&mut self, request: &Request, took: Duration) {
        let cmd = request.load.cmd.as_deref().unwrap_or_default();
        let told = self.stats.as_mut().and_then(|stats| stats.count(cmd, took));
        if let Some((tag, data)) = told {
            self.master.fire(&tag, data);
        }
    }

    fn clear(&self, incoming: Incoming, load: Map) {
        match load.get("cmd").and_then(Value::as_str) {
            Some("_auth") => self.sign_ins.hand_on(incoming, load),
            Some("publish") => {
                let answer = self.master.publish(&load);
                if answer.is_ours {
                    incoming.peer.trust();
                }
                incoming.answer(answer.value);
            }
            _ => incoming.answer(clear::answer(&load)),
        }
    }

    /// Acts on a request of an accepted minion.
    fn act(&self, incoming: Incoming, request: &mut Request) {
        let cmd = request.load.cmd.clone().unwrap_or_default();
        let answer = match cmd.as_str() {
            "_minion_event" => self.events(request),
            "_return" => self.job_return(request),
            "_pillar" => return answer_pillar(&self.master, incoming, request),
            "_register_resources" => self.resources(request),
            "_mine" | "_mine_delete" | "_mine_flush" => true.into(),
            "_file_recv" => false.into(),
            "pub_ret" | "verify_minion" => "".into(),
            cmd if FileServer::is_asked(cmd) => return self.file(incoming, request, cmd),
            "revoke_auth" => return self.revoke(incoming, request),
            "_syndic_return" => Value::Nil,
            _ => Map::new().into(),
        };
        seal(incoming, request, &answer);
    }

    fn events(&self, request: &mut Request) -> Value {
        if request.seen == Seen::Again {
            return Value::Nil;
        }
        // What listeners may see of it: all but token and nonce, which are apart already.
        let fields = take(&mut request.load.fields);
        let made = minion_event::events(fields, self.master.options.compat());
        for refused in made.refused {
            tracing::warn!(id = %request.minion.id(), %refused, "event not fired");
        }
        for (tag, data) in made.fired {
            self.master.fire(&tag, data);
        }
        Value::Nil
    }

    fn job_return(&self, request: &mut Request) -> Value {
        if request.seen == Seen::Again {
            return Value::Nil;
        }
        let fields = take(&mut request.load.fields);
        let jid = || Jid::at(since_epoch());
        let is_accepted = |id: &_| self.master.channel.is_accepted(id);
        match job_return::read(fields, jid, is_accepted) {
            Ok(returned) => {
                let tag = returned.tag();
                self.master.fire(&tag, returned.data.clone());
                self.master
                    .returns
                    .returned(returned.jid, returned.id, returned.data);
            }
            Err(ignored) => tracing::warn!(id = %request.minion.id(), %ignored, "return ignored"),
        }
        Value::Nil
    }

    fn resources(&self, request: &Request) -> Value {
        if request.seen == Seen::Again {
            return true.into();
        }
        let (tag, data) = events::resources_refreshed(request.minion.id());
        self.master.fire(&tag, data);
        true.into()
    }

    /// Files are read elsewhere.
    fn file(&self, incoming: Incoming, request: &Request, cmd: &str) {
        let (files, request, cmd) = (self.master.files.clone(), request.clone(), cmd.to_owned());
        tokio::task::spawn_blocking(move || {
            let answer = files.answer(&cmd, &request.load.fields);
            seal(
                incoming,
                &request,
                &answer.unwrap_or_else(|| Map::new().into()),
            );
        });
    }

    fn revoke(&self, incoming: Incoming, request: &Request) {
        let allowed = self.master.options.allow_minion_key_revoke;
        seal(incoming, request, &allowed.into());
        if !allowed {
            return tracing::warn!(id = %request.minion.id(), "a minion may not revoke its key here");
        }
        if let Err(error) = self.master.channel.revoke(request.minion.id()) {
            tracing::error!(%error, "a key that was to be revoked is still there");
        }
    }
}

fn answer_pillar(master: &Publishing, incoming: Incoming, request: &Request) {
    match master.channel.seal_pillar(request, Map::new()) {
        Ok(answer) => incoming.answer(answer),
        Err(error) => {
            tracing::warn!(%error, id = %request.minion.id(), "pillar not sent");
            incoming.answer(payload::HANDLER_FAILED.into());
        }
    }
    if !master.options.minion_data_cache || request.seen == Seen::Again {
        return;
    }
    if let Some(Value::Map(grains)) = request.load.fields.get("grains") {
        keep_grains(master, request.minion.id(), grains);
    }
    if master.options.minion_data_cache_events {
        let (tag, data) = events::data_refreshed(request.minion.id());
        master.fire(&tag, data);
    }
}

/// Keeps what a minion shows of itself, for targets.
fn keep_grains(master: &Publishing, id: &MinionId, grains: &Map) {
    if !master.minions.set(id, grains.clone()) {
        return;
    }
    let (minions, id) = (master.minions.clone(), id.clone());
    tokio::task::spawn_blocking(move || {
        if let Err(error) = minions.write(&id) {
            tracing::warn!(%error, %id, "grains not kept on disk");
        }
    });
}

fn seal(incoming: Incoming, request: &Request, answer: &Value) {
    match request.seal(answer) {
        Ok(answer) => incoming.answer(answer),
        Err(error) => {
            tracing::error!(%error, "answer not sealed");
            incoming.answer(payload::HANDLER_FAILED.into());
        }
    }
}

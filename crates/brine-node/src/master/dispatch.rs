//! Opens every request to the master, decides what it asks for, and answers it or passes it on.
//!
//! The transports call [`Dispatcher::take`] in the order in which requests arrive on a connection, so that a minion's
//! events keep their order. Nothing here waits: work that needs RSA or the disk goes to other threads. Facts:
//! `docs/protocol/network.md` §3, §8, §12, §15.

use std::mem::take;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use brine_log::Seq;
use brine_net::channel::Incoming;
use brine_net::master::{Refused, Request};
use brine_net::replay::Seen;
use brine_wire::network::delivery::Delivery;
use brine_wire::network::minion_event::Policy;
use brine_wire::network::payload::{self, Payload};
use brine_wire::network::request::LoadError;
use brine_wire::network::tag_policy::Sender;
use brine_wire::network::{Jid, MinionId, events, field, job_return, minion_event};
use brine_wire::{Map, Value};
use tokio::runtime::Handle;

use super::context::Context;
use super::counters::{RequestOutcome, SignInOutcome, add};
use super::deliveries::Begun;
use super::external::too_many;
use super::mine::{Mine, Targets};
use super::minion_threads::MinionThreads;
use super::refusals::{self, Refusals};
use super::rsa_threads::{RsaThreads, Work};
use super::signatures::ReturnSignatures;
use super::stats::Stats;
use super::{access, clear};
use super::{maintenance, runner, wheel};
use crate::files::FileServer;
use crate::node_bus::since_epoch;

/// The largest sign-in, in bytes: a key of 4 KiB, a token, and the grains of `autosign_grains`.
const MAX_SIGN_IN_BYTES: usize = 16 * 1024;

/// Receives every request of a master.
pub(super) struct Dispatcher {
    master: Arc<Context>,
    rsa: RsaThreads,
    /// For minions' requests that wait for the disk.
    minions: MinionThreads,
    /// For local clients' work that waits for the disk. The transports' threads need not be the runtime's.
    runtime: Handle,
    /// `None` unless `master_stats` is set. Held for one count.
    stats: Option<Mutex<Stats>>,
    signatures: ReturnSignatures,
    refusals: Refusals,
    /// For the log: what accepted minions do wrong, one line for each and minute.
    complaints: Refusals,
}

impl Dispatcher {
    /// Must be called within a runtime.
    pub(super) fn new(master: Arc<Context>) -> Self {
        let compat = master.options.compat();
        let stats = master.options.stats_every;
        Self {
            rsa: RsaThreads::start(&master),
            minions: MinionThreads::start(),
            runtime: Handle::current(),
            stats: stats.map(|every| Mutex::new(Stats::new(every, compat))),
            signatures: master.options.return_signatures,
            refusals: Refusals::default(),
            complaints: Refusals::default(),
            master,
        }
    }

    /// Handles a request, or passes it on.
    pub(super) fn take(&self, mut incoming: Incoming) {
        let value = incoming.take_payload();
        let (channel, counters) = (&self.master.channel, &self.master.counters);
        match Payload::from_value(value, channel.minimum_version()) {
            Ok(Payload::Encrypted(sealed)) => {
                match channel.open_request(&sealed, SystemTime::now()) {
                    Ok(request) => {
                        // A request that somebody recorded and sends again proves nothing.
                        if request.seen == Seen::First {
                            incoming.peer.trust_minion(request.minion.id());
                        }
                        counters.request(RequestOutcome::Answered);
                        self.act(incoming, request);
                    }
                    Err(refused) => {
                        match &refused {
                            // An accepted minion's, and only an administrator can set a clock.
                            Refused::Load {
                                source: LoadError::OutsideWindow { .. },
                                id,
                            } => {
                                if let Some(count) = self.complaints.count(id, 1) {
                                    tracing::warn!(%refused, count, "request refused");
                                }
                            }
                            _ => tracing::info!(%refused, "request refused"),
                        }
                        counters.request(RequestOutcome::from(&refused));
                        incoming.answer(refused.reply().into());
                    }
                }
            }
            Ok(Payload::Clear { load, .. }) => {
                counters.request(RequestOutcome::Clear);
                self.clear(incoming, load);
            }
            Err(error) => {
                tracing::debug!(%error, "malformed request");
                counters.request(RequestOutcome::Malformed);
                incoming.answer(payload::BAD_LOAD.into());
            }
        }
    }

    fn clear(&self, incoming: Incoming, load: Map) {
        match load.get("cmd").and_then(Value::as_str) {
            Some("_auth") if incoming.bytes > MAX_SIGN_IN_BYTES => {
                self.master.counters.sign_in(SignInOutcome::Malformed);
                incoming.answer(payload::BAD_LOAD.into());
            }
            Some("_auth") => {
                for _ in 0..self.rsa.hand_on(Work::SignIn(incoming, load)) {
                    self.master.counters.sign_in(SignInOutcome::Overloaded);
                }
            }
            Some("publish") if access::is_external(&load) => {
                let from = incoming.peer.address;
                self.for_stranger(incoming, move |master, trust| {
                    match master.external_caller(&load, from) {
                        Ok(caller) => {
                            trust(caller.user());
                            master.answer_publish(&load, &caller)
                        }
                        Err(refusal) => refusal,
                    }
                });
            }
            Some("publish") => match self.master.caller(&load) {
                Ok(caller) => {
                    incoming.peer.trust_client(caller.user());
                    let master = self.master.clone();
                    self.runtime.spawn_blocking(move || {
                        incoming.answer(master.answer_publish(&load, &caller));
                    });
                }
                Err(refusal) => incoming.answer(refusal),
            },
            Some("wheel" | "runner") if is_external(&load) => {
                let from = incoming.peer.address;
                self.for_stranger(incoming, move |master, trust| {
                    external_call(master, &load, from, trust)
                });
            }
            Some("wheel") => self.for_master(incoming, load, |master, load, user| {
                wheel::answer(master, load, user)
            }),
            Some("runner") => self.for_master(incoming, load, runner::answer),
            Some("mk_token") => {
                let from = incoming.peer.address;
                self.for_stranger(incoming, move |master, _| {
                    master.external.make_token(&load, from)
                });
            }
            Some("get_token") => {
                self.for_stranger(incoming, move |master, _| master.external.get_token(&load));
            }
            _ => incoming.answer(clear::answer(&load)),
        }
    }

    /// Does what only the master's own user may ask for, on a thread that may wait.
    fn for_master(
        &self,
        incoming: Incoming,
        load: Map,
        act: impl FnOnce(&Arc<Context>, &Map, &str) -> Value + Send + 'static,
    ) {
        let Some(user) = self.master.access.as_master(&load) else {
            return incoming.answer(clear::refused(&load));
        };
        incoming.peer.trust_client(&user);
        let master = self.master.clone();
        self.runtime.spawn_blocking(move || {
            incoming.answer(act(&master, &load, &user));
        });
    }

    /// Does what needs a password or a token checked first, on a thread that may wait. Answered as if it were
    /// wrong when too many of them are under way.
    fn for_stranger(
        &self,
        incoming: Incoming,
        act: impl FnOnce(&Arc<Context>, &dyn Fn(&str)) -> Value + Send + 'static,
    ) {
        let Some(under_way) = self.master.external.begin() else {
            tracing::warn!("too many logins under way: one is refused");
            return incoming.answer(clear::refused(&Map::new()));
        };
        let master = self.master.clone();
        self.runtime.spawn_blocking(move || {
            let peer = incoming.peer.clone();
            let answer = act(&master, &|user| peer.trust_client(user));
            drop(under_way);
            incoming.answer(answer);
        });
    }

    /// Acts on a request of an accepted minion.
    fn act(&self, incoming: Incoming, request: Request) {
        let began = Instant::now();
        let cmd = request.load.cmd.clone().unwrap_or_default();
        if matches!(cmd.as_str(), "_minion_event" | "_return") {
            self.deliver(incoming, request, &cmd);
            return self.count(&cmd, began.elapsed());
        }
        let answer = match cmd.as_str() {
            "_register_resources" => Some(self.resources(&request)),
            "_file_recv" => Some(false.into()),
            "pub_ret" | "verify_minion" => Some("".into()),
            "_syndic_return" => Some(Value::Nil),
            _ => None,
        };
        match (answer, cmd.as_str()) {
            (Some(answer), _) => seal(incoming, &request, &answer),
            (None, "_pillar") => {
                // A request dropped because the queue is full is answered as a bad load.
                self.rsa.hand_on(Work::Pillar(incoming, Box::new(request)));
            }
            (None, "revoke_auth") => self.revoke(incoming, &request),
            (None, cmd) if FileServer::handles(cmd) => self.file(incoming, request),
            (None, cmd) if Mine::handles(cmd) => self.mine(incoming, request),
            (None, _) => seal(incoming, &request, &Map::new().into()),
        }
        self.count(&cmd, began.elapsed());
    }

    /// Takes events or a return: each once, if the minion says which they are.
    fn deliver(&self, incoming: Incoming, mut request: Request, cmd: &str) {
        let is_repeated = request.seen == Seen::Again;
        // The signature is over all fields.
        if cmd == "_return" && !self.signatures.allow(&request) {
            return seal(incoming, &request, &false.into());
        }
        let act = |request: &mut Request| match cmd {
            "_return" => self.job_return(request),
            _ => self.events(request),
        };
        let Some(delivery) = Delivery::take_from(&mut request.load.fields) else {
            if !is_repeated {
                act(&mut request);
            }
            return seal(incoming, &request, &Value::Nil);
        };
        let id = request.minion.id().clone();
        let fired = match self.master.deliveries.begin(&id, delivery, is_repeated) {
            Begun::Known => None,
            // The minion signs in again and encrypts it anew.
            Begun::Doubtful => return incoming.answer(payload::BAD_LOAD.into()),
            Begun::New { known } => {
                skip(&mut request.load.fields, known, delivery.count());
                let next = self.master.bus.next();
                self.master.deliveries.intend(&id, delivery, known, next);
                let fired = act(&mut request);
                self.master.deliveries.note(&id, delivery, &fired);
                Some(fired)
            }
        };
        let master = self.master.clone();
        self.runtime.spawn(async move {
            master.deliveries.settle(&id, delivery, fired).await;
            seal(incoming, &request, &Value::Nil);
        });
    }

    fn count(&self, cmd: &str, took: Duration) {
        let Some(stats) = &self.stats else { return };
        let mut stats = stats.lock().unwrap_or_else(PoisonError::into_inner);
        let event = stats.count(cmd, took);
        drop(stats);
        if let Some((tag, data)) = event {
            self.master.fire(&tag, data);
        }
    }

    /// Fires a request's events; their numbers.
    fn events(&self, request: &mut Request) -> Range<Seq> {
        // Token and nonce were taken out already: listeners may see all that is left.
        let fields = take(&mut request.load.fields);
        let options = &self.master.options;
        let id = request.minion.id();
        let policy = Policy {
            sender: Sender {
                id: id.as_str(),
                syndic: options.order_masters,
            },
            audit_only: options.audit_minion_tags,
        };
        let made = minion_event::events(fields, options.compat(), policy);
        let counters = &self.master.counters;
        add(&counters.minion_events, made.fired.len());
        add(&counters.minion_events_refused, made.refused.count);
        self.report_refused(id, &made.refused);
        self.master.fire_all_from(id, made.fired)
    }

    /// Reports events that the policy refuses: one line in the log and one event per minion and minute.
    fn report_refused(&self, id: &MinionId, refused: &minion_event::Refusals) {
        let Some(first) = &refused.first else { return };
        let Some(count) = self.refusals.count(id, refused.count) else {
            return;
        };
        let mut reason = first.to_string();
        let end = (0..=reason.len().min(256)).rfind(|at| reason.is_char_boundary(*at));
        reason.truncate(end.unwrap_or(0));
        let audit_only = self.master.options.audit_minion_tags;
        tracing::warn!(%id, count, reason, audit_only, "a minion's events violate the tag policy");
        let mut data = Map::new();
        data.insert("id", id.as_str());
        data.insert("count", count as u64);
        data.insert("reason", reason);
        data.insert("audit_only", audit_only);
        self.master.fire(refusals::TAG, data);
    }

    /// Fires a job's return and keeps it; its number.
    fn job_return(&self, request: &mut Request) -> Range<Seq> {
        let fields = take(&mut request.load.fields);
        let jid = || Jid::at(since_epoch());
        let is_accepted = |id: &_| self.master.channel.is_accepted(id);
        match job_return::read(fields, jid, is_accepted) {
            Ok(returned) => {
                add(&self.master.counters.returns, 1);
                let tag = returned.tag();
                let (id, data) = (request.minion.id(), returned.data.clone());
                let fired = self.master.fire_all_from(id, vec![(tag, data)]);
                self.master
                    .returns
                    .returned(returned.jid, returned.id, returned.data);
                fired
            }
            Err(ignored) => {
                let id = request.minion.id();
                if let Some(count) = self.complaints.count(id, 1) {
                    tracing::warn!(%id, %ignored, count, "return ignored");
                }
                Seq(0)..Seq(0)
            }
        }
    }

    fn resources(&self, request: &Request) -> Value {
        if request.seen == Seen::Again {
            return true.into();
        }
        let (tag, data) = events::resources_refreshed(request.minion.id());
        self.master.fire(&tag, data);
        true.into()
    }

    /// Reads a file on a thread that may wait.
    fn file(&self, incoming: Incoming, request: Request) {
        let files = self.master.files.clone();
        self.minions
            .hand_on(incoming, request, move |incoming, request| {
                let cmd = request.load.cmd.as_deref().unwrap_or_default();
                let answer = files.answer(cmd, &request.load.fields);
                let answer = answer.unwrap_or_else(|| Map::new().into());
                seal(incoming, request, &answer);
            });
    }

    /// Reads or changes the mine, which is in files, on a thread that may wait.
    fn mine(&self, incoming: Incoming, request: Request) {
        let master = self.master.clone();
        self.minions
            .hand_on(incoming, request, move |incoming, request| {
                let cmd = request.load.cmd.as_deref().unwrap_or_default();
                let answer = match request.seen {
                    Seen::Again if cmd != "_mine_get" => true.into(),
                    _ => master.mine.answer(
                        cmd,
                        request.minion.id(),
                        &request.load.fields,
                        Targets {
                            select: &|tgt, tgt_type| master.matching_for_minion(tgt, tgt_type),
                            matches: &|tgt, tgt_type, id| {
                                master.matches_for_minion(tgt, tgt_type, id)
                            },
                        },
                    ),
                };
                seal(incoming, request, &answer);
            });
    }

    fn revoke(&self, incoming: Incoming, request: &Request) {
        let id = request.minion.id();
        let allowed = self.master.options.allow_minion_key_revoke;
        seal(incoming, request, &allowed.into());
        if !allowed {
            if let Some(count) = self.complaints.count(id, 1) {
                tracing::warn!(%id, count, "allow_minion_key_revoke is off: the minion keeps its key");
            }
            return;
        }
        let (master, id) = (self.master.clone(), id.clone());
        self.runtime
            .spawn_blocking(move || match master.channel.revoke(&id) {
                Ok(_) => {
                    master.audit_key(id.as_str(), "delete", "revoke_auth", id.as_str());
                    maintenance::rotate(&master);
                }
                Err(error) => tracing::error!(%error, %id, "cannot revoke the key"),
            });
    }
}

/// Removes the first items of a batch; a request that is not a batch is one item.
fn skip(fields: &mut Map, known: u64, count: u64) {
    let Some(Value::Array(mut items)) = fields.remove("events") else {
        return;
    };
    if count > 1 && items.len() as u64 == count {
        let known = usize::try_from(known).unwrap_or(usize::MAX);
        items.drain(..known.min(items.len()));
    }
    fields.insert("events", items);
}

/// Whether a `runner` or `wheel` request relies on external authentication instead of a key.
fn is_external(load: &Map) -> bool {
    load.get("token").is_some() || load.get("eauth").is_some()
}

/// Answers a `runner` or `wheel` request of a user of `external_auth`.
fn external_call(
    master: &Arc<Context>,
    load: &Map,
    from: Option<IpAddr>,
    trust: &dyn Fn(&str),
) -> Value {
    let caller = match master.external.identify(load, from) {
        Ok(caller) => caller,
        Err(error) => return too_many(&error).unwrap_or_else(|| clear::refused(load)),
    };
    trust(caller.user());
    let named: Map = load
        .iter()
        .filter(|(name, _)| {
            let name = name.as_str().unwrap_or_default();
            !["token", "eauth", "username", "password"].contains(&name)
        })
        .cloned()
        .collect();
    let is_runner = field::text(load, "cmd") == Some("runner");
    let (fun, arguments) = match is_runner {
        true => runner::called(&named),
        false => wheel::called(&named),
    };
    let form = if is_runner { "runner" } else { "wheel" };
    let permitted = caller.may_call(form, &fun, &arguments.positional, &arguments.keyword);
    match permitted {
        Ok(()) if is_runner => runner::start(master, fun, arguments, &caller),
        Ok(()) => wheel::answer(master, &named, caller.user()),
        Err(access::NotCallable::BadName) => clear::error(
            "SaltInvocationError",
            "A command invocation error occurred: Check syntax.",
        ),
        Err(access::NotCallable::NotPermitted) => {
            tracing::warn!(user = caller.user(), form, fun, "refused by external_auth");
            clear::not_permitted(load, caller.user())
        }
    }
}

fn seal(incoming: Incoming, request: &Request, answer: &Value) {
    match request.seal(answer) {
        Ok(answer) => incoming.answer(answer),
        Err(error) => {
            tracing::error!(%error, "cannot encrypt the answer");
            incoming.answer(payload::HANDLER_FAILED.into());
        }
    }
}

//! Runs a function in the minion that is running on this machine, over its bus: no sign-in, no modules to load.
//!
//! A Brine minion answers `brine/call/<id>` with `brine/call/<id>/ret`. Salt's own minions do not: a `test.ping`
//! that gets no answer tells them apart.
//!
//! Under `ipc_mode: tcp`, where every user can write to the bus, the call goes over the minion's local socket.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use brine_bus::address::Address;
use brine_bus::client::blocking::{Publisher, Subscriber};
use brine_bus::client::local::{LocalAddress, blocking::LocalClient};
use brine_bus::client::{PublishError, PublisherConfig, ReceiveError, SubscriberConfig, Wait};
use brine_node::functions::{Call, Outcome};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value};

/// Without an answer for this long, check whether the minion is a Brine minion at all.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// A Brine minion answers that check within this time, even on a busy machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// The minion's bus: where it is if a minion is running.
pub(super) struct MinionBus {
    pub(super) address: Address,
    pub(super) config: PublisherConfig,
    /// The file with port and token of its local socket under `ipc_mode: tcp`, where the bus takes no calls.
    pub(super) token_file: Option<PathBuf>,
}

/// Whether the running minion ran the function.
#[derive(Debug)]
pub(super) enum ViaMinion {
    Answered(Outcome),
    /// No minion is running, or it is not a Brine minion.
    NotAvailable,
}

/// Who receives the return, besides the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportTo {
    Master,
    Nobody,
}

/// Runs a function in the running minion. `written` is the call's arguments as typed.
pub(super) fn run(
    bus: &MinionBus,
    call: &Call,
    written: &[String],
    report_to: ReportTo,
) -> anyhow::Result<ViaMinion> {
    let mut data = request(call);
    data.insert("pub", call.publication.clone());
    let written = written.iter().map(|word| Value::from(word.as_str()));
    data.insert("fun_args", written.collect::<Vec<_>>());
    data.insert("jid", call.jid.as_str());
    data.insert("return", report_to == ReportTo::Master);
    if let Some(token_file) = &bus.token_file {
        return over_local_socket(token_file, bus.config, data);
    }
    let Some(mut minion) = Minion::connect(bus)? else {
        return Ok(ViaMinion::NotAvailable);
    };
    let Some(answer) = minion.send(data)? else {
        return Ok(ViaMinion::NotAvailable);
    };
    if let Some(outcome) = minion.wait(&answer, Wait::For(ASK_AFTER))? {
        return Ok(ViaMinion::Answered(outcome));
    }
    if !minion.is_brine()? {
        tracing::debug!("the running minion does not answer: it is a Salt minion");
        return Ok(ViaMinion::NotAvailable);
    }
    match minion.wait(&answer, Wait::Forever)? {
        Some(outcome) => Ok(ViaMinion::Answered(outcome)),
        None => Ok(ViaMinion::NotAvailable),
    }
}

/// Without a token to read there is no minion that would run the function for this user.
fn over_local_socket(
    token_file: &Path,
    config: PublisherConfig,
    mut data: Map,
) -> anyhow::Result<ViaMinion> {
    data.insert("client", "caller");
    let address = LocalAddress::TokenFile(token_file.to_owned());
    match LocalClient::new(address, config).run(data, None) {
        Ok(Value::Map(answer)) => Ok(ViaMinion::Answered(outcome(answer))),
        Ok(_) => bail!("expected a mapping from the minion's local socket"),
        Err(error) if error.is_absent() => {
            tracing::debug!("{error}");
            Ok(ViaMinion::NotAvailable)
        }
        Err(error) => Err(error.into()),
    }
}

fn request(call: &Call) -> Map {
    let mut data = Map::new();
    data.insert("fun", call.fun.as_str());
    data.insert("arg", call.args.clone());
    data.insert("kwarg", call.kwargs.clone());
    data
}

/// A connection to the running minion.
struct Minion {
    answers: Subscriber,
    requests: Publisher,
}

impl Minion {
    /// `None` if there is no bus.
    fn connect(bus: &MinionBus) -> anyhow::Result<Option<Self>> {
        let mut answers = Subscriber::new(&bus.address, SubscriberConfig::default());
        match answers.connect(Duration::ZERO) {
            Ok(()) => {}
            Err(ReceiveError::Connect(error)) => {
                tracing::debug!("{error}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        // Keep every answer, whichever call is waiting for one at the moment.
        answers.subscribe(TagMatch::new(MatchType::StartsWith, "brine/call/")?);
        Ok(Some(Self {
            answers,
            requests: Publisher::new(&bus.address, bus.config),
        }))
    }

    /// Sends a request; the tag its answer will have, or `None` if there is no bus.
    fn send(&mut self, mut data: Map) -> anyhow::Result<Option<String>> {
        // Unique on this machine; it need not be secret, since only the bus's owner can read it. (Starting the
        // cryptographic random generator would take twenty times longer than the whole call.)
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default().as_nanos();
        let tag = format!("brine/call/{:08x}{now:024x}", std::process::id());
        match self
            .requests
            .fire_event(&tag, &mut data, Some(Duration::ZERO))
        {
            Ok(()) => Ok(Some(format!("{tag}/ret"))),
            Err(PublishError::Connect(error)) => {
                tracing::debug!("{error}");
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn wait(&mut self, tag: &str, wait: Wait) -> anyhow::Result<Option<Outcome>> {
        let wanted = TagMatch::new(MatchType::StartsWith, tag)?;
        let until = match wait {
            Wait::For(time) => Some(Instant::now() + time),
            _ => None,
        };
        loop {
            let left = until.map_or(Wait::Forever, Wait::Until);
            let Some(event) = self.answers.get_event(&wanted, left)? else {
                return Ok(None);
            };
            if let Ok(Value::Map(answer)) = event.decode() {
                return Ok(Some(outcome(answer)));
            }
        }
    }

    fn is_brine(&mut self) -> anyhow::Result<bool> {
        let Some(answer) = self.send(request(&Call {
            fun: "test.ping".to_owned(),
            args: Vec::new(),
            kwargs: Map::new(),
            publication: Map::new(),
            jid: String::new(),
        }))?
        else {
            return Ok(false);
        };
        Ok(self.wait(&answer, Wait::For(ANSWERS_WITHIN))?.is_some())
    }
}

fn outcome(mut answer: Map) -> Outcome {
    let retcode = answer.get("retcode").and_then(Value::as_int);
    Outcome {
        retcode: retcode
            .and_then(|code| i64::try_from(code).ok())
            .unwrap_or_default(),
        success: answer.get("success").is_some_and(Value::is_true),
        out: answer.get("out").and_then(Value::as_str).map(str::to_owned),
        ret: answer.remove("return").unwrap_or(Value::Nil),
    }
}

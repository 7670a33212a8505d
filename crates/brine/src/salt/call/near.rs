//! Running a function in the minion that runs on this machine, over its bus: no sign-in, no modules
//! to load. The minion answers `brine/call/<id>` with `brine/call/<id>/ret`; Salt's own minions do
//! not, and are told apart by a `test.ping` that stays unanswered.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use brine_bus::client::blocking::{Publisher, Subscriber};
use brine_bus::client::{PublishError, ReceiveError, SubscriberConfig, Wait};
use brine_node::functions::{Call, Outcome};
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value};

use super::here::OwnBus;

/// After so long without an answer the minion is asked whether it is ours.
const ASK_AFTER: Duration = Duration::from_secs(1);
/// One of ours answers that within this time, on a busy machine too.
const ANSWERS_WITHIN: Duration = Duration::from_secs(4);

/// What running a function there came to.
#[derive(Debug)]
pub(super) enum Near {
    Answered(Outcome),
    /// No minion runs here, or none of ours.
    Nobody,
}

/// Whether the minion tells its master what came of the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tells {
    Master,
    Nobody,
}

/// Runs a function in the running minion. `written` is the call's arguments as they were written.
pub(super) fn run(
    bus: &OwnBus,
    call: &Call,
    written: &[String],
    tells: Tells,
) -> anyhow::Result<Near> {
    let Some(mut minion) = Minion::connect(bus)? else {
        return Ok(Near::Nobody);
    };
    let mut data = request(call);
    data.insert("pub", call.publication.clone());
    let written = written.iter().map(|word| Value::from(word.as_str()));
    data.insert("fun_args", written.collect::<Vec<_>>());
    data.insert("jid", call.jid.as_str());
    data.insert("return", tells == Tells::Master);
    let Some(answer) = minion.send(data)? else {
        return Ok(Near::Nobody);
    };
    if let Some(outcome) = minion.wait(&answer, Wait::For(ASK_AFTER))? {
        return Ok(Near::Answered(outcome));
    }
    if !minion.is_ours()? {
        tracing::debug!("the minion that runs here does not answer: it is Salt's");
        return Ok(Near::Nobody);
    }
    match minion.wait(&answer, Wait::Forever)? {
        Some(outcome) => Ok(Near::Answered(outcome)),
        None => Ok(Near::Nobody),
    }
}

fn request(call: &Call) -> Map {
    let mut data = Map::new();
    data.insert("fun", call.fun.as_str());
    data.insert("arg", call.args.clone());
    data.insert("kwarg", call.kwargs.clone());
    data
}

/// The bus of the minion that runs here.
struct Minion {
    answers: Subscriber,
    requests: Publisher,
}

impl Minion {
    /// `None` if there is no bus.
    fn connect(bus: &OwnBus) -> anyhow::Result<Option<Self>> {
        let mut answers = Subscriber::new(&bus.address, SubscriberConfig::default());
        match answers.connect(Duration::ZERO) {
            Ok(()) => {}
            Err(ReceiveError::Connect(error)) => {
                tracing::debug!("{error}");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        }
        // All answers, whichever is waited for at the moment.
        answers.subscribe(TagMatch::new(MatchType::StartsWith, "brine/call/")?);
        Ok(Some(Self {
            answers,
            requests: Publisher::new(&bus.address, bus.config),
        }))
    }

    /// Sends a request; the tag its answer will have, or `None` if nobody takes it.
    fn send(&mut self, mut data: Map) -> anyhow::Result<Option<String>> {
        // Unlike all others on this machine, and no secret: the bus is its owner's. (Random numbers
        // of the cryptography would take twenty times longer than the whole call.)
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

    fn is_ours(&mut self) -> anyhow::Result<bool> {
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

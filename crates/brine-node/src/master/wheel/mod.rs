//! Wheel functions: a local client manages the master with them, mostly its keys.
//!
//! Facts: Salt 3006.28, 3007.14 and 3008.3, by calling them over the network and listening to their events.

mod events;

use std::collections::HashSet;

use brine_config::Arguments;
use brine_net::crypto::{FingerprintHash, fingerprint};
use brine_wire::network::MinionId;
use brine_wire::network::events::KEY;
use brine_wire::{Map, Value, msgpack};

use self::events::CallEvents;
use super::context::Context;
use crate::functions::signature::{Bound, Origin, Signature};
use crate::functions::{CLIENT_KEYWORDS, Call, Failure};
use crate::keys::{self, Action, Found, Include, Keys, KeysError};

/// A wheel function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    List,
    ListAll,
    NameMatch,
    Change(Action, By),
    Finger,
    FingerMaster,
    MasterKey,
    Print,
    Generate,
    GenerateAccepted,
    Connected,
    Options,
}

/// How the caller names keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Glob,
    /// A mapping from states to ids.
    State,
}

/// Every function there is, with its signature.
const FUNCTIONS: [(&str, &str, Which); 18] = [
    ("key.list", "match", Which::List),
    ("key.list_all", "", Which::ListAll),
    ("key.name_match", "match", Which::NameMatch),
    ("key.glob_match", "match", Which::NameMatch),
    (
        "key.accept",
        "match, include_rejected=False, include_denied=False",
        Which::Change(Action::Accept, By::Glob),
    ),
    (
        "key.accept_dict",
        "match, include_rejected=False, include_denied=False",
        Which::Change(Action::Accept, By::State),
    ),
    (
        "key.reject",
        "match, include_accepted=False, include_denied=False",
        Which::Change(Action::Reject, By::Glob),
    ),
    (
        "key.reject_dict",
        "match, include_accepted=False, include_denied=False",
        Which::Change(Action::Reject, By::State),
    ),
    (
        "key.delete",
        "match",
        Which::Change(Action::Delete, By::Glob),
    ),
    (
        "key.delete_dict",
        "match",
        Which::Change(Action::Delete, By::State),
    ),
    ("key.finger", "match, hash_type=None", Which::Finger),
    ("key.finger_master", "hash_type=None", Which::FingerMaster),
    ("key.master_key_str", "", Which::MasterKey),
    ("key.print", "match", Which::Print),
    ("key.gen", "id_=None, keysize=2048", Which::Generate),
    (
        "key.gen_accept",
        "id_, keysize=2048, force=False",
        Which::GenerateAccepted,
    ),
    ("minions.connected", "", Which::Connected),
    ("config.values", "", Which::Options),
];

/// Whether there is a wheel function of this name.
#[must_use]
pub fn has_wheel(name: &str) -> bool {
    FUNCTIONS.iter().any(|(own, ..)| *own == name)
}

/// A wheel function failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WheelError {
    /// There is no such function, or its arguments do not fit.
    #[error(transparent)]
    Call(#[from] Failure),
    /// The keys cannot be read or changed.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// Only the master's own user may call wheel functions.
    #[error("only root and the master's own user may call wheel functions")]
    NotPermitted,
    /// The master is shutting down.
    #[error("the master is shutting down")]
    ShuttingDown,
}

impl WheelError {
    /// The name of Salt's exception.
    const fn class(&self) -> &'static str {
        match self {
            Self::Call(Failure::Invocation { .. } | Failure::Arguments { .. })
            | Self::Keys(KeysError::Key(_)) => "SaltInvocationError",
            _ => "CommandExecutionError",
        }
    }
}

/// Answers a clear `wheel` request. Waits for the disk.
pub(super) fn answer(master: &Context, load: &Map, user: &str) -> Value {
    run(master, call(load), user).0
}

/// The function and the arguments in the load of a clear `wheel` request.
pub(super) fn called(load: &Map) -> (String, Arguments) {
    let Call {
        fun, args, kwargs, ..
    } = call(load);
    let arguments = Arguments {
        positional: args,
        keyword: kwargs,
    };
    (fun, arguments)
}

/// Runs a function and fires its events: the answer to a client, and what the function returned. Waits for the
/// disk.
pub(super) fn run(master: &Context, call: Call, user: &str) -> (Value, Result<Value, WheelError>) {
    let mut events = CallEvents::begin(master, &call.fun, user);
    let returned = find(&call.fun).and_then(|(which, signature)| {
        let name = call.fun.clone();
        let call = without_client_keywords(call, &signature);
        let bound = signature.bind(&name, "", call, Origin::Job)?;
        events.started(fun_args(&signature, &bound));
        execute(master, which, &bound, user)
    });
    (events.ended(&returned), returned)
}

/// The call in a load: its arguments are under `arg` and `kwarg`, or by name beside `fun`.
fn call(load: &Map) -> Call {
    const NOT_ARGUMENTS: [&str; 5] = ["cmd", "fun", "key", "user", "full_return"];
    let fun = load.get("fun").and_then(Value::as_str).unwrap_or_default();
    let mut call = Call::new(fun);
    match (load.get("arg"), load.get("kwarg")) {
        (Some(Value::Array(arg)), Some(Value::Map(kwarg))) => {
            call.args.clone_from(arg);
            call.kwargs.clone_from(kwarg);
        }
        _ => {
            let by_name = load.iter().filter(|(name, _)| {
                name.as_str()
                    .is_none_or(|name| !NOT_ARGUMENTS.contains(&name))
            });
            call.kwargs = by_name.cloned().collect();
        }
    }
    call
}

/// Without the keywords of clients that the function does not take; Salt's wheel ignores them. Any other is a mistake.
fn without_client_keywords(mut call: Call, signature: &Signature) -> Call {
    let takes = |name: &str| signature.parameters.iter().any(|(own, _)| *own == name);
    let kept = call.kwargs.into_iter().filter(|(name, _)| {
        name.as_str()
            .is_none_or(|name| takes(name) || !CLIENT_KEYWORDS.contains(&name))
    });
    call.kwargs = kept.collect();
    call
}

/// For the fuzz target: whatever a load holds, its arguments fit a function's parameters or are refused, and none is lost
/// on the way to the function and to its event.
pub(crate) fn fuzz_wheel(bytes: &[u8]) {
    let Ok(Value::Map(load)) = msgpack::decode_network(bytes) else {
        return;
    };
    let (fun, _) = called(&load);
    assert_eq!(find(&fun).is_ok(), has_wheel(&fun));
    for (name, ..) in FUNCTIONS {
        let Ok((which, signature)) = find(name) else {
            panic!("{name} is in the table");
        };
        let call = call(&load);
        let given = call.args.len() + call.kwargs.len();
        let Ok(bound) = signature.bind(name, "", call, Origin::Job) else {
            continue;
        };
        assert!(given <= signature.parameters.len());
        let shown = fun_args(&signature, &bound);
        assert!(shown.len() <= signature.parameters.len());
        if matches!(which, Which::Change(_, By::State)) {
            let ids = wanted_ids(bound.get(0));
            assert!(ids.is_empty() || bound.get(0).as_map().is_some());
        }
    }
}

fn find(fun: &str) -> Result<(Which, Signature), WheelError> {
    let found = FUNCTIONS.iter().find(|(name, ..)| *name == fun);
    let (_, signature, which) = found.ok_or_else(|| Failure::NotAvailable {
        fun: fun.to_owned(),
        reason: None,
        docs: Map::new(),
    })?;
    Ok((*which, Signature::read(signature)))
}

/// The arguments as events show them: required ones positionally, the others in a mapping.
fn fun_args(signature: &Signature, bound: &Bound) -> Vec<Value> {
    let mut args = Vec::new();
    let mut kwargs = Map::new();
    for (at, (name, default)) in signature.parameters.iter().enumerate() {
        let value = bound.get(at).clone();
        match default {
            None => args.push(value),
            Some(_) => kwargs.insert(*name, value),
        }
    }
    if !kwargs.is_empty() {
        args.push(kwargs.into());
    }
    args
}

fn execute(master: &Context, which: Which, bound: &Bound, user: &str) -> Result<Value, WheelError> {
    let keys = Keys::new(
        master.channel.store().clone(),
        master.options.channel.pki_dir.clone(),
        master.options.compat(),
    );
    let first = bound.get(0);
    let text = || first.as_str().unwrap_or_default();
    Ok(match which {
        Which::List => match text() {
            word if word.starts_with("all") => keys.list_all()?,
            word if keys::state_of(word).is_some() => keys.list(word)?,
            _ => Map::new().into(),
        },
        Which::ListAll => keys.list_all()?,
        Which::NameMatch => keys::by_state(&keys.matching(text())?),
        Which::Finger => keys.fingerprints(text(), hash(master, bound.get(1))?)?,
        Which::Print => keys.texts(text())?,
        Which::Generate => keys::generate(bits(bound.get(1))?)?.into(),
        Which::GenerateAccepted => generate_accepted(master, user, &keys, bound)?,
        Which::FingerMaster => own(&fingerprint(master.channel.public(), hash(master, first)?)),
        Which::MasterKey => own(master.channel.public().pem()),
        Which::Connected => {
            Value::Array((master.present().iter().map(|id| id.as_str().into())).collect())
        }
        Which::Options => master.options.shown.clone().into(),
        Which::Change(action, by) => {
            let found = match by {
                By::Glob => keys.matching(text())?,
                By::State => named(&keys, first)?,
            };
            change(master, user, &keys, action, &found, bound)?
        }
    })
}

/// The ids that a mapping from states names, if they are in those states.
fn named(keys: &Keys, by_state: &Value) -> Result<Found, KeysError> {
    let wanted = wanted_ids(by_state);
    let mut found = keys.matching("*")?;
    for (state, ids) in &mut found {
        ids.retain(|id| wanted.contains(&(state.folder(), id.as_str())));
    }
    found.retain(|(_, ids)| !ids.is_empty());
    Ok(found)
}

fn wanted_ids(by_state: &Value) -> HashSet<(&str, &str)> {
    let states = by_state.as_map().into_iter().flat_map(Map::iter);
    let ids = states.flat_map(|(state, ids)| {
        let ids = ids.as_array().unwrap_or_default().iter();
        ids.filter_map(|id| Some((state.as_str()?, id.as_str()?)))
    });
    ids.collect()
}

/// Changes the keys and shows their new states.
fn change(
    master: &Context,
    user: &str,
    keys: &Keys,
    action: Action,
    found: &Found,
    bound: &Bound,
) -> Result<Value, WheelError> {
    let others = bound.get(1).is_true();
    let include = Include {
        accepted: action == Action::Reject && others,
        rejected: action == Action::Accept && others,
        denied: bound.get(2).is_true(),
    };
    let leftover = &master.options.leftover;
    keys.change(action, found, include, leftover, |data| {
        let text = |name| data.get(name).and_then(Value::as_str).unwrap_or_default();
        master.audit_key(text("id"), text("act"), "wheel", user);
        master.fire(KEY, data);
    })?;
    let ids: HashSet<_> = found.iter().flat_map(|(_, ids)| ids).collect();
    let mut now = keys.matching("*")?;
    for (_, ids_now) in &mut now {
        ids_now.retain(|id| ids.contains(id));
    }
    now.retain(|(_, there)| !there.is_empty());
    Ok(keys::by_state(&now))
}

/// Makes a key for a minion and accepts it; nothing, as in Salt, if the minion has one.
fn generate_accepted(
    master: &Context,
    user: &str,
    keys: &Keys,
    bound: &Bound,
) -> Result<Value, WheelError> {
    let id = bound.text(0);
    let id = MinionId::parse(&id).map_err(|error| invocation(format!("id_: {error}")))?;
    // In a form it is a text, of which "False" is true to Salt.
    let force = match bound.get(2) {
        Value::Str(text) => brine_config::parse_value(text).is_true(),
        force => force.is_true(),
    };
    let bits = bits(bound.get(1))?;
    let made = keys.generate_accepted(&id, bits, force, &master.options.leftover)?;
    if made.is_some() {
        master.audit_key(id.as_str(), "accept", "wheel", user);
    }
    Ok(made.unwrap_or_default().into())
}

/// A key's size. In a form it is a text.
fn bits(keysize: &Value) -> Result<u32, WheelError> {
    let bits = match keysize {
        Value::Str(text) => text.parse().ok(),
        other => other.as_int().and_then(|bits| u32::try_from(bits).ok()),
    };
    bits.ok_or_else(|| invocation("keysize: expected a number of bits".to_owned()))
}

fn invocation(message: String) -> WheelError {
    Failure::Invocation { message }.into()
}

fn execution(error: &impl ToString) -> Failure {
    Failure::Execution {
        message: error.to_string(),
    }
}

/// The digest named in the arguments, or `hash_type`.
fn hash(master: &Context, argument: &Value) -> Result<FingerprintHash, WheelError> {
    let name = argument.as_str().unwrap_or(&master.options.hash_type);
    let expected = FingerprintHash::NAMES;
    let unknown = || format!("hash_type must be one of {expected}, not {name}");
    Ok(FingerprintHash::parse(name).ok_or_else(|| execution(&unknown()))?)
}

/// An answer about the master's own public key.
fn own(text: &str) -> Value {
    let file: Map = [("master.pub", text)].into_iter().collect();
    [("local", file)].into_iter().collect::<Map>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wheel_help::WHEEL_HELP;

    #[test]
    fn every_function_is_documented() {
        let mut names: Vec<_> = FUNCTIONS.iter().map(|(name, ..)| *name).collect();
        names.sort_unstable();
        assert!(
            names
                .into_iter()
                .eq(WHEEL_HELP.iter().map(|(name, _)| *name))
        );
    }
}

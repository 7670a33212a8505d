//! The events a master fires for the failed states in a job return.
//!
//! Pure: what is fired, and under which tag, from the return alone. Facts:
//! `docs/protocol/ipc.md` §8.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::event::STAMP;
use crate::tag::{SALT, tagify};
use crate::value::{Map, Value};

/// The functions whose returns are looked into (Salt's `SUB_EVENT`).
pub const SUB_EVENT: [&str; 2] = ["state.highstate", "state.sls"];

/// Tags and data, in the order in which Salt's `fire_ret_load(load)` fires them: two events for
/// every state that failed, first the old form, then `salt/job/<jid>/sub/<id>/error/<fun>`.
///
/// Salt fires both from one mapping, so that in the second `_stamp` comes before the keys that
/// were added after the first; there it is null here, for the sender to set.
#[must_use]
pub fn fire_ret_load(load: &Map) -> Vec<(String, Map)> {
    let mut events = Vec::new();
    for call in failed_calls(load) {
        fire_call(load, &call, &mut events);
    }
    events
}

/// One function of a job that ended with a return code other than zero.
struct Call<'a> {
    fun: &'a str,
    retcode: &'a Value,
    states: &'a Map,
}

fn failed_calls(load: &Map) -> Vec<Call<'_>> {
    let (Some(fun), Some(retcode)) = (load.get("fun"), load.get("retcode")) else {
        return Vec::new();
    };
    if !retcode.is_true() {
        return Vec::new();
    }
    let returned = load.get("return");
    match (fun, retcode) {
        (Value::Array(funs), Value::Array(retcodes)) => {
            let returns: &[Value] = match returned {
                Some(Value::Array(returns)) => returns,
                _ => &[],
            };
            (funs.iter().zip(retcodes).zip(returns))
                .filter_map(|((fun, retcode), states)| call(fun, retcode, states))
                .collect()
        }
        (Value::Array(funs), Value::Map(retcodes)) => (funs.iter())
            .filter_map(|fun| {
                let name = fun.as_str()?;
                call(fun, retcodes.get(name)?, returned?.as_map()?.get(name)?)
            })
            .collect(),
        (Value::Array(_), _) => Vec::new(),
        _ => (returned.and_then(|states| call(fun, retcode, states)))
            .into_iter()
            .collect(),
    }
}

fn call<'a>(fun: &'a Value, retcode: &'a Value, states: &'a Value) -> Option<Call<'a>> {
    let fun = fun.as_str().filter(|fun| SUB_EVENT.contains(fun))?;
    let states = states.as_map()?;
    retcode.is_true().then_some(Call {
        fun,
        retcode,
        states,
    })
}

/// Adds the events of a call's failed states. A state that is not a mapping, or a return without
/// `jid` or `id`, ends the call where Salt's raises: what was fired before stays fired.
fn fire_call(load: &Map, call: &Call<'_>, events: &mut Vec<(String, Map)>) {
    for (chunk, state) in call.states {
        let (Some(chunk), Some(state)) = (chunk.as_str(), state.as_map()) else {
            return;
        };
        if state.get("result") != Some(&Value::Bool(false)) {
            continue;
        }
        let mut data = state.clone();
        data.insert("retcode", call.retcode.clone());
        let name = format!(
            "{}.{}",
            chunk.split("_|-").next().unwrap_or(chunk),
            chunk.rsplit("_|-").next().unwrap_or(chunk)
        );
        events.push((name.clone(), data.clone()));

        let (Some(jid), Some(id)) = (load.get("jid"), load.get("id")) else {
            return;
        };
        data.insert(STAMP, Value::Nil);
        data.insert("jid", jid.clone());
        data.insert("id", id.clone());
        data.insert("success", false);
        data.insert("return", format!("Error: {name}"));
        data.insert("fun", call.fun);
        if let Some(user) = load.get("user") {
            data.insert("user", user.clone());
        }
        let parts = [&part(jid), "sub", &part(id), "error", call.fun];
        events.push((tagify(parts, "job", SALT), data));
    }
}

/// A part of a tag as Python's `str` makes it of what an id can be.
fn part(id: &Value) -> String {
    match id {
        Value::Str(text) => text.clone(),
        Value::Bin(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Int(number) => number.to_string(),
        Value::Nil => "None".to_string(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
        Value::Map(pairs.into_iter().collect())
    }

    fn failed() -> Value {
        map([("result", false.into())])
    }

    fn tags(fun: Value, retcode: Value, returned: Value) -> Vec<String> {
        let load = map([
            ("fun", fun),
            ("retcode", retcode),
            ("jid", "J".into()),
            ("id", "m".into()),
            ("return", returned),
        ]);
        (fire_ret_load(load.as_map().unwrap()).into_iter())
            .map(|(tag, _)| tag)
            .collect()
    }

    #[test]
    fn the_second_event_has_the_keys_in_the_order_of_salts_one_mapping() {
        let load = map([
            ("fun", "state.sls".into()),
            ("retcode", 2.into()),
            ("jid", "J".into()),
            ("id", "m".into()),
            ("user", Value::Nil),
            ("return", map([("test_|-x_|-y_|-fail", failed())])),
        ]);
        let events = fire_ret_load(load.as_map().unwrap());
        let keys: Vec<Vec<&str>> = (events.iter())
            .map(|(_, data)| data.iter().filter_map(|(key, _)| key.as_str()).collect())
            .collect();
        assert_eq!(events[0].0, "test.fail");
        assert_eq!(events[1].0, "salt/job/J/sub/m/error/state.sls");
        assert_eq!(
            keys,
            [
                vec!["result", "retcode"],
                vec![
                    "result", "retcode", "_stamp", "jid", "id", "success", "return", "fun", "user"
                ]
            ]
        );
    }

    #[test]
    fn only_failed_states_of_state_functions_count() {
        let returned = || {
            map([
                ("a", map([("result", Value::Nil)])),
                ("b", map([("result", 0.into())])),
                ("c", failed()),
            ])
        };
        assert_eq!(tags("state.sls".into(), 1.into(), returned()).len(), 2);
        assert!(tags("state.sls".into(), 0.into(), returned()).is_empty());
        assert!(tags("state.apply".into(), 1.into(), returned()).is_empty());
        assert!(tags("state.sls".into(), 1.into(), vec![returned()].into()).is_empty());
    }

    #[test]
    fn each_function_of_a_job_has_its_return_code() {
        let funs: Value = vec!["state.sls".into(), "state.highstate".into()].into();
        let returned = || map([("a", failed())]);
        assert_eq!(
            tags(
                funs.clone(),
                vec![0.into(), 1.into()].into(),
                vec![returned(), returned()].into()
            ),
            ["a.a", "salt/job/J/sub/m/error/state.highstate"]
        );
        assert_eq!(
            tags(
                funs,
                map([("state.sls", 2.into())]),
                map([("state.sls", returned()), ("state.highstate", returned())])
            ),
            ["a.a", "salt/job/J/sub/m/error/state.sls"]
        );
    }

    #[test]
    fn what_is_no_state_ends_the_call() {
        let returned = map([("a", failed()), ("b", vec![].into()), ("c", failed())]);
        assert_eq!(tags("state.sls".into(), 1.into(), returned).len(), 2);
    }
}

//! `state_compress_ids`: the states of one id, file and result as one.

use std::cmp::Ordering;
use std::collections::HashMap;

use brine_wire::{Map, Value};

use crate::salt::python;

/// The minions with fewer states; `None` if something in them is not a state.
pub(super) fn compress(minions: &Map) -> Option<Map> {
    let mut compressed = Map::new();
    for (id, states) in minions {
        let states = compress_states(states.as_map()?)?;
        compressed.insert(id.clone(), states);
    }
    Some(compressed)
}

fn compress_states(states: &Map) -> Option<Map> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for (name, state) in states {
        *counts
            .entry(kind(name.as_str()?, state.as_map()?)?)
            .or_default() += 1;
    }
    let mut compressed = Map::new();
    for (name, state) in states {
        let (name, state) = (name.as_str()?, state.as_map()?);
        let count = counts.get(&kind(name, state)?)?;
        if *count == 1 {
            compressed.insert(name, state.clone());
            continue;
        }
        let name = common_name(name, state, *count)?;
        match compressed.remove(&name) {
            None => compressed.insert(name, state.clone()),
            Some(Value::Map(mut earlier)) => {
                add(&mut earlier, state)?;
                compressed.insert(name, earlier);
            }
            Some(_) => return None,
        }
    }
    Some(compressed)
}

fn part(state: &Map, key: &str) -> Option<String> {
    state.get(key).map(python::str)
}

/// What states must have in common: module, id, file and result.
fn kind(name: &str, state: &Map) -> Option<String> {
    let module = name.split("_|-").next()?;
    let [id, sls, result] = ["__id__", "__sls__", "result"].map(|key| part(state, key));
    Some(format!("{module}_{}_{}_{}", id?, sls?, result?))
}

fn common_name(name: &str, state: &Map, count: usize) -> Option<String> {
    let mut parts: Vec<_> = name.split("_|-").map(str::to_owned).collect();
    let [id, sls, result] = ["__id__", "__sls__", "result"].map(|key| part(state, key));
    let (id, sls, result) = (id?, sls?, result?);
    *parts.get_mut(2)? = format!("state_compressed_{sls}_{id}_{result}");
    *parts.get_mut(1)? = format!("{id} ({count})");
    Some(parts.join("_|-"))
}

/// Adds a state to an earlier one of its kind: the first number and time, the sum of the durations, all changes.
fn add(earlier: &mut Map, state: &Map) -> Option<()> {
    for key in ["__run_num__", "start_time"] {
        let (new, old) = (state.get(key)?, earlier.get(key)?);
        if python::compare(new, old)? == Ordering::Less {
            earlier.insert(key, new.clone());
        }
    }
    let duration = sum(state.get("duration")?, earlier.get("duration")?)?;
    earlier.insert("duration", duration);
    let truthy = |value: Option<&Value>| value.filter(|value| value.is_true()).cloned();
    let Some(new) = truthy(state.get("changes")) else {
        return Some(());
    };
    let mut all = match truthy(earlier.get("changes")) {
        None => Map::new(),
        Some(old) => match truthy(old.as_map()?.get("compressed changes")) {
            Some(all) => all.as_map()?.clone(),
            None => Map::from_pairs(vec![(earlier.get("name")?.clone(), old)]),
        },
    };
    all.insert(state.get("name")?.clone(), new);
    let changes: Map = [("compressed changes", all)].into_iter().collect();
    earlier.insert("changes", changes);
    Some(())
}

/// Python's `round(a + b, 3)`.
fn sum(a: &Value, b: &Value) -> Option<Value> {
    #[allow(clippy::cast_precision_loss)] // milliseconds
    let float = |value: &Value| match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    };
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return Some(Value::Int(a + b));
    }
    let sum = float(a)? + float(b)?;
    let rounded = format!("{sum:.3}").parse().unwrap_or(sum);
    Some(Value::Float(rounded))
}

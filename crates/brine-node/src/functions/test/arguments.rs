//! `test.arg` and the like: return the arguments of the call.

use std::mem::take;

use brine_wire::python_text::{self, repr};
use brine_wire::{Map, Value};

use super::Result;
use crate::functions::context::Context;
use crate::functions::signature::Bound;
use crate::functions::table::Returned;

pub(super) fn both(args: Value, kwargs: Value) -> Returned {
    let both: Map = [("args", args), ("kwargs", kwargs)].into_iter().collect();
    Value::Map(both).into()
}

/// Without the job's own keys.
pub(super) fn clean(kwargs: Map) -> Map {
    let own = |key: &Value| key.as_str().is_some_and(|key| key.starts_with("__"));
    kwargs.into_iter().filter(|(key, _)| !own(key)).collect()
}

pub(super) fn arg_repr(_: &Context, bound: &mut Bound) -> Result {
    let items: Vec<_> = bound.varargs.iter().map(repr).collect();
    let args = match items.as_slice() {
        [one] => format!("({one},)"), // Python's tuple of one
        items => format!("({})", items.join(", ")),
    };
    Ok(both(
        args.into(),
        repr(&take(&mut bound.keywords).into()).into(),
    ))
}

pub(super) fn arg_type(_: &Context, bound: &mut Bound) -> Result {
    let args: Vec<_> = bound.varargs.iter().map(class_of).collect();
    let types = bound.keywords.iter();
    let kwargs: Map = types
        .map(|(key, value)| (key.clone(), class_of(value)))
        .collect();
    Ok(both(args.into(), kwargs.into()))
}

fn class_of(value: &Value) -> Value {
    let name = python_text::class_name(value);
    format!("<class '{name}'>").into()
}

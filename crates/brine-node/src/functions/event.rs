//! `event.*`: firing events on the minion's own bus and sending them to its masters.
//!
//! No function here fails: as in Salt, they return False if an event could not be sent.
//! Facts: Salt 3006.28 and 3008.3, by running them.

use brine_wire::{Map, Value};

use super::context::Context;
use super::signature::Bound;
use super::table::{Builtin, Run, Waiting};

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "event.fire",
        signature: "data, tag",
        doc: "
    Fire an event on the minion's own bus. Data must be a mapping.

        salt '*' event.fire '{\"data\": \"my event data\"}' 'tag'
    ",
        run: Run::Waits(fire),
    },
    Builtin {
        name: "event.fire_master",
        signature: "data, tag, preload=None",
        doc: "
    Send an event to the master: data first, then the tag.

        salt '*' event.fire_master '{\"data\": \"my event data\"}' 'tag'
    ",
        run: Run::Waits(fire_master),
    },
    Builtin {
        name: "event.send",
        signature: "tag, data=None, preload=None, with_env=False, with_grains=False, \
                    with_pillar=False, with_env_opts=False, **kwargs",
        doc: "
    Send an event to the master.

    tag
        the event's tag, with slashes between its parts
    data
        a mapping
    preload
        a mapping that is merged into the request beside the tag and the data
    with_env, with_grains, with_pillar
        True puts all of them into the data, a list those it names
    with_env_opts
        True puts saltenv and pillarenv into the data
    any other name=value
        stands in the data

        salt-call event.send myco/mytag foo=Foo bar=Bar
        salt-call event.send 'myco/mytag' '{foo: Foo, bar: Bar}'
    ",
        run: Run::Waits(send),
    },
];

fn fire(context: &Context, mut bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let (data, tag) = (bound.take(0), bound.take(1));
        Ok(Value::Bool(fire_here(context, data, &tag).await).into())
    })
}

fn fire_master(context: &Context, mut bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let (data, tag, preload) = (bound.take(0), bound.take(1), bound.take(2));
        Ok(Value::Bool(send_to_master(context, data, tag, preload).await).into())
    })
}

fn send(context: &Context, mut bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let data = data_of_send(context, &mut bound);
        let (tag, preload) = (bound.take(0), bound.take(2));
        let sent = if context.settings().has_master {
            send_to_master(context, data.into(), tag, preload).await
        } else {
            fire_here(context, data.into(), &tag).await
        };
        Ok(Value::Bool(sent).into())
    })
}

/// The requested data of the minion, then extra keywords, then the caller's own mapping.
fn data_of_send(context: &Context, bound: &mut Bound) -> Map {
    let mut data = Map::new();
    if bound.get(3).is_true() {
        data.insert("environ", named(bound.get(3), &environment()));
    }
    if bound.get(4).is_true() {
        data.insert("grains", named(bound.get(4), &context.grains()));
    }
    if bound.get(5).is_true() {
        data.insert("pillar", named(bound.get(5), &context.pillar()));
    }
    if bound.get(6).is_true() {
        for (name, environment) in &context.settings().environments {
            data.insert(*name, environment.clone());
        }
    }
    for (key, value) in std::mem::take(&mut bound.keywords) {
        data.insert(key, value);
    }
    if let Value::Map(own) = bound.take(1) {
        for (key, value) in own {
            data.insert(key, value);
        }
    }
    data
}

/// All of `map`, or the entries that a list names, in the map's order.
fn named(which: &Value, map: &Map) -> Map {
    match which {
        Value::Array(names) => {
            let kept = map.iter().filter(|(key, _)| names.contains(key));
            kept.cloned().collect()
        }
        _ => map.clone(),
    }
}

fn environment() -> Map {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(name, value)| (text(name), text(value)))
        .collect()
}

async fn fire_here(context: &Context, data: Value, tag: &Value) -> bool {
    let (Value::Map(data), Some(tag)) = (data, tag.as_str()) else {
        return false;
    };
    let fired = context.host().fire(tag, data).await;
    if let Err(err) = &fired {
        tracing::debug!(tag, %err, "event not fired");
    }
    fired.is_ok()
}

async fn send_to_master(context: &Context, data: Value, tag: Value, preload: Value) -> bool {
    if context.settings().is_local {
        let tag = brine_wire::python_text::str(&tag);
        tracing::warn!("Local mode detected. Event with tag {tag} will NOT be sent.");
        return false;
    }
    let mut load = Map::new();
    load.insert("tag", tag);
    load.insert("data", data);
    load.insert("cmd", "_minion_event");
    if let Value::Map(preload) = preload {
        for (key, value) in preload {
            load.insert(key, value);
        }
    }
    let sent = context.host().send_event(load).await;
    if let Err(err) = &sent {
        tracing::debug!(%err, "event not sent");
    }
    sent.is_ok()
}

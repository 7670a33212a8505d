//! `grains.*`, `pillar.*` and `config.*`: reading the minion's data.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them.

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value, python_text};

use super::Failure;
use super::context::Context;
use super::signature::Bound;
use super::table::{Builtin, Returned};
use crate::traverse;

type Result<T = Returned> = std::result::Result<T, Failure>;

pub(super) const TABLE: &[Builtin] = &[
    Builtin::now(
        "config.get",
        "key, default='', delimiter=':', merge=None, omit_opts=False, \
         omit_pillar=False, omit_master=False, omit_grains=False",
        "
    Return a value of the options, the grains, the pillar or the master's options in the pillar,
    the first that has it; nested ones with a delimiter.

        salt '*' config.get pkg:apache
    ",
        config_get,
    ),
    Builtin::now(
        "config.items",
        "",
        "
    Return all options.

        salt '*' config.items
    ",
        |context, _| Ok(Value::Map(context.config().opts.clone()).into()),
    ),
    Builtin::now(
        "config.option",
        "value, default=None, omit_opts=False, omit_grains=False, \
         omit_pillar=False, omit_master=False, omit_all=False, wildcard=False",
        "
    Return a value of the options, the grains, the pillar or the master's options in the pillar,
    the first that has it, without looking into nested ones.

        salt '*' config.option redis.host
    ",
        config_option,
    ),
    Builtin::now(
        "grains.get",
        "key, default='', delimiter=':', ordered=True",
        "
    Return a grain, nested ones with a delimiter, or the default.

        salt '*' grains.get pkg:apache
    ",
        |context, bound| {
            let found = find(&context.grains(), bound.get(0), &bound.text(2)).cloned();
            Ok(found.unwrap_or_else(|| bound.take(1)).into())
        },
    ),
    Builtin::now(
        "grains.has_value",
        "key",
        "
    Return whether there is a grain of that name, nested ones with colons.

        salt '*' grains.has_value pkg:apache
    ",
        |context, bound| {
            Ok(Value::Bool(find(&context.grains(), bound.get(0), ":").is_some()).into())
        },
    ),
    Builtin::now(
        "grains.item",
        "*args, **kwargs",
        "
    Return some grains; default and delimiter may be given by name.

        salt '*' grains.item os
        salt '*' grains.item pkg:apache default=none
    ",
        |context, bound| {
            let named = |name: &str| bound.keywords.get(name).cloned();
            let (default, delimiter) = (named("default"), named("delimiter"));
            Ok(items(&context.grains(), &bound.varargs, default, delimiter))
        },
    ),
    Builtin::now(
        "grains.items",
        "sanitize=False",
        "
    Return all grains.

        salt '*' grains.items
    ",
        grains_items,
    ),
    Builtin::now(
        "grains.ls",
        "",
        "
    Return the names of all grains, sorted.

        salt '*' grains.ls
    ",
        |context, _| {
            let grains = context.grains();
            let mut names: Vec<_> = grains
                .iter()
                .map(|(name, _)| python_text::str(name))
                .collect();
            names.sort_unstable();
            Ok(Value::Array(names.into_iter().map(Value::from).collect()).into())
        },
    ),
    Builtin::now(
        "grains.equals",
        "key, value",
        "
    Return whether a grain has a value, both as text.

        salt '*' grains.equals fqdn myhost.example.com
    ",
        |context, bound| {
            let found = find(&context.grains(), bound.get(0), ":").map(python_text::str);
            let found = found.unwrap_or_default();
            Ok(Value::Bool(found == bound.text(1)).into())
        },
    ),
    Builtin::now(
        "pillar.get",
        "key, default='<|-', merge=False, merge_nested_lists=None, delimiter=':', \
         pillarenv=None, saltenv=None, unmask=None",
        "
    Return a value of the pillar in memory, nested ones with a delimiter, or the default.

        salt '*' pillar.get pkg:apache
    ",
        pillar_get,
    ),
    Builtin::now(
        "pillar.item",
        "*args, **kwargs",
        "
    Return some values of the pillar in memory; default and delimiter may be given by name.

        salt '*' pillar.item foo
    ",
        |context, bound| {
            let named = |name: &str| {
                bound
                    .keywords
                    .get(name)
                    .filter(|v| **v != Value::Nil)
                    .cloned()
            };
            let (default, delimiter) = (named("default"), named("delimiter"));
            Ok(items(&context.pillar(), &bound.varargs, default, delimiter))
        },
    ),
    Builtin::now(
        "pillar.items",
        "*args, **kwargs",
        "
    Return the pillar the master gave, or some of its keys.

        salt '*' pillar.items
    ",
        |context, bound| Ok(some_of(&context.pillar(), &bound.varargs)),
    ),
    Builtin::now(
        "pillar.data",
        "*args, **kwargs",
        "
    The same as pillar.items.

        salt '*' pillar.data
    ",
        |context, bound| Ok(some_of(&context.pillar(), &bound.varargs)),
    ),
    Builtin::now(
        "pillar.keys",
        "key, delimiter=':', unmask=None",
        "
    Return the names below a key of the pillar.

        salt '*' pillar.keys web:sites
    ",
        pillar_keys,
    ),
    Builtin::now(
        "pillar.ls",
        "*args, **kwargs",
        "
    Return the names in the pillar.

        salt '*' pillar.ls
    ",
        |context, _| {
            let pillar = context.pillar();
            let names = pillar.iter().map(|(name, _)| name.clone());
            Ok(Value::Array(names.collect()).into())
        },
    ),
    Builtin::now(
        "pillar.raw",
        "key=None, unmask=None",
        "
    Return the pillar in memory as it is, or one key of it.

        salt '*' pillar.raw
    ",
        |context, bound| {
            let pillar = context.pillar();
            Ok(match bound.get(0) {
                key if !key.is_true() => Value::Map(pillar.as_ref().clone()),
                key => pillar
                    .get(&python_text::str(key))
                    .cloned()
                    .unwrap_or(Map::new().into()),
            }
            .into())
        },
    ),
];

/// The value at a path of names, separated by a delimiter.
pub(super) fn find<'a>(map: &'a Map, key: &Value, delimiter: &str) -> Option<&'a Value> {
    let key = python_text::str(key);
    match delimiter {
        "" => traverse::find(map, &[key.as_str()]),
        delimiter => traverse::find(map, &key.split(delimiter).collect::<Vec<_>>()),
    }
}

fn items(map: &Map, keys: &[Value], default: Option<Value>, delimiter: Option<Value>) -> Returned {
    let default = default.unwrap_or("".into());
    let delimiter = delimiter.map_or(":".into(), |delimiter| python_text::str(&delimiter));
    let found = |key| find(map, key, &delimiter).unwrap_or(&default).clone();
    let found: Map = keys.iter().map(|key| (key.clone(), found(key))).collect();
    Value::Map(found).into()
}

fn some_of(map: &Map, keys: &[Value]) -> Returned {
    if keys.is_empty() {
        return Value::Map(map.clone()).into();
    }
    items(map, keys, None, None)
}

fn grains_items(context: &Context, bound: &mut Bound) -> Result {
    let mut grains = context.grains().as_ref().clone();
    if bound.get(0).is_true() {
        let hidden = [
            ("serialnumber", "XXXXXXXXXX"),
            ("domain", "domain"),
            ("fqdn", "MINION.DOMAINNAME"),
            ("id", "MINION"),
            ("host", "MINION"),
            ("localhost", "MINION"),
            ("nodename", "MINION"),
        ];
        for (name, shown) in hidden {
            if grains.get(name).is_some() {
                grains.insert(name, shown);
            }
        }
    }
    Ok(Value::Map(grains).into())
}

fn pillar_get(context: &Context, bound: &mut Bound) -> Result {
    let pillar = context.pillar();
    let found = find(&pillar, bound.get(0), &bound.text(4)).cloned();
    let is_default_given = bound.get(1).as_str() != Some("<|-");
    let raises = context.settings().pillar_raise_on_missing && !is_default_given;
    let default = if is_default_given {
        bound.take(1)
    } else {
        "".into()
    };
    Ok(match (found, default) {
        (None, _) if raises => {
            let message = format!("'Pillar key not found: {}'", bound.text(0));
            return Err(Failure::raised("KeyError", message));
        }
        (Some(Value::Map(found)), Value::Map(default)) if bound.get(2).is_true() => {
            merged(default, found).into()
        }
        (Some(Value::Array(found)), Value::Array(mut default)) if bound.get(2).is_true() => {
            let new: Vec<_> = found
                .into_iter()
                .filter(|one| !default.contains(one))
                .collect();
            default.extend(new);
            default.into()
        }
        (found, default) => found.unwrap_or(default),
    }
    .into())
}

/// Merges `over` into `under`, nested mappings too.
fn merged(mut under: Map, over: Map) -> Map {
    for (key, value) in over {
        let name = python_text::str(&key);
        let value = match (under.get(&name).cloned(), value) {
            (Some(Value::Map(under)), Value::Map(over)) => merged(under, over).into(),
            (_, value) => value,
        };
        under.insert(key, value);
    }
    under
}

fn pillar_keys(context: &Context, bound: &mut Bound) -> Result {
    let pillar = context.pillar();
    match find(&pillar, bound.get(0), &bound.text(1)) {
        None => {
            let message = format!("'Pillar key not found: {}'", bound.text(0));
            Err(Failure::raised("KeyError", message))
        }
        Some(Value::Map(map)) => {
            let names = map.iter().map(|(name, _)| name.clone());
            Ok(Value::Array(names.collect()).into())
        }
        Some(_) => {
            let message = format!("Pillar value in key {} is not a dict", bound.text(0));
            Err(Failure::raised("ValueError", message))
        }
    }
}

/// Options, grains, pillar and the master's options in the pillar, in order of precedence,
/// without what the caller omits.
fn sources(context: &Context, omitted: [&Value; 4]) -> Vec<Map> {
    let pillar = context.pillar();
    let master = pillar.get("master").and_then(Value::as_map).cloned();
    let all = [
        context.config().opts.clone(),
        context.grains().as_ref().clone(),
        pillar.as_ref().clone(),
        master.unwrap_or_default(),
    ];
    let kept = all
        .into_iter()
        .zip(omitted)
        .filter(|(_, omitted)| !omitted.is_true());
    kept.map(|(map, _)| map).collect()
}

fn config_get(context: &Context, bound: &mut Bound) -> Result {
    if bound.get(3).is_true() {
        return Err(Failure::Execution {
            message: "config.get: expected no merge, found one; it is not supported".into(),
        });
    }
    let omitted = [bound.get(4), bound.get(7), bound.get(5), bound.get(6)];
    let sources = sources(context, omitted);
    let (key, delimiter) = (bound.get(0), bound.text(2));
    let found = sources
        .iter()
        .find_map(|map| find(map, key, &delimiter))
        .cloned();
    Ok(found.unwrap_or_else(|| bound.take(1)).into())
}

fn config_option(context: &Context, bound: &mut Bound) -> Result {
    let all = bound.get(6);
    let omit = |place| if all.is_true() { all } else { bound.get(place) };
    let sources = sources(context, [omit(2), omit(3), omit(4), omit(5)]);
    let wanted = bound.text(0);
    if bound.get(7).is_true() {
        let glob = TagMatch::new(MatchType::Fnmatch, wanted);
        let is_wanted = |key: &Value| {
            let key = python_text::str(key);
            glob.as_ref().is_ok_and(|glob| glob.matches(&key))
        };
        let pairs = sources.into_iter().rev().flatten();
        let found: Map = pairs.filter(|(key, _)| is_wanted(key)).collect();
        return Ok(match bound.take(1) {
            _ if !found.is_empty() => Value::Map(found),
            Value::Nil => Value::Map(found),
            default => default,
        }
        .into());
    }
    let found = sources.iter().find_map(|map| map.get(&wanted)).cloned();
    Ok(found
        .unwrap_or_else(|| match bound.take(1) {
            Value::Nil => "".into(),
            default => default,
        })
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_through_mappings_and_lists() {
        let Ok(Value::Map(map)) =
            brine_config::yaml::load(b"a: {b: [x, {c: 1}, y], 5: five}\n'a:b': direct\n")
        else {
            panic!("a mapping")
        };
        let found = |key: &str| find(&map, &key.into(), ":").map(python_text::repr);
        assert_eq!(found("a:b:0").as_deref(), Some("'x'"));
        assert_eq!(found("a:b:-1").as_deref(), Some("'y'"));
        assert_eq!(found("a:b:c").as_deref(), Some("1"));
        assert_eq!(found("a:5").as_deref(), Some("'five'"));
        assert_eq!(found("a:b:7"), None);
        assert_eq!(found("a:b:0:z"), None);
        assert_eq!(find(&map, &"a:b".into(), "|"), Some(&"direct".into()));
    }
}

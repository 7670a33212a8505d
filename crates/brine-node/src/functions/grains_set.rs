//! `grains.setval` and related functions: changing the grains file beside the minion's configuration.
//!
//! A change takes effect at once, for targeting too, and survives a restart. Facts: Salt 3006.28 and 3008.3,
//! `salt.modules.grains`.

use std::path::PathBuf;

use brine_wire::{Map, Value, python_text};

use super::context::Context;
use super::grains;
use super::signature::Bound;
use super::table::{Builtin, Returned, Run, Waiting};
use super::{Failure, lookup, yaml_text};

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "grains.setval",
        signature: "key, val, destructive=False, refresh_pillar=True",
        doc: "
    Set a grain in the grains file.

        salt '*' grains.setval key val
        salt '*' grains.setval key \"{'sub-key': 'val', 'sub-key2': 'val2'}\"
    ",
        run: Run::Waits(|context, mut bound| {
            Box::pin(async move {
                let new = pair(bound.take(0), bound.take(1));
                set_values(context, new, bound.get(2).is_true()).await.map(Returned::from)
            })
        }),
    },
    Builtin {
        name: "grains.setvals",
        signature: "grains, destructive=False, refresh_pillar=True",
        doc: "
    Set several grains in the grains file.

        salt '*' grains.setvals \"{'key1': 'val1', 'key2': 'val2'}\"
    ",
        run: Run::Waits(|context, mut bound| {
            Box::pin(async move {
                let Value::Map(new) = bound.take(0) else {
                    return Err(Failure::raised("salt.exceptions.SaltException", "setvals grains must be a dictionary."));
                };
                set_values(context, new, bound.get(1).is_true()).await.map(Returned::from)
            })
        }),
    },
    Builtin {
        name: "grains.set",
        signature: "key, val='', force=False, destructive=False, delimiter=':'",
        doc: "
    Set a grain, nested ones with a delimiter; lists and mappings are overwritten with force=True only.

        salt '*' grains.set 'apps:myApp:port' 2209
    ",
        run: Run::Waits(|context, mut bound| {
            let key = bound.text(0);
            let change = Change {
                value: bound.take(1),
                force: bound.get(2).is_true(),
                destructive: bound.get(3).is_true(),
                delimiter: bound.text(4),
            };
            Box::pin(set(context, key, change))
        }),
    },
    Builtin {
        name: "grains.delval",
        signature: "key, destructive=False, force=False",
        doc: "
    Set a grain to None, or remove it with destructive=True.

        salt '*' grains.delval key
    ",
        run: Run::Waits(|context, bound| delete(context, &bound, bound.get(1).is_true(), 2)),
    },
    Builtin {
        name: "grains.delkey",
        signature: "key, force=False",
        doc: "
    Remove a grain.

        salt '*' grains.delkey key
    ",
        run: Run::Waits(|context, bound| delete(context, &bound, true, 1)),
    },
    Builtin {
        name: "grains.append",
        signature: "key, val, convert=False, delimiter=':'",
        doc: "
    Append a value to a list in the grains file.

        salt '*' grains.append key val
    ",
        run: Run::Waits(|context, bound| {
            Box::pin(async move { let converts = bound.get(2).is_true();
                change_list(context, bound, append, 3, converts).await })
        }),
    },
    Builtin {
        name: "grains.remove",
        signature: "key, val, delimiter=':'",
        doc: "
    Remove a value from a list in the grains file.

        salt '*' grains.remove key val
    ",
        run: Run::Waits(|context, bound| {
            Box::pin(async move { change_list(context, bound, remove, 2, false).await })
        }),
    },
    Builtin::now(
        "grains.equals",
        "key, value",
        "
    Return whether a grain has a value.

        salt '*' grains.equals fqdn <expected_fqdn>
    ",
        |context, bound| {
            let found = find(&context.grains(), &bound.text(0), ":").unwrap_or_else(|| "".into());
            Ok(Value::Bool(python_text::str(&found) == bound.text(1)).into())
        },
    ),
];

fn pair(key: Value, value: Value) -> Map {
    let mut map = Map::new();
    map.insert(key, value);
    map
}

fn find(grains: &Map, key: &str, delimiter: &str) -> Option<Value> {
    lookup::find(grains, &key.into(), delimiter).cloned()
}

/// Writes grains to the file and activates them. Returns what Salt returns: the new grains, or an error text.
async fn set_values(context: &Context, new: Map, destructive: bool) -> Result<Value, Failure> {
    let Some(path) = file(context) else {
        return Ok(
            "Unable to read existing grains file: the minion has no configuration file".into(),
        );
    };
    let mut kept = match grains::read_file(&path) {
        Ok(kept) => kept.unwrap_or_default(),
        Err(why) => return Ok(format!("Unable to read existing grains file: {why}").into()),
    };
    let mut current = Map::clone(&context.grains());
    for (key, value) in &new {
        let name = python_text::str(key);
        if *value == Value::Nil && destructive {
            kept.remove(&name);
            current.remove(&name);
        } else {
            kept.insert(key.clone(), value.clone());
            current.insert(key.clone(), value.clone());
        }
    }
    let text = yaml_text::document(&kept);
    if let Err(error) = write(&path, text.as_bytes()) {
        let path = path.display();
        return Err(Failure::Execution {
            message: format!("cannot write the grains file {path}: {error}"),
        });
    }
    context.set_grains(current);
    // For listeners, as Salt's minion does.
    let _ = context.host().fire("grains_refresh", Map::new()).await;
    Ok(new.into())
}

/// Replaces a file atomically and keeps its mode.
fn write(path: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = std::fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode());
    crate::file::write(path, bytes)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & 0o7777))
}

fn file(context: &Context) -> Option<PathBuf> {
    context.settings().grains_file.clone()
}

/// The change that `grains.set` makes.
struct Change {
    value: Value,
    force: bool,
    destructive: bool,
    delimiter: String,
}

fn delete<'a>(context: &'a Context, bound: &Bound, destructive: bool, force: usize) -> Waiting<'a> {
    let change = Change {
        value: Value::Nil,
        force: bound.get(force).is_true(),
        destructive,
        delimiter: ":".into(),
    };
    Box::pin(set(context, bound.text(0), change))
}

async fn set(context: &Context, key: String, change: Change) -> Result<Returned, Failure> {
    let answer = |comment: String, changes: Map, result: bool| {
        let mut answer = Map::new();
        answer.insert("comment", comment);
        answer.insert("changes", changes);
        answer.insert("result", result);
        Value::Map(answer)
    };
    let existing = find(&context.grains(), &key, &change.delimiter);
    if existing.as_ref() == Some(&change.value)
        && !(change.value == Value::Nil && change.destructive)
    {
        return Ok(answer("Grain is already set".into(), Map::new(), true).into());
    }
    if let Some(why) = refusal(&key, existing.as_ref(), &change) {
        return Ok(answer(why, Map::new(), false).into());
    }
    let (top, value) = match nest(context, key, &change) {
        Ok(nested) => nested,
        Err(why) => return Ok(answer(why, Map::new(), false).into()),
    };
    let new = pair(top.into(), value);
    Ok(match set_values(context, new, change.destructive).await? {
        Value::Map(changes) => answer(String::new(), changes, true),
        why => answer(python_text::str(&why), Map::new(), false),
    }
    .into())
}

/// The reason for not overwriting a value, if there is one.
fn refusal(key: &str, existing: Option<&Value>, change: &Change) -> Option<String> {
    let is_complex = |value: &Value| matches!(value, Value::Map(_) | Value::Array(_));
    // As in Salt, a missing grain differs from None; a grain that is None may be overwritten.
    if change.force || existing == Some(&Value::Nil) {
        return None;
    }
    if existing.is_some_and(is_complex) {
        return Some(format!(
            "The key '{key}' exists but is a dict or a list. Use 'force=True' to overwrite."
        ));
    }
    (existing.is_some() && is_complex(&change.value)).then(|| {
        format!(
            "The key '{key}' exists and the given value is a dict or a list. Use 'force=True' to overwrite."
        )
    })
}

/// The grain at the top and its new value, for a key that may name a nested one.
fn nest(context: &Context, mut key: String, change: &Change) -> Result<(String, Value), String> {
    let mut value = change.value.clone();
    while let Some((above, rest)) = key.rsplit_once(change.delimiter.as_str()) {
        let (above, rest) = (above.to_owned(), rest.to_owned());
        let existing = find(&context.grains(), &above, &change.delimiter);
        value = match existing.unwrap_or_else(|| Map::new().into()) {
            Value::Map(mut map) if value == Value::Nil && change.destructive => {
                map.remove(&rest);
                map.into()
            }
            Value::Map(mut map) => {
                map.insert(rest, value);
                map.into()
            }
            Value::Array(items) => in_list(items, &rest, value).into(),
            other if python_text::str(&other) == rest || change.force => {
                pair(rest.into(), value).into()
            }
            other => {
                let other = python_text::str(&other);
                return Err(format!(
                    "The key '{above}' value is '{other}', which is different from the provided key '{rest}'. \
                     Use 'force=True' to overwrite."
                ));
            }
        };
        key = above;
    }
    Ok((key, value))
}

/// A list in which an item stands for a key.
fn in_list(mut items: Vec<Value>, key: &str, value: Value) -> Vec<Value> {
    let mut is_updated = false;
    for item in &mut items {
        match item {
            Value::Map(map) if map.get(key).is_some() => map.insert(key, value.clone()),
            item if item.as_str() == Some(key) => *item = pair(key.into(), value.clone()).into(),
            _ => continue,
        }
        is_updated = true;
    }
    if !is_updated {
        items.push(pair(key.into(), value).into());
    }
    items
}

/// The changed list and its key, or Salt's error text.
type ListChange = fn(Vec<Value>, &Value, &str) -> Result<Vec<Value>, String>;

async fn change_list(
    context: &Context,
    mut bound: Bound,
    change: ListChange,
    delimiter: usize,
    converts: bool,
) -> Result<Returned, Failure> {
    let (mut key, value, delimiter) = (bound.text(0), bound.take(1), bound.text(delimiter));
    let items = match find(&context.grains(), &key, &delimiter) {
        None => Vec::new(),
        Some(Value::Array(items)) => items,
        Some(Value::Nil) if converts => Vec::new(),
        Some(other) if converts => vec![other],
        Some(_) => return Ok(Value::from(format!("The key {key} is not a valid list")).into()),
    };
    let mut new = match change(items, &value, &key) {
        Ok(items) => Value::Array(items),
        Err(why) => return Ok(Value::from(why).into()),
    };
    while let Some((above, rest)) = key.rsplit_once(delimiter.as_str()) {
        let (above, rest) = (above.to_owned(), rest.to_owned());
        let existing = find(&context.grains(), &above, &delimiter);
        new = match existing.unwrap_or_else(|| Map::new().into()) {
            Value::Map(mut map) => {
                map.insert(rest, new);
                map.into()
            }
            other => other,
        };
        key = above;
    }
    set_values(context, pair(key.into(), new), false)
        .await
        .map(Returned::from)
}

fn append(mut items: Vec<Value>, value: &Value, key: &str) -> Result<Vec<Value>, String> {
    if items.contains(value) {
        return Err(format!(
            "The val {} was already in the list {key}",
            python_text::str(value)
        ));
    }
    match value {
        Value::Array(more) => items.extend(more.iter().cloned()),
        value => items.push(value.clone()),
    }
    Ok(items)
}

fn remove(mut items: Vec<Value>, value: &Value, key: &str) -> Result<Vec<Value>, String> {
    match items.iter().position(|item| item == value) {
        Some(at) => drop(items.remove(at)),
        None => {
            return Err(format!(
                "The val {} was not in the list {key}",
                python_text::str(value)
            ));
        }
    }
    Ok(items)
}

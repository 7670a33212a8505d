//! Python's methods of strings, lists and dictionaries, as far as templates call them.

use std::sync::Arc;

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};

use super::values::{Dict, List, address, insertable, invalid, pay_for, spend, text};

/// A method of a value that the engine has none for: text, mostly.
pub(super) fn of_other(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> Result<Value, Error> {
    if let Some(own) = value.as_str() {
        return of_text(state, own, method, args);
    }
    // The engine's own collections come from filters: they are copied, so that nothing seems to change what it cannot.
    match value.kind() {
        ValueKind::Map => {
            let keys: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
            let pairs: Result<Vec<_>, Error> = keys
                .into_iter()
                .map(|key| Ok((key.clone(), value.get_item(&key)?)))
                .collect();
            let copy = Dict::of(pairs?);
            match (copy.downcast_object::<Dict>(), method) {
                (Some(dict), "get" | "keys" | "values" | "items" | "copy") => {
                    of_dict(&dict, method, args)
                }
                _ => Err(unknown(value, method)),
            }
        }
        ValueKind::Seq | ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
            let copy = List::of(items);
            match (copy.downcast_object::<List>(), method) {
                (Some(list), "index" | "count" | "copy") => of_list(&list, method, args),
                _ => Err(unknown(value, method)),
            }
        }
        _ => Err(unknown(value, method)),
    }
}

fn unknown(value: &Value, method: &str) -> Error {
    Error::new(
        ErrorKind::UnknownMethod,
        format!("{} has no method {method}", value.kind()),
    )
}

/// To move items is so much quicker than to hand them out.
const MOVED_AT_ONCE: usize = 16;

/// A method of a list.
pub(super) fn of_list(list: &Arc<List>, method: &str, args: &[Value]) -> Result<Value, Error> {
    let own = address(list);
    spend(match method {
        "index" | "count" | "remove" | "sort" => list.len(),
        "insert" | "pop" | "reverse" | "copy" => list.len() / MOVED_AT_ONCE,
        _ => 0,
    })?;
    match method {
        "append" => {
            let (item,): (&Value,) = from_args(args)?;
            let item = insertable(own, item)?;
            list.change(|items| items.push(item))?;
        }
        "extend" => {
            let (more,): (&Value,) = from_args(args)?;
            let mut added = Vec::new();
            for item in more.try_iter()?.checked() {
                added.push(insertable(own, &item?)?);
            }
            list.change(|items| items.extend(added))?;
        }
        "insert" => {
            let (at, item): (i64, &Value) = from_args(args)?;
            let item = insertable(own, item)?;
            list.change(|items| items.insert(place(at, items.len()), item))?;
        }
        "pop" => {
            let (at,): (Option<i64>,) = from_args(args)?;
            let popped = list.change(|items| {
                let at = place(at.unwrap_or(-1), items.len());
                (at < items.len()).then(|| items.remove(at))
            })?;
            return popped.ok_or_else(|| invalid("pop index out of range"));
        }
        "remove" => {
            let (item,): (&Value,) = from_args(args)?;
            let found = list.change(|items| {
                let at = items.iter().position(|own| own == item);
                at.map(|at| items.remove(at))
            })?;
            found.ok_or_else(|| invalid("list.remove(x): x not in list"))?;
        }
        "index" => {
            let (item,): (&Value,) = from_args(args)?;
            let at = list.items().iter().position(|own| own == item);
            return at
                .map(Value::from)
                .ok_or_else(|| invalid("value is not in list"));
        }
        "count" => {
            let (item,): (&Value,) = from_args(args)?;
            let count = list.items().iter().filter(|own| *own == item).count();
            return Ok(Value::from(count));
        }
        "reverse" => list.change(|items| items.reverse())?,
        "sort" => {
            let (options,): (Kwargs,) = from_args(args)?;
            let reversed: Option<bool> = options.get("reverse")?;
            options.assert_all_used()?;
            list.change(|items| items.sort())?;
            if reversed == Some(true) {
                list.change(|items| items.reverse())?;
            }
        }
        "clear" => list.change(Vec::clear)?,
        "copy" => return Ok(List::of(list.items())),
        _ => {
            return Err(Error::new(
                ErrorKind::UnknownMethod,
                format!("list has no method {method}"),
            ));
        }
    }
    Ok(Value::from(()))
}

/// Where an index of Python's points to, at most behind the last item.
fn place(at: i64, length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if at < 0 { at + length } else { at };
    usize::try_from(at.clamp(0, length)).unwrap_or(0)
}

/// A method of a dictionary.
pub(super) fn of_dict(dict: &Arc<Dict>, method: &str, args: &[Value]) -> Result<Value, Error> {
    let own = address(dict);
    let none = || Value::from(());
    Ok(match method {
        "get" => {
            let (key, default): (&Value, Option<&Value>) = from_args(args)?;
            let found = dict.get(key);
            found.unwrap_or_else(|| default.cloned().unwrap_or_else(none))
        }
        "keys" => List::of(dict.pairs().into_iter().map(|(key, _)| key).collect()),
        "values" => List::of(dict.pairs().into_iter().map(|(_, value)| value).collect()),
        "items" => {
            let pairs = dict.pairs().into_iter();
            List::of(
                pairs
                    .map(|(key, value)| Value::from(vec![key, value]))
                    .collect(),
            )
        }
        "update" => {
            let (more, named): (Option<&Value>, Kwargs) = from_args(args)?;
            if let Some(more) = more {
                for key in more.try_iter()?.checked() {
                    let key = key?;
                    let value = insertable(own, &more.get_item(&key)?)?;
                    dict.set(key, value)?;
                }
            }
            for name in named.args().map(str::to_owned).collect::<Vec<_>>() {
                let value: Value = named.get(&name)?;
                dict.set(Value::from(name.as_str()), insertable(own, &value)?)?;
            }
            none()
        }
        "setdefault" => {
            let (key, default): (&Value, Option<&Value>) = from_args(args)?;
            match dict.get(key) {
                Some(value) => value,
                None => {
                    let value = insertable(own, &default.cloned().unwrap_or_else(none))?;
                    dict.set(key.clone(), value.clone())?;
                    value
                }
            }
        }
        "pop" => {
            let (key, default): (&Value, Option<&Value>) = from_args(args)?;
            let found = dict.remove(key).or_else(|| default.cloned());
            found.ok_or_else(|| invalid(format!("pop: no key {key}")))?
        }
        "popitem" => {
            let (key, value) = dict
                .remove_last()
                .ok_or_else(|| invalid("popitem: it is empty"))?;
            Value::from(vec![key, value])
        }
        "clear" => {
            dict.clear();
            none()
        }
        "copy" => Dict::of(dict.pairs()),
        _ => {
            return Err(Error::new(
                ErrorKind::UnknownMethod,
                format!("dict has no method {method}"),
            ));
        }
    })
}

/// A method of a text.
fn of_text(state: &State<'_, '_>, own: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(answer) = question(own, method, args)? {
        return Ok(answer);
    }
    Ok(match method {
        "lower" => Value::from(own.to_lowercase()),
        "upper" => Value::from(own.to_uppercase()),
        "swapcase" => Value::from(swapped(own)),
        "title" => Value::from(titled(own)),
        "capitalize" => {
            let mut characters = own.chars();
            let first = characters.next().map(|c| c.to_uppercase().to_string());
            Value::from(first.unwrap_or_default() + &characters.as_str().to_lowercase())
        }
        "strip" | "lstrip" | "rstrip" => Value::from(stripped(own, method, args)?),
        "split" | "rsplit" => split(own, method, args)?,
        "splitlines" => List::of(own.lines().map(Value::from).collect()),
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(args)?;
            let cut = match method {
                "partition" => own.split_once(separator),
                _ => own.rsplit_once(separator),
            };
            let parts = match (cut, method) {
                (Some((before, after)), _) => [before, separator, after],
                (None, "partition") => [own, "", ""],
                (None, _) => ["", "", own],
            };
            Value::from(parts.map(Value::from).to_vec())
        }
        "replace" => {
            let (from, to, count): (&str, &str, Option<usize>) = from_args(args)?;
            let count = own.matches(from).count().min(count.unwrap_or(usize::MAX));
            pay_for(
                state,
                own.len().saturating_add(count.saturating_mul(to.len())),
            )?;
            Value::from(own.replacen(from, to, count))
        }
        "join" => {
            let (items,): (&Value,) = from_args(args)?;
            Value::from(joined(state, items.try_iter()?.checked(), own)?)
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Value::from(own.strip_prefix(prefix).unwrap_or(own))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Value::from(own.strip_suffix(suffix).unwrap_or(own))
        }
        "zfill" | "ljust" | "rjust" | "center" => padded(own, method, args)?,
        "format" => super::format::braces(state, own, args)?,
        _ => {
            return Err(Error::new(
                ErrorKind::UnknownMethod,
                format!("text has no method {method}"),
            ));
        }
    })
}

/// Items with a text between them. Paid for piece by piece: a list may hold the same long text many times.
pub(super) fn joined(
    state: &State<'_, '_>,
    items: impl Iterator<Item = Result<Value, Error>>,
    between: &str,
) -> Result<String, Error> {
    let mut joined = String::new();
    for (nth, item) in items.enumerate() {
        let item = text(&item?)?;
        pay_for(state, joined.len() + between.len() + item.len())?;
        if nth > 0 {
            joined.push_str(between);
        }
        joined.push_str(&item);
    }
    Ok(joined)
}

/// Methods that tell something about a text.
fn question(own: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    let all = |is: fn(char) -> bool| !own.is_empty() && own.chars().all(is);
    Ok(Some(match method {
        "startswith" | "endswith" => {
            let (affix,): (&Value,) = from_args(args)?;
            let has = |affix: &str| match method {
                "startswith" => own.starts_with(affix),
                _ => own.ends_with(affix),
            };
            match affix.as_str() {
                Some(affix) => Value::from(has(affix)),
                None => {
                    let affixes: Result<Vec<_>, Error> =
                        affix.try_iter()?.checked().map(|one| text(&one?)).collect();
                    Value::from(affixes?.iter().any(|affix| has(affix)))
                }
            }
        }
        "find" | "rfind" | "index" => {
            let (wanted,): (&str,) = from_args(args)?;
            let at = match method {
                "rfind" => own.rfind(wanted),
                _ => own.find(wanted),
            };
            match at {
                Some(at) => Value::from(own[..at].chars().count()),
                None if method == "index" => return Err(invalid("substring not found")),
                None => Value::from(-1),
            }
        }
        "count" => {
            let (wanted,): (&str,) = from_args(args)?;
            Value::from(own.matches(wanted).count())
        }
        "isdigit" | "isdecimal" | "isnumeric" => Value::from(all(char::is_numeric)),
        "isalpha" => Value::from(all(char::is_alphabetic)),
        "isalnum" => Value::from(all(char::is_alphanumeric)),
        "isspace" => Value::from(all(char::is_whitespace)),
        "islower" => Value::from(own != own.to_uppercase() && own == own.to_lowercase()),
        "isupper" => Value::from(own != own.to_lowercase() && own == own.to_uppercase()),
        _ => return Ok(None),
    }))
}

fn swapped(own: &str) -> String {
    let swap = |c: char| -> String {
        match c.is_uppercase() {
            true => c.to_lowercase().collect(),
            false => c.to_uppercase().collect(),
        }
    };
    own.chars().map(swap).collect()
}

fn titled(own: &str) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(own.len());
    for c in own.chars() {
        match (c.is_alphabetic(), inside) {
            (true, false) => out.extend(c.to_uppercase()),
            (true, true) => out.extend(c.to_lowercase()),
            (false, _) => out.push(c),
        }
        inside = c.is_alphabetic();
    }
    out
}

fn stripped(own: &str, method: &str, args: &[Value]) -> Result<String, Error> {
    let (characters,): (Option<&str>,) = from_args(args)?;
    let is_stripped = |c: char| match characters {
        Some(characters) => characters.contains(c),
        None => c.is_whitespace(),
    };
    Ok(match method {
        "strip" => own.trim_matches(is_stripped),
        "lstrip" => own.trim_start_matches(is_stripped),
        _ => own.trim_end_matches(is_stripped),
    }
    .to_owned())
}

fn split(own: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (separator, most): (Option<&str>, Option<i64>) = from_args(args)?;
    let most = most.and_then(|most| usize::try_from(most).ok());
    let parts: Vec<&str> = match (separator, most) {
        (None, None) => own.split_whitespace().collect(),
        (None, Some(most)) => {
            let mut parts = Vec::new();
            let mut rest = own.trim_start();
            while parts.len() < most
                && let Some((part, after)) = rest.split_once(char::is_whitespace)
            {
                parts.push(part);
                rest = after.trim_start();
            }
            parts.extend((!rest.is_empty()).then_some(rest));
            parts
        }
        (Some(""), _) => return Err(invalid("empty separator")),
        (Some(separator), None) => own.split(separator).collect(),
        (Some(separator), Some(most)) if method == "split" => {
            own.splitn(most + 1, separator).collect()
        }
        (Some(separator), Some(most)) => {
            let mut parts: Vec<_> = own.rsplitn(most + 1, separator).collect();
            parts.reverse();
            parts
        }
    };
    Ok(List::of(parts.into_iter().map(Value::from).collect()))
}

fn padded(own: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    const MAX_WIDTH: usize = 10_000;
    let (width, fill): (usize, Option<&str>) = from_args(args)?;
    if width > MAX_WIDTH {
        return Err(invalid(format!("{method}: a width over {MAX_WIDTH}")));
    }
    let missing = width.saturating_sub(own.chars().count());
    let fill = |count: usize| fill.unwrap_or(" ").repeat(count);
    Ok(Value::from(match method {
        "zfill" => {
            let (sign, digits) = match own.strip_prefix(['-', '+']) {
                Some(digits) => own.split_at(own.len() - digits.len()),
                None => ("", own),
            };
            format!("{sign}{}{digits}", "0".repeat(missing))
        }
        "ljust" => format!("{own}{}", fill(missing)),
        "rjust" => format!("{}{own}", fill(missing)),
        _ => format!("{}{own}{}", fill(missing / 2), fill(missing - missing / 2)),
    }))
}

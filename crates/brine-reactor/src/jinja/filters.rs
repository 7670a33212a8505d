//! The filters and tests of Salt that reactions use, and the functions that prepared templates call.

use std::net::IpAddr;

use brine_config::yaml;
use brine_wire::matching::{RegexMatch, RegexSearch};
use brine_wire::{Value as Data, json};
use minijinja::value::{Kwargs, Rest, Value, ValueKind};
use minijinja::{Environment, Error, State, filters};

use super::methods::joined;
use super::values::{Dict, List, bounded, invalid, pay_for, spend, text, to_data, to_template};
use super::{base64, dates, hashes, yaml_text};

/// Adds them to an environment.
pub(super) fn add_to(env: &mut Environment<'_>) {
    add_formats(env);
    add_collections(env);
    add_questions(env);
    hashes::add_to(env);
    dates::add_to(env);
    env.add_filter("_percent", percent);
    env.add_filter("_format", filters::format);
    env.add_filter("format", format);
    env.add_function("_list", |items: &Value| {
        Ok::<_, Error>(List::of(items_of(items)?))
    });
    env.add_function("_dict", new_dict);
    env.add_function("dict", new_dict);
    env.add_function("raise", |message: String| Err::<Value, _>(invalid(message)));
}

/// Between values and text.
fn add_formats(env: &mut Environment<'_>) {
    env.add_filter("json", to_json);
    env.add_filter("string", |value: &Value| match value.as_str() {
        Some(_) => Ok(value.clone()),
        None => text(value).map(Value::from),
    });
    env.add_filter("tojson", |value: &Value, options: Kwargs| {
        Ok::<_, Error>(escaped(&to_json(value, options)?))
    });
    env.add_filter("yaml", |value: &Value, flow: Option<bool>| {
        let data = to_data(value)?;
        Ok::<_, Error>(match flow.unwrap_or(true) {
            true => yaml_text::flow(&data),
            false => yaml_text::block(&data),
        })
    });
    env.add_filter("load_yaml", |value: &Value| load_yaml(&text(value)?));
    env.add_filter("load_json", |value: &Value| load_json(&text(value)?));
    env.add_filter("yaml_encode", |value: &Value| {
        Ok::<_, Error>(match to_data(value)? {
            Data::Str(text) => quoted(&text),
            other => yaml_text::flow(&other),
        })
    });
    env.add_filter("yaml_dquote", |value: &Value| {
        Ok::<_, Error>(quoted(&text(value)?))
    });
    env.add_filter("yaml_squote", |value: &Value| {
        Ok::<_, Error>(format!("'{}'", text(value)?.replace('\'', "''")))
    });
    env.add_filter("base64_encode", |value: &Value| {
        Ok::<_, Error>(match value.as_bytes() {
            Some(bytes) => base64::encode(bytes),
            None => base64::encode(text(value)?.as_bytes()),
        })
    });
    env.add_filter("base64_decode", |encoded: &str| {
        let bytes = base64::decode(encoded).ok_or_else(|| invalid("base64_decode: not base64"))?;
        Ok::<_, Error>(
            String::from_utf8(bytes)
                .map_or_else(|error| Value::from_bytes(error.into_bytes()), Value::from),
        )
    });
    env.add_filter("quote", |value: &Value| {
        Ok::<_, Error>(shell_quoted(&text(value)?))
    });
    env.add_filter("to_bool", |value: &Value| {
        Ok::<_, Error>(match value.as_str() {
            Some(text) => matches!(&*text.to_lowercase(), "yes" | "1" | "true"),
            None if value.is_integer() => {
                i64::try_from(value.clone()).is_ok_and(|number| number > 0)
            }
            None => value.is_true() && value.kind() == ValueKind::Bool,
        })
    });
    for name in ["to_num", "str_to_num"] {
        env.add_filter(name, |value: &Value| {
            let own = text(value)?;
            let own = own.trim();
            Ok::<_, Error>(match (own.parse::<i64>(), own.parse::<f64>()) {
                (Ok(number), _) => Value::from(number),
                (_, Ok(number)) => Value::from(number),
                _ => value.clone(),
            })
        });
    }
    env.add_filter(
        "regex_match",
        |own: &str, pattern: &str, options: Kwargs| {
            let regex = RegexMatch::new(&with_options(pattern, &options)?)
                .map_err(|error| invalid(error.to_string()))?;
            Ok::<_, Error>(groups(regex.groups(own)))
        },
    );
    env.add_filter(
        "regex_search",
        |own: &str, pattern: &str, options: Kwargs| {
            let regex = RegexSearch::new(&with_options(pattern, &options)?)
                .map_err(|error| invalid(error.to_string()))?;
            Ok::<_, Error>(groups(regex.groups(own)))
        },
    );
}

/// Sets and lists.
fn add_collections(env: &mut Environment<'_>) {
    env.add_filter("list", |value: &Value| {
        Ok::<_, Error>(List::of(match value.as_str() {
            Some(text) => text.chars().map(|c| Value::from(c.to_string())).collect(),
            None => items_of(value)?,
        }))
    });
    env.add_filter("sequence", |value: Value| match is_list(&value) {
        true => value,
        false => List::of(vec![value]),
    });
    env.add_filter("union", |own: &Value, other: &Value| {
        let mut all = items_of(own)?;
        all.extend(items_of(other)?);
        Ok::<_, Error>(List::of(unique(all)?))
    });
    env.add_filter("intersect", |own: &Value, other: &Value| {
        common_or_not(own, other, true)
    });
    env.add_filter("difference", difference);
    env.add_filter("_sort", filters::sort);
    env.add_filter("_dictsort", filters::dictsort);
    for (name, engines) in [("sort", "_sort"), ("dictsort", "_dictsort")] {
        env.add_filter(
            name,
            move |state: &mut State<'_, '_>, own: &Value, options: Kwargs| {
                let sorted = state.apply_filter(engines, &[own.clone(), options.into()])?;
                Ok::<_, Error>(List::of(items_of(&sorted)?))
            },
        );
    }
    env.add_filter("_sum", filters::sum);
    env.add_filter("sum", sum);
    env.add_filter("symmetric_difference", |own: &Value, other: &Value| {
        let mut all = items_of(&difference(own, other)?)?;
        all.extend(items_of(&difference(other, own)?)?);
        Ok::<_, Error>(List::of(all))
    });
    env.add_filter("compare_lists", |old: &Value, new: &Value| {
        let mut pairs = Vec::new();
        for (name, value) in [
            ("new", difference(new, old)?),
            ("old", difference(old, new)?),
        ] {
            if value.len() != Some(0) {
                pairs.push((Value::from(name), value));
            }
        }
        Ok::<_, Error>(Dict::of(pairs))
    });
    env.add_filter("compare_dicts", compare_dicts);
    env.add_filter("avg", |own: &Value| {
        let numbers: Result<Vec<f64>, Error> =
            items_of(own)?.into_iter().map(f64::try_from).collect();
        let numbers = numbers?;
        #[allow(clippy::cast_precision_loss)] // no list here has 2^52 items
        Ok::<_, Error>(numbers.iter().sum::<f64>() / numbers.len().max(1) as f64)
    });
    env.add_filter(
        "traverse",
        |own: &Value, path: &str, default: Option<Value>| {
            let mut value = own.clone();
            for part in path.split(':') {
                value = match part.parse::<i64>() {
                    Ok(at) if value.kind() == ValueKind::Seq => value.get_item(&Value::from(at))?,
                    _ => value.get_item(&Value::from(part))?,
                };
                if value.is_undefined() {
                    return Ok(default.unwrap_or_else(|| Dict::of(Vec::new())));
                }
            }
            Ok::<_, Error>(value)
        },
    );
    env.add_filter("substring_in_list", |own: &str, list: &Value| {
        let items: Result<Vec<_>, Error> = items_of(list)?.iter().map(text).collect();
        Ok::<_, Error>(items?.iter().any(|item| item.contains(own)))
    });
    env.add_filter("join", join);
    env.add_filter("path_join", |own: &str, more: Rest<String>| {
        let joined = more
            .iter()
            .fold(std::path::PathBuf::from(own), |path, part| path.join(part));
        joined.to_string_lossy().into_owned()
    });
}

/// Filters that answer yes or no, and tests.
fn add_questions(env: &mut Environment<'_>) {
    env.add_filter("is_list", |value: &Value| is_list(value));
    env.add_filter("is_iter", |value: &Value| {
        value.kind() != ValueKind::String && value.try_iter().is_ok()
    });
    env.add_filter("is_ip", |value: &str| value.parse::<IpAddr>().is_ok());
    env.add_filter("is_ipv4", |value: &str| {
        value.parse::<std::net::Ipv4Addr>().is_ok()
    });
    env.add_filter("is_ipv6", |value: &str| {
        value.parse::<std::net::Ipv6Addr>().is_ok()
    });
    env.add_filter("is_hex", |value: &str| {
        !value.is_empty() && value.chars().all(|c| c.is_ascii_hexdigit())
    });
    env.add_filter("contains_whitespace", |value: &str| {
        value.contains(char::is_whitespace)
    });
    env.add_filter("exactly_one_true", |value: &Value| {
        Ok::<_, Error>(
            items_of(value)?
                .iter()
                .filter(|item| item.is_true())
                .count()
                == 1,
        )
    });
    env.add_filter("exactly_n_true", |value: &Value, count: usize| {
        Ok::<_, Error>(
            items_of(value)?
                .iter()
                .filter(|item| item.is_true())
                .count()
                == count,
        )
    });
    env.add_test("match", |value: &Value, pattern: &str, options: Kwargs| {
        let regex = RegexMatch::new(&with_options(pattern, &options)?)
            .map_err(|error| invalid(error.to_string()))?;
        Ok::<_, Error>(regex.matches(&text(value)?))
    });
    env.add_test("list", |value: &Value| is_list(value));
}

#[allow(clippy::needless_pass_by_value)] // as the engine passes arguments
fn new_dict(from: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let new = Dict::of(Vec::new());
    if let Some(dict) = new.downcast_object_ref::<Dict>() {
        if let Some(from) = from {
            for key in from.try_iter()?.checked() {
                let key = key?;
                dict.set(key.clone(), from.get_item(&key)?)?;
            }
        }
        for name in named.args().map(str::to_owned).collect::<Vec<_>>() {
            dict.set(Value::from(name.as_str()), named.get::<Value>(&name)?)?;
        }
    }
    Ok(new)
}

/// `'…' % arguments`: a list written in brackets is several arguments, a mapping is named ones.
fn percent(state: &mut State<'_, '_>, format: &Value, arguments: &Value) -> Result<Value, Error> {
    let mut args = vec![format.clone()];
    match arguments.is_tuple() {
        true => args.extend(items_of(arguments)?),
        false
            if arguments.kind() == ValueKind::Map
                && format.as_str().is_some_and(|own| own.contains("%(")) =>
        {
            let named: Result<Vec<(String, Value)>, Error> = arguments
                .try_iter()?
                .checked()
                .map(|key| key.and_then(|key| Ok((text(&key)?, arguments.get_item(&key)?))))
                .collect();
            args.push(Kwargs::from_iter(named?).into());
        }
        // Other collections are written as Python writes them.
        false if matches!(arguments.kind(), ValueKind::Seq | ValueKind::Map) => {
            args.push(Value::from(text(arguments)?));
        }
        false => args.push(arguments.clone()),
    }
    state.apply_filter("format", &args)
}

/// `format`. The engine's own does not pay for texts before it has put them in.
#[allow(clippy::needless_pass_by_value)] // as the engine passes arguments
fn format(
    state: &mut State<'_, '_>,
    format: &Value,
    arguments: Rest<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let pattern = format.as_str().unwrap_or_default();
    let mut bytes = pattern.len();
    let mut take = |value: Value, times: usize| {
        let value = match value.kind() {
            ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => Value::from(text(&value)?),
            _ => value,
        };
        let length = value.as_str().map_or(0, str::len);
        bytes = bytes.saturating_add(length.saturating_mul(times));
        pay_for(state, bytes)?;
        Ok::<_, Error>(value)
    };
    let mut args = vec![format.clone()];
    for value in arguments.0 {
        args.push(take(value, 1)?);
    }
    let names: Vec<String> = named.args().map(str::to_owned).collect();
    let mut values = Vec::new();
    for name in names {
        let times = pattern.matches(&format!("%({name})")).count();
        values.push((name.clone(), take(named.get(&name)?, times)?));
    }
    if !values.is_empty() {
        args.push(Kwargs::from_iter(values).into());
    }
    state.apply_filter("_format", &args)
}

/// Jinja's `sum`. The engine's own puts lists together one by one, each time from the beginning.
#[allow(clippy::needless_pass_by_value)] // as the engine passes arguments
fn sum(
    state: &mut State<'_, '_>,
    values: &Value,
    attribute: Option<String>,
    start: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => options.get::<Option<String>>("attribute")?,
    };
    let start = match start {
        Some(start) => Some(start),
        None => options.get::<Option<Value>>("start")?,
    };
    options.assert_all_used()?;
    let kind = start.as_ref().map(Value::kind);
    let Some(start) = start.as_ref().filter(|own| is_list(own)) else {
        if kind == Some(ValueKind::String) {
            return Err(invalid("sum does not add texts; use join"));
        }
        let args = [
            values.clone(),
            attribute.into(),
            start.unwrap_or_else(|| Value::from(0)),
        ];
        return state.apply_filter("_sum", &args);
    };
    let mut all = items_of(start)?;
    for item in values.try_iter()?.checked() {
        let more = attribute_of(item?, attribute.as_deref())?;
        if !is_list(&more) {
            return Err(invalid(format!(
                "sum adds lists to a list, and found a {}",
                more.kind()
            )));
        }
        all.extend(items_of(&more)?);
        bounded(all.len())?;
    }
    Ok(List::of(all))
}

/// What `a.b` leads to in an item; the item itself without such a path.
fn attribute_of(item: Value, path: Option<&str>) -> Result<Value, Error> {
    path.into_iter()
        .flat_map(|path| path.split('.'))
        .try_fold(item, |value, name| value.get_attr(name))
}

/// Jinja's `join`. The engine's own does not pay for the items before it has put them together.
#[allow(clippy::needless_pass_by_value)] // as the engine passes arguments
fn join(
    state: &State<'_, '_>,
    items: &Value,
    between: Option<String>,
    attribute: Option<String>,
    options: Kwargs,
) -> Result<String, Error> {
    let named = |given: Option<String>, name| match given {
        Some(given) => Ok(Some(given)),
        None => options.get::<Option<String>>(name),
    };
    let (between, attribute) = (named(between, "d")?, named(attribute, "attribute")?);
    options.assert_all_used()?;
    let of_item = |item: Result<Value, Error>| attribute_of(item?, attribute.as_deref());
    let items = items.try_iter()?.checked().map(of_item);
    joined(state, items, between.as_deref().unwrap_or_default())
}

#[allow(clippy::needless_pass_by_value)] // as the engine passes arguments
fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let sorted: Option<bool> = options.get("sort_keys")?;
    options.assert_all_used()?;
    let data = to_data(value)?;
    let mut out = String::new();
    match (indent, sorted.unwrap_or(true)) {
        (Some(width), true) => json::to_indented(&data, width, json::Keys::Sorted, &mut out),
        (Some(width), false) => json::to_indented(&data, width, json::Keys::AsGiven, &mut out),
        (None, true) => json::to_sorted_line(&data, &mut out),
        (None, false) => json::to_line(&data, &mut out),
    }
    Ok(out)
}

/// JSON as Jinja's own `tojson` writes it: in ASCII, and without what means something in HTML.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\'' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if c.is_ascii() => out.push(c),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    out
}

/// Reads a text of YAML.
pub(super) fn load_yaml(own: &str) -> Result<Value, Error> {
    let data = yaml::load(own.as_bytes())
        .map_err(|error| invalid(format!("Unable to load yaml: {error}")))?;
    Ok(to_template(&data))
}

/// Reads a text of JSON.
pub(super) fn load_json(own: &str) -> Result<Value, Error> {
    let data = json::parse(own.as_bytes())
        .map_err(|error| invalid(format!("Unable to load json: {error}")))?;
    Ok(to_template(&data))
}

fn items_of(value: &Value) -> Result<Vec<Value>, Error> {
    let mut items = Vec::new();
    for item in value.try_iter()?.checked() {
        spend(1)?;
        items.push(item?);
    }
    Ok(items)
}

fn is_list(value: &Value) -> bool {
    matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable)
}

fn unique(items: Vec<Value>) -> Result<Vec<Value>, Error> {
    let mut kept = Vec::new();
    for item in items {
        if !is_among(&kept, &item)? {
            kept.push(item);
        }
    }
    Ok(kept)
}

/// Whether an item is one of these. To compare is quicker than to hand out.
fn is_among(items: &[Value], item: &Value) -> Result<bool, Error> {
    const COMPARED_AT_ONCE: usize = 16;
    spend(items.len() / COMPARED_AT_ONCE)?;
    Ok(items.contains(item))
}

fn difference(own: &Value, other: &Value) -> Result<Value, Error> {
    common_or_not(own, other, false)
}

/// The items that are among others, or those that are not, each once.
fn common_or_not(own: &Value, other: &Value, common: bool) -> Result<Value, Error> {
    let (other, mut kept) = (items_of(other)?, Vec::new());
    for item in items_of(own)? {
        if is_among(&other, &item)? == common {
            kept.push(item);
        }
    }
    Ok(List::of(unique(kept)?))
}

fn compare_dicts(old: &Value, new: &Value) -> Result<Value, Error> {
    let mut keys = items_of(old)?;
    keys.extend(items_of(new)?);
    let mut differences = Vec::new();
    for key in unique(keys)? {
        let of = |from: &Value| {
            from.get_item(&key).map(|value| {
                if value.is_undefined() {
                    Value::from("")
                } else {
                    value
                }
            })
        };
        let (before, after) = (of(old)?, of(new)?);
        if before != after {
            let change = vec![(Value::from("old"), before), (Value::from("new"), after)];
            differences.push((key, Dict::of(change)));
        }
    }
    Ok(Dict::of(differences))
}

/// The pattern with `ignorecase` and `multiline` as Python's own flags.
fn with_options(pattern: &str, options: &Kwargs) -> Result<String, Error> {
    let ignorecase: Option<bool> = options.get("ignorecase")?;
    let multiline: Option<bool> = options.get("multiline")?;
    options.assert_all_used()?;
    let flags = [(ignorecase, "i"), (multiline, "m")];
    let flags: String = flags
        .iter()
        .filter(|(on, _)| *on == Some(true))
        .map(|(_, flag)| *flag)
        .collect();
    Ok(match flags.is_empty() {
        true => pattern.to_owned(),
        false => format!("(?{flags}){pattern}"),
    })
}

fn groups(found: Option<Vec<Option<String>>>) -> Value {
    match found {
        Some(groups) => {
            let groups = groups
                .into_iter()
                .map(|group| group.map_or(Value::from(()), Value::from));
            List::of(groups.collect())
        }
        None => Value::from(()),
    }
}

fn quoted(own: &str) -> String {
    let mut out = Vec::new();
    json::quote(own, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn shell_quoted(own: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "@%+=:,./-_".contains(c);
    match !own.is_empty() && own.chars().all(is_safe) {
        true => own.to_owned(),
        false => format!("'{}'", own.replace('\'', "'\"'\"'")),
    }
}

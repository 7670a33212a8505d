//! What a reaction calls: its arguments in the old and the new form, as Salt's `ReactWrap` reads them.
//!
//! Pure.

use brine_wire::{Map, Value, python_text};

use crate::low::Low;

/// A call that a reaction makes.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// A job for minions.
    Local(Job),
    /// A runner function.
    Runner(Function),
    /// A wheel function.
    Wheel(Function),
    /// A function in the minion itself.
    Caller(Function),
}

/// A job for minions.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Which minions.
    pub tgt: Value,
    /// How to read that.
    pub tgt_type: String,
    /// `module.function`
    pub fun: String,
    /// Its positional arguments.
    pub arg: Vec<Value>,
    /// Its keyword arguments.
    pub kwarg: Map,
    /// The returner; mostly empty.
    pub ret: String,
    /// What else goes with the job: `metadata`, `delimiter`, `ret_config` and the like.
    pub more: Map,
}

/// A function with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Function {
    /// `module.function`
    pub fun: String,
    /// Its positional arguments.
    pub arg: Vec<Value>,
    /// Its keyword arguments.
    pub kwarg: Map,
    /// In the oldest form, arguments are side by side, and go to the function if it has parameters of these names; so
    /// does `name`, which every reaction has.
    pub is_flat: bool,
}

/// A reaction that cannot be called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sls}, ID {id}: {fault}")]
pub struct BadReaction {
    /// Its file.
    pub sls: String,
    /// Its ID.
    pub id: String,
    /// What is wrong.
    pub fault: String,
}

impl Call {
    /// `local.state.apply` and the like.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Local(job) => format!("local.{}", job.fun),
            Self::Runner(function) => format!("runner.{}", function.fun),
            Self::Wheel(function) => format!("wheel.{}", function.fun),
            Self::Caller(function) => format!("caller.{}", function.fun),
        }
    }

    /// All of it as data, for people who look and for the reaction's record.
    #[must_use]
    pub fn to_map(&self) -> Map {
        let mut map = Map::new();
        map.insert("fun", self.name());
        match self {
            Self::Local(job) => {
                map.insert("tgt", job.tgt.clone());
                map.insert("tgt_type", job.tgt_type.as_str());
                map.insert("arg", job.arg.clone());
                map.insert("kwarg", job.kwarg.clone());
                if !job.ret.is_empty() {
                    map.insert("ret", job.ret.as_str());
                }
                if !job.more.is_empty() {
                    map.insert("more", job.more.clone());
                }
            }
            Self::Runner(function) | Self::Wheel(function) | Self::Caller(function) => {
                map.insert("arg", function.arg.clone());
                map.insert("kwarg", function.kwarg.clone());
                if function.is_flat {
                    map.insert("flat", true);
                }
            }
        }
        map
    }

    /// Reads what [`Self::to_map`] made.
    #[must_use]
    pub fn from_map(map: &Map) -> Option<Self> {
        let (kind, fun) = map.get("fun")?.as_str()?.split_once('.')?;
        let list = |name| {
            map.get(name)
                .and_then(Value::as_array)
                .unwrap_or_default()
                .to_vec()
        };
        let mapping = |name| {
            map.get(name)
                .and_then(Value::as_map)
                .cloned()
                .unwrap_or_default()
        };
        let text = |name| {
            map.get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let function = || Function {
            fun: fun.to_owned(),
            arg: list("arg"),
            kwarg: mapping("kwarg"),
            is_flat: map.get("flat").is_some_and(Value::is_true),
        };
        Some(match kind {
            "local" => Self::Local(Job {
                tgt: map.get("tgt")?.clone(),
                tgt_type: text("tgt_type"),
                fun: fun.to_owned(),
                arg: list("arg"),
                kwarg: mapping("kwarg"),
                ret: text("ret"),
                more: mapping("more"),
            }),
            "runner" => Self::Runner(function()),
            "wheel" => Self::Wheel(function()),
            "caller" => Self::Caller(function()),
            _ => return None,
        })
    }
}

/// Words of the state compiler, which are no arguments of functions.
const INTERNAL: [&str; 8] = [
    "name", "order", "fun", "state", "key", "require", "watch", "names",
];

/// What a reaction calls.
///
/// # Errors
/// [`BadReaction`].
pub fn call(low: &Low) -> Result<Call, BadReaction> {
    let refused = |fault: String| BadReaction {
        sls: low.sls.clone(),
        id: low.id.clone(),
        fault,
    };
    let function = || function(low).map_err(refused);
    Ok(match low.kind.as_str() {
        "local" => Call::Local(job(low).map_err(refused)?),
        "runner" => Call::Runner(function()?),
        "wheel" => Call::Wheel(function()?),
        "caller" => Call::Caller(function()?),
        kind => {
            return Err(refused(format!(
                "expected local, runner, wheel or caller, found {kind:?}"
            )));
        }
    })
}

/// Things in a reaction that have no effect, though they look as if they had.
#[must_use]
pub fn without_effect(low: &Low) -> Vec<String> {
    let mut found = Vec::new();
    let has = |name: &str| low.args.get(name).is_some();
    let mut warn = |name: &str, why: &str| {
        found.push(format!("{}, ID {}: {name} {why}", low.sls, low.id));
    };
    if low.kind == "local" {
        if has("expr_form") {
            warn(
                "expr_form",
                "has no effect, so the target is a glob; write tgt_type",
            );
        }
        for ignored in ["queue", "pillar", "mods", "test", "saltenv"] {
            if has(ignored) {
                warn(
                    ignored,
                    "beside tgt has no effect; put it into args or kwarg",
                );
            }
        }
    }
    if has("kwargs") {
        warn(
            "kwargs",
            "is taken for an argument of that name; write kwarg or args",
        );
    }
    if has("args") {
        for ignored in ["arg", "kwarg"] {
            if has(ignored) {
                warn(ignored, "has no effect beside args");
            }
        }
    }
    found
}

fn job(low: &Low) -> Result<Job, String> {
    let tgt = low.args.get("tgt").cloned();
    let tgt = tgt.ok_or("a local reaction needs tgt")?;
    let (arg, kwarg) = arguments(low)?.unwrap_or_default();
    let text = |name: &str| low.args.get(name).map(python_text::str);
    let own = [
        "tgt",
        "tgt_type",
        "arg",
        "kwarg",
        "args",
        "ret",
        "jid",
        "expr_form",
    ];
    let more = low.args.iter().filter(|(name, _)| {
        let name = name.as_str().unwrap_or_default();
        !own.contains(&name) && !INTERNAL.contains(&name)
    });
    Ok(Job {
        tgt,
        tgt_type: text("tgt_type").unwrap_or_else(|| "glob".to_owned()),
        fun: low.fun.clone(),
        arg,
        kwarg,
        ret: text("ret").unwrap_or_default(),
        more: more.cloned().collect(),
    })
}

fn function(low: &Low) -> Result<Function, String> {
    if let Some((arg, kwarg)) = arguments(low)? {
        return Ok(Function {
            fun: low.fun.clone(),
            arg,
            kwarg,
            is_flat: false,
        });
    }
    let flat = low.args.iter().filter(|(name, _)| {
        let name = name.as_str().unwrap_or_default();
        // A function may well have a parameter called name.
        name == "name" || !INTERNAL.contains(&name) && !["arg", "kwarg"].contains(&name)
    });
    let mut kwarg: Map = flat.cloned().collect();
    if let Some(named) = low.args.get("kwarg") {
        for (name, value) in mapping("kwarg", named)? {
            kwarg.insert(name, value);
        }
    }
    Ok(Function {
        fun: low.fun.clone(),
        arg: match low.args.get("arg") {
            Some(arg) => list("arg", arg)?,
            None => Vec::new(),
        },
        is_flat: low.args.get("arg").is_none(),
        kwarg,
    })
}

/// The arguments where `args`, or `arg` and `kwarg` as far as the kind has them, give them.
fn arguments(low: &Low) -> Result<Option<(Vec<Value>, Map)>, String> {
    if let Some(args) = low.args.get("args") {
        if low.kind == "caller"
            && let Value::Array(items) = args
            && !items
                .iter()
                .all(|item| matches!(item, Value::Map(map) if map.len() == 1))
        {
            return Ok(Some((items.clone(), Map::new())));
        }
        return Ok(Some((Vec::new(), repacked(args)?)));
    }
    let (arg, kwarg) = (low.args.get("arg"), low.args.get("kwarg"));
    if matches!(&*low.kind, "runner" | "wheel") && (arg.is_none() || kwarg.is_none()) {
        return Ok(None);
    }
    let arg = arg.map_or_else(|| Ok(Vec::new()), |arg| list("arg", arg))?;
    let kwarg = kwarg.map_or_else(|| Ok(Map::new()), |kwarg| mapping("kwarg", kwarg))?;
    Ok(Some((arg, kwarg)))
}

/// `args` as keyword arguments: a mapping, or a list of mappings with one key each; bare words are keys without value.
fn repacked(args: &Value) -> Result<Map, String> {
    const EXPECTED: &str = "args must be a mapping, or a list of mappings with one key each";
    let items = match args {
        Value::Map(map) => return Ok(map.clone()),
        Value::Array(items) => items,
        other => return Err(format!("{EXPECTED}; found {}", python_text::repr(other))),
    };
    let mut all = Map::new();
    for item in items {
        match item {
            Value::Map(map) if map.len() == 1 => {
                for (key, value) in map {
                    all.insert(key.clone(), value.clone());
                }
            }
            Value::Str(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_) => {
                all.insert(item.clone(), Value::Nil)
            }
            other => return Err(format!("{EXPECTED}; found {}", python_text::repr(other))),
        }
    }
    match all.is_empty() {
        true => Err(format!("{EXPECTED}; it is empty")),
        false => Ok(all),
    }
}

fn list(name: &str, value: &Value) -> Result<Vec<Value>, String> {
    match value {
        Value::Array(items) => Ok(items.clone()),
        Value::Nil => Ok(Vec::new()),
        other => Err(format!(
            "{name} must be a list, found {}",
            python_text::repr(other)
        )),
    }
}

fn mapping(name: &str, value: &Value) -> Result<Map, String> {
    match value {
        Value::Map(map) => Ok(map.clone()),
        Value::Nil => Ok(Map::new()),
        other => Err(format!(
            "{name} must be a mapping, found {}",
            python_text::repr(other)
        )),
    }
}

#[cfg(test)]
mod tests {
    use brine_config::yaml;

    use super::*;

    fn low(kind: &str, args: &str) -> Low {
        let args = yaml::load(args.as_bytes()).unwrap();
        Low {
            id: "id".to_owned(),
            sls: "r.sls".to_owned(),
            kind: kind.to_owned(),
            fun: "a.b".to_owned(),
            args: args.as_map().cloned().unwrap_or_default(),
            name: "id".to_owned(),
        }
    }

    fn shown(kind: &str, args: &str) -> String {
        match call(&low(kind, args)) {
            Ok(call) => {
                assert_eq!(Call::from_map(&call.to_map()), Some(call.clone()));
                let (arg, kwarg) = match &call {
                    Call::Local(job) => (&job.arg, &job.kwarg),
                    Call::Runner(own) | Call::Wheel(own) | Call::Caller(own) => {
                        (&own.arg, &own.kwarg)
                    }
                };
                let repr = |value: Value| python_text::repr(&value);
                format!(
                    "{} {} {}",
                    call.name(),
                    repr(arg.clone().into()),
                    repr(kwarg.clone().into())
                )
            }
            Err(error) => error.fault,
        }
    }

    #[test]
    fn both_forms_of_arguments_are_read() {
        for (kind, args, expected) in [
            (
                "local",
                "{tgt: x, arg: [1, a=b]}",
                "local.a.b [1, 'a=b'] {}",
            ),
            ("local", "{tgt: x, kwarg: {a: 1}}", "local.a.b [] {'a': 1}"),
            (
                "local",
                "{tgt: x, args: [{mods: y}, {test: true}]}",
                "local.a.b [] {'mods': 'y', 'test': True}",
            ),
            (
                "local",
                "{tgt: x, args: {mods: y}, arg: [1]}",
                "local.a.b [] {'mods': 'y'}",
            ),
            ("local", "{tgt: x, queue: true}", "local.a.b [] {}"),
            ("local", "{arg: [1]}", "a local reaction needs tgt"),
            (
                "local",
                "{tgt: x, arg: text}",
                "arg must be a list, found 'text'",
            ),
            (
                "runner",
                "{mods: x, order: 1}",
                "runner.a.b [] {'mods': 'x'}",
            ),
            ("runner", "{arg: [1]}", "runner.a.b [1] {}"),
            (
                "runner",
                "{arg: [1], kwarg: {a: b}}",
                "runner.a.b [1] {'a': 'b'}",
            ),
            (
                "runner",
                "{args: [a, b]}",
                "runner.a.b [] {'a': None, 'b': None}",
            ),
            ("wheel", "{match: m1}", "wheel.a.b [] {'match': 'm1'}"),
            ("caller", "{args: [a, b]}", "caller.a.b ['a', 'b'] {}"),
            ("caller", "{args: [{a: b}]}", "caller.a.b [] {'a': 'b'}"),
            ("caller", "{arg: [1]}", "caller.a.b [1] {}"),
            (
                "wheel",
                "{args: [[a]]}",
                "args must be a mapping, or a list of mappings with one key each; found ['a']",
            ),
            (
                "frob",
                "{}",
                "expected local, runner, wheel or caller, found \"frob\"",
            ),
        ] {
            assert_eq!(shown(kind, args), expected, "{kind} {args}");
        }
    }

    #[test]
    fn what_has_no_effect_is_named() {
        for (args, expected) in [
            ("{tgt: x, expr_form: pcre}", "expr_form"),
            ("{tgt: x, queue: true}", "queue"),
            ("{tgt: x, args: [{a: b}], arg: [1]}", "arg"),
            ("{tgt: x, kwargs: {a: b}}", "kwargs"),
        ] {
            let found = without_effect(&low("local", args));
            assert!(
                found.len() == 1 && found[0].contains(expected),
                "{args}: {found:?}"
            );
        }
        assert!(without_effect(&low("runner", "{mods: x}")).is_empty());
    }
}

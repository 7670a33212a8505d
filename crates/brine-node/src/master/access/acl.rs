//! Decides what the entries of `publisher_acl` and `publisher_acl_blacklist` permit.
//!
//! `external_auth` has such entries too, and others for runner and wheel functions ([`permits_call`]). An entry is a
//! regular expression for functions on all minions, or a mapping from a compound target to such expressions, each of
//! which may restrict arguments. Pure: the caller resolves targets. Facts: the tests below expect what Salt 3006.28
//! and 3008.3 answer, except for jobs of several functions: Salt permits them all if one is permitted.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use brine_config::Arguments;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::MinionId;
use brine_wire::python_text;
use brine_wire::{Map, Value};

use super::NotCallable;
use crate::job_request::JobRequest;
use crate::target::Patterns;

/// A requested job.
pub(in crate::master) struct Wanted<'a> {
    /// The function, or a list of them.
    pub(in crate::master) fun: &'a Value,
    /// Its arguments; of several functions a list for each.
    pub(in crate::master) arg: &'a [Value],
    /// The minions it targets.
    pub(in crate::master) minions: &'a [MinionId],
}

/// Permitted to every user with any entry: clients use it to check whether their jobs still run.
const ALWAYS: &str = "saltutil.find_job";

/// The mark of keyword arguments, the last of the arguments.
const KEYWORDS: &str = "__kwarg__";

/// Whether the entries permit a job; of several functions all must be permitted, and of none nothing is, as with Salt
/// 3008.3. `select` resolves a compound target to minions.
pub(in crate::master) fn permits(
    entries: &[Value],
    wanted: &Wanted<'_>,
    select: impl Fn(&str) -> Vec<MinionId>,
) -> bool {
    let patterns = Patterns::default();
    let known = RefCell::new(HashMap::new());
    // Once for each target: a job may name thousands of functions.
    let reaches = |target: &str| {
        if let Some(reaches) = known.borrow().get(target) {
            return *reaches;
        }
        let selected: HashSet<MinionId> = select(target).into_iter().collect();
        let reaches = wanted.minions.iter().all(|id| selected.contains(id));
        known.borrow_mut().insert(target.to_owned(), reaches);
        reaches
    };
    let permitted = |fun: &str, arg: &[Value]| {
        fun == ALWAYS
            || entries
                .iter()
                .any(|entry| entry_permits(&patterns, entry, fun, arg, &reaches))
    };
    match wanted.fun {
        Value::Array(funs) => {
            !funs.is_empty()
                && funs.iter().enumerate().all(|(at, fun)| {
                    let arg = wanted.arg.get(at).and_then(Value::as_array);
                    fun.as_str()
                        .is_some_and(|fun| permitted(fun, arg.unwrap_or_default()))
                })
        }
        fun => fun.as_str().is_some_and(|fun| permitted(fun, wanted.arg)),
    }
}

/// Whether the entries permit each function of a job whatever its target selects: for a caller that cannot resolve
/// targets. Entries for some minions count for nothing.
#[must_use]
pub fn permits_on_all(entries: &[Value], request: &JobRequest) -> bool {
    let Ok(any) = MinionId::parse("any") else {
        return false;
    };
    let minions = [any];
    let wanted = Wanted {
        fun: &request.fun,
        arg: &request.arg,
        minions: &minions,
    };
    permits(entries, &wanted, |target| match target {
        "*" => minions.to_vec(),
        _ => Vec::new(),
    })
}

/// Whether entries of `external_auth` permit a runner function.
#[must_use]
pub fn permits_runner(entries: &[Value], fun: &str, called: &Arguments) -> bool {
    permits_call(entries, "runner", fun, &called.positional, &called.keyword).is_ok()
}

/// Whether entries of `external_auth` permit a function of a runner or wheel (`form`): `@runner` all of them,
/// `@jobs` those of a module, a mapping from one of these to conditions some.
pub(in crate::master) fn permits_call(
    entries: &[Value],
    form: &str,
    fun: &str,
    args: &[Value],
    kwargs: &Map,
) -> Result<(), NotCallable> {
    let module_and_name = fun.split_once('.').filter(|(_, name)| !name.contains('.'));
    if entries.is_empty() {
        return Err(NotCallable::NotPermitted);
    }
    let (module, name) = module_and_name.ok_or(NotCallable::BadName)?;
    let patterns = Patterns::default();
    let mut arg = args.to_vec();
    let mut keywords: Map = [(KEYWORDS, true)].into_iter().collect();
    for (name, value) in kwargs {
        keywords.insert(name.clone(), value.clone());
    }
    arg.push(keywords.into());
    let is_form = |what: &str| what == form || what.strip_suffix('s') == Some(form);
    let is_permitted = entries.iter().any(|entry| match entry {
        Value::Str(entry) => entry
            .strip_prefix('@')
            .is_some_and(|what| what == module || is_form(what)),
        Value::Map(of) => only(of).is_some_and(|(what, functions)| {
            let Some(what) = what.strip_prefix('@') else {
                return false;
            };
            (what == module && functions_permit(&patterns, functions, name, &arg))
                || (is_form(what) && functions_permit(&patterns, functions, fun, &arg))
        }),
        _ => false,
    });
    is_permitted.then_some(()).ok_or(NotCallable::NotPermitted)
}

fn entry_permits(
    patterns: &Patterns,
    entry: &Value,
    fun: &str,
    arg: &[Value],
    reaches: &impl Fn(&str) -> bool,
) -> bool {
    match entry {
        Value::Str(pattern) => patterns.pcre(pattern, fun),
        Value::Map(of_target) => match only(of_target) {
            // A list that only restricts arguments cannot be a list of functions, so the key is a function for all
            // minions. In Salt it is a target that no minion matches, which nobody can have meant.
            Some((_, Value::Map(bound))) if binds_arguments(bound) => {
                functions_permit(patterns, entry, fun, arg)
            }
            Some((target, functions)) => {
                reaches(target) && functions_permit(patterns, functions, fun, arg)
            }
            None => false,
        },
        _ => false,
    }
}

/// One condition or a list of them: a regular expression for the function, optionally with conditions for arguments.
fn functions_permit(patterns: &Patterns, functions: &Value, fun: &str, arg: &[Value]) -> bool {
    one_or_many(functions).any(|condition| match condition {
        Value::Str(pattern) => patterns.pcre(pattern, fun),
        Value::Map(bound) => only(bound).is_some_and(|(pattern, arguments)| {
            patterns.pcre(pattern, fun)
                && one_or_many(arguments).any(|bound| {
                    bound
                        .as_map()
                        .is_some_and(|bound| arguments_fit(patterns, bound, arg))
                })
        }),
        _ => false,
    })
}

/// Whether a mapping says what arguments must be.
fn binds_arguments(bound: &Map) -> bool {
    let is_known = |name: &Value| matches!(name.as_str(), Some("args" | "kwargs"));
    !bound.is_empty() && bound.iter().all(|(name, _)| is_known(name))
}

/// Whether the arguments match `args` and `kwargs`: a regular expression for each, or nil for any value.
fn arguments_fit(patterns: &Patterns, bound: &Map, arg: &[Value]) -> bool {
    let keywords = arg
        .last()
        .and_then(Value::as_map)
        .filter(|keywords| keywords.get(KEYWORDS).is_some());
    let positional = match keywords {
        Some(_) => arg.split_last().map_or(arg, |(_, positional)| positional),
        None => arg,
    };
    let fits = |condition: &Value, value: Option<&Value>| match (condition, value) {
        (_, None) => false,
        (Value::Nil, Some(_)) => true,
        (Value::Str(pattern), Some(value)) => patterns.pcre(pattern, &python_text::str(value)),
        _ => false,
    };
    let args = bound.get("args").and_then(Value::as_array);
    let all_args = args
        .unwrap_or_default()
        .iter()
        .enumerate()
        .all(|(at, condition)| fits(condition, positional.get(at)));
    let kwargs = bound.get("kwargs").and_then(Value::as_map);
    let all_kwargs = kwargs
        .into_iter()
        .flat_map(Map::iter)
        .all(|(name, condition)| {
            let value = keywords.and_then(|keywords| keywords.get(name.as_str()?));
            fits(condition, value)
        });
    all_args && all_kwargs
}

/// The one pair of a mapping whose key is text.
fn only(map: &Map) -> Option<(&str, &Value)> {
    let (key, value) = map.iter().next()?;
    (map.len() == 1)
        .then_some(())
        .and_then(|()| Some((key.as_str()?, value)))
}

fn one_or_many(value: &Value) -> impl Iterator<Item = &Value> {
    match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    }
    .iter()
}

/// `publisher_acl_blacklist`, its patterns compiled.
#[derive(Debug, Default)]
pub(in crate::master) struct Blacklist {
    users: Vec<Pattern>,
    modules: Vec<Pattern>,
}

/// The longest name of a function or a user that is compared, in bytes. A longer one counts as forbidden.
const MAX_NAME_BYTES: usize = 256;
/// The most functions of one job that are compared. A job of more counts as forbidden.
const MAX_FUNS: usize = 1024;

impl Blacklist {
    /// Compiles the option's value.
    pub(in crate::master) fn new(blacklist: &Map) -> Self {
        let patterns = |list| {
            let patterns = blacklist.get(list).into_iter().flat_map(one_or_many);
            strings(patterns).map(Pattern::new).collect()
        };
        Self {
            users: patterns("users"),
            modules: patterns("modules"),
        }
    }

    /// Whether it names the user of a job or one of its functions, or might: what is too much to compare is forbidden.
    pub(in crate::master) fn names(&self, user: &str, fun: &Value) -> bool {
        let may_name = |patterns: &[Pattern], name: &str| {
            let is_long = name.len() > MAX_NAME_BYTES && !patterns.is_empty();
            is_long || patterns.iter().any(|pattern| pattern.may_match(name))
        };
        if may_name(&self.users, user) {
            return true;
        }
        if self.modules.is_empty() {
            return false;
        }
        let mut funs = strings(one_or_many(fun));
        one_or_many(fun).count() > MAX_FUNS || funs.any(|fun| may_name(&self.modules, fun))
    }
}

/// A pattern that matches as a shell pattern or as a regular expression for the whole text: users write either.
#[derive(Debug)]
pub(in crate::master) struct Pattern {
    glob: Option<TagMatch>,
    regex: Option<TagMatch>,
}

impl Pattern {
    /// Compiles a pattern. As a kind of pattern that it is not, it matches nothing.
    pub(in crate::master) fn new(pattern: &str) -> Self {
        let compile = |kind, pattern: String| TagMatch::new(kind, pattern).ok();
        Self {
            glob: compile(MatchType::Fnmatch, pattern.to_owned()),
            regex: compile(MatchType::Regex, format!(r"(?:\A{pattern}\Z)")),
        }
    }

    /// Whether a text matches.
    pub(in crate::master) fn matches(&self, text: &str) -> bool {
        let mut kinds = [&self.glob, &self.regex].into_iter().flatten();
        kinds.any(|pattern| pattern.matches(text))
    }

    /// Whether a text matches, or an expression runs into its limit before that is known.
    fn may_match(&self, text: &str) -> bool {
        let mut kinds = [&self.glob, &self.regex].into_iter().flatten();
        kinds.any(|pattern| pattern.try_matches(text) != Some(false))
    }
}

/// The entries of `publisher_acl`: patterns of users, with what they may do.
pub(in crate::master) fn entries(acl: &Map) -> Vec<(Pattern, Vec<Value>)> {
    let named = acl.iter().filter_map(|(name, entries)| {
        let entries = entries.as_array().unwrap_or_default().to_vec();
        Some((Pattern::new(name.as_str()?), entries))
    });
    named.collect()
}

/// Those values that are texts.
pub(in crate::master) fn strings<'a>(
    values: impl Iterator<Item = &'a Value>,
) -> impl Iterator<Item = &'a str> {
    values.filter_map(Value::as_str)
}

/// For the fuzz target: entries permit several functions exactly if they permit each; without an entry nothing is
/// permitted but what always is. Comes as a list of entries, functions, and arguments for each.
pub(crate) fn fuzz_acl(bytes: &[u8]) {
    let Ok(Value::Array(parts)) = brine_wire::msgpack::decode_network(bytes) else {
        return;
    };
    let [
        Value::Array(entries),
        Value::Array(funs),
        Value::Array(args),
    ] = &parts[..]
    else {
        return;
    };
    let permitted = |entries: &[Value], fun: &Value, arg: &[Value]| {
        let minions = &[];
        permits(entries, &Wanted { fun, arg, minions }, |_| Vec::new())
    };
    let mut each = funs.iter().enumerate().map(|(at, fun)| {
        let arg = args.get(at).and_then(Value::as_array).unwrap_or_default();
        fun.as_str().is_some() && permitted(entries, fun, arg)
    });
    let each = !funs.is_empty() && each.all(|permitted| permitted);
    let all: Value = funs.clone().into();
    assert_eq!(permitted(entries, &all, args), each);
    for fun in funs {
        let name = fun.as_str().unwrap_or_default();
        let is_always = |fun: &Value| fun.as_str() == Some(ALWAYS);
        let always = match fun {
            Value::Array(funs) => !funs.is_empty() && funs.iter().all(is_always),
            fun => is_always(fun),
        };
        assert_eq!(permitted(&[], fun, args), always);
        let _ = permits_call(entries, "runner", name, args, &Map::new());
        assert!(permits_call(&[], "wheel", name, args, &Map::new()).is_err());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(patterns: &[&str]) -> Value {
        Value::Array(patterns.iter().map(|&pattern| pattern.into()).collect())
    }

    fn map(pairs: &[(&str, Value)]) -> Map {
        pairs.iter().cloned().collect()
    }

    fn ids(names: &[&str]) -> Vec<MinionId> {
        let ids = names.iter().map(|name| MinionId::parse(name).unwrap());
        ids.collect()
    }

    /// Of minions `web1`, `web2` and `db1`.
    fn ask(entries: &[Value], fun: &Value, arg: &[Value], minions: &[&str]) -> bool {
        let wanted = Wanted {
            fun,
            arg,
            minions: &ids(minions),
        };
        permits(entries, &wanted, |target| match target {
            "web*" => ids(&["web1", "web2"]),
            "*" => ids(&["web1", "web2", "db1"]),
            _ => Vec::new(),
        })
    }

    #[test]
    fn a_text_permits_a_function_on_every_minion_from_its_start_on() {
        let entries = [Value::from("test.p")];
        assert!(ask(&entries, &"test.ping".into(), &[], &["db1"]));
        assert!(!ask(&entries, &"xtest.ping".into(), &[], &["db1"]));
        assert!(!ask(&["(".into()], &"test.ping".into(), &[], &["db1"]));
        assert!(!ask(&[], &"test.ping".into(), &[], &["db1"]));
        assert!(ask(&[], &"saltutil.find_job".into(), &[], &["db1"]));
    }

    #[test]
    fn a_mapping_permits_functions_on_the_minions_of_its_target_alone() {
        let entries = [map(&[("web*", list(&["test.*", "event.send"]))]).into()];
        assert!(ask(&entries, &"event.send".into(), &[], &["web1", "web2"]));
        assert!(!ask(&entries, &"event.send".into(), &[], &["web1", "db1"]));
        assert!(!ask(&entries, &"cmd.run".into(), &[], &["web1"]));
        let nobody = [map(&[("nobody*", list(&[".*"]))]).into()];
        assert!(!ask(&nobody, &"test.ping".into(), &[], &["web1"]));
        let two = [map(&[("*", ".*".into()), ("web*", ".*".into())]).into()];
        assert!(!ask(&two, &"test.ping".into(), &[], &["web1"]));
    }

    #[test]
    fn a_function_may_be_bound_to_arguments_for_all_minions() {
        let bound = map(&[("args", list(&["a.*"]))]);
        let entries = [map(&[("test.echo", bound.into())]).into()];
        let echo = |text: &str| ask(&entries, &"test.echo".into(), &[text.into()], &["db1"]);
        assert!(echo("abc"));
        assert!(!echo("xyz"));
        assert!(!ask(&entries, &"test.ping".into(), &[], &["db1"]));
        // An empty restriction restricts nothing.
        let empty = [map(&[("test.echo", Map::new().into())]).into()];
        assert!(!ask(&empty, &"test.echo".into(), &["abc".into()], &["db1"]));
    }

    #[test]
    fn arguments_are_bound_by_place_and_by_name() {
        let bound = map(&[
            ("args", Value::Array(vec!["web".into(), Value::Nil])),
            ("kwargs", map(&[("a", "1$".into())]).into()),
        ]);
        let entries = [map(&[("*", map(&[("test.echo", bound.into())]).into())]).into()];
        let keywords =
            |value: i64| -> Value { map(&[(KEYWORDS, true.into()), ("a", value.into())]).into() };
        let ask = |arg: &[Value]| ask(&entries, &"test.echo".into(), arg, &["db1"]);
        assert!(ask(&["web1".into(), 5.into(), keywords(1)]));
        assert!(!ask(&["web1".into(), 5.into(), keywords(12)]));
        assert!(!ask(&["db1".into(), 5.into(), keywords(1)]));
        assert!(!ask(&["web1".into(), keywords(1)]));
        assert!(!ask(&["web1".into(), 5.into()]));
    }

    #[test]
    fn of_several_functions_all_must_be_permitted() {
        let entries = [Value::from("test")];
        let none = [Value::Array(Vec::new()), Value::Array(Vec::new())];
        let both = list(&["test.ping", "test.version"]);
        assert!(ask(&entries, &both, &none, &["db1"]));
        let other = list(&["test.ping", "cmd.run"]);
        assert!(!ask(&entries, &other, &none, &["db1"]));
    }

    #[test]
    fn a_job_without_a_function_is_not_permitted() {
        assert!(!ask(&[".*".into()], &list(&[]), &[], &["db1"]));
        assert!(!ask(&[], &list(&[]), &[], &["db1"]));
    }

    #[test]
    fn runner_and_wheel_functions_have_entries_of_their_own() {
        let call = |entries: &[Value], form, fun, args: &[Value], kwargs: &Map| {
            permits_call(entries, form, fun, args, kwargs)
        };
        let none = Map::new();
        for (entry, form, fun, expected) in [
            ("@runner", "runner", "jobs.active", true),
            ("@runners", "runner", "jobs.active", true),
            ("@jobs", "runner", "jobs.active", true),
            ("@jobs", "runner", "manage.up", false),
            ("@wheel", "runner", "jobs.active", false),
            ("@wheel", "wheel", "key.list_all", true),
            ("@key", "wheel", "key.list_all", true),
            (".*", "wheel", "key.list_all", false),
            ("jobs.active", "runner", "jobs.active", false),
            ("", "runner", "jobs.active", false),
        ] {
            let is_permitted = call(&[entry.into()], form, fun, &[], &none).is_ok();
            assert_eq!(is_permitted, expected, "{entry} {form} {fun}");
        }
        let by_module = [map(&[("@jobs", list(&["list_.*"]))]).into()];
        assert!(call(&by_module, "runner", "jobs.list_jobs", &[], &none).is_ok());
        assert!(call(&by_module, "runner", "jobs.active", &[], &none).is_err());
        let bound = map(&[("kwargs", map(&[("match", "web.*".into())]).into())]);
        let by_form = [map(&[("@wheel", map(&[("key.accept", bound.into())]).into())]).into()];
        let named = |id: &str| map(&[("match", id.into())]);
        assert!(call(&by_form, "wheel", "key.accept", &[], &named("web1")).is_ok());
        assert!(call(&by_form, "wheel", "key.accept", &[], &named("db1")).is_err());
        assert!(call(&by_form, "wheel", "key.accept", &["web1".into()], &none).is_err());
        for name in ["jobs", "a.b.c", ""] {
            assert_eq!(
                call(&["@runner".into()], "runner", name, &[], &none),
                Err(NotCallable::BadName)
            );
        }
        assert_eq!(
            call(&[], "runner", "x", &[], &none),
            Err(NotCallable::NotPermitted)
        );
    }

    #[test]
    fn a_blacklist_holds_names_shell_patterns_and_regular_expressions() {
        let blacklist = |name: &str, pattern: &str| map(&[(name, list(&[pattern]))]);
        for pattern in ["cmd.run", "cmd.*", r"cmd\.(run|shell)"] {
            let blacklist = blacklist("modules", pattern);
            assert!(Blacklist::new(&blacklist).names("root", &"cmd.run".into()));
            assert!(!Blacklist::new(&blacklist).names("root", &"test.ping".into()));
            let both = list(&["test.ping", "cmd.run"]);
            assert!(Blacklist::new(&blacklist).names("root", &both));
        }
        let modules = blacklist("modules", "cmd");
        assert!(!Blacklist::new(&modules).names("root", &"cmd.run".into()));
        let long = Value::from("x".repeat(300));
        assert!(Blacklist::new(&modules).names("root", &long));
        assert!(!Blacklist::default().names("root", &long));
        // If matching exceeds the expression's limit, the call is forbidden.
        let modules = blacklist("modules", "(?:a(?=.)|a)*b");
        assert!(Blacklist::new(&modules).names("root", &"a".repeat(200).into()));
        assert!(!Blacklist::new(&modules).names("root", &"a".into()));
        let users = blacklist("users", "^(?!sudo_).*$");
        assert!(Blacklist::new(&users).names(&"x".repeat(300), &"test.ping".into()));
        assert!(Blacklist::new(&users).names("fred", &"test.ping".into()));
        assert!(!Blacklist::new(&users).names("sudo_fred", &"test.ping".into()));
    }
}

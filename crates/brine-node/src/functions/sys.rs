//! `sys.*`: listing functions, built-in and users' own, with their documentation and signatures.
//!
//! Facts: Salt 3006.28 and 3008.3, by running them.

use std::collections::BTreeMap;

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value, python_text};

use super::run::Functions;
use super::signature::{Bound, Signature};
use super::table::{self, Builtin, Run, Waiting};
use crate::python::{Answer, Request};

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "sys.argspec",
        signature: "module=''",
        doc: "
    Return the arguments of a function, of a module's functions, or of those that match.

        salt '*' sys.argspec pkg.install
        salt '*' sys.argspec 'test.*'
    ",
        run: Run::Calls(argspec),
    },
    Builtin {
        name: "sys.doc",
        signature: "*args",
        doc: "
    Return the documentation of functions, of modules, or of all.

        salt '*' sys.doc
        salt '*' sys.doc event
        salt '*' sys.doc event.send test.ping
    ",
        run: Run::Calls(doc),
    },
    Builtin {
        name: "sys.list_functions",
        signature: "*args, **kwargs",
        doc: "
    List all functions, or those of modules, or those whose names match.

        salt '*' sys.list_functions
        salt '*' sys.list_functions sys
        salt '*' sys.list_functions 'sys.list_*'
    ",
        run: Run::Calls(list_functions),
    },
    Builtin {
        name: "sys.list_modules",
        signature: "*args",
        doc: "
    List all modules, or those whose names match.

        salt '*' sys.list_modules
        salt '*' sys.list_modules 's*'
    ",
        run: Run::Calls(list_modules),
    },
    Builtin {
        name: "sys.reload_modules",
        signature: "",
        doc: "
    Return True: changed modules are loaded again by themselves.

        salt '*' sys.reload_modules
    ",
        run: Run::Now(|_, _| Ok(Value::Bool(true).into())),
    },
];

/// A function that can be run.
struct Described {
    doc: Value,
    argspec: Value,
}

/// All functions by name; a user's module replaces the built-in one of the same name.
async fn all(functions: &Functions) -> BTreeMap<String, Described> {
    all_after(functions, None).await
}

/// The same after a call for a function that is missing, whose module has been looked for, and reported.
async fn all_after(functions: &Functions, missing: Option<&str>) -> BTreeMap<String, Described> {
    let python = functions.python();
    let builtins = table::all().filter(|known| !python.has_file(known.module()));
    let mut all: BTreeMap<_, _> = builtins
        .map(|known| {
            let described = Described {
                doc: known.builtin.doc.into(),
                argspec: argspec_of(&known.signature),
            };
            (known.builtin.name.to_owned(), described)
        })
        .collect();
    if !python.has_modules() {
        return all;
    }
    let request = Request::List {
        missing: missing.map(str::to_owned),
    };
    match Box::pin(functions.ask_python(&request)).await {
        Ok(Answer::Listed(own)) => all.extend(own.into_iter().map(|own| {
            let (doc, argspec) = (own.doc, own.argspec);
            (own.name, Described { doc, argspec })
        })),
        Ok(_) => {}
        Err(err) => tracing::warn!(%err, "cannot list the functions of users' modules"),
    }
    all
}

/// The documentation of functions whose names begin with a name that is not a function.
pub(super) async fn docs_beginning(functions: &Functions, start: &str) -> Map {
    let all = all_after(functions, Some(start)).await;
    let wanted = all.into_iter().filter(|(name, _)| name.starts_with(start));
    wanted.map(|(name, found)| (name, found.doc)).collect()
}

fn argspec(functions: &Functions, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let wanted = bound.text(0);
        let all = all(functions).await.into_iter();
        let found = all.filter(|(name, _)| is_of(name, &wanted));
        let found: Map = found.map(|(name, found)| (name, found.argspec)).collect();
        Ok(Value::Map(found).into())
    })
}

fn doc(functions: &Functions, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let wanted: Vec<_> = bound.varargs.iter().map(python_text::str).collect();
        let all = all(functions).await.into_iter();
        let found =
            all.filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|w| is_of(name, w)));
        let found: Map = found.map(|(name, found)| (name, found.doc)).collect();
        Ok(Value::Map(found).into())
    })
}

fn list_functions(functions: &Functions, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let wanted: Vec<_> = bound.varargs.iter().map(python_text::str).collect();
        let names = all(functions).await.into_keys();
        let names = names.filter(|name| wanted.is_empty() || wanted.iter().any(|w| is_of(name, w)));
        Ok(Value::Array(names.map(Value::from).collect()).into())
    })
}

fn list_modules(functions: &Functions, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let wanted: Vec<_> = bound.varargs.iter().map(python_text::str).collect();
        let all = all(functions).await;
        let mut modules: Vec<_> = all
            .keys()
            .filter_map(|name| name.split('.').next())
            .collect();
        modules.dedup();
        modules.retain(|name| wanted.is_empty() || wanted.iter().any(|w| matches(w, name)));
        Ok(Value::Array(modules.into_iter().map(Value::from).collect()).into())
    })
}

/// Whether a function is `wanted`, is in the module `wanted`, or matches the glob.
fn is_of(name: &str, wanted: &str) -> bool {
    if wanted.contains('*') {
        return matches(wanted, name);
    }
    let wanted = wanted.trim_end_matches('.');
    name.strip_prefix(wanted)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn matches(glob: &str, name: &str) -> bool {
    TagMatch::new(MatchType::Fnmatch, glob).is_ok_and(|matcher| matcher.matches(name))
}

/// A signature as Salt reports it.
fn argspec_of(signature: &Signature) -> Value {
    let names = signature
        .parameters
        .iter()
        .map(|(name, _)| Value::from(*name));
    let defaults: Vec<_> = signature
        .parameters
        .iter()
        .filter_map(|(_, d)| d.clone())
        .collect();
    let list = |items: Vec<Value>| match items.as_slice() {
        [] => Value::Nil,
        _ => items.into(),
    };
    let is_there = |name: Option<_>| {
        if name.is_some() {
            true.into()
        } else {
            Value::Nil
        }
    };
    let mut argspec = Map::new();
    argspec.insert("args", list(names.collect()));
    argspec.insert("defaults", list(defaults));
    argspec.insert("varargs", is_there(signature.varargs));
    argspec.insert("kwargs", is_there(signature.keywords));
    argspec.into()
}

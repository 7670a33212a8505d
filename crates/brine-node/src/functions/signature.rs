//! Signatures of built-in functions, and binding a call's arguments to parameters.
//!
//! A signature is written as Python writes it, without annotations; binding follows Python's rules
//! and its messages. Facts: CPython 3.11; Salt's check for unknown keywords, which comes first.

use brine_config::parse_value;
use brine_wire::python_text;
use brine_wire::{Map, Value};

use super::{Call, Failure};
use crate::call::CallLog;

/// A function's parameters.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Signature {
    /// Named parameters and their defaults.
    pub(crate) parameters: Vec<(&'static str, Option<Value>)>,
    /// The name of `*args`.
    pub(crate) varargs: Option<&'static str>,
    /// The name of `**kwargs`.
    pub(crate) keywords: Option<&'static str>,
}

/// Who calls: Salt checks a job's keywords before Python does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A job, or `salt-call`.
    Job,
    /// Another function.
    Function,
}

/// A call's arguments by parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Bound {
    values: Vec<Value>,
    /// The arguments in `*args`.
    pub(crate) varargs: Vec<Value>,
    /// The arguments in `**kwargs`.
    pub(crate) keywords: Map,
    /// The id of the job it is part of.
    pub(crate) jid: String,
    /// Where its caller wants the log, if that is not the process's own.
    pub(crate) log: Option<CallLog>,
}

impl Signature {
    /// Reads a signature such as `tag, data=None, *args, **kwargs`.
    ///
    /// Defaults are texts, numbers, booleans and `None`, without commas: these are our own tables.
    pub(crate) fn read(text: &'static str) -> Self {
        let mut signature = Self::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            if let Some(name) = part.strip_prefix("**") {
                signature.keywords = Some(name);
            } else if let Some(name) = part.strip_prefix('*') {
                signature.varargs = Some(name);
            } else if let Some((name, default)) = part.split_once('=') {
                let default = Some(parse_value(default));
                signature.parameters.push((name, default));
            } else {
                signature.parameters.push((part, None));
            }
        }
        signature
    }

    /// Gives every parameter its value, as Salt and then Python do.
    ///
    /// # Errors
    /// [`Failure::Invocation`] for keywords the function does not know, [`Failure::Arguments`] for
    /// too many or missing arguments.
    pub(crate) fn bind(
        &self,
        name: &str,
        doc: &str,
        call: Call,
        origin: Origin,
    ) -> Result<Bound, Failure> {
        let wrong = |message: String| Failure::Arguments {
            message,
            doc: doc.into(),
        };
        let unknown = self.unknown_keywords(&call.kwargs);
        match (unknown.first(), origin) {
            (Some(_), Origin::Job) => return Err(invalid_keywords(&unknown)),
            (Some((key, _)), Origin::Function) => {
                let key = python_text::str(key);
                return Err(wrong(format!(
                    "{name}() got an unexpected keyword argument '{key}'"
                )));
            }
            (None, _) => {}
        }
        let mut given: Vec<Option<Value>> = vec![None; self.parameters.len()];
        let mut varargs = Vec::new();
        let came = call.args.len();
        for (at, value) in call.args.into_iter().enumerate() {
            match given.get_mut(at) {
                Some(place) => *place = Some(value),
                None => varargs.push(value),
            }
        }
        let mut keywords = Map::new();
        for (key, value) in call.kwargs {
            let at = self
                .parameters
                .iter()
                .position(|(p, _)| key.as_str() == Some(p));
            match at.and_then(|at| given.get_mut(at)) {
                Some(Some(_)) => {
                    let key = python_text::str(&key);
                    return Err(wrong(format!(
                        "{name}() got multiple values for argument '{key}'"
                    )));
                }
                Some(place) => *place = Some(value),
                None => keywords.insert(key, value),
            }
        }
        if !varargs.is_empty() && self.varargs.is_none() {
            return Err(wrong(self.too_many(name, came)));
        }
        if self.keywords.is_some() {
            for (key, value) in call.publication {
                keywords.insert(key, value);
            }
        }
        let mut missing = Vec::new();
        let mut values = Vec::new();
        for ((parameter, default), given) in self.parameters.iter().zip(given) {
            match given.or_else(|| default.clone()) {
                Some(value) => values.push(value),
                None => missing.push(*parameter),
            }
        }
        if !missing.is_empty() {
            return Err(wrong(missing_arguments(name, &missing)));
        }
        Ok(Bound {
            values,
            varargs,
            keywords,
            jid: call.jid,
            log: call.log,
        })
    }

    fn unknown_keywords<'a>(&self, kwargs: &'a Map) -> Vec<&'a (Value, Value)> {
        if self.keywords.is_some() {
            return Vec::new();
        }
        let known = |key: &Value| self.parameters.iter().any(|(p, _)| key.as_str() == Some(p));
        kwargs.iter().filter(|(key, _)| !known(key)).collect()
    }

    fn too_many(&self, name: &str, came: usize) -> String {
        let most = self.parameters.len();
        let least = self.parameters.iter().filter(|(_, d)| d.is_none()).count();
        let takes = if least == most {
            most.to_string()
        } else {
            format!("from {least} to {most}")
        };
        let plural = if most == 1 && least == most { "" } else { "s" };
        let were = if came == 1 { "was" } else { "were" };
        format!("{name}() takes {takes} positional argument{plural} but {came} {were} given")
    }
}

impl Bound {
    /// The value of the parameter with this index in the signature.
    pub(crate) fn get(&self, place: usize) -> &Value {
        self.values.get(place).unwrap_or(&Value::Nil)
    }

    /// Takes the value of a parameter out.
    pub(crate) fn take(&mut self, place: usize) -> Value {
        self.values
            .get_mut(place)
            .map_or(Value::Nil, |value| std::mem::replace(value, Value::Nil))
    }

    /// The value as text, as Python's `str` makes it.
    pub(crate) fn text(&self, place: usize) -> String {
        python_text::str(self.get(place))
    }
}

fn invalid_keywords(unknown: &[&(Value, Value)]) -> Failure {
    let written: Vec<_> = unknown
        .iter()
        .map(|(key, value)| format!("{}={}", python_text::str(key), python_text::str(value)))
        .collect();
    Failure::Invocation {
        message: format!(
            "The following keyword arguments are not valid: {}",
            written.join(", ")
        ),
    }
}

fn missing_arguments(name: &str, missing: &[&str]) -> String {
    let quoted: Vec<_> = missing.iter().map(|name| format!("'{name}'")).collect();
    let count = quoted.len();
    let (plural, names) = match quoted.as_slice() {
        [one] => ("", one.clone()),
        [one, two] => ("s", format!("{one} and {two}")),
        [first @ .., last] => ("s", format!("{}, and {last}", first.join(", "))),
        [] => ("s", String::new()),
    };
    format!("{name}() missing {count} required positional argument{plural}: {names}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(args: Vec<Value>, kwargs: &[(&str, i32)]) -> Call {
        Call {
            args,
            kwargs: kwargs.iter().copied().collect(),
            ..Call::new("t.f")
        }
    }

    /// Every text from CPython 3.11.
    #[test]
    fn binding_errors_are_pythons() {
        let error = |text, call| {
            Signature::read(text)
                .bind("f", "", call, Origin::Job)
                .unwrap_err()
                .to_string()
        };
        let one = || vec![Value::Int(1)];
        assert_eq!(
            error("a", call(vec![], &[])),
            "f() missing 1 required positional argument: 'a'"
        );
        assert_eq!(
            error("a, b, c, d=1", call(vec![], &[])),
            "f() missing 3 required positional arguments: 'a', 'b', and 'c'"
        );
        assert_eq!(
            error("", call(one(), &[])),
            "f() takes 0 positional arguments but 1 was given"
        );
        assert_eq!(
            error("a", call([one(), one()].concat(), &[])),
            "f() takes 1 positional argument but 2 were given"
        );
        assert_eq!(
            error("a, b=2", call([one(), one(), one()].concat(), &[])),
            "f() takes from 1 to 2 positional arguments but 3 were given"
        );
        assert_eq!(
            error("a", call(one(), &[("a", 1)])),
            "f() got multiple values for argument 'a'"
        );
        assert_eq!(
            error("a", call(one(), &[("x", 1), ("y", 2)])),
            "The following keyword arguments are not valid: x=1, y=2"
        );
    }

    #[test]
    fn publication_keys_reach_only_functions_that_take_any_keyword() {
        let with_publication = || Call {
            publication: [("__pub_jid", "1")].into_iter().collect(),
            ..call(vec![Value::Int(1)], &[])
        };
        let bound = Signature::read("a, **kwargs").bind("f", "", with_publication(), Origin::Job);
        assert_eq!(bound.unwrap().keywords.len(), 1);
        let bound = Signature::read("a, b='x:y'").bind("f", "", with_publication(), Origin::Job);
        let bound = bound.unwrap();
        assert_eq!(bound.get(1), &Value::from("x:y"));
        assert!(bound.keywords.is_empty());
    }
}

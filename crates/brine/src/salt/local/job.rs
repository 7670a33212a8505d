//! The job that a command line of `salt` describes. Facts: Salt 3008.3, by running it.

use brine_config::{parse_arguments, parse_value};
use brine_node::JobRequest;
use brine_wire::{Map, Value};

use super::options;
use crate::salt::options::Key;
use crate::salt::optparse::Parsed;

/// The command line is incomplete; Salt's texts and empty lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Incomplete {
    #[error("\nCannot execute command without defining a target.\n\n")]
    Target,
    #[error("\nIncomplete options passed.\n\n")]
    Function,
    #[error("Cannot execute compound command without defining all arguments.\n")]
    TooFewArguments,
    #[error("Cannot execute compound command with more arguments than commands.\n")]
    TooManyArguments,
}

impl Incomplete {
    /// Whether the options are printed too.
    pub(super) const fn wants_help(self) -> bool {
        matches!(self, Self::Target | Self::Function)
    }
}

/// The job, if the command line is complete.
pub(super) fn read(line: &Parsed<Key>, show_jid: bool) -> Result<JobRequest, Incomplete> {
    let mut words: Vec<&str> = line.words.iter().map(String::as_str).collect();
    if line.has(Key::Doc) {
        if words.is_empty() {
            words.push("*");
        }
        if words.get(1) != Some(&"sys.doc") {
            words.insert(1, "sys.doc");
        }
    }
    let (target, fun, arguments) = match words.as_slice() {
        [] => return Err(Incomplete::Target),
        [_] => return Err(Incomplete::Function),
        [target, fun, arguments @ ..] => (*target, *fun, arguments),
    };
    let tgt_type = options::target_type(line);
    let tgt = match tgt_type {
        "list" => {
            let ids = target.split([',', ' ']).filter(|id| !id.is_empty());
            Value::Array(ids.map(Value::from).collect())
        }
        _ => target.into(),
    };
    let no_parse = line.value(Key::NoParse).unwrap_or_default();
    let no_parse: Vec<_> = no_parse.split(',').collect();
    let (fun, arg) = match fun.contains(',') {
        false => (fun.into(), published(arguments, &no_parse)),
        true => {
            let names: Vec<Value> = fun.split(',').map(Value::from).collect();
            let separator = line.value(Key::ArgsSeparator).unwrap_or(",");
            let parts = parts(arguments, names.len(), separator)?;
            let parts = parts.iter().map(|words| published(words, &no_parse).into());
            (names.into(), parts.collect())
        }
    };
    let mut kwargs = Map::new();
    kwargs.insert("delimiter", line.value(Key::Delimiter).unwrap_or(":"));
    kwargs.insert("show_timeout", true);
    kwargs.insert("show_jid", show_jid);
    if let Some(metadata) = line.value(Key::SetMetadata).filter(|text| !text.is_empty()) {
        kwargs.insert("metadata", parse_value(metadata));
    }
    Ok(JobRequest {
        tgt,
        tgt_type: tgt_type.to_owned(),
        fun,
        arg,
        ret: line.value(Key::ReturnTo).unwrap_or_default().to_owned(),
        jid: None,
        kwargs,
    })
}

/// The arguments of each of several functions: split at separators that are separate words if there are exactly enough
/// of them, else at separators anywhere.
fn parts<'a>(
    arguments: &[&'a str],
    functions: usize,
    separator: &str,
) -> Result<Vec<Vec<&'a str>>, Incomplete> {
    let alone = arguments.iter().filter(|word| **word == separator).count();
    if alone + 1 == functions {
        let parts = arguments.split(|word| *word == separator);
        return Ok(parts.map(<[_]>::to_vec).collect());
    }
    let mut parts = vec![Vec::new()];
    for word in arguments {
        // An empty separator splits nothing.
        let pieces = match separator {
            "" => vec![*word],
            separator => word.split(separator).collect(),
        };
        for (at, piece) in pieces.into_iter().enumerate() {
            if at > 0 {
                parts.push(Vec::new());
            }
            if let Some(part) = parts.last_mut().filter(|_| !piece.is_empty()) {
                part.push(piece);
            }
        }
    }
    match parts.len() {
        found if found < functions => Err(Incomplete::TooFewArguments),
        found if found > functions => Err(Incomplete::TooManyArguments),
        _ => Ok(parts),
    }
}

/// Arguments in a job's form: keyword arguments in one marked mapping at the end.
fn published(words: &[&str], no_parse: &[&str]) -> Vec<Value> {
    let parsed = parse_arguments(words.iter().copied(), no_parse);
    let mut all = parsed.positional;
    if !parsed.keyword.is_empty() {
        let mut named = Map::from_iter([("__kwarg__", true)]);
        for (name, value) in parsed.keyword {
            named.insert(name, value);
        }
        all.push(named.into());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_function_gets_its_arguments() {
        for (words, functions, expected) in [
            (
                &["a", ",", "b", "c,d"][..],
                2,
                Ok(vec![vec!["a"], vec!["b", "c,d"]]),
            ),
            (&[","], 2, Ok(vec![vec![], vec![]])),
            (&[",hi"], 2, Ok(vec![vec![], vec!["hi"]])),
            (
                &["x y,,", "foo"],
                3,
                Ok(vec![vec!["x y"], vec![], vec!["foo"]]),
            ),
            (&["a,b", "c"], 2, Ok(vec![vec!["a"], vec!["b", "c"]])),
            (&[], 2, Err(Incomplete::TooFewArguments)),
            (&["a"], 2, Err(Incomplete::TooFewArguments)),
            (&["a,b,c"], 2, Err(Incomplete::TooManyArguments)),
            (&[",", ","], 2, Err(Incomplete::TooManyArguments)),
        ] {
            assert_eq!(parts(words, functions, ","), expected, "{words:?}");
        }
        let other = parts(&["1,2", "::", "3"], 2, "::");
        assert_eq!(other, Ok(vec![vec!["1,2"], vec!["3"]]));
        assert_eq!(parts(&["a"], 2, ""), Err(Incomplete::TooFewArguments));
    }
}

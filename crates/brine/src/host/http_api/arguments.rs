//! A command of the API as a job or a call, with the arguments that Salt's `LocalClient` and `RunnerClient` would
//! get.

use std::hash::{BuildHasher as _, RandomState};

use brine_api::rest::OperatorError;
use brine_api::rest::arguments::arguments;
pub(super) use brine_api::rest::arguments::call;
use brine_config::Arguments;
use brine_node::JobRequest;
use brine_node::client::BatchSize;
use brine_node::functions::CLIENT_KEYWORDS;
use brine_node::runner::functions;
use brine_wire::network::{Jid, field};
use brine_wire::returns::Timeouts;
use brine_wire::{Map, Value};

/// A job for minions, and what is done with its returns.
pub(super) struct LocalJob {
    pub(super) request: JobRequest,
    pub(super) timeouts: Timeouts,
    /// Each minion's whole return, not its value alone.
    pub(super) full_return: bool,
}

/// Fields of a command that are not options of the job.
const KNOWN: [&str; 14] = [
    "tgt",
    "fun",
    "arg",
    "kwarg",
    "tgt_type",
    "expr_form",
    "ret",
    "jid",
    "timeout",
    "gather_job_timeout",
    "full_return",
    "batch",
    "subset",
    "sub",
];

/// Reads a command for `local` or `local_async`.
pub(super) fn local(fields: &Map, defaults: Timeouts) -> Result<LocalJob, OperatorError> {
    let missing = |name: &str| OperatorError::Invalid(format!("The command needs a \"{name}\""));
    let tgt = fields.get("tgt").ok_or_else(|| missing("tgt"))?;
    let fun = fields.get("fun").ok_or_else(|| missing("fun"))?;
    // Salt ignores the older name, and the target selects nobody.
    let tgt_type = field::text(fields, "tgt_type").or(field::text(fields, "expr_form"));
    let mut request = JobRequest::new(tgt.clone(), tgt_type.unwrap_or("glob"), fun.clone());
    let arguments = arguments(fields);
    request.arg = arguments.positional;
    if !arguments.keyword.is_empty() {
        let mut keywords: Map = [("__kwarg__", true)].into_iter().collect();
        for (name, value) in arguments.keyword {
            keywords.insert(name, value);
        }
        request.arg.push(keywords.into());
    }
    request.ret = field::text(fields, "ret").unwrap_or_default().to_owned();
    request.jid = field::text(fields, "jid").and_then(|jid| Jid::parse(jid).ok());
    let others = fields
        .iter()
        .filter(|(name, _)| name.as_str().is_some_and(|name| !KNOWN.contains(&name)));
    request.kwargs = others.cloned().collect();
    let seconds = |name, default| {
        let seconds = seconds(fields.get(name));
        seconds.map_or(default, std::time::Duration::from_secs_f64)
    };
    Ok(LocalJob {
        request,
        timeouts: Timeouts {
            timeout: seconds("timeout", defaults.timeout),
            gather: seconds("gather_job_timeout", defaults.gather),
        },
        full_return: fields.get("full_return").is_some_and(Value::is_true),
    })
}

/// How many minions at a time run a command for `local_batch`.
pub(super) fn batch_size(fields: &Map) -> Result<BatchSize, OperatorError> {
    let size = match fields.get("batch") {
        None => Some(BatchSize::Percent(10.0)),
        Some(Value::Str(text)) => BatchSize::parse(text),
        Some(Value::Int(count)) => Some(BatchSize::Count(usize::try_from(*count).unwrap_or(0))),
        Some(_) => None,
    };
    let wrong = || OperatorError::Invalid("\"batch\" must be 10 or 10%".to_owned());
    size.ok_or_else(wrong)
}

/// What `local_subset` asks first: which functions the minions of the target have.
pub(super) fn subset_question(fields: &Map) -> Map {
    const OF_THE_JOB: [&str; 8] = [
        "fun",
        "arg",
        "kwarg",
        "ret",
        "full_return",
        "progress",
        "subset",
        "sub",
    ];
    let mut question = fields.clone();
    for name in OF_THE_JOB {
        question.remove(name);
    }
    question.insert("fun", "sys.list_functions");
    question
}

/// What `local_subset` runs then: the command on a few of those that have its function, chosen at random.
pub(super) fn subset_job(fields: &Map, functions: &Value) -> Map {
    let wanted = fields.get("sub").or(fields.get("subset"));
    let wanted = wanted.and_then(Value::as_int);
    let wanted = wanted.map_or(3, |count| usize::try_from(count).unwrap_or(0));
    let fun = fields.get("fun");
    let minions = functions.as_map().into_iter().flat_map(Map::iter);
    let mut able: Vec<Value> = minions
        .filter(|(_, functions)| {
            let mut functions = functions.as_array().unwrap_or_default().iter();
            functions.any(|function| Some(function) == fun)
        })
        .map(|(id, _)| id.clone())
        .collect();
    // Keyed at random for each request: enough to spread load.
    let order = RandomState::new();
    able.sort_by_key(|id| order.hash_one(id.as_str()));
    // As in Salt, which stops at that number.
    able.truncate(wanted.max(1));
    let mut job = fields.clone();
    job.insert("tgt", able);
    job.insert("tgt_type", "list");
    job.remove("expr_form");
    job
}

/// A number of seconds, as a number or as text; at most a day.
pub(super) fn seconds(value: Option<&Value>) -> Option<f64> {
    const DAY: f64 = 86_400.0;
    let seconds = match value? {
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        Value::Int(seconds) => *seconds as f64,
        Value::Float(seconds) => *seconds,
        Value::Str(text) => text.trim().parse().ok()?,
        _ => return None,
    };
    (seconds.is_finite() && seconds > 0.0).then(|| seconds.min(DAY))
}

/// The arguments of a runner function, without the keywords of clients that it does not take: SaltGUI sends `match` with
/// every command. Salt's client leaves out any keyword, and so also what is misspelt.
pub(super) fn runner_call(fields: &Map) -> Arguments {
    let mut arguments = call(fields);
    let function = field::text(fields, "fun").and_then(functions::named);
    if let Some(function) = function {
        let keywords = arguments.keyword.into_iter();
        let kept = keywords.filter(|(name, _)| {
            name.as_str()
                .is_none_or(|name| function.has_parameter(name) || !CLIENT_KEYWORDS.contains(&name))
        });
        arguments.keyword = kept.collect();
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;
    use brine_wire::json;

    fn fields(text: &str) -> Map {
        let value = json::parse(text.as_bytes()).unwrap();
        value.as_map().unwrap().clone()
    }

    fn shown(value: impl Into<Value>) -> String {
        let mut text = String::new();
        json::to_line(&value.into(), &mut text);
        text
    }

    const DEFAULTS: Timeouts = Timeouts {
        timeout: std::time::Duration::from_secs(5),
        gather: std::time::Duration::from_secs(10),
    };

    #[test]
    fn texts_are_read_as_on_the_command_line() {
        let job = r#"{"tgt": "*", "fun": "test.arg", "arg": ["1", "a=2", "x y", [1], {"b": 1}],
            "kwarg": {"k": "1"}, "metadata": {"m": 1}, "timeout": "7", "expr_form": "list"}"#;
        let job = local(&fields(job), DEFAULTS).unwrap();
        assert_eq!(
            shown(job.request.arg),
            r#"[1, "x y", [1], {"b": 1}, {"__kwarg__": true, "a": 2, "k": "1"}]"#
        );
        assert_eq!(shown(job.request.kwargs), r#"{"metadata": {"m": 1}}"#);
        assert_eq!(job.request.tgt_type, "list");
        assert_eq!(job.timeouts.timeout.as_secs(), 7);
        assert!(!job.full_return);
        assert!(local(&fields(r#"{"fun": "test.ping"}"#), DEFAULTS).is_err());
    }

    #[test]
    fn a_subset_is_of_minions_that_have_the_function() {
        let fields = fields(
            r#"{"tgt": "os:Debian", "tgt_type": "grain", "fun": "x.y", "arg": [1], "subset": 2, "timeout": 9}"#,
        );
        assert_eq!(
            shown(subset_question(&fields)),
            r#"{"tgt": "os:Debian", "tgt_type": "grain", "timeout": 9, "fun": "sys.list_functions"}"#
        );
        let functions =
            r#"{"a": ["x.y"], "b": false, "c": ["x.y", "z"], "d": ["z"], "e": ["x.y"]}"#;
        let functions = json::parse(functions.as_bytes()).unwrap();
        let mut seen = std::collections::BTreeSet::new();
        while seen.len() < 3 {
            let job = subset_job(&fields, &functions);
            assert_eq!(job.get("tgt_type"), Some(&"list".into()));
            let minions = job.get("tgt").and_then(Value::as_array).unwrap();
            assert_eq!(minions.len(), 2);
            seen.extend(minions.iter().map(|id| id.as_str().unwrap().to_owned()));
        }
        assert!(seen.iter().eq(["a", "c", "e"]));
    }

    #[test]
    fn batches_have_a_size() {
        for (text, size) in [
            ("{}", Some(BatchSize::Percent(10.0))),
            (r#"{"batch": "25%"}"#, Some(BatchSize::Percent(25.0))),
            (r#"{"batch": "3"}"#, Some(BatchSize::Count(3))),
            (r#"{"batch": 4}"#, Some(BatchSize::Count(4))),
            (r#"{"batch": []}"#, None),
            (r#"{"batch": "x"}"#, None),
        ] {
            assert_eq!(batch_size(&fields(text)).ok(), size, "{text}");
        }
    }

    #[test]
    fn times_are_bounded() {
        for (value, expected) in [
            (Value::Int(3), Some(3.0)),
            (Value::Str("4".into()), Some(4.0)),
            (Value::Float(f64::NAN), None),
            (Value::Float(1e300), Some(86_400.0)),
            (Value::Int(-1), None),
            (Value::Str("x".into()), None),
        ] {
            assert_eq!(seconds(Some(&value)), expected, "{value:?}");
        }
    }

    #[test]
    fn a_runner_does_not_get_what_is_the_clients() {
        let command =
            r#"{"fun": "jobs.list_jobs", "match": "*", "search_function": "a", "mach": 1}"#;
        let call = runner_call(&fields(command));
        assert_eq!(
            shown(call.keyword),
            r#"{"search_function": "a", "mach": 1}"#
        );
        // Another master's function may take it.
        let others = runner_call(&fields(r#"{"fun": "own.function", "match": "*"}"#));
        assert_eq!(shown(others.keyword), r#"{"match": "*"}"#);
    }
}

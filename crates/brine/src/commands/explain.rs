//! `brine explain`: what would happen on an event, without doing it.
//!
//! Finds the rules of the reactor that match, renders their files and shows what they would call; and who else would
//! read the event. It fires and calls nothing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use anyhow::{Context, bail};
use brine_bus::client::local::{LocalError, Method, target};
use brine_config::yaml;
use brine_reactor::call::Call;
use brine_reactor::files::Files;
use brine_reactor::jinja::STACK_BYTES;
use brine_reactor::journal::{Outcome, Run};
use brine_reactor::rules::{self, Names, Rule};
use brine_reactor::run::REACTOR;
use brine_reactor::{react, read_rules};
use brine_view::text::counted;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value, json, python_text};

use super::event_output::utc;
use super::late;
use super::local_events;
use super::local_starts::ANSWER;
use super::reactor::{IDLE, is_idle, note, record, status};
use crate::bus_location::{BusArgs, BusLocation, NodeKind};
use crate::host::reactor::{self, Nobody, Whose};
use crate::terminal;

/// The arguments of `brine explain`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  brine explain salt/auth '{act: pend, id: web1}'
  brine explain salt/minion/web1/start --reactor /etc/brine/reactor.yaml

Exit codes: 0 explained; 1 failed, or a matching file cannot be rendered; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// The event's tag
    tag: String,
    /// Its data, a mapping in YAML
    #[arg(default_value = "{}")]
    data: String,
    /// Use the rules in this file, instead of those of the running reactor or the configuration
    #[arg(long, value_name = "FILE")]
    reactor: Option<PathBuf>,
    #[command(flatten)]
    bus: BusArgs,
}

/// Explains the event.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let data = yaml::load(arguments.data.as_bytes()).context("DATA")?;
    let data = match data {
        Value::Map(data) => data,
        Value::Nil => Map::new(),
        other => bail!(
            "DATA: expected a mapping, found {}",
            python_text::class_name(&other)
        ),
    };
    let location = arguments.bus.resolve()?;
    let explain = || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let mut out = terminal::stdout();
        let is_fine = runtime.block_on(explain_rules(arguments, &location, &data, &mut out))?;
        explain_readers(&location, &arguments.tag, &mut out)?;
        anyhow::Ok(is_fine)
    };
    // Templates may need more stack than a process has.
    let is_fine = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let explaining = thread.spawn_scoped(scope, explain)?;
        explaining.join().unwrap_or_else(|_| bail!("it panicked"))
    })?;
    Ok(match is_fine {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// Where it is explained.
type Out = terminal::Shown<std::io::Stdout>;

/// Rules with their names, and where they come from.
struct Rules {
    rules: Vec<(Rule, String)>,
    source: String,
    /// Whether they belong to a reactor that is not the leader.
    is_idle: bool,
}

impl Rules {
    fn of(rules: Vec<Rule>, source: String) -> Self {
        Self {
            rules: Names::default().give_all(rules),
            source,
            is_idle: false,
        }
    }

    /// Those of a running reactor, by its status.
    fn running(status: &[Map]) -> Option<Self> {
        let rules = status.iter().map(|rule| {
            let text = |field: &str| rule.get(field).and_then(Value::as_str);
            let files = rule.get("files")?.as_array()?.iter();
            let files = files.filter_map(Value::as_str).map(str::to_owned);
            let parsed = Rule::new(text("pattern")?, files.collect()).ok()?;
            Some((parsed, text("rule")?.to_owned()))
        });
        Some(Self {
            rules: rules.collect::<Option<_>>()?,
            source: "the running reactor".to_owned(),
            is_idle: is_idle(status),
        })
    }
}

fn is_timeout(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(LocalError::TimedOut { .. }))
}

/// The rules that there are.
fn rules(arguments: &Arguments, location: &BusLocation) -> anyhow::Result<Rules> {
    let of_file = |file: &Path| {
        read_rules(file).map_err(|problems| {
            let all: Vec<_> = problems.iter().map(ToString::to_string).collect();
            anyhow::Error::msg(all.join("\n"))
        })
    };
    if let Some(file) = &arguments.reactor {
        return Ok(Rules::of(of_file(file)?, file.display().to_string()));
    }
    let running = match status(location) {
        // Nor does it say who else reads the event.
        Err(error) if is_timeout(&error) => return Err(error),
        running => running.ok(),
    };
    if let Some(running) = running.and_then(|status| Rules::running(&status)) {
        return Ok(running);
    }
    let opts = location
        .opts
        .as_ref()
        .context("no reactor runs there; add -c or --reactor FILE")?;
    let name = "the configuration".to_owned();
    match reactor::value(opts) {
        Some(Value::Str(file)) => Ok(Rules::of(of_file(Path::new(file))?, file.clone())),
        Some(value) => {
            let parsed = rules::parse(value).map_err(|faults| {
                let faults: Vec<_> = faults
                    .into_iter()
                    .map(|fault| format!("reactor[{}]: {}", fault.nth, fault.fault))
                    .collect();
                anyhow::Error::msg(faults.join("\n"))
            });
            Ok(Rules::of(parsed?, name))
        }
        None => Ok(Rules::of(Vec::new(), name)),
    }
}

/// Whether every file that matches can be rendered.
async fn explain_rules(
    arguments: &Arguments,
    location: &BusLocation,
    data: &Map,
    out: &mut Out,
) -> anyhow::Result<bool> {
    let tag = &arguments.tag;
    let Rules {
        rules,
        source,
        is_idle,
    } = rules(arguments, location)?;
    let matching = rules.iter().filter(|(rule, _)| rule.matches(tag));
    let matching: Vec<_> = matching.collect();
    let count = counted(rules.len(), "rule");
    let verb = if rules.len() == 1 { "matches" } else { "match" };
    say(
        out,
        &format!("{} of {count} of {source} {verb} {tag}", matching.len()),
    )?;
    if is_idle {
        say(out, &format!("nothing reacts: {IDLE}; it would then:"))?;
    }
    if data.get("user").and_then(Value::as_str) == Some(REACTOR) {
        say(
            out,
            &format!("nothing reacts: its user is {REACTOR}, so it comes from a reaction"),
        )?;
        return Ok(true);
    }
    let whose = match arguments.bus.kind() {
        NodeKind::Master => Whose::Master,
        NodeKind::Minion => Whose::Minion,
    };
    let default = brine_config::Opts::default();
    let opts = location.opts.as_ref().unwrap_or(&default);
    let salt = Arc::new(reactor::salt(opts, &location.brine, whose));
    let files = Mutex::new(Files::new(reactor::files(opts, &salt, whose)));
    let nobody = reactor::beside_salt(Nobody, salt);
    let data = Value::from(data.clone());
    let recorded = record(location, opts).unwrap_or_default();
    let mut is_fine = true;
    for (rule, name) in matching {
        writeln!(out, "\n{name}: {}", rule.files.join(", "))?;
        write_so_far(name, &recorded, out)?;
        let throttles = &location.brine.reactor.throttle;
        if let Some(throttle) = throttles.iter().find(|throttle| throttle.glob == rule.glob) {
            let which = if throttle.is_last { "last" } else { "first" };
            let mut said = format!(
                "  throttled: the {which} event within {:?}",
                throttle.within
            );
            if let Some(key) = &throttle.key {
                let files = files
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner);
                match files.evaluate(key, tag, &data) {
                    Ok(value) => said.push_str(&format!(" for each {key}, here {value:?}")),
                    Err(error) => said.push_str(&format!(
                        " for each {key}, which this event does not have ({error}): those are taken for one"
                    )),
                }
            }
            say(out, &said)?;
        }
        let reacted = react(rule, &files, &nobody, tag, &data).await;
        for problem in &reacted.problems {
            is_fine &= !problem.is_error;
            let what = if problem.is_error { "error" } else { "warning" };
            say(out, &format!("  {what}: {problem}"))?;
        }
        if reacted.reactions.is_empty() && !reacted.problems.iter().any(|problem| problem.is_error)
        {
            writeln!(out, "  nothing to do")?;
        }
        for reaction in &reacted.reactions {
            match &reaction.call {
                Ok(call) => {
                    writeln!(out, "  {}: {}", reaction.low.id, shown(call))?;
                    if let Some(note) = fires_for_itself(rule, call) {
                        say(out, &format!("    {note}"))?;
                    }
                }
                Err(problem) => {
                    is_fine = false;
                    say(out, &format!("  error: {problem}"))?;
                }
            }
        }
    }
    Ok(is_fine)
}

/// What the record has of a rule: how many reactions ended how, and what is to be said of the last one.
fn write_so_far(name: &str, recorded: &[Run], out: &mut Out) -> anyhow::Result<()> {
    let own: Vec<&Run> = recorded.iter().filter(|run| run.rule == name).collect();
    let Some(last) = own.last() else {
        return Ok(());
    };
    let counts = ["done", "failed", "uncertain", "running"].into_iter();
    let counts = counts.filter_map(|word| {
        let count = own.iter().filter(|run| run.outcome.word() == word).count();
        (count > 0).then(|| format!("{count} {word}"))
    });
    let counts: Vec<_> = counts.collect();
    let why = match &last.outcome {
        Outcome::Failed(why) => format!(": {why}"),
        Outcome::Done(result) => note(result).map_or_else(String::new, |note| format!(": {note}")),
        Outcome::Running | Outcome::Uncertain => String::new(),
    };
    let counts = counts.join(", ");
    let (word, at) = (last.outcome.word(), utc(last.ended.unwrap_or(last.started)));
    say(
        out,
        &format!("  so far, in the record: {counts}; the last one: {word} {at}{why}"),
    )
}

/// A sentence, as wide as the terminal if this is one.
fn say(out: &mut Out, text: &str) -> anyhow::Result<()> {
    Ok(out.prose(text, 2)?)
}

/// That a call fires what its own rule reacts to. The loop guard knows runner and wheel jobs, not these.
fn fires_for_itself(rule: &Rule, call: &Call) -> Option<String> {
    const AGAIN: &str =
        "to which this rule reacts again, for ever, as fast as brine: {reactor: {rate: …}} lets it";
    match call {
        Call::Runner(function) if function.fun == "event.send" => {
            let tag = function.arg.first().or_else(|| function.kwarg.get("tag"))?;
            let tag = tag.as_str().filter(|tag| rule.matches(tag))?;
            Some(format!("note: it fires {tag}, {AGAIN}"))
        }
        Call::Local(_) => {
            const TAGS: [&str; 2] = [
                "salt/job/20260101000000000000/new",
                "salt/job/20260101000000000000/ret/minion",
            ];
            let fires = TAGS.iter().any(|tag| rule.matches(tag));
            fires.then(|| {
                format!("note: its job fires salt/job/…, {AGAIN}, unless the file tells its own jobs apart")
            })
        }
        _ => None,
    }
}

/// A call in one line.
fn shown(call: &Call) -> String {
    let mut map = call.to_map();
    let name = map
        .remove("fun")
        .map_or_else(String::new, |fun| python_text::str(&fun));
    map.remove("flat");
    let mut line = name;
    for (key, value) in &map {
        let is_empty = matches!(value, Value::Array(items) if items.is_empty())
            || matches!(value, Value::Map(map) if map.is_empty());
        if !is_empty {
            let mut text = String::new();
            json::to_line(value, &mut text);
            line.push_str(&format!(" {}={text}", python_text::str(key)));
        }
    }
    line
}

/// The other readers of the event that the running bus knows.
fn explain_readers(location: &BusLocation, tag: &str, out: &mut Out) -> anyhow::Result<()> {
    let mut client = match local_events::connect(location.local_address()) {
        Ok(Some(client)) => client,
        Ok(None) => {
            return say(
                out,
                "\nno bus of Brine runs there, so other readers are not known",
            );
        }
        Err(denied) => return say(out, &format!("\nother readers are not known: {denied}")),
    };
    let answer = late::ask(&mut client, ANSWER, |client| {
        client.request(Method::Get, &target("/consumers", &[]), Some(ANSWER))
    });
    if let Err(error @ LocalError::TimedOut { .. }) = answer {
        return Err(error).context("other readers are not known");
    }
    let consumers = answer
        .ok()
        .and_then(|answer| answer.as_map()?.get("consumers").cloned());
    let mut lines = Vec::new();
    for consumer in consumers
        .as_ref()
        .and_then(Value::as_array)
        .unwrap_or_default()
    {
        let field = |name: &str| {
            consumer
                .as_map()
                .and_then(|map| map.get(name))
                .map_or_else(String::new, python_text::str)
        };
        let (name, kind, filter) = (field("name"), field("kind"), field("filter"));
        let reads = match filter.as_str() {
            "" => "reads every event".to_owned(),
            filter if filter.contains(':') => format!("reads what matches {filter}"),
            glob => {
                match TagMatch::new(MatchType::Fnmatch, glob).is_ok_and(|glob| glob.matches(tag)) {
                    true => format!("reads it ({glob})"),
                    false => format!("does not read it ({glob})"),
                }
            }
        };
        if kind != "reactor" {
            lines.push(format!("{kind} {name}: {reads}"));
        }
    }
    let status = client.status(Some(ANSWER))?;
    let subscribers = status
        .as_map()
        .and_then(|status| status.get("subscribers"))
        .map(python_text::str);
    if let Some(subscribers) = subscribers {
        lines.push(format!(
            "subscribers of Salt's socket, which read every event: {subscribers}"
        ));
    }
    if !lines.is_empty() {
        say(out, &format!("\n{}", lines.join("\n")))?;
    }
    Ok(())
}

//! `brine send`: fires events on a bus.
//!
//! One event from the command line, or any number as JSON lines from stdin: those are queued and
//! written together, a write per 64 KiB or whenever the input pauses.

mod lines;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use brine_bus::address::Node;
use brine_bus::client::blocking::Publisher;
use brine_bus::client::{Oversize, PublisherConfig};
use brine_config::{parse_arguments, yaml};
use brine_wire::compat::Compat;
use brine_wire::{Map, Value};

use crate::bus_location::{self, BusArgs};
use crate::show;
use crate::usage::wrong_usage;

/// The arguments of `brine send`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  brine send myco/backup '{host: web1, ok: true}'
  brine send myco/backup host=web1 ok=true
  brine watch 'salt/job/*' --sock-dir A | brine send --stdin --sock-dir B

Exit codes: 0 fired; 1 not all fired; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// The event's tag
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin")]
    tag: Option<String>,
    /// The event's data: a YAML mapping, or key=value as Salt reads arguments
    #[arg(value_name = "DATA", conflicts_with = "stdin")]
    data: Vec<String>,
    /// Fire the events on stdin, one JSON object {"tag": …, "data": …} per line
    #[arg(long)]
    stdin: bool,
    /// With --stdin: stop at the first line that is not an event
    #[arg(long, requires = "stdin")]
    strict: bool,
    /// On a minion's bus (--node minion): have the minion send the event to its master
    #[arg(long)]
    to_master: bool,
    /// Seconds to wait for the bus to appear or accept data
    #[arg(short, long, value_name = "SECS", value_parser = show::seconds, default_value = "1")]
    timeout: Duration,
    /// Write as programs of this Salt series or release do [default: 3008, or what the
    /// configuration says]. Brine's own bus takes all
    #[arg(long, value_name = "RELEASE")]
    compat: Option<Compat>,
    #[command(flatten)]
    bus: BusArgs,
}

/// Fires the events.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let location = arguments.bus.resolve()?;
    if arguments.to_master && location.node == Node::Master {
        wrong_usage("--to-master: a master's bus cannot send to a master; add --node minion");
    }
    let compat = arguments.compat.or(location.brine.compat);
    let config = PublisherConfig {
        oversize: Oversize::Refuse,
        ..bus_location::publisher_config(compat, location.opts.as_ref())?
    };
    let mut bus = Publisher::new(&location.address, config);
    let Some(tag) = &arguments.tag else {
        return lines::fire(arguments, &mut bus);
    };
    let mut data = data(&arguments.data)?;
    let timeout = Some(arguments.timeout);
    if arguments.to_master {
        bus.fire_master(tag, data, timeout)?;
    } else {
        bus.fire_event(tag, &mut data, timeout)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The event's data: mappings and `key=value` together, later ones win.
fn data(words: &[String]) -> anyhow::Result<Map> {
    let mut data = Map::new();
    for word in words {
        let parsed = parse_arguments([word.as_str()], &[]);
        let mapping = if parsed.keyword.is_empty() {
            mapping(word)?
        } else {
            parsed.keyword
        };
        for (key, value) in mapping {
            data.insert(key, value);
        }
    }
    Ok(data)
}

fn mapping(word: &str) -> anyhow::Result<Map> {
    match yaml::load(word.as_bytes()) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(Value::Nil) => Ok(Map::new()),
        Ok(_) => bail!(
            "expected data such as '{{a: 1}}' or a=1, found {}",
            cut(word)
        ),
        Err(error) => bail!(
            "expected data such as '{{a: 1}}' or a=1, found {}: {error}",
            cut(word)
        ),
    }
}

/// An argument in quotes, cut where it gets long.
fn cut(word: &str) -> String {
    const SHOWN: usize = 60;
    match word.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{:?}… ({} bytes)", &word[..end], word.len()),
        None => format!("{word:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> anyhow::Result<Map> {
        data(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn mappings_and_keywords_come_together() {
        let data = read(&["{a: 1, b: x}", "b=2", "c: [1]"]).unwrap();
        let pairs: Vec<_> = data.into_iter().collect();
        assert_eq!(
            pairs,
            [
                ("a".into(), Value::Int(1)),
                ("b".into(), Value::Int(2)),
                ("c".into(), Value::from(vec![Value::Int(1)])),
            ]
        );
        assert!(read(&[]).unwrap().is_empty());
    }

    #[test]
    fn data_that_are_no_mapping_are_refused() {
        let long = "x".repeat(100_000);
        let error = read(&[&long]).unwrap_err().to_string();
        assert!(
            error.len() < 150 && error.ends_with("… (100000 bytes)"),
            "{error}"
        );
        for word in ["text", "[1]", "{a: 1", "5"] {
            let error = read(&[word]).unwrap_err().to_string();
            assert!(error.starts_with("expected data such as"), "{error}");
        }
    }
}

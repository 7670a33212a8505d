//! `brine send`: fires events on a bus.
//!
//! One event from the command line, or any number as JSON lines from stdin: those are queued and written together,
//! one write per 64 KiB or whenever the input pauses.

mod acknowledged;
mod lines;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use brine_bus::address::Node;
use brine_bus::client::blocking::Publisher;
use brine_bus::client::local::{Acknowledge, LocalError};
use brine_bus::client::{ConnectError, Oversize, PublishError, PublisherConfig};
use brine_config::{parse_arguments, yaml};
use brine_node::minion::Standing;
use brine_wire::compat::Compat;
use brine_wire::event::{FIRE_MASTER, check_tag, fire_master_data};
use brine_wire::{Map, Value};

use self::acknowledged::Acknowledged;
use self::lines::Queued;
use super::late;
use super::local_events;
use crate::bus_location::{self, BusArgs, BusLocation};
use crate::show;
use crate::usage::wrong_usage;

/// The arguments of `brine send`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  brine send myco/backup '{host: web1, ok: true}'
  brine send myco/backup host=web1 ok=true
  brine send --ack myco/backup ok=true
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
    /// Wait until each event is on disk (--ack=appended: until subscribers can read it), and print its
    /// position. Needs a bus of Brine
    #[arg(long, value_name = "WHEN", value_enum, num_args = 0..=1, default_missing_value = "disk",
          require_equals = true)]
    ack: Option<Ack>,
    /// On a minion's bus (--node minion): have the minion send the event to its master
    #[arg(long)]
    to_master: bool,
    /// Seconds to wait for the bus to appear or accept data
    #[arg(short, long, value_name = "SECS", value_parser = show::seconds, default_value = "1")]
    timeout: Duration,
    /// Write as programs of this Salt series or release do [default: as configured, else 3008]. Brine's own bus
    /// accepts all
    #[arg(long, value_name = "RELEASE")]
    compat: Option<Compat>,
    /// What other tools have for many events: the answer says what does it here.
    #[arg(short = 'n', long, alias = "rate", hide = true, num_args = 0..=1, default_missing_value = "")]
    count: Option<String>,
    #[command(flatten)]
    bus: BusArgs,
}

/// What is said to `--count` and `--rate`.
const MANY: &str = "send fires one event, or the lines of --stdin. Many events: \
    seq 100 | sed 's|.*|{\"tag\": \"my/tag\", \"data\": {\"n\": &}}|' | brine send --stdin. \
    Load and its figures: brine bench";

/// What is said of an event for a master that is away.
const AWAY: &str = "kept for the master: this minion has no connection to it now, and sends the event once it has one";

/// When an event counts as fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Ack {
    /// It is on disk; a bus without history refuses
    Disk,
    /// Subscribers can read it
    Appended,
}

/// Fires the events.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.count.is_some() {
        wrong_usage(MANY);
    }
    let location = arguments.bus.resolve()?;
    if arguments.to_master && location.node == Node::Master {
        wrong_usage("--to-master: a master's bus cannot send to a master; add --node minion");
    }
    let compat = arguments.compat.or(location.brine.compat);
    let config = PublisherConfig {
        oversize: Oversize::Refuse,
        ..bus_location::publisher_config(compat, location.opts.as_ref())?
    };
    let Some(tag) = &arguments.tag else {
        arguments.ask_how_the_key_stands(&location)?;
        return match Way::choose(arguments, &location, config)? {
            Way::Salt(bus) => lines::fire(arguments, Queued::new(arguments, bus)),
            Way::Brine(bus) => lines::fire(arguments, bus.stream()?),
        };
    };
    // What is wrong with the event is said before a bus is looked for.
    check_tag(tag)?;
    let data = data(&arguments.data, &mut given_twice)?;
    let (tag, mut data) = match arguments.to_master {
        true => (FIRE_MASTER, fire_master_data(tag, data)),
        false => (tag.as_str(), data),
    };
    arguments.ask_how_the_key_stands(&location)?;
    match Way::choose(arguments, &location, config)? {
        Way::Brine(bus) => bus.fire(tag, data),
        Way::Salt(mut bus) => {
            bus.fire_event(tag, &mut data, Some(arguments.timeout))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

impl Arguments {
    /// With --to-master: refuses events that no master would take, and reports those that wait. A minion of Salt's
    /// does not say what its masters think of its key.
    fn ask_how_the_key_stands(&self, location: &BusLocation) -> anyhow::Result<()> {
        let minion = location.local_address().filter(|_| self.to_master);
        // A user who may not ask is refused when the event is fired.
        let Ok(Some(mut minion)) = local_events::connect(minion) else {
            return Ok(());
        };
        let status = late::ask(&mut minion, self.timeout, |minion| {
            minion.status(Some(self.timeout))
        });
        let status = match status {
            Ok(Value::Map(status)) => status,
            Err(error @ LocalError::TimedOut { .. }) => {
                show::complain(&format_args!("{error}. The event waits there"));
                return Ok(());
            }
            _ => return Ok(()),
        };
        let part = status.get("minion").and_then(Value::as_map);
        let key = part.and_then(|part| part.get("key")?.as_str());
        let is_away = part.is_some_and(|part| part.get("connected") == Some(&Value::Bool(false)));
        let standing = key.and_then(Standing::named).unwrap_or(Standing::Good);
        match (standing, standing.notice()) {
            (Standing::Rejected, Some(notice)) => bail!("{notice}"),
            (_, Some(notice)) => show::complain(&notice),
            (_, None) if is_away => show::complain(&AWAY),
            (_, None) => {}
        }
        Ok(())
    }
}

/// The socket that events are fired on.
enum Way {
    /// Salt's, which answers nothing.
    Salt(Publisher),
    /// Brine's own.
    Brine(Box<Acknowledged>),
}

impl Way {
    /// Connects: to Brine's own socket if an answer is wanted, or if Salt's does not admit this user.
    fn choose(
        arguments: &Arguments,
        location: &BusLocation,
        config: PublisherConfig,
    ) -> anyhow::Result<Self> {
        let timeout = arguments.timeout;
        let own = |acknowledge, prints| {
            Acknowledged::connect(location, config, acknowledge, timeout, prints)
                .map(|bus| Self::Brine(Box::new(bus)))
        };
        match arguments.ack {
            Some(Ack::Disk) => return own(Acknowledge::Durable, true),
            Some(Ack::Appended) => return own(Acknowledge::Appended, true),
            None => {}
        }
        let mut bus = Publisher::new(&location.address, config);
        match bus.connect(Some(timeout)) {
            Ok(()) => Ok(Self::Salt(bus)),
            Err(error @ PublishError::Connect(ConnectError::Denied { .. })) => {
                own(Acknowledge::Appended, false).map_err(|refused| {
                    // That of a socket which is there and closed, too, says how it may be opened.
                    let is_closed = matches!(
                        refused.downcast_ref(),
                        Some(LocalError::Connect(ConnectError::Denied(_)))
                    );
                    match is_closed {
                        true => refused,
                        false => error.into(),
                    }
                })
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The event's data: mappings and `key=value` together, later ones win, and `replaced` gets to know the key.
fn data(words: &[String], replaced: &mut dyn FnMut(&Value)) -> anyhow::Result<Map> {
    let mut data = Map::new();
    for word in words {
        let parsed = parse_arguments([word.as_str()], &[]);
        let mapping = if parsed.keyword.is_empty() {
            let mapping = mapping(word)?;
            if let Some(key) = glued(word, &mapping) {
                show::complain(&format_args!(
                    "the key is {key:?}, and it has no value: YAML wants a space after a colon"
                ));
            }
            mapping
        } else {
            parsed.keyword
        };
        for (key, value) in mapping {
            if data.iter().any(|(known, _)| *known == key) {
                replaced(&key);
            }
            data.insert(key, value);
        }
    }
    Ok(data)
}

/// Says that a key is given twice: a slip, most often.
fn given_twice(key: &Value) {
    let key = brine_wire::python_text::str(key);
    show::complain(&format_args!(
        "{key} is given twice; the later value counts"
    ));
}

/// A key with a colon and no value, such as that of `{x:1}`: a space was meant after the colon.
fn glued<'a>(word: &str, mapping: &'a Map) -> Option<&'a str> {
    let keys = mapping.iter().filter(|(_, value)| *value == Value::Nil);
    let mut keys = keys.filter_map(|(key, _)| key.as_str());
    keys.find(|key| {
        let is_quoted = ['"', '\'']
            .iter()
            .any(|quote| word.contains(&format!("{quote}{key}{quote}")));
        let (_, value) = key.split_once(':').unwrap_or_default();
        !value.is_empty() && !is_quoted
    })
}

fn mapping(word: &str) -> anyhow::Result<Map> {
    match yaml::load(word.as_bytes()) {
        Ok(Value::Map(map)) => Ok(map),
        Ok(Value::Nil) => Ok(Map::new()),
        Ok(_) => bail!(
            "data must be a mapping, such as '{{a: 1}}' or a=1; found {}",
            cut(word)
        ),
        Err(error) => bail!(
            "data must be a mapping, such as '{{a: 1}}' or a=1; found {}: {error}",
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
        let words: Vec<_> = words.iter().map(ToString::to_string).collect();
        data(&words, &mut |_| {})
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

        let mut twice = Vec::new();
        let words = ["x=1", "y=1", "x=2"].map(str::to_owned);
        super::data(&words, &mut |key| twice.push(key.clone())).unwrap();
        assert_eq!(twice, ["x".into()]);
    }

    #[test]
    fn a_key_that_swallowed_its_value_is_noticed() {
        for (word, key) in [
            ("{x:1}", Some("x:1")),
            ("{a: 1, b:x}", Some("b:x")),
            ("{x: 1}", None),
            ("{'x:1': null}", None),
            ("{x:1: 2}", None),
            ("{x}", None),
            ("{x: }", None),
        ] {
            assert_eq!(glued(word, &mapping(word).unwrap()), key, "{word}");
        }
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
            assert!(
                error.starts_with("data must be a mapping, such as"),
                "{error}"
            );
        }
    }
}

//! `state.event`: prints events as they arrive.
//!
//! Facts: Salt 3008.3 and 3006.28, whose output is compared byte for byte by
//! `tests/cli_state_event.rs`.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use anyhow::bail;
use brine_bus::address::{Address, Endpoint, Node};
use brine_bus::client::blocking::Subscriber;
use brine_bus::client::{EventRef, ReceiveError, SubscriberConfig, Wait};
use brine_config::{Environment, Opts, Role};
use brine_node::runner::functions::Watched;
use brine_wire::json;
use brine_wire::matching::{MatchType, TagMatch};

use crate::bus_location;
use crate::interrupt::Interrupt;
use crate::terminal;

/// A listener that knows its bus, and may be connected already.
#[derive(Debug)]
pub(super) struct StateEvent {
    bus: Subscriber,
    wanted: Expression,
    watched: Watched,
    line: String,
}

/// How listening ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Enough,
    Interrupted,
}

impl StateEvent {
    /// Finds the bus and connects if it is running, so that no event from now on is missed.
    pub(super) fn prepare(
        watched: Watched,
        opts: &Opts,
        interrupt: &Interrupt,
    ) -> anyhow::Result<Self> {
        let mut bus = Subscriber::new(&address(&watched, opts)?, SubscriberConfig::default());
        let interrupt = interrupt.clone();
        bus.check_while_waiting(move || match interrupt.has_come() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        });
        match bus.connect(Duration::ZERO) {
            Err(ReceiveError::Connect(error)) if bus_location::may_come(&error) => {
                tracing::warn!("waiting: {error}");
            }
            connected => connected?,
        }
        Ok(Self {
            bus,
            wanted: Expression::new(&watched.tagmatch),
            watched,
            line: String::new(),
        })
    }

    /// Prints until there are enough events.
    pub(super) fn run(mut self) -> anyhow::Result<End> {
        loop {
            let event = match self.bus.next_ref(Wait::Forever) {
                Ok(Some(event)) => event,
                Ok(None) => continue,
                Err(ReceiveError::Interrupted) => return Ok(End::Interrupted),
                Err(error) => return Err(error.into()),
            };
            if !self.wanted.matches(event.tag()) {
                tracing::debug!("skipped {}", event.tag());
                continue;
            }
            if !self.watched.quiet && !print(event, self.watched.pretty, &mut self.line)? {
                continue;
            }
            if self.watched.count > 0 {
                self.watched.count -= 1;
            }
            if self.watched.count == 0 {
                return Ok(End::Enough);
            }
        }
    }
}

/// The bus that the arguments name.
///
/// Salt looks for a minion's bus under the id in the master's configuration, where only a minion of that id has one.
/// If there is none, this is the bus of the minion whose configuration is beside the master's.
fn address(watched: &Watched, opts: &Opts) -> anyhow::Result<Address> {
    let sock_dir = watched.sock_dir.as_deref();
    match watched.node.as_str() {
        "master" => bus_location::address(opts, &Node::Master, sock_dir),
        "minion" => {
            let salts = bus_location::address(opts, &bus_location::own_minion(opts)?, sock_dir)?;
            match minion_beside(opts) {
                Some(beside) if !is_there(&salts) => {
                    bus_location::address(&beside, &bus_location::own_minion(&beside)?, sock_dir)
                }
                _ => Ok(salts),
            }
        }
        other => bail!("node must be master or minion, not {other:?}"),
    }
}

/// The configuration of the minion whose file is beside the master's.
fn minion_beside(opts: &Opts) -> Option<Opts> {
    let file = Path::new(opts.text("conf_file").ok()?).with_file_name("minion");
    if !file.is_file() {
        return None;
    }
    let loaded = Opts::load(Role::Minion, &file, &Environment::current());
    let loaded = loaded.inspect_err(|error| tracing::warn!("{}: {error}", file.display()));
    Some(loaded.ok()?.opts)
}

fn is_there(address: &Address) -> bool {
    match address.publish() {
        Endpoint::Path(path) => path.exists(),
        // Only connecting shows it, and the ports belong to one minion.
        Endpoint::Tcp(_) => true,
    }
}

/// Prints one event and flushes; `false` if its data are malformed.
fn print(event: EventRef<'_>, pretty: bool, line: &mut String) -> io::Result<bool> {
    let Ok(data) = event.decode() else {
        return Ok(false);
    };
    line.clear();
    line.push_str(event.tag());
    line.push('\t');
    if pretty {
        json::to_pretty(&data, line);
    } else {
        json::to_line(&data, line);
    }
    line.push('\n');
    let mut stdout = terminal::stdout();
    stdout.write_all(line.as_bytes())?;
    stdout.flush()?;
    Ok(true)
}

/// Salt's `tagmatch`: a shell pattern, or else a regular expression for the whole tag.
#[derive(Debug)]
struct Expression {
    glob: Option<TagMatch>,
    regex: Option<TagMatch>,
}

impl Expression {
    fn new(text: &str) -> Self {
        let regex = |pattern: String| TagMatch::new(MatchType::Regex, pattern).ok();
        let anchored = format!("\\A{text}\\Z");
        Self {
            glob: TagMatch::new(MatchType::Fnmatch, text).ok(),
            // Anchored by text, as Salt does it: `a|b` matches tags that begin with `a` or equal `b`. The group
            // keeps all of it at the tag's start; alone it must be sound too.
            regex: regex(anchored.clone()).and_then(|_| regex(format!("(?:{anchored})"))),
        }
    }

    fn matches(&self, tag: &str) -> bool {
        let matches = |pattern: &Option<TagMatch>| {
            pattern.as_ref().is_some_and(|pattern| pattern.matches(tag))
        };
        matches(&self.glob) || matches(&self.regex)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checked with `fnmatch.fnmatch(tag, e) or re.match(rf"\A{e}\Z", tag)`.
    #[test]
    fn a_tagmatch_is_a_glob_or_an_anchored_regex() {
        for (text, tag, matches) in [
            ("*", "any/thing", true),
            ("my/*", "my/tag", true),
            ("my/*", "not/my/tag", false),
            ("my/(tag|nope)", "my/tag", true),
            ("my/(tag|nope)", "my/tags", false),
            ("my/tag", "my/tag", true),
            ("my/ta", "my/tag", false),
            ("my/t.g", "my/tag", true),
            ("a|b", "ax", true),
            ("a|b", "b", true),
            ("a|b", "xb", false),
            ("a)(b", "ab", false),
            ("(", "(", true),
            ("(", "x", false),
        ] {
            assert_eq!(Expression::new(text).matches(tag), matches, "{text} {tag}");
        }
    }
}

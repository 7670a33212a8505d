//! `brine status`: whether a bus runs, who reads it and how far behind, and which past events can be read.
//!
//! It asks the bus's own socket. For a bus that has none, or does not run, it reports what it can learn from Salt's
//! socket and the store.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::anyhow;
use brine_bus::client::blocking::Subscriber;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{Delivery, EventQuery, LocalError, Stored};
use brine_bus::client::{Denied, SubscriberConfig, Wait};
use brine_log::Seq;
use brine_log::history::{HistoryReader, OpenError};
use brine_view::text::counted;
use brine_wire::{Map, Value, json};

use super::bench::listener;
use super::doctor::{is_left, local_server, stopped_bus};
use super::event_output::utc;
use super::history_store::StoreArgs;
use super::late;
use super::local_events;
use crate::bus_location::{self, BusLocation};
use crate::show;
use crate::terminal;

/// The arguments of `brine status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the bus runs; 1 it does not (perhaps only brine attach does), or cannot be reached;\n2 wrong usage."
)]
pub(crate) struct Arguments {
    /// Print what a running Brine bus answers, as one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints what there is.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let location = arguments.store.bus.resolve()?;
    let client = local_events::connect(location.local_address())?;
    let mut out = terminal::stdout();
    if arguments.json {
        let mut client = client.ok_or_else(|| {
            let salts = bus_location::salts_own(&location);
            salts.unwrap_or_else(|| anyhow!("no bus of Brine runs there"))
        })?;
        let status = late::ask(&mut client, late::ANSWER, |client| {
            client.status(Some(late::ANSWER))
        })?;
        let mut text = String::new();
        json::to_line(&status, &mut text);
        writeln!(out, "{text}")?;
        return Ok(code(status.as_map().is_none_or(is_bus_there)));
    }
    let is_there = client.is_some();
    let running = client.map(Running::ask).transpose()?.flatten();
    // A bus that is silent is not asked again.
    let store = match is_there && running.is_none() {
        true => arguments.store.open_as_it_is(),
        false => arguments.store.open(),
    };
    let reader = match store {
        Ok(reader) => Ok(reader),
        // Without a configuration nobody knows where it would be, and often there is none.
        Err(error) => Err(match error.downcast_ref::<OpenError>() {
            Some(OpenError::Nothing { .. }) => None,
            None if !error.is::<Denied>() => None,
            _ => Some(error),
        }),
    };
    let Some(running) = running else {
        let code = match is_there {
            true => print_silent(&location, &mut out)?,
            false => print_salts(&location, &mut out)?,
        };
        match reader {
            Ok(reader) => print_store(reader, &mut out)?,
            Err(Some(error)) => say(&mut out, &show::visible(&show::one_line(&error)))?,
            Err(None) => say(&mut out, "history  none")?,
        }
        return Ok(code);
    };
    // One that has answered is not stopped itself.
    let has_attach = part(&running.status, "attach").is_some();
    let is_stopped = has_attach && print_stopped(&location, &mut out)?;
    running.print_bus(&location, is_stopped, &mut out)?;
    running.print_attach(&mut out)?;
    match reader {
        Ok(reader) => print_store(reader, &mut out)?,
        Err(_) => running.print_history(&mut out)?,
    }
    running.print_cluster(&mut out)?;
    running.print_reactor(&mut out)?;
    running.print_readers(&mut out)?;
    Ok(code(!is_stopped && is_bus_there(&running.status)))
}

/// Whether what answers is a bus, or has joined one that is there.
fn is_bus_there(status: &Map) -> bool {
    part(status, "attach").is_none_or(|attach| attach.get("joined") == Some(&Value::Bool(true)))
}

fn code(is_there: bool) -> ExitCode {
    match is_there {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Where it is printed.
type Out = terminal::Shown<io::Stdout>;

/// A line, as wide as the terminal if this is one, with its word alone in the first column.
fn say(out: &mut Out, line: &str) -> io::Result<()> {
    out.prose(line, 9)
}

/// Without Brine's own socket: whether somebody serves Salt's.
fn print_salts(location: &BusLocation, out: &mut Out) -> anyhow::Result<ExitCode> {
    let mut bus = Subscriber::new(&location.address, SubscriberConfig::default());
    let endpoint = location.address.publish();
    Ok(match bus.connect(Duration::ZERO) {
        Ok(()) if stopped_bus(location).is_some() => {
            print_stopped(location, out)?;
            ExitCode::FAILURE
        }
        Ok(()) => {
            let pid = listener(endpoint).map(|pid| format!(" (pid {pid})"));
            say(
                out,
                &format!("bus      running{} at {endpoint}", pid.unwrap_or_default()),
            )?;
            ExitCode::SUCCESS
        }
        Err(error) => {
            let remedy = match is_left(location) {
                true => {
                    "; a brine attach --in-front was killed: brine attach --restore puts the bus's own socket back"
                }
                false => "",
            };
            say(out, &format!("bus      {error}{remedy}"))?;
            ExitCode::FAILURE
        }
    })
}

/// Of a bus whose process is stopped. Whether it is.
fn print_stopped(location: &BusLocation, out: &mut Out) -> io::Result<bool> {
    let Some(pid) = stopped_bus(location) else {
        return Ok(false);
    };
    let endpoint = location.address.publish();
    say(
        out,
        &format!(
            "bus      there (pid {pid}) at {endpoint}, but stopped: kill -CONT {pid} lets it go on"
        ),
    )?;
    Ok(true)
}

/// Of a bus, or a `brine attach` beside it, that takes connections and answers nothing.
fn print_silent(location: &BusLocation, out: &mut Out) -> anyhow::Result<ExitCode> {
    let server = local_server(location);
    let own = listener(location.address.pull());
    if let (Some(attach), Some(own), Some(local)) = (server, own, location.local_address())
        && attach != own
    {
        let endpoint = location.address.publish();
        if !print_stopped(location, out)? {
            say(out, &format!("bus      running (pid {own}) at {endpoint}"))?;
        }
        say(
            out,
            &format!(
                "attach   there (pid {attach}) at {}, but does not answer: stopped or hung; see brine doctor",
                local.path().display()
            ),
        )?;
        return Ok(ExitCode::FAILURE);
    }
    let endpoint = location.address.publish();
    let pid = server.map_or_else(String::new, |pid| format!(" (pid {pid})"));
    say(
        out,
        &format!(
            "bus      there{pid} at {endpoint}, but does not answer: stopped or hung; see brine doctor"
        ),
    )?;
    Ok(ExitCode::FAILURE)
}

/// What a store holds, whether or not its bus runs.
fn print_store(mut reader: HistoryReader, out: &mut Out) -> anyhow::Result<()> {
    let info = reader.info()?;
    match (info.oldest, info.newest) {
        (Some((oldest, since)), Some((newest, until))) => say(
            out,
            &format!(
                "history  {}: {oldest} of {} to {newest} of {}; {} bytes on disk",
                counted(info.totals.events, "event"),
                utc(since),
                utc(until),
                info.totals.used_bytes
            ),
        )?,
        _ => say(out, "history  no events yet")?,
    }
    let end = info.newest.map_or(Seq(1), |(seq, _)| Seq(seq.0 + 1));
    for consumer in reader.consumers()? {
        let (name, position) = (&consumer.name, consumer.position);
        if position.log == info.log {
            let lag = reader.count(Seq(position.seq.0.saturating_add(1))..end);
            say(
                out,
                &format!("consumer {name} is {} behind", events(lag.into())),
            )?;
        } else {
            say(
                out,
                &format!("consumer {name} is at {position}, of another log"),
            )?;
        }
    }
    Ok(())
}

/// The status of a running bus.
struct Running {
    status: Map,
    client: LocalClient,
}

impl Running {
    /// `None` if it does not answer in time.
    fn ask(mut client: LocalClient) -> anyhow::Result<Option<Self>> {
        let status = late::ask(&mut client, late::ANSWER, |client| {
            client.status(Some(late::ANSWER))
        });
        let status = match status {
            Ok(Value::Map(status)) => status,
            Ok(_) => anyhow::bail!("expected an object from the bus"),
            Err(LocalError::TimedOut { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        Ok(Some(Self { status, client }))
    }

    /// The oldest and the newest event that this user may read. The bus counts these two as read, as anybody's.
    fn window(&self) -> Option<(Stored, Stored)> {
        let oldest = EventQuery {
            limit: Some(1),
            ..EventQuery::default()
        };
        let newest = EventQuery {
            last: Some(1),
            ..EventQuery::default()
        };
        only(&self.client, oldest).zip(only(&self.client, newest))
    }

    fn print_bus(&self, location: &BusLocation, is_stopped: bool, out: &mut Out) -> io::Result<()> {
        let bus = part(&self.status, "bus");
        let (pid, endpoint) = (text(&self.status, "pid"), location.address.publish());
        let line = match is_bus_there(&self.status) {
            true if part(&self.status, "attach").is_some() => {
                // The bus's own process, as far as this user may know: in front, attach has its publish socket.
                let own = listener(location.address.pull());
                let own = own.map_or_else(String::new, |own| format!(" (pid {own})"));
                format!("bus      running{own} at {endpoint}, joined by brine attach (pid {pid})")
            }
            true => format!("bus      running (pid {pid}) at {endpoint}"),
            false => {
                format!("bus      away: brine attach (pid {pid}) waits for it at {endpoint}")
            }
        };
        if !is_stopped {
            say(out, &line)?;
        }
        if let Some(bus) = bus {
            let [appended, delivered] =
                ["appended_events", "deliveries"].map(|field| text(bus, field));
            let publishers = count(bus, "publishers", "publisher");
            let overrun = count(bus, "overrun_subscribers", "subscriber");
            let streamed = text(&self.status, "stream_deliveries");
            say(
                out,
                &format!(
                    "events   {appended} appended, {delivered} delivered to subscribers of Salt's sockets, {streamed} to readers of brine.sock and the API; {publishers} now; {overrun} closed for falling behind"
                ),
            )?;
        }
        let history = part(&self.status, "history");
        let trouble = history.and_then(|history| history.get("trouble")?.as_str());
        if let Some(trouble) = trouble {
            say(
                out,
                &format!("history  trouble: {}", show::visible(trouble)),
            )?;
        }
        Ok(())
    }

    /// How it goes with a bus that somebody else runs, where one is joined.
    fn print_attach(&self, out: &mut Out) -> io::Result<()> {
        let Some(attach) = part(&self.status, "attach") else {
            return Ok(());
        };
        let is = |name| attach.get(name) == Some(&Value::Bool(true));
        let joined = match is("joined") {
            true => "reading all events of the bus",
            false => "the joined bus is not running",
        };
        let front = if is("in_front") { ", in front" } else { "" };
        let events = count(attach, "events", "event");
        let gaps = count(attach, "gaps", "gap");
        let malformed = count(attach, "malformed", "malformed event");
        say(
            out,
            &format!("attach   {joined}{front}; {events} read, {gaps}, {malformed} left out"),
        )
    }

    /// What can be read again, for who cannot look into the store.
    fn print_history(&self, out: &mut Out) -> io::Result<()> {
        match self.window() {
            Some((oldest, newest)) => say(
                out,
                &format!(
                    "kept     {} of {} to {} of {}",
                    oldest.position,
                    utc(oldest.at),
                    newest.position,
                    utc(newest.at)
                ),
            )?,
            None => say(out, "kept     no events")?,
        }
        match part(&self.status, "history") {
            Some(history) => say(
                out,
                &format!(
                    "history  {} bytes on disk in {}",
                    text(history, "used_bytes"),
                    text(history, "directory")
                ),
            )?,
            // Users who may not do everything do not get this.
            None if part(&self.status, "bus").is_none() => {}
            None => say(out, "history  none")?,
        }
        let consumers = self.status.get("consumers").and_then(Value::as_array);
        for consumer in consumers.into_iter().flatten().filter_map(Value::as_map) {
            let name = text(consumer, "name");
            match consumer.get("lag").and_then(Value::as_int) {
                Some(lag) => say(out, &format!("consumer {name} is {} behind", events(lag)))?,
                None => {
                    let position = text(consumer, "position");
                    say(
                        out,
                        &format!("consumer {name} is at {position}, of another log"),
                    )?;
                }
            }
        }
        Ok(())
    }

    /// How it goes with the other masters, where several are one bus.
    fn print_cluster(&self, out: &mut Out) -> io::Result<()> {
        let Some(cluster) = part(&self.status, "cluster") else {
            return Ok(());
        };
        say(
            out,
            &format!(
                "cluster  {} published, {} taken in, {} not read yet; {}",
                count(cluster, "published", "event"),
                text(cluster, "taken_in"),
                text(cluster, "behind"),
                count(cluster, "dead_letters", "dead letter")
            ),
        )?;
        if let Some(reason) = cluster.get("waits_for").and_then(Value::as_str) {
            say(out, &format!("cluster  waiting: {}", show::visible(reason)))?;
        }
        let masters = cluster.get("masters").and_then(Value::as_array);
        for master in masters.into_iter().flatten().filter_map(Value::as_map) {
            match master.get("alive") {
                Some(Value::Bool(false)) => {
                    say(
                        out,
                        &format!("master   {} is not heard", text(master, "id")),
                    )?;
                }
                _ => say(
                    out,
                    &format!(
                        "master   {} is heard, with {}",
                        text(master, "id"),
                        count(master, "minions", "minion")
                    ),
                )?,
            }
        }
        Ok(())
    }

    /// What a reactor has done, and how far behind it is.
    fn print_reactor(&self, out: &mut Out) -> io::Result<()> {
        let Some(reactor) = part(&self.status, "reactor") else {
            return Ok(());
        };
        say(
            out,
            &format!(
                "reactor  {}, {} behind; {} done, {} failed, {} uncertain",
                count(reactor, "rules", "rule"),
                count(reactor, "behind", "event"),
                count(reactor, "done", "reaction"),
                text(reactor, "failed"),
                text(reactor, "uncertain")
            ),
        )
    }

    fn print_readers(&self, out: &mut Out) -> io::Result<()> {
        let readers = self.readers();
        if !readers.is_empty() {
            writeln!(
                out,
                "\n{:>8}  {:<12}  {:>10}  {:>12}  {:<6}  READER",
                "PID", "USER", "LAG", "BYTES-BEHIND", "FROM"
            )?;
        }
        for reader in readers {
            let Reader {
                pid,
                user,
                lag,
                bytes,
                from,
                what,
            } = reader;
            writeln!(
                out,
                "{pid:>8}  {user:<12}  {lag:>10}  {bytes:>12}  {from:<6}  {what}"
            )?;
        }
        Ok(())
    }

    /// The subscribers of Salt's socket and the streams of Brine's, furthest behind first.
    fn readers(&self) -> Vec<Reader> {
        let subscribers = part(&self.status, "bus").and_then(|bus| bus.get("subscribers"));
        let streams = self.status.get("streams");
        let all = [(subscribers, "subscriber"), (streams, "stream")];
        let mut readers: Vec<Reader> = all
            .into_iter()
            .filter_map(|(list, kind)| Some((list?.as_array()?, kind)))
            .flat_map(|(list, kind)| list.iter().filter_map(move |one| Reader::of(one, kind)))
            .collect();
        readers.sort_by_key(|reader| std::cmp::Reverse(reader.lag));
        readers
    }
}

/// Who reads.
struct Reader {
    pid: String,
    user: String,
    lag: i128,
    bytes: String,
    from: String,
    what: String,
}

impl Reader {
    fn of(value: &Value, kind: &str) -> Option<Self> {
        let map = value.as_map()?;
        let user = match map.get("user").and_then(Value::as_str) {
            Some(user) => user.to_owned(),
            None => text(map, "uid"),
        };
        let what = match map.get("query").and_then(Value::as_str) {
            Some(query) => format!("{kind} {query}"),
            None => format!("{kind} at {}", text(map, "position")),
        };
        Some(Self {
            pid: text(map, "pid"),
            user,
            lag: match map.get("lag") {
                Some(Value::Int(lag)) => *lag,
                _ => 0,
            },
            bytes: text(map, "bytes_behind"),
            from: text(map, "reads_from"),
            what: show::visible(&what).into_owned(),
        })
    }
}

fn events(count: i128) -> String {
    counted(count, "event")
}

/// A number with its noun; a dash for what is not there.
fn count(map: &Map, key: &str, noun: &str) -> String {
    match map.get(key) {
        Some(Value::Int(number)) => counted(*number, noun),
        _ => format!("- {noun}s"),
    }
}

fn part<'a>(map: &'a Map, key: &str) -> Option<&'a Map> {
    map.get(key).and_then(Value::as_map)
}

/// A value as it is printed; a dash for a missing one.
fn text(map: &Map, key: &str) -> String {
    match map.get(key) {
        Some(Value::Str(text)) => show::visible(text).into_owned(),
        Some(Value::Int(number)) => number.to_string(),
        _ => "-".to_owned(),
    }
}

/// The one event of a query, if this user may read one.
fn only(client: &LocalClient, query: EventQuery) -> Option<Stored> {
    let mut stream = client.history(query, Some(late::ANSWER)).ok()?;
    loop {
        match stream.next(Wait::For(late::ANSWER)).ok()?? {
            Delivery::Event(stored) => return Some(stored),
            Delivery::Gap { .. } => {}
            Delivery::End => return None,
        }
    }
}

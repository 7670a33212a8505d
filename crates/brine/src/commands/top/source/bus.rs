//! Events of a local bus.

use std::path::Path;
use std::time::{Duration, Instant};

use brine_bus::address::Address;
use brine_bus::client::blocking::Subscriber;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{Delivery, EventQuery, LocalAddress, LocalError, Stored};
use brine_bus::client::{Denied, PublisherConfig, ReceiveError, Reconnect, SubscriberConfig, Wait};
use brine_view::site::{Gap, Row};
use brine_wire::{Map, Value};

use super::{Item, LOOK_EVERY, Link, Out, Over, Questions};
use crate::bus_location;
use crate::clock;
use crate::commands::late::{self, StopWatch};
use crate::commands::local_events::{HEARTBEAT, SILENT};
use crate::remote::Trouble;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);
/// Said while nobody serves the socket.
pub(in crate::commands::top) const BUS_AWAY: &str = "the bus is away; waiting for it";
/// How long a bus that refuses is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(2);

/// Reads Brine's own socket until the user has seen enough. A stream that breaks continues where it was. `trouble`
/// says of what answers for an API what its socket cannot: that nothing is behind it; `stop_watch` whether the process
/// is stopped whose bus it is, which is another one beside `brine attach`.
pub(super) fn read_local(
    address: LocalAddress,
    last: u64,
    trouble: Option<&Trouble>,
    stop_watch: Option<StopWatch>,
    out: &mut Out,
) {
    // The end is the user's.
    let _ = follow(address, last, trouble, stop_watch, out);
}

fn follow(
    address: LocalAddress,
    last: u64,
    trouble: Option<&Trouble>,
    mut stop_watch: Option<StopWatch>,
    out: &mut Out,
) -> Result<(), Over> {
    let query = EventQuery {
        last: Some(last).filter(|last| *last > 0),
        heartbeat: trouble.is_none().then_some(HEARTBEAT.as_secs()),
        ..EventQuery::default()
    };
    let socket = address.path().to_owned();
    let client = LocalClient::new(address, PublisherConfig::default());
    let mut stream = client.unconnected_events(&query);
    let mut link = Link::Connecting;
    let mut stopped = None;
    loop {
        let mut next = stream.next(Wait::For(Duration::ZERO));
        if matches!(next, Ok(None)) {
            out.flush()?;
            let heard = stream.heard().filter(|_| trouble.is_none());
            let silent = heard
                .map(|heard| heard.elapsed())
                .filter(|time| *time >= SILENT);
            if let Some(watch) = &mut stop_watch
                && let Some(change) = watch.look()
            {
                stopped = watch.is_stopped().then_some(change);
            }
            let present = match (trouble.and_then(Trouble::get), silent) {
                (Some(reason), _) => Link::Lost(format!("{reason}; connecting again")),
                // Connected to what answers for an API is not yet connected to the API.
                (None, Some(time)) if stream.is_answered() => silent_for(time, &socket, &link),
                (None, _) if stream.is_answered() => stopped.clone().map_or(Link::Live, Link::Lost),
                (None, _) if link == Link::Live => Link::Connecting,
                (None, _) => link.clone(),
            };
            if present != link {
                link = present;
                out.link(link.clone())?;
            }
            next = stream.next(Wait::For(LOOK_EVERY));
        }
        match next {
            Ok(None) => {}
            Ok(Some(Delivery::Event(stored))) => out.push(event(&stored))?,
            Ok(Some(Delivery::Gap {
                to, missed, reason, ..
            })) => {
                let reason = reason.unwrap_or_else(|| "no longer kept".to_owned());
                out.push(Item::Gap(Gap {
                    at: clock::now().0,
                    before: to.seq.0 + 1,
                    missed,
                    reason,
                }))?;
            }
            Ok(Some(Delivery::End)) => return out.link(Link::Complete),
            Err(LocalError::Refused {
                status: 403,
                message,
                ..
            }) => {
                out.push(Item::Refused(message))?;
                return out.flush();
            }
            Err(error) => {
                link = Link::Lost(lost(&error));
                out.link(link.clone())?;
                // The stream reconnects by itself. A bus that is down is not asked all the time, and one that refuses
                // rarely changes its mind.
                let pause = match error {
                    LocalError::Refused { .. } => REFUSED_FOR,
                    _ => LOOK_EVERY,
                };
                out.pause(pause)?;
            }
        }
    }
}

/// What is shown of a bus that has said nothing for a time.
fn silent_for(time: Duration, socket: &Path, shown: &Link) -> Link {
    let said = format!("not answering for {} s", time.as_secs());
    match shown {
        // Its process is looked for once a second.
        Link::Lost(why) if why.starts_with(&said) => shown.clone(),
        _ => Link::Lost(said + &late::process_of(socket)),
    }
}

fn lost(error: &LocalError) -> String {
    match error {
        LocalError::Connect(_) => BUS_AWAY.to_owned(),
        error => error.to_string(),
    }
}

fn event(stored: &Stored) -> Item {
    Item::Event {
        tag: stored.event.tag().to_owned(),
        data: stored.event.data().to_vec(),
        at: stored.at.0,
        seq: stored.position.seq.0,
    }
}

/// Reads Salt's own socket: without numbers, and what is fired while it is not connected is lost. `is_closed` is why
/// Brine's own is not read, if there is one.
pub(super) fn read_salts(address: &Address, is_closed: Option<&Denied>, out: &mut Out) {
    let _ = follow_salts(address, is_closed, out);
}

fn follow_salts(address: &Address, is_closed: Option<&Denied>, out: &mut Out) -> Result<(), Over> {
    let config = SubscriberConfig {
        reconnect: Reconnect::Never,
        ..SubscriberConfig::default()
    };
    let mut bus = Subscriber::new(address, config);
    let mut stop_watch = StopWatch::new(address.clone());
    let (mut seq, mut was_connected, mut refusals) = (0, false, 0);
    loop {
        if let Err(error) = bus.connect(Duration::ZERO) {
            out.link(Link::Lost(error.to_string()))?;
            while bus.connect(LOOK_EVERY).is_err() {
                out.flush()?;
            }
        }
        let is_refused = refusals >= bus_location::REFUSALS;
        if was_connected && !is_refused {
            let reason = "the connection was cut".to_owned();
            out.push(Item::Gap(Gap {
                at: clock::now().0,
                before: seq + 1,
                missed: None,
                reason,
            }))?;
        }
        if !is_refused {
            out.link(Link::Live)?;
        }
        was_connected = true;
        let (before, since) = (seq, Instant::now());
        let error = read_connection(&mut bus, &mut seq, is_refused, &mut stop_watch, out)?;
        refusals = if seq == before { refusals + 1 } else { 0 };
        if let Some(denied) = is_closed
            && refusals > 0
            && since.elapsed() < 2 * bus_location::REFUSED_WITHIN
            && bus.connect(Duration::ZERO).is_ok()
        {
            let why = bus_location::may_not_read(denied, address.publish());
            out.push(Item::Refused(why))?;
            return out.flush();
        }
        if refusals < bus_location::REFUSALS {
            out.link(Link::Lost(error.to_string()))?;
        } else {
            out.link(Link::Lost(bus_location::refused(&error)))?;
            out.pause(REFUSED_FOR)?;
        }
    }
}

/// Reads to the end of a connection; why it ended. One that `is_refused` so far is live with its first event.
fn read_connection(
    bus: &mut Subscriber,
    seq: &mut u64,
    mut is_refused: bool,
    stop_watch: &mut StopWatch,
    out: &mut Out,
) -> Result<ReceiveError, Over> {
    loop {
        let mut wait = Duration::ZERO;
        loop {
            match bus.next_ref(Wait::For(wait)) {
                Ok(Some(event)) => {
                    if std::mem::take(&mut is_refused) {
                        out.link(Link::Live)?;
                    }
                    *seq += 1;
                    let (tag, data) = (event.tag().to_owned(), event.data().to_vec());
                    out.push(Item::Event {
                        tag,
                        data,
                        at: clock::now().0,
                        seq: *seq,
                    })?;
                    wait = Duration::ZERO;
                }
                Ok(None) if wait.is_zero() => {
                    out.flush()?;
                    wait = LOOK_EVERY;
                }
                Ok(None) => {
                    if let Some(change) = stop_watch.look() {
                        out.link(match stop_watch.is_stopped() {
                            true => Link::Lost(change),
                            false => Link::Live,
                        })?;
                    }
                    break;
                }
                Err(error) => return Ok(error),
            }
        }
    }
}

/// What Brine's own socket can be asked.
pub(super) struct Local {
    client: LocalClient,
}

impl Local {
    pub(super) fn new(address: LocalAddress) -> Self {
        Self {
            client: LocalClient::new(address, PublisherConfig::default()),
        }
    }

    fn stored(&self, query: EventQuery) -> Vec<Stored> {
        let mut all = Vec::new();
        let Ok(mut stream) = self.client.history(query, Some(ANSWER)) else {
            return all;
        };
        while let Ok(Some(delivery)) = stream.next(Wait::For(ANSWER)) {
            match delivery {
                Delivery::Event(stored) => all.push(stored),
                Delivery::Gap { .. } => {}
                Delivery::End => break,
            }
        }
        all
    }
}

impl Questions for Local {
    fn status(&mut self) -> Option<(Map, Vec<Map>)> {
        let Value::Map(status) = self.client.status(Some(ANSWER)).ok()? else {
            return None;
        };
        let list = |map: &Map| {
            let list = map.get("consumers").and_then(Value::as_array);
            list.map(<[Value]>::to_vec)
        };
        let consumers = match self.client.consumers(Some(ANSWER)) {
            Ok(Value::Map(answer)) => list(&answer),
            Ok(Value::Array(all)) => Some(all),
            // An API has no such path; its status says what the user may see of them.
            _ => list(&status),
        };
        let consumers = consumers
            .unwrap_or_default()
            .into_iter()
            .filter_map(|one| match one {
                Value::Map(map) => Some(map),
                _ => None,
            });
        Some((status, consumers.collect()))
    }

    fn before(&mut self, seq: u64, count: u64) -> Vec<Row> {
        let query = EventQuery {
            last: Some(count),
            before: Some(seq),
            ..EventQuery::default()
        };
        self.stored(query).iter().map(row).collect()
    }

    fn one(&mut self, seq: u64) -> Option<(String, Option<Map>, u64)> {
        let query = EventQuery {
            from: seq.to_string(),
            limit: Some(1),
            ..EventQuery::default()
        };
        let stored = self
            .stored(query)
            .into_iter()
            .find(|stored| stored.position.seq.0 == seq)?;
        let data = match stored.event.decode() {
            Ok(Value::Map(map)) => Some(map),
            _ => None,
        };
        Some((stored.event.tag().to_owned(), data, stored.at.0))
    }
}

fn row(stored: &Stored) -> Row {
    let data = stored.event.data();
    let is_failure = stored.event.decode().is_ok_and(|data| match &data {
        Value::Map(map) => brine_view::Facts::of(stored.event.tag(), map).ok == Some(false),
        _ => false,
    });
    Row::Event {
        seq: stored.position.seq.0,
        at: stored.at.0,
        tag: stored.event.tag().into(),
        data: Some(data.into()),
        is_failure,
    }
}

//! Where a stream of events starts, as a local socket reads it, and how many events a bus has had since.

use std::time::Duration;

use brine_bus::client::Wait;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{Delivery, EventQuery, LocalError, Method, target};
use brine_log::{Millis, Position, Seq};
use brine_wire::time::StartText;

/// How long a bus may take to answer.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to say how many events it has had.
const COUNT: Duration = Duration::from_secs(3);
/// How long it may take to begin a stream.
const BEGIN: Duration = Duration::from_millis(100);

/// A start as the socket reads it; a date has been read in this program's zone.
pub(super) fn start_text(start: &StartText) -> String {
    match start {
        StartText::Earliest => "earliest".to_owned(),
        StartText::New => "new".to_owned(),
        StartText::Sequence(sequence) => sequence.to_string(),
        StartText::After { log, sequence } => format!("{log}-{sequence}"),
        StartText::Time(time) => time_text(crate::clock::millis(*time)),
    }
}

pub(super) fn time_text(time: Millis) -> String {
    format!("@{}.{:03}", time.0 / 1000, time.0 % 1000)
}

/// The position of a reader that has not read an event yet.
pub(super) const fn before(position: Position) -> Position {
    Position {
        log: position.log,
        seq: Seq(position.seq.0.saturating_sub(1)),
    }
}

/// The position of a reader that began with the first event from a start on, wanted or not; `None` if there is none.
pub(super) fn first_event(client: &LocalClient, start: Option<&StartText>) -> Option<Position> {
    let query = EventQuery {
        from: start.map(start_text).unwrap_or_default(),
        limit: Some(1),
        ..EventQuery::default()
    };
    let mut stream = client.history(query, Some(BEGIN)).ok()?;
    loop {
        match stream.next(Wait::For(ANSWER)).ok()?? {
            Delivery::Event(stored) => return Some(before(stored.position)),
            Delivery::Gap { .. } => {}
            Delivery::End => return None,
        }
    }
}

/// How many events the bus has had after a position, according to the bus; the difference of two numbers is not a
/// count, since a bus that was killed leaves many unused. 0 if the bus has another log; `None` if it does not answer.
pub(super) fn count_after(client: &mut LocalClient, position: Option<Position>) -> Option<u64> {
    // The connection may be that of a bus that has ended since.
    client.close();
    let after = position.map(|position| position.to_string());
    let target = match &after {
        Some(after) => target("/status", &[("after", after)]),
        None => "/status".to_owned(),
    };
    let status = match client.request(Method::Get, &target, Some(COUNT)) {
        Err(LocalError::TimedOut { .. }) => return None,
        // One that has ended has no more.
        status => status.ok(),
    };
    let count = || {
        let log = status.as_ref()?.as_map()?.get("log")?.as_map()?;
        u64::try_from(log.get("after")?.as_int()?).ok()
    };
    Some(count().unwrap_or_default())
}

/// The position of the newest event.
pub(super) fn newest(client: &mut LocalClient) -> anyhow::Result<Option<Position>> {
    let status = client.status(Some(ANSWER))?;
    let newest = || {
        let log = status.as_map()?.get("log")?.as_map()?;
        log.get("newest")?.as_str()?.parse().ok()
    };
    Ok(newest())
}

//! Where a stream of events starts, as a local socket reads it, and how many events a bus has had since.

use std::time::Duration;

use brine_bus::client::Wait;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{Delivery, EventQuery, Method, target};
use brine_log::{Millis, Position, Seq};
use brine_wire::time::StartText;

/// How long a bus may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
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

/// Where a reader was that began with the first event from a start on, wanted or not; `None` if there is none.
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

/// How many events the bus has had after a position, as it says; a difference of two numbers is no count, since a bus
/// that was killed leaves many unused.
pub(super) fn count_after(client: &mut LocalClient, position: Position) -> Option<u64> {
    let target = target("/status", &[("after", &position.to_string())]);
    let status = client.request(Method::Get, &target, Some(ANSWER)).ok()?;
    let count = status.as_map()?.get("log")?.as_map()?.get("after")?;
    u64::try_from(count.as_int()?).ok()
}

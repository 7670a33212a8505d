//! Drives both sides by hand: the socket is a number, the time an argument.

use std::time::Duration;

use brine_wire::frame::{Framing, encode_frame};
use brine_wire::matching::TagMatch;

use super::connection::Backoff;
use super::*;
use crate::client::error::{PublishError, ReceiveError};
use crate::client::{PublisherConfig, Reconnect, SubscriberConfig};

const SECOND: Duration = Duration::from_secs(1);

fn endpoint() -> Endpoint {
    Endpoint::Path("bus".into())
}

fn refused() -> io::Result<u8> {
    Err(io::ErrorKind::ConnectionRefused.into())
}

fn frame(tag: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let event = format!("{tag}\n\n\u{1}");
    encode_frame(Framing::Bare, event.as_bytes(), &mut bytes);
    bytes
}

/// A reader with a connection, number 1.
fn reader(config: &SubscriberConfig, now: Instant) -> Reader<u8> {
    let mut reader = Reader::new(endpoint(), config);
    let call = Call::connect(Wait::Forever);
    reader.handle_connect(Ok(1), &call, now).unwrap();
    reader
}

/// Gives the reader bytes when it asks for some.
fn feed(reader: &mut Reader<u8>, call: &mut Call, now: Instant, bytes: &[u8]) {
    let Step::Read(_, room) = reader.step(call, now) else {
        panic!("expected a step that reads");
    };
    room[..bytes.len()].copy_from_slice(bytes);
    let read = Ok(Progress::Bytes(bytes.len()));
    reader.handle_transfer(read, call, now).unwrap();
}

fn writer(now: Instant) -> Writer<u8> {
    let mut writer = Writer::new(endpoint(), &PublisherConfig::default());
    let call = Call::connect(Wait::Forever);
    writer.handle_connect(Ok(1), &call, now).unwrap();
    writer
}

#[test]
fn pauses_between_attempts_grow_until_the_time_is_over() {
    let start = Instant::now();
    let mut now = start;
    let mut reader: Reader<u8> = Reader::new(endpoint(), &SubscriberConfig::default());
    let mut call = Call::connect(Wait::For(SECOND));
    let mut pauses = Vec::new();
    let error = loop {
        match reader.step(&mut call, now) {
            Step::Connect(_) => {
                if let Err(error) = reader.handle_connect(refused(), &call, now) {
                    break error;
                }
            }
            Step::WaitUntil(due) => {
                pauses.push((due - now).as_millis());
                now = due;
            }
            step => panic!("expected to connect or wait, found {step:?}"),
        }
    };
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert_eq!(pauses[..7], [5, 10, 20, 40, 80, 160, 250]);
    assert_eq!(now, start + SECOND);
}

#[test]
fn a_call_whose_time_is_over_tries_once() {
    let now = Instant::now();
    let mut reader: Reader<u8> = Reader::new(endpoint(), &SubscriberConfig::default());
    let mut call = Call::connect(Wait::For(Duration::ZERO));
    assert_eq!(reader.step(&mut call, now), Step::Connect(&endpoint()));
    assert!(reader.handle_connect(refused(), &call, now).is_err());
}

#[test]
fn a_refusal_for_lack_of_rights_ends_the_call_at_once() {
    let now = Instant::now();
    let mut writer: Writer<u8> = Writer::new(endpoint(), &PublisherConfig::default());
    let call = Call::connect(Wait::Forever);
    let denied = Err(io::ErrorKind::PermissionDenied.into());
    assert!(writer.handle_connect(denied, &call, now).is_err());
}

#[test]
fn a_reader_looks_at_what_arrived_before_it_reads_more() {
    let now = Instant::now();
    let mut reader = reader(&SubscriberConfig::default(), now);
    let mut call = Call::transfer(Wait::Forever);
    feed(&mut reader, &mut call, now, &frame("a"));
    assert_eq!(reader.step(&mut call, now), Step::Done);
    let event = reader.take(&TagMatch::any(), &mut call, || now).unwrap();
    assert_eq!(event.unwrap().tag(), "a");
    assert!(!call.is_over());
}

#[test]
fn a_stream_that_never_pauses_does_not_outlast_the_deadline() {
    let now = Instant::now();
    let mut reader = reader(&SubscriberConfig::default(), now);
    let mut call = Call::transfer(Wait::For(SECOND));
    feed(&mut reader, &mut call, now, &frame("a"));
    assert_eq!(reader.step(&mut call, now + SECOND), Step::Done);
    assert!(!call.is_over(), "what arrived is still to be looked at");
    assert_eq!(reader.step(&mut call, now + SECOND), Step::Done);
    assert!(call.is_over());
}

#[test]
fn a_reader_connects_again_or_says_that_the_bus_is_gone() {
    let now = Instant::now();
    for reconnect in [Reconnect::Always, Reconnect::Never] {
        let config = SubscriberConfig {
            reconnect,
            ..SubscriberConfig::default()
        };
        let mut reader = reader(&config, now);
        let mut call = Call::transfer(Wait::Forever);
        let handled = reader.handle_transfer(Ok(Progress::Over), &mut call, now);
        let ends = matches!(handled, Err(ReceiveError::Closed { .. }));
        assert_eq!(ends, reconnect == Reconnect::Never);
        let due = now + Backoff::FIRST;
        assert_eq!(reader.step(&mut call, now), Step::WaitUntil(due));
        assert_eq!(reader.step(&mut call, due), Step::Connect(&endpoint()));
    }
}

#[test]
fn a_bus_that_went_away_is_an_error_even_after_events_were_read() {
    let now = Instant::now();
    let mut reader = reader(&SubscriberConfig::default(), now);
    let mut call = Call::transfer(Wait::For(SECOND));
    feed(&mut reader, &mut call, now, &frame("a"));
    assert_eq!(reader.step(&mut call, now), Step::Done);
    reader
        .handle_transfer(Ok(Progress::Over), &mut call, now)
        .unwrap();
    let late = now + SECOND;
    assert_eq!(reader.step(&mut call, late), Step::Connect(&endpoint()));
    assert!(reader.handle_connect(refused(), &call, late).is_err());
}

#[test]
fn an_interrupted_reader_keeps_its_connection() {
    let now = Instant::now();
    let mut reader = reader(&SubscriberConfig::default(), now);
    let mut call = Call::transfer(Wait::Forever);
    let handled = reader.handle_transfer(Err(LinkError::Interrupted), &mut call, now);
    assert!(matches!(handled, Err(ReceiveError::Interrupted)));
    assert!(matches!(reader.step(&mut call, now), Step::Read(1, _)));
}

#[test]
fn a_bus_that_takes_some_bytes_gets_its_time_anew() {
    let now = Instant::now();
    let mut writer = writer(now);
    writer.push(b"tag\n\n\x80");
    let mut call = Call::transfer(Wait::For(SECOND));
    assert!(matches!(writer.step(&mut call, now), Step::Write(1, _)));
    let later = now + SECOND / 2;
    writer
        .handle_transfer(Ok(Progress::Bytes(1)), &mut call, later)
        .unwrap();
    assert_eq!(call.deadline(), Some(later + SECOND));
    let stalled = writer.handle_transfer(Ok(Progress::Later), &mut call, later + SECOND);
    assert!(matches!(stalled, Err(PublishError::Stalled { waited, .. }) if waited == SECOND));
}

#[test]
fn a_writer_gives_up_when_three_connections_took_no_event() {
    let now = Instant::now();
    let mut writer = writer(now);
    writer.push(b"tag\n\n\x80");
    let mut call = Call::transfer(Wait::Forever);
    for last in [false, false, true] {
        let handled = writer.handle_transfer(Ok(Progress::Over), &mut call, now);
        assert_eq!(matches!(handled, Err(PublishError::Closed { .. })), last);
        writer.handle_connect(Ok(2), &call, now).unwrap();
    }
}

#[test]
fn after_a_broken_connection_a_frame_is_written_as_a_whole() {
    let now = Instant::now();
    let mut writer = writer(now);
    writer.push(b"tag\n\n\x80");
    let whole = writer.queued_bytes();
    let mut call = Call::transfer(Wait::Forever);
    let some = Ok(Progress::Bytes(whole - 1));
    writer.handle_transfer(some, &mut call, now).unwrap();
    assert_eq!(writer.queued_bytes(), 1);
    writer
        .handle_transfer(Ok(Progress::Over), &mut call, now)
        .unwrap();
    assert_eq!(writer.queued_bytes(), whole);
}

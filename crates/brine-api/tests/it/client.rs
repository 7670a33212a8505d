//! The client of the local socket against the server: exact events, acknowledgement, resuming.

use std::sync::Arc;
use std::time::Duration;

use brine_api::local;
use brine_bus::client::local::blocking::{EventStream, LocalClient};
use brine_bus::client::local::{
    Acknowledge, Delivery, EventQuery, Fired, LocalAddress, LocalError, Stored, tokio as shell,
};
use brine_bus::client::{PublisherConfig, Wait};
use brine_wire::{Map, Value};
use tokio::sync::oneshot;

use crate::support::{Api, DEADLINE};

fn client(api: &Api) -> LocalClient {
    let address = LocalAddress::Socket(api.path.clone());
    LocalClient::new(address, PublisherConfig::default())
}

fn data() -> Map {
    [("bytes", Value::Bin(vec![0xff, 0])), ("x", Value::Int(5))]
        .into_iter()
        .collect()
}

fn next(stream: &mut EventStream) -> Delivery {
    stream
        .next(Wait::For(DEADLINE))
        .unwrap()
        .expect("something comes in time")
}

#[test]
fn what_is_fired_is_acknowledged_and_read_back_exactly() {
    let api = Api::start();
    let mut client = client(&api);
    let mut stream = client
        .events(&EventQuery::default(), Some(DEADLINE))
        .unwrap();
    let events = [("my/1".to_owned(), data()), ("my/2".to_owned(), Map::new())];
    let fired = client
        .fire(events, Acknowledge::Appended, Some(DEADLINE))
        .unwrap();
    let texts: Vec<_> = fired
        .iter()
        .map(|fired| match fired {
            Fired::At(position) => position.to_string(),
            refused => format!("{refused:?}"),
        })
        .collect();
    assert_eq!(texts, ["7f3a-1", "7f3a-2"]);
    let Delivery::Event(Stored {
        position, event, ..
    }) = next(&mut stream)
    else {
        panic!("expected an event")
    };
    assert_eq!(
        (position.to_string().as_str(), event.tag()),
        ("7f3a-1", "my/1")
    );
    let read = event.decode().unwrap();
    assert_eq!(
        read.as_map().unwrap().get("bytes"),
        Some(&Value::Bin(vec![0xff, 0]))
    );
    assert!(matches!(next(&mut stream), Delivery::Event(_)));
    assert_eq!(stream.position().unwrap().to_string(), "7f3a-2");
    assert_eq!(
        stream.next(Wait::For(Duration::from_millis(20))).unwrap(),
        None
    );
    let status = client.status(Some(DEADLINE)).unwrap();
    assert!(status.as_map().unwrap().get("log").is_some());
}

#[test]
fn a_refusal_is_an_error_with_its_code() {
    let api = Api::start();
    let mut client = client(&api);
    let fired = client.fire(
        [("a".to_owned(), Map::new())],
        Acknowledge::Durable,
        Some(DEADLINE),
    );
    assert!(
        matches!(&fired, Err(LocalError::Refused { status: 409, code, .. }) if code == "no_history"),
        "{fired:?}"
    );
    let query = EventQuery {
        from: "soon".to_owned(),
        ..EventQuery::default()
    };
    assert!(matches!(
        client.events(&query, Some(DEADLINE)),
        Err(LocalError::Refused { status: 400, .. })
    ));
    let nowhere = LocalAddress::Socket("/nonexistent/brine.sock".into());
    let error = LocalClient::new(nowhere, PublisherConfig::default())
        .status(None)
        .unwrap_err();
    assert!(error.is_absent(), "{error}");
}

#[test]
fn a_stream_that_ends_says_so() {
    let api = Api::start();
    for number in 0..5 {
        api.fire(&format!("my/{number}"), "{}");
    }
    let query = EventQuery {
        tags: vec!["my/*".to_owned()],
        excludes: vec!["my/3".to_owned()],
        last: Some(3),
        ends: true,
        ..EventQuery::default()
    };
    let mut stream = client(&api).events(&query, Some(DEADLINE)).unwrap();
    let mut tags = Vec::new();
    while let Delivery::Event(Stored { event, .. }) = next(&mut stream) {
        tags.push(event.tag().to_owned());
    }
    assert_eq!(tags, ["my/1", "my/2", "my/4"]);
    assert_eq!(next(&mut stream), Delivery::End);
}

#[test]
fn a_stream_that_is_cut_goes_on_at_its_position() {
    let api = Api::start();
    let mut stream = client(&api)
        .events(&EventQuery::default(), Some(DEADLINE))
        .unwrap();
    api.fire("my/1", "{}");
    assert!(matches!(next(&mut stream), Delivery::Event(_)));
    // The same log behind a new server, as after a restart with history.
    let state = Arc::clone(&api.state);
    let path = api.path.clone();
    let mut api = api;
    api.end();
    api.fire("my/2", "{}");
    let fresh = crate::support::state_of(&state);
    let listener = local::Listener::bind(&path, &fresh).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_keep, ended) = oneshot::channel::<()>();
    runtime.spawn(local::serve(listener, fresh, async {
        let _ = ended.await;
    }));
    let Delivery::Event(Stored {
        position, event, ..
    }) = next(&mut stream)
    else {
        panic!("expected an event")
    };
    assert_eq!(
        (position.to_string().as_str(), event.tag()),
        ("7f3a-2", "my/2")
    );
}

#[test]
fn a_position_of_another_log_is_a_gap() {
    let api = Api::start();
    api.fire("my/1", "{}");
    let query = EventQuery {
        from: "99-7".to_owned(),
        ..EventQuery::default()
    };
    let mut stream = client(&api).events(&query, Some(DEADLINE)).unwrap();
    assert!(matches!(
        next(&mut stream),
        Delivery::Gap { missed: None, .. }
    ));
    assert!(matches!(next(&mut stream), Delivery::Event(_)));
}

#[test]
fn a_loopback_port_asks_for_the_token() {
    let api = Api::start();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("brine.token");
    let listener = local::Listener::bind_loopback(&file).unwrap();
    let port = listener.port().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (_keep, ended) = oneshot::channel::<()>();
    runtime.spawn(local::serve(listener, Arc::clone(&api.state), async {
        let _ = ended.await;
    }));
    let address = LocalAddress::TokenFile(file.clone());
    let mut client = LocalClient::new(address, PublisherConfig::default());
    assert!(client.status(Some(DEADLINE)).is_ok());
    // Whoever cannot read the file knows no token.
    std::fs::write(&file, format!("{port} {}", "0".repeat(64))).unwrap();
    let address = LocalAddress::TokenFile(file);
    let mut stranger = LocalClient::new(address, PublisherConfig::default());
    let refused = stranger.status(Some(DEADLINE));
    assert!(
        matches!(refused, Err(LocalError::Refused { status: 401, .. })),
        "{refused:?}"
    );
}

#[test]
fn any_number_of_events_are_in_flight_and_answered_in_order() {
    const EVENTS: u64 = 20_000;
    let api = Api::start();
    let mut stream = client(&api)
        .fire_stream(Acknowledge::Appended, Some(DEADLINE))
        .unwrap();
    for number in 0..EVENTS {
        // Every hundredth is refused, and only that one.
        let tag = if number % 100 == 7 { "" } else { "my/tag" };
        let event = brine_wire::event::join(tag, b"\x80");
        stream.fire_raw(&event).unwrap();
    }
    stream.finish().unwrap();
    let mut expected = 0;
    for number in 0..EVENTS {
        let fired = stream.next(Wait::For(DEADLINE)).unwrap();
        match fired.expect("an answer comes in time") {
            Fired::At(position) => {
                expected += 1;
                assert_eq!(position.seq.0, expected);
            }
            Fired::Refused { .. } => assert_eq!(number % 100, 7),
        }
    }
    assert_eq!(stream.next(Wait::For(DEADLINE)).unwrap(), None);
    assert_eq!(expected, EVENTS - EVENTS / 100);
}

#[test]
fn a_stream_of_fires_that_is_cut_says_so() {
    let mut api = Api::start();
    let mut stream = client(&api)
        .fire_stream(Acknowledge::Appended, Some(DEADLINE))
        .unwrap();
    stream.fire("my/1", &mut Map::new()).unwrap();
    assert!(matches!(
        stream.next(Wait::For(DEADLINE)).unwrap(),
        Some(Fired::At(_))
    ));
    api.end();
    let error = loop {
        let fired = stream.fire("my/2", &mut Map::new());
        if let Err(error) = fired.and_then(|()| stream.next(Wait::For(DEADLINE))) {
            break error;
        }
    };
    assert!(matches!(error, LocalError::Closed { .. }), "{error}");
    // Without history, none of the events of a durable stream is taken.
    let api = Api::start();
    let mut stream = client(&api)
        .fire_stream(Acknowledge::Durable, Some(DEADLINE))
        .unwrap();
    stream.fire("my/1", &mut Map::new()).unwrap();
    let refused = stream.next(Wait::For(DEADLINE));
    assert!(
        matches!(refused, Err(LocalError::Refused { status: 409, .. })),
        "{refused:?}"
    );
}

#[test]
fn the_shell_on_tokio_does_the_same() {
    let api = Api::start();
    let address = LocalAddress::Socket(api.path.clone());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut client = shell::LocalClient::new(address, PublisherConfig::default());
        client.connect(Some(DEADLINE)).await.unwrap();
        let query = EventQuery::default();
        let mut events = client.events(&query, Some(DEADLINE)).await.unwrap();
        let event = ("my/1".to_owned(), data());
        let fired = client
            .fire([event], Acknowledge::Appended, Some(DEADLINE))
            .await
            .unwrap();
        let mut fires = client
            .fire_stream(Acknowledge::Appended, Some(DEADLINE))
            .await
            .unwrap();
        for _ in 0..1000 {
            fires.fire("my/2", &mut data()).await.unwrap();
        }
        fires.finish().await.unwrap();
        let mut last = fired.into_iter().next();
        while let Some(fired) = fires.next(Wait::For(DEADLINE)).await.unwrap() {
            last = Some(fired);
        }
        assert!(matches!(last, Some(Fired::At(position)) if position.seq.0 == 1001));
        for expected in 1..=1001 {
            let delivery = events.next(Wait::For(DEADLINE)).await.unwrap();
            let Some(Delivery::Event(stored)) = delivery else {
                panic!("expected an event, found {delivery:?}");
            };
            assert_eq!(stored.position.seq.0, expected);
        }
        let history = client.history(query, Some(DEADLINE)).await;
        let mut history = history.unwrap();
        let (mut count, mut delivery) = (0, None);
        while delivery != Some(Delivery::End) {
            delivery = history.next(Wait::For(DEADLINE)).await.unwrap();
            count += 1;
        }
        assert_eq!(count, 1002);
        assert!(client.status(Some(DEADLINE)).await.is_ok());
    });
}

/// Head, event and end of the answer may come in one piece.
#[test]
fn a_short_stream_loses_nothing() {
    let api = Api::start();
    api.fire("my/1", "{}");
    let client = client(&api);
    let query = EventQuery {
        from: "earliest".to_owned(),
        limit: Some(1),
        ..EventQuery::default()
    };
    for _ in 0..200 {
        let mut stream = client.events(&query, Some(DEADLINE)).unwrap();
        assert!(matches!(next(&mut stream), Delivery::Event(_)));
        assert_eq!(next(&mut stream), Delivery::End);
    }
}

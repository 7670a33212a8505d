//! Both WebSocket ports with our own ends, and with raw bytes.

use std::io::{Read as _, Write as _};
use std::time::Duration;

use brine_net::channel::{Audience, Incoming, Limits, Publication};
use brine_net::client;
use brine_net::ws::{self, client::Requester, client::Subscription, publish::Publisher};
use brine_testkit::DEADLINE;
use brine_wire::network::publish::Publish;
use brine_wire::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const OPENING: &[u8] =
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// RFC 6455 §1.3 has the answer to this key.
const OPENED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
    upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

async fn bind() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap().to_string(), listener)
}

/// A request port; its address, and what comes.
async fn requests() -> (String, mpsc::Receiver<Incoming>) {
    let (address, listener) = bind().await;
    let (handler, requests) = crate::requests::channel();
    let pending = std::future::pending();
    tokio::spawn(ws::serve_requests(
        listener,
        Limits::default(),
        handler,
        pending,
    ));
    (address, requests)
}

fn echo(mut requests: mpsc::Receiver<Incoming>) {
    tokio::spawn(async move {
        while let Some(mut incoming) = requests.recv().await {
            let payload = incoming.take_payload();
            incoming.answer(payload);
        }
    });
}

fn map(number: i64) -> Value {
    let map: Map = [("number", number)].into_iter().collect();
    Value::Map(map)
}

#[tokio::test]
async fn requests_get_their_replies() {
    let (address, requests) = requests().await;
    echo(requests);
    let requester = Requester::new(&*address);
    for number in 0..20 {
        let reply = requester.request(&map(number), DEADLINE).await.unwrap();
        assert_eq!(reply, map(number));
    }
    let large: Map = [("load", Value::Bin(vec![0xff; 3_000_000]))]
        .into_iter()
        .collect();
    let large = Value::Map(large);
    assert_eq!(requester.request(&large, DEADLINE).await.unwrap(), large);
    let reply = requester.request(&"no map".into(), DEADLINE).await.unwrap();
    assert_eq!(reply, "bad load".into());
}

/// A frame of a client, with a mask that changes nothing.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(payload.len()).unwrap();
    [&[first, length, 0, 0, 0, 0], payload].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_come_in_the_order_of_their_requests() {
    let (address, requests) = requests().await;
    echo(requests);
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let sent = [
        OPENING.to_vec(),
        frame(0x82, b"\x81\xa1n\x01"),
        frame(0x82, b"\xc0"), // answered at once, but not before the one before
        frame(0x89, b"ping"),
        frame(0x02, b"\x81\xa1n"),
        frame(0x80, b"\x02"),
        frame(0x88, b""),
    ];
    stream.write_all(&sent.concat()).unwrap();
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    let expected = [
        OPENED,
        b"\x82\x04\x81\xa1n\x01",
        b"\x82\x09\xa8bad load",
        b"\x8a\x04ping",
        b"\x82\x04\x81\xa1n\x02",
        b"\x88\x00",
    ];
    assert_eq!(received, expected.concat(), "{received:x?}");
}

fn publication(load: &str) -> Publication {
    let publish = Publish {
        load: load.into(),
        signature: None,
    };
    Publication {
        payload: publish.to_bytes().into(),
        audience: Audience::Everyone,
    }
}

#[tokio::test]
async fn every_subscriber_gets_everything_from_when_it_is_connected() {
    let (address, listener) = bind().await;
    let publisher = Publisher::default();
    let pending = std::future::pending();
    let serving = ws::publish::serve(listener, Limits::default(), publisher.clone(), pending);
    tokio::spawn(serving);
    let mut subscribers = Vec::new();
    for _ in 0..3 {
        subscribers.push(Subscription::open(&*address).await.unwrap());
    }
    for load in ["one", "two"] {
        assert_eq!(publisher.publish(&publication(load)), 0);
    }
    for subscriber in &mut subscribers {
        for load in ["one", "two"] {
            assert_eq!(subscriber.next().await.unwrap().load, load.as_bytes());
        }
    }
}

/// aiohttp, which Salt's master is made of, takes no message over 4 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_refused_for_its_size_is_known_as_such() {
    let (address, listener) = bind().await;
    let listener = listener.into_std().unwrap();
    listener.set_nonblocking(false).unwrap();
    let refusing = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let key = head.split("Sec-WebSocket-Key: ").nth(1).unwrap();
        let accept = tungstenite::handshake::derive_accept_key(key.trim().as_bytes());
        let opened =
            format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        let close = b"\x88\x02\x03\xf1";
        stream
            .write_all(&[opened.as_bytes(), close].concat())
            .unwrap();
        stream
    });
    let requester = client::Requester::Ws(Requester::new(&*address));
    let wait = Duration::from_secs(3600);
    let refused = requester.request(&map(1), wait).await.unwrap_err();
    assert!(refused.is_too_large(), "{refused}");
    drop(refusing.await.unwrap());
}

//! What one accepted minion or local user may hold of a request port.

use std::time::Duration;

use brine_net::channel::{Incoming, Limits};
use brine_net::tcp::client::Requester;
use brine_net::tcp::serve_requests;
use brine_testkit::DEADLINE;
use brine_wire::network::tcp;
use brine_wire::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A port that takes everybody for whom the request names.
async fn trusting_port(limits: Limits) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (handler, requests) = crate::requests::channel();
    tokio::spawn(serve_requests(
        listener,
        limits,
        handler,
        std::future::pending(),
    ));
    tokio::spawn(trust_all(requests));
    address
}

async fn trust_all(mut requests: mpsc::Receiver<Incoming>) {
    while let Some(mut incoming) = requests.recv().await {
        let payload = incoming.take_payload();
        let user = payload.as_map().and_then(|map| map.get("user"));
        incoming
            .peer
            .trust_client(user.and_then(Value::as_str).unwrap());
        incoming.answer(payload);
    }
}

fn request(user: &str, bytes: usize) -> Value {
    let mut map: Map = [("user", user)].into_iter().collect();
    map.insert("data", Value::Bin(vec![0xff; bytes]));
    map.into()
}

fn message(body: &Value) -> Vec<u8> {
    let head: Map = [("mid", "1")].into_iter().collect();
    tcp::encode(&head, body)
}

/// A connection that is this user's.
async fn connect(address: &str, user: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    exchange(&mut stream, &request(user, 1)).await;
    stream
}

async fn exchange(stream: &mut TcpStream, body: &Value) {
    let message = message(body);
    stream.write_all(&message).await.unwrap();
    let mut answer = vec![0; message.len()];
    let read = timeout(DEADLINE, stream.read_exact(&mut answer)).await;
    read.unwrap().unwrap();
}

#[tokio::test]
async fn a_minion_has_so_many_connections_and_others_have_their_own() {
    let address = trusting_port(Limits {
        connections_per_minion: 3,
        ..Limits::default()
    })
    .await;
    let mut other = connect(&address, "other").await;
    let mut own = Vec::new();
    for _ in 0..5 {
        own.push(connect(&address, "greedy").await);
    }
    for evicted in &mut own[..2] {
        let read = timeout(DEADLINE, evicted.read(&mut [0])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    for kept in own[2..].iter_mut().chain([&mut other]) {
        exchange(kept, &request("x", 1)).await;
    }
}

#[tokio::test]
async fn large_messages_of_a_minion_share_its_room_and_delay_no_other() {
    let address = trusting_port(Limits {
        max_message_bytes: 1 << 20,
        bytes_per_minion: 1 << 20,
        minion_bytes: 8 << 20,
        ..Limits::default()
    })
    .await;
    // It begins a message and does not end it.
    let mut unfinished = connect(&address, "greedy").await;
    let part = message(&request("greedy", 700_000));
    unfinished.write_all(&part[..100_000]).await.unwrap();
    // Until its part is charged, another of its messages may pass; from then on none does.
    let second = Requester::new(address.clone());
    let wait = Duration::from_millis(500);
    let begins = async {
        second
            .request(&request("greedy", 1), DEADLINE)
            .await
            .unwrap();
        while second
            .request(&request("greedy", 700_000), wait)
            .await
            .is_ok()
        {}
    };
    timeout(DEADLINE, begins).await.unwrap();
    let other = Requester::new(address.clone());
    for _ in 0..3 {
        let answer = other.request(&request("other", 700_000), DEADLINE).await;
        assert!(answer.is_ok());
    }
    // Small ones always pass.
    second
        .request(&request("greedy", 100), DEADLINE)
        .await
        .unwrap();
    drop(unfinished);
    let passes = async {
        while second
            .request(&request("greedy", 700_000), DEADLINE)
            .await
            .is_err()
        {}
    };
    timeout(DEADLINE, passes).await.unwrap();
}

#[tokio::test]
async fn answers_that_a_minion_does_not_read_are_bounded() {
    const ANSWER: usize = 300_000;
    let address = trusting_port(Limits {
        max_message_bytes: 1 << 20,
        bytes_per_minion: 1 << 20,
        requests_per_connection: 64,
        ..Limits::default()
    })
    .await;
    let mut stream = connect(&address, "greedy").await;
    // Far more than the kernel takes for a peer that does not read, and than the account has.
    let message = message(&request("greedy", ANSWER));
    let send = async {
        for _ in 0..100 {
            if stream.write_all(&message).await.is_err() {
                return;
            }
        }
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await; // ends only if it is closed
    };
    timeout(DEADLINE, send).await.unwrap();
}

//! Both tcp ports with our own ends and with scripted strangers.

use std::sync::Arc;
use std::time::Duration;

use brine_net::channel::{Audience, Incoming, Limits, Presence, Publication};
use brine_net::tcp::client::{RequestError, Requester, Subscription};
use brine_net::tcp::publish::{self, Publisher};
use brine_net::tcp::serve_requests;
use brine_testkit::DEADLINE;
use brine_wire::network::publish::Publish;
use brine_wire::network::{MinionId, tcp};
use brine_wire::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A request port whose requests come out of the channel.
async fn request_port(limits: Limits) -> (String, mpsc::Receiver<Incoming>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (handler, receiver) = crate::requests::channel();
    tokio::spawn(serve_requests(
        listener,
        limits,
        handler,
        std::future::pending(),
    ));
    (address, receiver)
}

fn echo(mut requests: mpsc::Receiver<Incoming>) {
    tokio::spawn(async move {
        while let Some(mut incoming) = requests.recv().await {
            let payload = incoming.take_payload();
            incoming.answer(payload);
        }
    });
}

#[tokio::test]
async fn requests_get_their_replies() {
    let (address, requests) = request_port(Limits::default()).await;
    echo(requests);
    let requester = Requester::new(address);
    for number in 0..50 {
        let reply = requester
            .request(&Value::from(number), DEADLINE)
            .await
            .unwrap();
        assert_eq!(reply, number.into());
    }
    let large = Value::Bin(vec![0xff; 3_000_000]);
    assert_eq!(requester.request(&large, DEADLINE).await.unwrap(), large);
}

#[tokio::test]
async fn a_request_that_is_forgotten_is_answered_all_the_same() {
    let (address, mut requests) = request_port(Limits::default()).await;
    let requester = Requester::new(address);
    let payload = Value::from(1);
    let (reply, ()) = tokio::join!(requester.request(&payload, DEADLINE), async {
        drop(requests.recv().await.unwrap());
    });
    assert_eq!(reply.unwrap(), "bad load".into());
}

#[tokio::test]
async fn without_a_reply_the_requester_gives_up_and_connects_again() {
    let (address, mut requests) = request_port(Limits::default()).await;
    let requester = Requester::new(address);
    let wait = Duration::from_secs(1); // time enough to send it
    let unanswered = requester.request(&1.into(), wait).await;
    assert!(matches!(unanswered, Err(RequestError::NoReply { .. })));
    let held = requests.recv().await.unwrap();
    let payload = Value::from(2);
    let (reply, ()) = tokio::join!(requester.request(&payload, DEADLINE), async {
        let second = requests.recv().await.unwrap();
        held.answer("late".into());
        second.answer("second".into());
    });
    assert_eq!(reply.unwrap(), "second".into());
}

#[tokio::test]
async fn replies_may_overtake_each_other_on_one_connection() {
    let (address, mut requests) = request_port(Limits::default()).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = |mid: &str| -> Map { [("mid", mid)].into_iter().collect() };
    for mid in ["a", "b"] {
        let bytes = tcp::encode(&head(mid), &mid.into());
        stream.write_all(&bytes).await.unwrap();
    }
    let first = requests.recv().await.unwrap();
    let second = requests.recv().await.unwrap();
    second.answer("2".into());
    tokio::task::yield_now().await;
    first.answer("1".into());
    let expected = [
        tcp::encode(&head("b"), &"2".into()),
        tcp::encode(&head("a"), &"1".into()),
    ]
    .concat();
    let mut found = vec![0; expected.len()];
    stream.read_exact(&mut found).await.unwrap();
    assert_eq!(found, expected);
}

/// What a stranger's bytes lead to: the end of the connection, in time.
async fn is_closed(stream: &mut TcpStream, within: Duration) -> bool {
    let mut rest = Vec::new();
    timeout(within, stream.read_to_end(&mut rest)).await.is_ok()
}

#[tokio::test]
async fn strangers_bytes_end_their_own_connection_alone() {
    let (address, requests) = request_port(Limits {
        io_timeout: Duration::from_millis(200),
        ..Limits::default()
    })
    .await;
    echo(requests);
    let long_head: Map = [("mid", "x".repeat(1000))].into_iter().collect();
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"\xff\0\0\0\0\0\0\0\x01\x7f",
        b"\x82\xa4head\x80\xa4body\xdb\xff\xff\xff\xff",
        b"\x81\xa4head\x80",
        b"\x82\xa4head\x01\xa4body\x01",
        b"\x82\xa4head\x80\xa4bo", // and nothing more
        b"",
        &tcp::encode(&long_head, &Value::Nil),
    ] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        assert!(is_closed(&mut stream, DEADLINE).await, "{bytes:02x?}");
    }
    let requester = Requester::new(address);
    assert!(requester.request(&1.into(), DEADLINE).await.is_ok());
}

#[tokio::test]
async fn strangers_are_counted_and_others_go_on() {
    let (address, mut requests) = request_port(Limits {
        strangers_per_address: 5,
        ..Limits::default()
    })
    .await;
    // One that has shown itself takes no stranger's place.
    let requester = Requester::new(&address);
    let payload = Value::from(1);
    let (reply, ()) = tokio::join!(requester.request(&payload, DEADLINE), async {
        let incoming = requests.recv().await.unwrap();
        incoming.peer.trust_client("somebody");
        incoming.answer(1.into());
    });
    assert!(reply.is_ok());
    echo(requests);
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(TcpStream::connect(&address).await.unwrap());
    }
    // Connections are accepted in order: a sixth takes the place of the oldest.
    let mut newcomer = TcpStream::connect(&address).await.unwrap();
    assert!(is_closed(&mut held[0], DEADLINE).await);
    for open in held[1..].iter_mut().chain([&mut newcomer]) {
        assert!(!is_closed(open, Duration::ZERO).await);
    }
    assert!(requester.request(&2.into(), DEADLINE).await.is_ok());
    drop(held);
    assert!(
        Requester::new(address)
            .request(&3.into(), DEADLINE)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn large_messages_of_strangers_share_their_room() {
    let (address, requests) = request_port(Limits {
        large_message_bytes: 2 << 20, // half of it for addresses of minions, such as this machine
        ..Limits::default()
    })
    .await;
    echo(requests);
    let mut holder = TcpStream::connect(&address).await.unwrap();
    let mut part = b"\x82\xa4head\x80\xa4body\xdb\x00\x0c\x00\x00".to_vec();
    part.resize(1000, b'x');
    holder.write_all(&part).await.unwrap();
    let requester = Requester::new(address);
    let large = Value::Bin(vec![0xff; 700_000]);
    // Refused from when the holder's message is charged until its connection is gone.
    request_until(&requester, &large, Reply::Refused).await;
    assert!(
        requester
            .request(&Value::Bin(vec![0xff; 60_000]), DEADLINE)
            .await
            .is_ok()
    );
    drop(holder);
    request_until(&requester, &large, Reply::Given).await;
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Reply {
    Given,
    Refused,
}

/// Repeats a request until it ends as expected.
async fn request_until(requester: &Requester, payload: &Value, expected: Reply) {
    let requests = async {
        loop {
            let ended = match requester.request(payload, Duration::from_secs(5)).await {
                Ok(_) => Reply::Given,
                Err(_) => Reply::Refused,
            };
            if ended == expected {
                return;
            }
        }
    };
    let in_time = timeout(DEADLINE, requests).await;
    assert!(in_time.is_ok(), "no request was {expected:?}");
}

fn id(text: &str) -> MinionId {
    MinionId::parse(text).unwrap()
}

fn publication(load: &str, audience: Audience) -> Publication {
    let publish = Publish {
        load: load.into(),
        signature: None,
    };
    Publication {
        payload: publish.to_bytes().into(),
        audience,
    }
}

async fn publish_port(limits: Limits) -> (String, Publisher, mpsc::Receiver<Presence>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let publisher = Publisher::default();
    let (sender, presence) = mpsc::channel(16);
    let identify = Arc::new(|body: &Value| body.as_str().and_then(|id| MinionId::parse(id).ok()));
    let serving = publish::serve(
        listener,
        limits,
        publisher.clone(),
        identify,
        sender,
        std::future::pending(),
    );
    tokio::spawn(serving);
    (address, publisher, presence)
}

#[tokio::test]
async fn publishes_reach_whom_they_are_for() {
    let (address, publisher, mut presence) = publish_port(Limits::default()).await;
    let mut one = Subscription::open(&address, &"m1".into()).await.unwrap();
    assert_eq!(presence.recv().await, Some(Presence::Identified(id("m1"))));
    let mut two = Subscription::open(&address, &"m2".into()).await.unwrap();
    assert_eq!(presence.recv().await, Some(Presence::Identified(id("m2"))));
    let mut unknown = Subscription::open(&address, &Value::Nil).await.unwrap();
    // Publishes for some minions reach a subscriber that has not identified itself, as soon as it is there.
    let probe = publication("probe", Audience::Minions(vec![id("nobody")]));
    loop {
        assert_eq!(publisher.publish(&probe), 0);
        let answered = timeout(Duration::from_millis(20), unknown.next()).await;
        if answered.is_ok_and(|publish| publish.unwrap().load == b"probe") {
            break;
        }
    }
    assert_eq!(publisher.present(), [id("m1"), id("m2")]);
    assert_eq!(
        publisher.publish(&publication("for m2", Audience::Minions(vec![id("m2")]))),
        0
    );
    assert_eq!(
        publisher.publish(&publication("for all", Audience::Everyone)),
        0
    );
    assert_eq!(one.next().await.unwrap().load, b"for all");
    for subscription in [&mut two, &mut unknown] {
        let mut first = subscription.next().await.unwrap();
        while first.load == b"probe" {
            first = subscription.next().await.unwrap();
        }
        assert_eq!(first.load, b"for m2");
        assert_eq!(subscription.next().await.unwrap().load, b"for all");
    }
    drop(two);
    assert_eq!(presence.recv().await, Some(Presence::Gone(id("m2"))));
    assert_eq!(publisher.present(), [id("m1")]);
}

/// All minions behind one address, after their master has restarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_identifies_itself_at_once_makes_no_room_for_those_behind_it() {
    const MINIONS: usize = 400;
    let (address, publisher, mut presence) = publish_port(Limits {
        strangers_per_address: 40,
        ..Limits::default()
    })
    .await;
    tokio::spawn(async move { while presence.recv().await.is_some() {} });
    let connect = move || -> Vec<_> {
        let minions = (0..MINIONS).map(|n| {
            let mut stream = std::net::TcpStream::connect(&address).unwrap();
            let id = Value::from(format!("m{n}"));
            std::io::Write::write_all(&mut stream, &tcp::encode(&Map::new(), &id)).unwrap();
            stream
        });
        minions.collect()
    };
    let minions = tokio::task::spawn_blocking(connect).await.unwrap();
    let all = async {
        while publisher.present().len() < MINIONS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let in_time = timeout(Duration::from_secs(5), all).await;
    assert!(in_time.is_ok(), "{} are in", publisher.present().len());
    drop(minions);
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_delays_nobody() {
    let (address, publisher, mut presence) = publish_port(Limits {
        publish_queue: 10,
        // Longer than it takes to fill the socket and the queue, even on a busy machine.
        io_timeout: Duration::from_secs(3),
        ..Limits::default()
    })
    .await;
    let stuck = Subscription::open(&address, &"m1".into()).await.unwrap();
    presence.recv().await.unwrap();
    let mut reading = Subscription::open(&address, &"m2".into()).await.unwrap();
    presence.recv().await.unwrap();
    let large = "x".repeat(1 << 20);
    let mut lost = 0;
    while lost == 0 {
        lost += publisher.publish(&publication(&large, Audience::Everyone));
        assert_eq!(reading.next().await.unwrap().load.len(), 1 << 20);
    }
    let gone = timeout(DEADLINE, presence.recv()).await.unwrap();
    assert_eq!(gone, Some(Presence::Gone(id("m1"))));
    drop(stuck);
}

#[tokio::test]
async fn a_subscriber_must_identify_itself_in_time() {
    let (address, _publisher, _presence) = publish_port(Limits {
        identification: Duration::from_millis(100),
        ..Limits::default()
    })
    .await;
    let mut stream = TcpStream::connect(&address).await.unwrap();
    assert!(is_closed(&mut stream, DEADLINE).await);
}

#[tokio::test]
async fn answers_in_clear_do_not_keep_a_connection() {
    let io_timeout = Duration::from_millis(600);
    let (address, requests) = request_port(Limits {
        io_timeout,
        ..Limits::default()
    })
    .await;
    echo(requests);
    let mut stranger = TcpStream::connect(&address).await.unwrap();
    let began = std::time::Instant::now();
    let asking = async {
        loop {
            let asked = stranger.write_all(b"\x82\xa4head\x80\xa4body\x01").await;
            let mut answer = [0; 64];
            if asked.is_err() || !matches!(stranger.read(&mut answer).await, Ok(1..)) {
                return;
            }
            tokio::time::sleep(io_timeout / 8).await;
        }
    };
    timeout(DEADLINE, asking).await.unwrap();
    assert!(began.elapsed() >= io_timeout);
}

#[tokio::test]
async fn a_master_that_has_yet_to_prove_its_key_is_heard_briefly() {
    let (address, requests) = request_port(Limits::default()).await;
    echo(requests);
    let requester = Requester::new(&address).untrusted();
    let large = Value::Bin(vec![0xff; 100_000]);
    assert!(requester.request(&1.into(), DEADLINE).await.is_ok());
    assert!(requester.request(&large, DEADLINE).await.is_err());
    requester.trust();
    assert_eq!(requester.request(&large, DEADLINE).await.unwrap(), large);
}

//! Both ZeroMQ ports with our own ends, with raw bytes, and as golden vectors say them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use brine_net::channel::{Audience, Incoming, Limits, Publication};
use brine_net::crypto::topic;
use brine_net::zeromq::client::{ClientConfig, RequestError, Requester, Subscription, Topics};
use brine_net::zeromq::publish::Topics as Published;
use brine_testkit::DEADLINE;
use brine_wire::network::MinionId;
use brine_wire::network::publish::Publish;
use brine_wire::{Map, Value};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::vectors::{from_hex, vectors};
use crate::zeromq_server::{Server, ServerConfig};

const SECOND: Duration = Duration::from_secs(1);

async fn bind(config: &ServerConfig) -> (Server, mpsc::Receiver<Incoming>) {
    let (handler, requests) = crate::requests::channel();
    (Server::start(config, handler).await, requests)
}

fn echo(mut requests: mpsc::Receiver<Incoming>) {
    tokio::spawn(async move {
        while let Some(mut incoming) = requests.recv().await {
            let payload = incoming.take_payload();
            incoming.answer(payload);
        }
    });
}

fn requester(server: &Server) -> Requester {
    Requester::open(ClientConfig::requests("127.0.0.1", server.ret_port))
}

fn map(number: i64) -> Value {
    let map: Map = [("number", number)].into_iter().collect();
    Value::Map(map)
}

#[tokio::test]
async fn requests_get_their_replies_from_many_at_once() {
    let (server, requests) = bind(&ServerConfig::default()).await;
    echo(requests);
    let requesters: Vec<_> = (0..8).map(|_| requester(&server)).collect();
    for round in 0..20 {
        for (requester, number) in requesters.iter().zip(round..) {
            let reply = requester.request(&map(number), DEADLINE).await.unwrap();
            assert_eq!(reply, map(number));
        }
    }
    let large: Map = [("load", Value::Bin(vec![0xff; 3_000_000]))]
        .into_iter()
        .collect();
    let large = Value::Map(large);
    assert_eq!(
        requesters[0].request(&large, DEADLINE).await.unwrap(),
        large
    );
}

#[tokio::test]
async fn a_forgotten_request_is_answered_and_rubbish_too() {
    let (server, mut requests) = bind(&ServerConfig::default()).await;
    let requester = requester(&server);
    let payload = map(1);
    let (reply, ()) = tokio::join!(requester.request(&payload, DEADLINE), async {
        let incoming = requests.recv().await.unwrap();
        assert_eq!(incoming.peer.address, Some([127, 0, 0, 1].into()));
        drop(incoming);
    });
    assert_eq!(reply.unwrap(), "bad load".into());
    let reply = requester.request(&"no map".into(), DEADLINE).await.unwrap();
    assert_eq!(reply, "bad load".into());
}

#[tokio::test]
async fn requests_that_wait_for_their_answers_delay_no_others() {
    let (server, mut requests) = bind(&ServerConfig::default()).await;
    let requesters: Vec<_> = (0..20).map(|_| requester(&server)).collect();
    let mut under_way = tokio::task::JoinSet::new();
    for (requester, number) in requesters.into_iter().zip(0..) {
        under_way.spawn(async move { requester.request(&map(number), DEADLINE).await });
    }
    // All wait for their answers at the same time.
    let mut waiting = Vec::new();
    while waiting.len() < 20 {
        waiting.push(requests.recv().await.unwrap());
    }
    for mut incoming in waiting {
        let payload = incoming.take_payload();
        incoming.answer(payload);
    }
    while let Some(reply) = under_way.join_next().await {
        assert!(reply.unwrap().is_ok());
    }
}

#[tokio::test]
async fn after_a_lost_reply_the_requester_goes_on() {
    let (server, mut requests) = bind(&ServerConfig::default()).await;
    let requester = requester(&server);
    let late = requester.request(&map(1), SECOND).await; // time enough to send it
    assert!(matches!(late, Err(RequestError::NoReply { .. })));
    requests.recv().await.unwrap().answer("late".into());
    echo(requests);
    assert_eq!(requester.request(&map(2), DEADLINE).await.unwrap(), map(2));
}

#[tokio::test]
async fn a_request_whose_connection_is_lost_does_not_wait_for_its_time() {
    let (server, mut requests) = bind(&ServerConfig::default()).await;
    let requester = requester(&server);
    let payload = map(1);
    let (lost, held) = tokio::join!(
        requester.request(&payload, Duration::from_secs(3600)),
        async {
            let held = requests.recv().await.unwrap();
            drop(server); // at once, with the request under way
            held
        }
    );
    assert!(matches!(lost, Err(RequestError::Lost { .. })), "{lost:?}");
    drop(held);
}

#[tokio::test]
async fn a_request_made_before_there_is_a_master_is_answered_once_there_is() {
    let (server, _requests) = bind(&ServerConfig::default()).await;
    let ret_port = server.ret_port;
    server.end().await;
    let requester = Requester::open(ClientConfig::requests("127.0.0.1", ret_port));
    let payload = map(1);
    let (reply, _server) = tokio::join!(requester.request(&payload, DEADLINE), async {
        let (server, requests) = bind(&ServerConfig {
            ret_port,
            ..ServerConfig::default()
        })
        .await;
        echo(requests);
        server
    });
    assert_eq!(reply.unwrap(), payload);
}

#[tokio::test]
async fn a_restarted_server_is_found_again() {
    let (server, requests) = bind(&ServerConfig::default()).await;
    echo(requests);
    let requester = requester(&server);
    requester.request(&map(1), DEADLINE).await.unwrap();
    let again = ServerConfig {
        ret_port: server.ret_port,
        publish_port: server.publish_port,
        ..ServerConfig::default()
    };
    server.end().await;
    let (_server, requests) = bind(&again).await;
    echo(requests);
    // What goes out before the end of the old connection is known is lost with it, and told so.
    let reply = loop {
        match requester.request(&map(2), DEADLINE).await {
            Err(RequestError::Lost { .. }) => {}
            reply => break reply,
        }
    };
    assert_eq!(reply.unwrap(), map(2));
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

fn subscribe(server: &Server, topics: &Topics) -> Subscription {
    Subscription::open(
        ClientConfig::publishes("127.0.0.1", server.publish_port),
        topics,
    )
}

/// The loads of all publishes until the mark, which is published until it comes: a subscription
/// takes effect some time after it was opened.
async fn until(mark: &str, server: &Server, subscription: &mut Subscription) -> Vec<String> {
    let mut loads = Vec::new();
    loop {
        let end = publication(mark, Audience::Everyone);
        assert_eq!(server.publisher.publish(&end), 0);
        while let Ok(publish) = timeout(SECOND / 10, subscription.next()).await {
            let load = String::from_utf8(publish.unwrap().load).unwrap();
            if load == mark {
                return loads;
            }
            loads.push(load);
        }
    }
}

#[tokio::test]
async fn publishes_are_for_everybody_or_for_those_named() {
    for zmq_filtering in [false, true] {
        let (server, _requests) = bind(&ServerConfig {
            topics: Published {
                filtering: zmq_filtering,
                syndics: false,
            },
            ..ServerConfig::default()
        })
        .await;
        let id = |name| MinionId::parse(name).unwrap();
        let mut all = subscribe(&server, &Topics::All);
        let mut one = match zmq_filtering {
            true => subscribe(&server, &Topics::Minion(id("m1"))),
            false => subscribe(&server, &Topics::All),
        };
        if !zmq_filtering {
            until("ready", &server, &mut all).await;
        }
        until("ready", &server, &mut one).await;
        for (load, audience) in [
            ("for m1", Audience::Minions(vec![id("m1"), id("m3")])),
            ("for m2", Audience::Minions(vec![id("m2")])),
            ("for nobody known", Audience::Minions(vec![])),
        ] {
            let publication = publication(load, audience);
            assert_eq!(server.publisher.publish(&publication), 0);
        }
        let heard = until("end", &server, &mut one).await;
        let heard: Vec<_> = heard.iter().filter(|load| *load != "ready").collect();
        if zmq_filtering {
            assert_eq!(heard, ["for m1", "for nobody known"]);
        } else {
            assert_eq!(heard, ["for m1", "for m2", "for nobody known"]);
        }
        assert_eq!(topic(&id("m1")), vectors()["topics"][0]["topic"]);
    }
}

/// Speaks bytes: each step sends, and then waits for what is expected. (libzmq closes connections
/// that send messages before they have read its READY.)
fn talk(port: u16, steps: &[[Vec<u8>; 2]]) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    for [sent, expected] in steps {
        stream.write_all(sent).unwrap();
        let mut found = vec![0; expected.len()];
        stream.read_exact(&mut found).unwrap();
        let skipped = if sent.first() == Some(&0xff) { 10 } else { 0 };
        assert_eq!(found[skipped..], expected[skipped..]); // a greeting's first bytes are anybody's
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_on_the_wire_are_those_of_the_vectors() {
    let vectors = vectors();
    let zmtp = &vectors["zmtp"];
    assert_eq!(zmtp.as_object().unwrap().len(), 12);
    let (server, requests) = bind(&ServerConfig::default()).await;
    echo(requests);
    let row = |name: &str| from_hex(&zmtp[name]);
    let greeting = || [row("greeting_3_1_null"), row("greeting_3_1_null")];
    let request = row("request_envelope");
    assert!(request.ends_with(&row("request_payload")));
    talk(
        server.ret_port,
        &[
            greeting(),
            [row("ready_req"), row("ready_router")],
            [request.clone(), request],
        ],
    );
    for name in [
        "subscribe_all",
        "subscribe_broadcast",
        "subscribe_all_as_message_3_0",
    ] {
        let subscribed = [row(name), row("ping_ttl0")].concat();
        talk(
            server.publish_port,
            &[
                greeting(),
                [row("ready_sub"), row("ready_pub")],
                [subscribed, row("pong")],
            ],
        );
    }
}

#[tokio::test]
async fn strangers_bytes_harm_nobody() {
    let (server, requests) = bind(&ServerConfig {
        limits: Limits {
            max_message_bytes: 1 << 20,
            identification: SECOND,
            ..Limits::default()
        },
        ..ServerConfig::default()
    })
    .await;
    echo(requests);
    let zmtp = &vectors()["zmtp"];
    let ready = [
        from_hex(&zmtp["greeting_3_1_null"]),
        from_hex(&zmtp["ready_req"]),
    ]
    .concat();
    let huge = [&ready[..], b"\x02\x00\x00\x01\x00\x00\x00\x00\x00"].concat();
    for port in [server.ret_port, server.publish_port] {
        for bytes in [
            &b""[..],
            b"GET / HTTP/1.1\r\n\r\n",
            b"\xff\0\0",
            &huge,
            b"\x16\x03\x01",
        ] {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(bytes).unwrap();
        }
    }
    let requester = requester(&server);
    assert_eq!(requester.request(&map(1), DEADLINE).await.unwrap(), map(1));
}

#[tokio::test]
async fn a_subscription_knows_whether_it_is_connected() {
    let (server, _requests) = bind(&ServerConfig::default()).await;
    let port = server.publish_port;
    let client = ClientConfig {
        recon_default: Duration::from_millis(50),
        recon_max: Duration::from_millis(100),
        ..ClientConfig::publishes("127.0.0.1", port)
    };
    let subscription = Subscription::open(client, &Topics::All);
    let mut connected = subscription.connected();
    let mut becomes = async |wanted: bool| {
        let came = timeout(DEADLINE, connected.wait_for(|is| *is == wanted)).await;
        assert!(came.is_ok_and(|changed| changed.is_ok()), "{wanted}");
    };
    becomes(true).await;
    server.end().await;
    becomes(false).await;
    let again = ServerConfig {
        publish_port: port,
        ..ServerConfig::default()
    };
    let _server = bind(&again).await;
    becomes(true).await;
}

#[tokio::test]
async fn a_master_that_has_yet_to_prove_its_key_is_heard_briefly() {
    let (server, requests) = bind(&ServerConfig::default()).await;
    echo(requests);
    let requester = requester(&server).untrusted();
    let large: Map = [("load", Value::Bin(vec![0xff; 100_000]))]
        .into_iter()
        .collect();
    let large = Value::Map(large);
    assert!(requester.request(&map(1), DEADLINE).await.is_ok());
    let refused = requester.request(&large, DEADLINE).await;
    assert!(
        matches!(refused, Err(RequestError::Frame(_))),
        "{refused:?}"
    );
    requester.trust();
    assert_eq!(requester.request(&large, DEADLINE).await.unwrap(), large);
}

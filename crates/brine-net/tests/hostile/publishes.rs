//! Strangers at the publish port that act as a minion: under its id, with its topics, or with what it identifies itself
//! with. They hear what only the shared key opens, and take and delay nothing of the minion's.

use std::future::pending;
use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use brine_net::channel::{Audience, Limits, Publication};
use brine_net::crypto::topic;
use brine_net::tcp;
use brine_net::tcp::publish as tcp_publish;
use brine_net::zeromq::client::{ClientConfig, Subscription, Topics};
use brine_net::zeromq::publish::Topics as Published;
use brine_wire::network::MinionId;
use brine_wire::network::publish::Publish;
use brine_wire::network::tcp::encode;
use brine_wire::network::zmtp::GREETING;
use brine_wire::{Map, Value};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::master::{DEADLINE, Master};
use crate::zeromq_server::{Server, ServerConfig};

/// How many publishes the minion must get, one after the other; together far more than a socket holds.
const ROUNDS: u8 = 40;
const LARGE: usize = 256 * 1024;

fn limits() -> Limits {
    Limits {
        publish_queue: 10,
        ..Limits::default()
    }
}

fn minion() -> MinionId {
    MinionId::parse("m1").unwrap()
}

fn publication(number: u8) -> Publication {
    let mut load = vec![b'x'; LARGE];
    load[0] = number;
    let publish = Publish {
        load,
        signature: None,
    };
    Publication {
        payload: publish.to_bytes().into(),
        audience: Audience::Minions(vec![minion()]),
    }
}

/// Connects as libzmq does for a minion with this id, and subscribes to topics.
fn subscriber(port: u16, topics: &[&str]) -> TcpStream {
    let mut stream = Master::connect(port);
    let mut opening = GREETING.to_vec();
    opening.extend(b"\x04\x28\x05READY\x0bSocket-Type\0\0\0\x03SUB\x08Identity\0\0\0\x02m1");
    for topic in topics {
        opening.extend([0, u8::try_from(topic.len() + 1).unwrap(), 1]);
        opening.extend(topic.as_bytes());
    }
    stream.write_all(&opening).unwrap();
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_subscribes_as_a_minion_takes_nothing_from_it_over_zeromq() {
    for filtering in [false, true] {
        let config = ServerConfig {
            topics: Published {
                filtering,
                syndics: false,
            },
            limits: limits(),
            ..ServerConfig::default()
        };
        let (handler, _requests) = crate::requests::channel();
        let server = Server::start(&config, handler).await;
        let port = server.publish_port;
        let topics = match filtering {
            true => Topics::Minion(minion()),
            false => Topics::All,
        };
        let config = ClientConfig::publishes("127.0.0.1", port);
        let mut honest = Subscription::open(config, &topics);
        let publish = |number| {
            let _ = server.publisher.publish(&publication(number));
        };
        // A connection is no subscription yet.
        while timeout(Duration::from_millis(50), honest.next())
            .await
            .is_err()
        {
            publish(255);
        }
        let hash = topic(&minion());
        // They read nothing, so that what is for them fills their queues.
        let _deaf: Vec<_> = (0..20)
            .map(|_| subscriber(port, &["", "broadcast", &hash, &hash[..7]]))
            .collect();
        for number in 0..ROUNDS {
            let mut leaving = subscriber(port, &["", &hash]);
            leaving.write_all(b"\0\x01\0").unwrap(); // cancels
            let mut rude = subscriber(port, &[&hash]);
            rude.write_all(b"\x07rubbish").unwrap();
            publish(number);
            loop {
                let found = timeout(DEADLINE, honest.next()).await.unwrap().unwrap();
                // What was published to find out whether it hears may still be on its way.
                if found.load[0] != 255 {
                    assert_eq!(found.load[0], number, "filtering: {filtering}");
                    break;
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_that_identifies_itself_as_a_minion_takes_nothing_from_it_over_tcp() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let publisher = tcp_publish::Publisher::default();
    let identify = |body: &Value| (body.as_str() == Some("proof of m1")).then(minion);
    let (changes, mut changed) = mpsc::channel(1000);
    tokio::spawn(tcp_publish::serve(
        listener,
        limits(),
        publisher.clone(),
        Arc::new(identify),
        changes,
        pending(),
    ));
    let proof = "proof of m1".into();
    let open = || tcp::client::Subscription::open(address.to_string(), &proof);
    let mut honest = open().await.unwrap();
    changed.recv().await.unwrap();
    let stranger = |words: &str| {
        let mut stream = Master::connect(address.port());
        let bytes = encode(&Map::new(), &words.into());
        stream.write_all(&bytes).unwrap();
        stream
    };
    // Some have recorded what the minion said on a connection without TLS.
    let _deaf: Vec<_> = (0..20)
        .flat_map(|_| ["m1", "proof of m1"].map(stranger))
        .collect();
    for number in 0..ROUNDS {
        drop(stranger("proof of m1"));
        let mut rude = stranger("proof of m1");
        rude.write_all(b"\xc1").unwrap();
        let _ = publisher.publish(&publication(number));
        let found = timeout(DEADLINE, honest.next()).await.unwrap().unwrap();
        assert_eq!(found.load[0], number);
        while changed.try_recv().is_ok() {}
        // However many of them have left, the minion is present.
        assert_eq!(publisher.present(), [minion()]);
    }
}

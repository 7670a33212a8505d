//! Acknowledgements that never come: of messages that are stored, by a server that is killed after that.

use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use brine_testkit::nats::Server;
use brine_testkit::proxy::Proxy;
use brine_testkit::wait_until;
use futures_util::StreamExt as _;

use crate::member::Member;

/// How many messages the stream has.
async fn stored(server: &Server) -> u64 {
    let Ok(client) = async_nats::connect(server.address()).await else {
        return 0;
    };
    let stream = async_nats::jetstream::new(client).get_stream("SALT").await;
    stream.map_or(0, |stream| stream.cached_info().state.messages)
}

/// The ids of all messages of the stream, in its order.
async fn ids(server: &Server) -> Vec<String> {
    let client = async_nats::connect(server.address()).await.unwrap();
    let stream = async_nats::jetstream::new(client).get_stream("SALT").await;
    let stream = stream.unwrap();
    let count = usize::try_from(stream.cached_info().state.messages).unwrap();
    let consumer = stream.create_consumer(pull::Config {
        deliver_policy: DeliverPolicy::All,
        ack_policy: AckPolicy::None,
        ..pull::Config::default()
    });
    let messages = consumer.await.unwrap().messages().await.unwrap();
    let ids = messages.take(count).map(|message| {
        let headers = message.unwrap().headers.clone().unwrap();
        headers.get("Nats-Msg-Id").unwrap().to_string()
    });
    ids.collect().await
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}

#[test]
fn messages_whose_acknowledgements_are_lost_are_in_the_stream_once() {
    let mut server = Server::start();
    let proxy = Proxy::start(server.port());
    let publisher = Member::start("m1", &format!("nats://127.0.0.1:{}", proxy.port()));
    let reader = Member::start("m2", &server.address());
    publisher.wait_connected();
    reader.wait_connected();
    let mut fired = 0;
    let mut fire = |count: u64| {
        (fired..fired + count).for_each(|nth| publisher.fire(nth));
        fired += count;
        fired
    };
    let all = fire(300);
    wait_until("the first are published", || publisher.published() == all);
    for is_killed in [false, true, true] {
        proxy.swallow(true);
        let before = publisher.published();
        let all = fire(300);
        wait_until("the stream has them", || {
            // Those that come after the first batch are sent when that is given up.
            block_on(stored(&server)) > before
        });
        assert_eq!(publisher.published(), before, "an acknowledgement came");
        if is_killed {
            server.kill();
            server.up();
        }
        proxy.swallow(false);
        proxy.cut();
        wait_until("all are published", || publisher.published() == all);
    }
    wait_until("all are read", || {
        reader.numbers("m1").len() as u64 >= fired
    });
    assert_eq!(reader.numbers("m1"), (0..fired).collect::<Vec<_>>());
    let found = block_on(ids(&server));
    let sequences = found.iter().map(|id| id.split_once('-').unwrap().1);
    let sequences: Vec<u64> = sequences.map(|seq| seq.parse().unwrap()).collect();
    assert_eq!(sequences, (1..=fired).collect::<Vec<_>>());
}

//! A cluster of three servers as it comes: one of them is killed at a time, and nobody waits for it.

use brine_bridge::nats::{Connection, StreamOptions};
use brine_testkit::nats::Server;
use brine_testkit::wait_until;

use crate::member::Member;

#[test]
fn a_cluster_of_three_loses_nothing_when_each_is_killed_in_turn() {
    let mut servers = Server::start_cluster();
    let connection = Connection {
        servers: servers.iter().map(Server::address).collect(),
        ..Connection::default()
    };
    let stream = StreamOptions {
        replicas: 3,
        ..StreamOptions::default()
    };
    let members =
        ["m1", "m2"].map(|name| Member::start_on(name, connection.clone(), stream.clone()));
    for member in &members {
        member.wait_connected();
    }
    let mut fired = 0;
    let mut pass_on = |what: &str| {
        for nth in fired..fired + 400 {
            members.iter().for_each(|member| member.fire(nth));
        }
        fired += 400;
        for (here, there) in [(0, "m2"), (1, "m1")] {
            wait_until(what, || members[here].numbers(there).len() as u64 >= fired);
        }
        fired
    };
    pass_on("events while all are there");
    for server in &mut servers {
        server.kill();
        // The others agree on a leader, and store what comes.
        pass_on("events while one is away");
        server.up();
    }
    let fired = pass_on("events when all are back");
    let numbers: Vec<_> = (0..fired).collect();
    for member in &members {
        for of in ["m1", "m2"] {
            assert_eq!(member.numbers(of), numbers, "{of} at {}", member.name);
        }
        assert_eq!(member.figures().holes, 0);
    }
    let replicas = replicas(&servers);
    assert_eq!(replicas, (3, 2));
}

/// How many servers are to keep the stream, and how many beside its leader do.
fn replicas(servers: &[Server]) -> (usize, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        let client = async_nats::connect(servers[0].address()).await.unwrap();
        let stream = async_nats::jetstream::new(client).get_stream("SALT").await;
        let info = stream.unwrap().cached_info().clone();
        let cluster = info.cluster.unwrap();
        (info.config.num_replicas, cluster.replicas.len())
    })
}

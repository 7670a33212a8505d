//! Five thousand connections of one address that say nothing.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use brine_net::channel::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::honest::Minion;
use crate::master::{ALL, Master, Transport};
use crate::scanners::resident;

const CROWD: usize = 5_000;

/// What a connection that has said nothing may cost, with this test's own end of it.
const EACH: u64 = 40 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_one_address_costs_a_bounded_amount_over_tcp() {
    a_crowd_costs_a_bounded_amount(Transport::Tcp).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_one_address_costs_a_bounded_amount_over_zeromq() {
    a_crowd_costs_a_bounded_amount(Transport::ZeroMq).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_one_address_costs_a_bounded_amount_over_ws() {
    a_crowd_costs_a_bounded_amount(Transport::Ws).await;
}

async fn a_crowd_costs_a_bounded_amount(transport: Transport) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let master = Master::with(transport, Limits::default(), |config| {
        config.rules.auto_accept = true;
    })
    .await;
    let minion = Minion::sign_in(&master, "m1").await;
    for port in [master.ret_port, master.publish_port] {
        let before = resident();
        let crowd = tokio::task::spawn_blocking(move || gather(port))
            .await
            .unwrap();
        minion.works().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        minion.works().await;
        let more = resident().saturating_sub(before);
        let most = EACH * CROWD as u64;
        assert!(
            more < most,
            "{transport:?}: {} KiB for each",
            more / 1024 / CROWD as u64
        );
        assert_eq!(crowd.len(), CROWD);
        minion.works().await;
    }
    minion.works().await;
    // There is room for others again.
    Minion::sign_in(&master, "m2").await;
}

/// As many connections as asked for; those the master closes at once count, since they were tried.
fn gather(port: u16) -> Vec<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    (0..CROWD)
        .map(|_| TcpStream::connect_timeout(&address, Duration::from_secs(30)).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_signs_in_beside_a_crowd_of_its_own_machine() {
    for transport in ALL {
        let limits = Limits {
            strangers_per_address: 50,
            ..Limits::default()
        };
        let master = Master::with(transport, limits, |config| {
            config.rules.auto_accept = true;
        })
        .await;
        let mut crowd = Vec::new();
        for _ in 0..100 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            // All of a machine's own addresses count as one.
            socket.bind(([127, 0, 0, 2], 0).into()).unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], master.ret_port));
            crowd.push(socket.connect(address).await.unwrap());
        }
        Minion::sign_in(&master, "m1").await;
    }
}

//! Options of the network between a master and a minion of ours: TLS, IPv6, our own end, keepalive.

use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

use brine_net::client::Requester;
use brine_net::{tcp, ws};
use brine_node::minion::MinionOptions;

use crate::support::{DEADLINE, Fixture, certificates};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_within_tls_works_and_lets_nobody_in_without() {
    for transport in ["tcp", "ws"] {
        println!("{transport}");
        let fixture = Fixture::new(transport);
        let [master_ssl, minion_ssl] = certificates(&fixture);
        let master = fixture
            .master(&format!("auto_accept: true\n{master_ssl}"))
            .await;
        let mut bus = fixture.master_bus().await;
        let minion = fixture.minion(master.ret_port, &minion_ssl);
        bus.next("salt/minion/m1/start").await;
        let address = format!("127.0.0.1:{}", master.ret_port);
        for plain in [
            Requester::Tcp(tcp::client::Requester::new(&*address)),
            Requester::Ws(ws::client::Requester::new(&*address)),
        ] {
            assert!(plain.request(&1.into(), DEADLINE).await.is_err());
        }
        minion.end().await;
        master.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_comes_from_its_source_ip() {
    for transport in ["tcp", "zeromq", "ws"] {
        println!("{transport}");
        // In the master's place something that looks whence it is called.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let fixture = Fixture::new(transport);
        let more = "source_ip: 127.0.0.3\ntcp_keepalive_idle: 10\ntcp_keepalive_cnt: 2\n";
        let minion = fixture.minion(port, more);
        let accepting = tokio::task::spawn_blocking(move || listener.accept().unwrap().1);
        let caller = accepting.await.unwrap();
        assert_eq!(caller.ip(), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)));
        minion.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_with_ipv6_is_reached_over_both() {
    for transport in ["tcp", "zeromq", "ws"] {
        println!("{transport}");
        let fixture = Fixture::new(transport);
        let more = "auto_accept: true\nipv6: true\n";
        let master = fixture.master_at("'::'", more).await;
        let mut bus = fixture.master_bus().await;
        for address in ["'::1'", "127.0.0.1"] {
            let more = format!("ipv6: true\ntcp_keepalive: false\nmaster: {address}\n");
            let minion = fixture.minion_of(master.ret_port, &more);
            bus.next("salt/minion/m1/start").await;
            minion.end().await;
        }
        let legacy =
            TcpStream::connect_timeout(&([127, 0, 0, 1], master.ret_port).into(), DEADLINE);
        assert!(legacy.is_ok());
        master.end().await;
    }
}

#[test]
fn tls_over_zeromq_is_refused_rather_than_left_out() {
    let fixture = Fixture::new("zeromq");
    let [_, ssl] = certificates(&fixture);
    for (ssl, is_refused) in [
        (ssl.as_str(), true),
        ("ssl: true\n", true),
        ("ssl: null\n", false),
        ("", false),
    ] {
        let loaded = fixture.configure_minion(4506, &format!("master: localhost\n{ssl}"));
        let options = MinionOptions::from_opts(&loaded.opts, &loaded.brine);
        assert_eq!(options.is_err(), is_refused, "{ssl}");
    }
}

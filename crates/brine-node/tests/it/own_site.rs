//! A master and a minion of ours: keys, jobs, events, and what goes wrong between them.

use std::fs;

use brine_net::keys::store::KeyState;
use brine_node::JobRequest;
use brine_testkit::proxy::Proxy;
use brine_wire::{Map, Value};

use crate::support::{Fixture, accept, publish, publish_job, send, set_key};

async fn each_transport<T>(run: impl AsyncFn(Fixture) -> T) {
    for transport in ["tcp", "zeromq", "ws"] {
        println!("{transport}");
        run(Fixture::new(transport)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_waits_for_its_key_starts_and_sends_events() {
    each_transport(async |fixture: Fixture| {
        let master = fixture.master("").await;
        let mut bus = fixture.master_bus().await;
        let minion = fixture.minion(master.ret_port, "");
        let auth = bus.next("salt/auth").await;
        assert_eq!(auth.get("act"), Some(&"pend".into()));
        accept(&fixture);
        bus.next("minion/refresh/m1").await;
        bus.next("minion_start").await;
        let start = bus.next("salt/minion/m1/start").await;
        assert_eq!(start.get("id"), Some(&"m1".into()));
        send(&fixture, "my/tag", 1..2).await;
        let event = bus.next("my/tag").await;
        let keys: Vec<_> = event.iter().map(|(key, _)| key.as_str().unwrap()).collect();
        assert_eq!(keys, ["id", "cmd", "pretag", "data", "tag", "ts", "_stamp"]);
        minion.end().await;
        master.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_connects_again_when_its_start_event_is_not_taken() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let mut bus = fixture.master_bus().await;
    let proxy = Proxy::start(master.ret_port);
    // The answers to the sign-in and to the request for the pillar.
    proxy.swallow_after(2);
    let minion = fixture.minion(
        proxy.port(),
        "request_channel_timeout: 2\nrequest_channel_tries: 1",
    );
    bus.tags_until("salt/auth").await;
    bus.tags_until("salt/auth").await;
    proxy.swallow(false);
    bus.next("salt/minion/m1/start").await;
    minion.end().await;
    master.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_master_that_is_away_and_keep_their_order() {
    each_transport(async |fixture: Fixture| {
        let master = fixture.master("auto_accept: true").await;
        let port = master.ret_port;
        let mut bus = fixture.master_bus().await;
        let minion = fixture.minion(port, "");
        bus.next("salt/minion/m1/start").await;
        master.end().await;
        send(&fixture, "away", 0..50).await;
        // The minion is held back until somebody listens.
        set_key(&fixture, KeyState::Pending);
        let again = fixture.master("").await;
        let mut bus = fixture.master_bus().await;
        accept(&fixture);
        for n in 0..50 {
            let event = bus.next("away").await;
            let data = event.get("data").and_then(Value::as_map).unwrap();
            assert_eq!(data.get("n"), Some(&n.into()));
        }
        minion.end().await;
        again.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_with_failover_turns_to_the_next_master_and_loses_nothing() {
    each_transport(async |fixture: Fixture| {
        let other = Fixture::new(&fixture.transport);
        let [first, second] = [&fixture, &other].map(|fixture| fixture.ports[0]);
        let one = fixture.master("auto_accept: true").await;
        let mut bus = fixture.master_bus().await;
        let config = format!(
            "master: ['127.0.0.1:{first}', '127.0.0.1:{second}']\nmaster_type: failover\n\
             auth_timeout: 1\nrequest_channel_timeout: 1"
        );
        let minion = fixture.minion_of(first, &config);
        bus.next("salt/minion/m1/start").await;
        one.end().await;
        // Masters that stand in for each other have one key.
        fs::create_dir_all(other.path("m/pki")).unwrap();
        for name in ["master.pem", "master.pub"] {
            let [from, to] = [&fixture, &other].map(|fixture| fixture.path("m/pki").join(name));
            fs::copy(from, to).unwrap();
        }
        send(&fixture, "failover", 0..10).await;
        let two = other.master("auto_accept: true").await;
        let mut bus = other.master_bus().await;
        bus.next("salt/minion/m1/start").await;
        send(&fixture, "failover", 10..11).await;
        let mut last = None;
        while last != Some(10) {
            let event = bus.next("failover").await;
            let data = event.get("data").and_then(Value::as_map).unwrap();
            let n = data.get("n").unwrap().as_int();
            assert!(last.is_none() || n == last.map(|n| n + 1), "{last:?} {n:?}");
            last = n;
        }
        minion.end().await;
        two.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_several_masters_events_go_to_all_and_a_return_to_the_one_that_asked() {
    let (fixture, other) = (Fixture::new("tcp"), Fixture::new("tcp"));
    let [first, second] = [&fixture, &other].map(|fixture| fixture.ports[0]);
    let masters = [
        fixture.master("auto_accept: true").await,
        other.master("auto_accept: true").await,
    ];
    let (mut bus, mut other_bus) = (fixture.master_bus().await, other.master_bus().await);
    let config = format!("master: ['127.0.0.1:{first}', '127.0.0.1:{second}']\nopen_mode: true");
    let minion = fixture.minion_of(first, &config);
    bus.next("salt/minion/m1/start").await;
    other_bus.next("salt/minion/m1/start").await;
    send(&fixture, "to/all", 0..1).await;
    bus.next("to/all").await;
    other_bus.next("to/all").await;

    let published = publish(&masters[1], "test.ping", &[]).await;
    let ret = other_bus.next("salt/job/*/ret/m1").await;
    assert_eq!(ret.get("jid"), published.get("jid"));
    send(&fixture, "after/job", 0..1).await;
    // Had the return gone to this master too, it would stand before what was sent after it.
    let tag = bus.next_of(&["after/job", "salt/job/*/ret/*"]).await;
    assert_eq!(tag, "after/job");
    minion.end().await;
    for master in masters {
        master.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotation_requested_by_file_is_fired_and_all_minions_return() {
    each_transport(async |fixture: Fixture| {
        let config = "auto_accept: true\nid: central\nloop_interval: 0.2\nping_on_rotate: true\n\
                      master_stats: true\nmaster_stats_event_iter: 0";
        let master = fixture.master(config).await;
        let mut bus = fixture.master_bus().await;
        let minion = fixture.minion(fixture.ports[0], "");
        bus.next("salt/minion/m1/start").await;
        brine_net::keys::dropfile::request(&fixture.path("m/cache"), "central").unwrap();
        assert_eq!(
            bus.next("key").await.get("rotate_aes_key"),
            Some(&true.into())
        );
        let ret = bus.next("salt/job/*/ret/m1").await;
        assert_eq!(ret.get("return"), Some(&true.into()));
        let stats = bus.next("salt/stats/*").await;
        assert_eq!(stats.get("pool"), Some(&"default".into()));
        minion.end().await;
        master.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_shows_its_autosign_grains_and_is_accepted() {
    for transport in ["tcp", "zeromq", "ws"] {
        let fixture = Fixture::new(transport);
        // Below the master's `root_dir`, which it would be put under anyway.
        let grains = fixture.path("m/autosign");
        fs::create_dir_all(&grains).unwrap();
        fs::write(grains.join("id"), "m1\n").unwrap();
        let options = format!("autosign_grains_dir: {}", grains.display());
        let master = fixture.master(&options).await;
        let mut bus = fixture.master_bus().await;
        let minion = fixture.minion(master.ret_port, "autosign_grains: [id]");
        bus.next("salt/minion/m1/start").await;
        minion.end().await;
        master.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_sees_the_metadata_of_its_job() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let mut bus = fixture.master_bus().await;
    let minion = fixture.minion(master.ret_port, "");
    bus.next("salt/minion/m1/start").await;
    let metadata: Map = [("ticket", "T-1")].into_iter().collect();
    let mut job = JobRequest::new("*", "glob", "test.kwarg");
    job.kwargs.insert("metadata", metadata.clone());
    publish_job(&master, job).await;
    let returned = bus.next("salt/job/*/ret/m1").await;
    let kwargs = returned.get("return").and_then(Value::as_map).unwrap();
    assert_eq!(kwargs.get("__pub_metadata"), Some(&Value::Map(metadata)));
    minion.end().await;
    master.end().await;
}

/// A master that was rebuilt behind the same address: the subscription reconnects, and nobody else would notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_notices_that_its_master_has_another_key() {
    each_transport(async |fixture: Fixture| {
        let master = fixture.master("auto_accept: true").await;
        let port = master.ret_port;
        let mut bus = fixture.master_bus().await;
        let minion = fixture.minion(port, "");
        bus.next("salt/minion/m1/start").await;
        let mut own = fixture.minion_bus().await;
        master.end().await;
        fs::remove_dir_all(fixture.path("m/pki")).unwrap();
        let again = fixture.master("auto_accept: true").await;
        let mut bus = fixture.master_bus().await;
        own.next("__master_disconnected").await;
        // It does not let the new key in until somebody says so.
        bus.next("salt/auth").await;
        let known = fixture.path("n/pki/minion_master.pub");
        let theirs = fixture.path("m/pki/master.pub");
        assert_ne!(
            fs::read_to_string(&known).unwrap(),
            fs::read_to_string(&theirs).unwrap()
        );
        fs::remove_file(&known).unwrap();
        bus.next("salt/minion/m1/start").await;
        minion.end().await;
        again.end().await;
    })
    .await;
}

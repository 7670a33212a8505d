//! A master and a minion of ours: keys, jobs, events, and what goes wrong between them.

use brine_net::keys::store::{KeyState, KeyStore};
use brine_wire::Value;
use brine_wire::network::MinionId;

use crate::support::{Place, send};

async fn each_transport<T>(run: impl AsyncFn(Place) -> T) {
    for transport in ["tcp", "zeromq"] {
        println!("{transport}");
        run(Place::new(transport)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_waits_for_its_key_starts_and_sends_events() {
    each_transport(async |place: Place| {
        let master = place.master("").await;
        let mut bus = place.master_bus().await;
        let minion = place.minion(master.ret_port, "");
        let auth = bus.next("salt/auth").await;
        assert_eq!(auth.get("act"), Some(&"pend".into()));
        let store = KeyStore::open(place.path("m/pki"), "3008".parse().unwrap()).unwrap();
        let id = MinionId::parse("m1").unwrap();
        let (_, pem) = store.find(&id).unwrap().unwrap();
        store.put(KeyState::Accepted, &id, &pem).unwrap();
        bus.next("minion/refresh/m1").await;
        bus.next("minion_start").await;
        let start = bus.next("salt/minion/m1/start").await;
        assert_eq!(start.get("id"), Some(&"m1".into()));
        send(&place, "my/tag", 1..2).await;
        let event = bus.next("my/tag").await;
        let keys: Vec<_> = event.iter().map(|(key, _)| key.as_str().unwrap()).collect();
        assert_eq!(keys, ["id", "cmd", "pretag", "data", "tag", "ts", "_stamp"]);
        minion.end().await;
        master.end().await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_wait_for_a_master_that_is_away_and_keep_their_order() {
    each_transport(async |place: Place| {
        let master = place.master("auto_accept: true").await;
        let port = master.ret_port;
        let mut bus = place.master_bus().await;
        let minion = place.minion(port, "");
        bus.next("salt/minion/m1/start").await;
        master.end().await;
        send(&place, "away", 0..50).await;
        let again = place.master("auto_accept: true").await;
        let mut bus = place.master_bus().await;
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

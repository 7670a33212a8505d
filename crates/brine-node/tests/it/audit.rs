//! The audit (`brine: {audit: true}`): who subscribed, who fired what belongs to the master, who changed a key.

use brine_bus::address::{Address, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::tokio::Publisher;
use brine_node::functions::Call;
use brine_wire::{Map, Value};

use crate::support::{DEADLINE, Fixture};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_says_who_subscribed_fired_and_changed_keys() {
    let fixture = Fixture::new("tcp");
    let master = fixture
        .master("auto_accept: true\nbrine: {audit: true}")
        .await;
    let mut bus = fixture.master_bus().await;
    let pid = Value::from(i64::from(std::process::id()));
    let _second = fixture.master_bus().await;
    let subscribed = bus.next("brine/audit/subscribed").await;
    assert_eq!(subscribed.get("pid"), Some(&pid));
    assert_eq!(subscribed.get("to"), Some(&"bus".into()));

    let address = Address::ipc(fixture.path("m/s"), &Node::Master).unwrap();
    let mut publisher = Publisher::new(&address, PublisherConfig::default());
    for tag in ["my/own", "salt//Key"] {
        let sent = publisher
            .fire_event(tag, &mut Map::new(), Some(DEADLINE))
            .await;
        sent.unwrap();
    }
    let fired = bus.next("brine/audit/fired").await;
    assert_eq!(fired.get("tag"), Some(&"salt//Key".into()));
    assert_eq!(fired.get("pid"), Some(&pid));

    let minion = fixture.minion(master.ret_port, "");
    let subscribed = bus.next("brine/audit/subscribed").await;
    assert_eq!(subscribed.get("id"), Some(&"m1".into()));
    let handle = master.handle.clone().unwrap();
    let mut delete = Call::new("key.delete");
    delete.args = vec!["m1".into()];
    let own = handle.own_caller();
    handle.wheel(delete, &own).await.unwrap();
    let changed = bus.next("brine/audit/key").await;
    for (name, value) in [("id", "m1"), ("by", "wheel"), ("act", "delete")] {
        assert_eq!(changed.get(name), Some(&value.into()), "{changed:?}");
    }
    assert_eq!(changed.get("user"), Some(&own.user().into()));
    minion.end().await;
    master.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_option_nothing_is_audited() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let mut bus = fixture.master_bus().await;
    let _second = fixture.master_bus().await;
    let handle = master.handle.clone().unwrap();
    handle.fire("salt/key", Map::new()).unwrap();
    handle.fire("the/end", Map::new()).unwrap();
    let tags = bus.tags_until("the/end").await;
    assert!(
        !tags.iter().any(|tag| tag.starts_with("brine/audit")),
        "{tags:?}"
    );
    master.end().await;
}

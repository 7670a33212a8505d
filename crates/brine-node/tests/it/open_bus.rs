//! What a program that can write to a node's bus cannot do: an event is only an event.
//!
//! Under `ipc_mode: tcp` every user of the machine can write to it. The buses here are on UNIX sockets all the same:
//! what counts is what the nodes are configured to think.

use std::time::Duration;

use brine_bus::address::{Address, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::tokio::Publisher;
use brine_wire::{Map, Value};

use crate::support::{DEADLINE, Fixture, own_publisher};

/// What once was a command on a master's bus, and its answer there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_has_a_master_publish() {
    let fixture = Fixture::new("tcp");
    let master = fixture.master("auto_accept: true").await;
    let mut bus = fixture.master_bus().await;
    let minion = fixture.minion(master.ret_port, "");
    bus.next("salt/minion/m1/start").await;
    let address = Address::ipc(fixture.path("m/s"), &Node::Master).unwrap();
    let mut publisher = Publisher::new(&address, PublisherConfig::default());
    let order = [
        ("tgt", "*"),
        ("fun", "test.ping"),
        ("tgt_type", "glob"),
        ("user", "root"),
    ];
    let mut order: Map = order.into_iter().collect();
    let sent = publisher.fire_event("brine/publish/1", &mut order, Some(DEADLINE));
    sent.await.unwrap();
    // It is on the bus as any other event, and the master has seen it before it publishes this.
    bus.next("brine/publish/1").await;
    let handle = master.handle.clone().unwrap();
    let job = brine_node::JobRequest::new("*", "glob", "test.version");
    let own = handle.publish(job, &handle.own_caller()).await.unwrap();
    let published = bus.next("salt/job/*/new").await;
    let own = own.jid.map(|jid| Value::from(jid.as_str()));
    assert_eq!(published.get("jid"), own.as_ref());
    assert_eq!(handle.stats().jobs_published, 1);
    minion.end().await;
    master.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_event_has_a_minion_run_a_function() {
    let fixture = Fixture::new("tcp");
    let minion = fixture.minion(fixture.ports[0], "");
    let mut bus = fixture.minion_bus().await;
    let mut publisher = own_publisher(&fixture);
    let marks = fixture.path("ran");
    let command = format!("touch {}", marks.display());
    let mut call = Map::from_iter([("fun", Value::from("cmd.run"))]);
    call.insert("arg", Value::Array(vec![command.into()]));
    let sent = publisher.fire_event("brine/call/1", &mut call, Some(DEADLINE));
    sent.await.unwrap();
    let handle = minion.minion.clone().unwrap();
    let ping = Map::from_iter([("fun", "test.ping")]);
    // Asked for later and run: the event would have been, too.
    let answer = handle.call(ping).await.unwrap();
    assert_eq!(answer.get("return"), Some(&true.into()));
    let mut last = Map::new();
    publisher
        .fire_event("last", &mut last, Some(DEADLINE))
        .await
        .unwrap();
    let tags = bus.tags_until("last").await;
    assert!(!tags.iter().any(|tag| tag.ends_with("/ret")), "{tags:?}");
    assert!(!marks.exists());
    minion.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_on_ports_shows_no_key_and_sends_no_requests_that_an_event_asks_for() {
    let fixture = Fixture::new("tcp");
    let minion = fixture.minion(fixture.ports[0], "ipc_mode: tcp");
    let mut bus = fixture.minion_bus().await;
    let mut stranger = own_publisher(&fixture);
    let master = fixture.master("auto_accept: true").await;
    // The minion may have signed in before anybody can listen to the master: wait for its start events by the count.
    let counts = master.handle.clone().unwrap();
    let has_started = async {
        while counts.stats().minion_events == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(DEADLINE, has_started).await.unwrap();
    let sent = stranger
        .fire_event("signed/in", &mut Map::new(), Some(DEADLINE))
        .await;
    sent.unwrap();
    let tags = bus.tags_until("signed/in").await;
    assert!(!tags.iter().any(|tag| tag == "salt/auth/creds"), "{tags:?}");

    let mut load: Map = [("cmd", "_pillar"), ("id", "m1")].into_iter().collect();
    let tag = "__master_req_channel_payload/1/127.0.0.1";
    stranger
        .fire_event(tag, &mut load, Some(DEADLINE))
        .await
        .unwrap();
    let answer = bus.next("__master_req_channel_return/1*").await;
    assert_eq!(answer.get("ret"), None, "{answer:?}");
    assert!(answer.get("error").is_some());
    minion.end().await;
    master.end().await;
}

//! `ipc_mode: tcp`: every user of the machine can write to a node's bus, so that no event on it is a command.
//!
//! The buses here are on UNIX sockets all the same: what counts is what the nodes are configured to think.

use std::time::Duration;

use brine_wire::{Map, Value};

use crate::support::{PATIENCE, Place, own_publisher, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_on_ports_publishes_nothing_that_an_event_asks_for() {
    let place = Place::new("tcp");
    let master = place.master("auto_accept: true\nipc_mode: tcp").await;
    let mut bus = place.master_bus().await;
    let minion = place.minion(master.ret_port, "");
    bus.next("salt/minion/m1/start").await;
    let answer = publish(&place, "test.ping", &[]).await;
    assert_eq!(answer.get("jid"), None, "{answer:?}");
    let error = answer.get("error").and_then(Value::as_map).unwrap();
    let message = error.get("message").and_then(Value::as_str).unwrap();
    assert!(message.starts_with("ipc_mode is tcp"), "{message}");
    assert_eq!(master.handle.as_ref().unwrap().stats().jobs_published, 0);
    // Its own handle still publishes, so that the fault would have been seen on the bus before this job.
    let handle = master.handle.clone().unwrap();
    let job = brine_node::JobRequest::new("*", "glob", "test.version");
    let own = handle.publish(job, &handle.own_caller()).await.unwrap();
    let published = bus.next("salt/job/*/new").await;
    assert_eq!(
        published.get("jid"),
        own.jid.map(|jid| jid.as_str().into()).as_ref()
    );
    minion.end().await;
    master.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minion_on_ports_shows_no_key_and_runs_and_requests_nothing_that_an_event_asks_for() {
    let place = Place::new("tcp");
    let minion = place.minion(place.ports[0], "ipc_mode: tcp");
    let mut bus = place.minion_bus().await;
    let mut stranger = own_publisher(&place);
    let master = place.master("auto_accept: true").await;
    // The minion may have signed in before anybody can listen to the master: wait for its start events by the count.
    let counts = master.handle.clone().unwrap();
    let has_started = async {
        while counts.stats().minion_events == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, has_started).await.unwrap();
    let sent = stranger
        .fire_event("signed/in", &mut Map::new(), Some(PATIENCE))
        .await;
    sent.unwrap();
    let tags = bus.tags_until("signed/in").await;
    assert!(!tags.iter().any(|tag| tag == "salt/auth/creds"), "{tags:?}");

    let mut call: Map = [("fun", "test.ping")].into_iter().collect();
    let sent = stranger.fire_event("brine/call/1", &mut call, Some(PATIENCE));
    sent.await.unwrap();
    let answer = bus.next("brine/call/1/ret").await;
    assert_eq!(answer.get("success"), Some(&false.into()));
    let message = answer.get("return").and_then(Value::as_str).unwrap();
    assert!(message.starts_with("ipc_mode is tcp"), "{message}");

    let mut load: Map = [("cmd", "_pillar"), ("id", "m1")].into_iter().collect();
    let tag = "__master_req_channel_payload/1/127.0.0.1";
    stranger
        .fire_event(tag, &mut load, Some(PATIENCE))
        .await
        .unwrap();
    let answer = bus.next("__master_req_channel_return/1*").await;
    assert_eq!(answer.get("ret"), None, "{answer:?}");
    assert!(answer.get("error").is_some());
    minion.end().await;
    master.end().await;
}

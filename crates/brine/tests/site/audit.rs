//! The audit of what users do over the local socket and the HTTP API.

use brine_bus::client::PublisherConfig;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{Acknowledge, LocalAddress};
use brine_wire::{Map, Value};

use crate::api::{Api, options};
use crate::positions::{Stream, has_local_socket};
use crate::site::{DEADLINE, Process, Site, free_port};

#[test]
fn the_audit_says_who_reads_and_fires_over_the_local_socket_and_the_api() {
    let api = Api { port: free_port() };
    let text = format!(
        "{}brine: {{audit: true, api: {{in_master: true}}}}\n",
        options(api.port)
    );
    let mut site = Site::configured("tcp", &text);
    site.start_master();
    has_local_socket(&site);
    let mut bus = site.master_bus();
    let address = LocalAddress::Socket(site.path("m/s/brine.sock"));
    let mut client = LocalClient::new(address, PublisherConfig::default());
    let own = ["my/own", "salt//Key"].map(|tag| (tag.to_owned(), Map::new()));
    client
        .fire(own, Acknowledge::Appended, Some(DEADLINE))
        .unwrap();
    let fired = bus.next("brine/audit/fired");
    let uid = Value::from(u64::from(rustix::process::geteuid().as_raw()));
    assert_eq!(fired.get("tag"), Some(&"salt//Key".into()), "{fired:?}");
    assert_eq!(fired.get("uid"), Some(&uid), "{fired:?}");
    assert!(fired.get("user").is_some(), "{fired:?}");

    api.wait();
    let token = api.log_in("fred");
    let _stream = Stream::open(&api, &token, None);
    let reads = loop {
        let reads = bus.next("brine/audit/subscribed");
        if reads.get("through").is_some() {
            break reads;
        }
    };
    assert_eq!(reads.get("user"), Some(&"fred".into()), "{reads:?}");
    assert_eq!(reads.get("through"), Some(&"API".into()), "{reads:?}");
}

#[test]
fn the_audit_says_who_reads_through_an_api_of_its_own_and_who_may_not_fire() {
    // The API repeats the log of a master that has a history, and joins the bus of one that has none.
    for history in ["true", "false"] {
        let api = Api { port: free_port() };
        let text = format!(
            "{}brine:\n  audit: true\n  history: {history}\n  \
             acl: [{{api_user: fred, read: ['*'], fire: ['salt/netapi/hook/own']}}]\n",
            options(api.port)
        );
        let mut site = Site::configured("tcp", &text);
        site.start_master();
        has_local_socket(&site);
        let _served = Process::start(site.command("salt-api"));
        api.wait();
        let mut bus = site.master_bus();
        let token = api.log_in("fred");
        let _stream = Stream::open(&api, &token, None);
        let reads = loop {
            let reads = bus.next("brine/audit/subscribed");
            if reads.get("through").is_some() {
                break reads;
            }
        };
        for (name, value) in [("user", "fred"), ("through", "API"), ("to", "bus")] {
            assert_eq!(reads.get(name), Some(&value.into()), "{reads:?}");
        }
        assert_eq!(api.post(&token, "/hook/own", "{}").code, 200);
        assert_eq!(api.post(&token, "/hook/other", "{}").code, 403);
        let refused = bus.next("brine/audit/refused");
        let tag = Value::from("salt/netapi/hook/other");
        assert_eq!(refused.get("tag"), Some(&tag), "{refused:?}");
        assert_eq!(refused.get("user"), Some(&"fred".into()), "{refused:?}");
    }
}

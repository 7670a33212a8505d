//! The audit of what users do over the local socket and the HTTP API.

use brine_bus::client::PublisherConfig;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{Acknowledge, LocalAddress};
use brine_wire::{Map, Value};

use crate::api::{Api, options};
use crate::positions::{Stream, has_local_socket};
use crate::site::{DEADLINE, Site, free_port};

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

//! What attach provides beside a bus that stays as it is.

use std::path::Path;
use std::process::Command;

use brine_testkit::salt::{Client, Node};

use super::front::hears;
use super::{Site, request};

/// Takes events until one has this tag; the repr of its data.
fn next(listener: &mut Client, tag: &str) -> String {
    listener.run(&format!("bus.get_event(wait=30, tag={tag:?})"))
}

/// What `brine status` prints.
fn shown_status(site: &Site) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    let output = command
        .args(["status", "--sock-dir"])
        .arg(site.sock_dir())
        .output();
    String::from_utf8(output.unwrap().stdout).unwrap()
}

#[test]
fn events_go_both_ways_between_a_bus_and_clients_of_all_releases() {
    for (version, node) in [
        ("3006.28", Node::Master),
        ("3007.14", Node::Minion("m1")),
        ("3008.3", Node::Master),
    ] {
        println!("{version} {node:?}");
        let site = Site::new(node);
        let _bus = site.start_bus(version);
        let (old, new) = (site.path("o"), site.path("n"));
        let also = |path: &Path, release| format!("--also={}={release}", path.display());
        let attached = site.attach(&[&also(&old, "3006"), &also(&new, "3007.14")]);

        // Connected is not subscribed yet: what comes between is for nobody.
        let mut salts = site.listener(version, &site.sock_dir());
        hears(&mut salts, "listens/salts");
        for (release, sock_dir) in [("3006.28", &old), ("3007.14", &new)] {
            let mut ours = site.listener(release, sock_dir);
            hears(&mut ours, "listens/ours");
            assert_eq!(salts.run("bus.fire_event({'n': 1}, 'from/salt')"), "True");
            assert!(next(&mut ours, "from/salt").contains("'n': 1"));
            assert_eq!(ours.run("bus.fire_event({'n': 2}, 'from/ours')"), "True");
            assert!(next(&mut salts, "from/ours").contains("'n': 2"));
        }

        if node == Node::Master {
            let shown = shown_status(&site);
            assert!(
                shown.contains("attach   every event of the bus is read; "),
                "{shown}"
            );
        }
        let fired = request(
            &site.brine_sock(),
            "POST /events",
            "{\"tag\": \"from/local\", \"data\": {\"n\": 3}}",
        );
        let position = fired.rsplit_once("\r\n\r\n").unwrap().1;
        assert!(position.starts_with("{\"position\": "), "{fired}");
        assert!(next(&mut salts, "from/local").contains("'n': 3"));
        let events = request(
            &site.brine_sock(),
            "GET /events?from=earliest&follow=false&tag=from/*",
            "",
        );
        let position = position.trim().trim_matches(['{', '}']);
        let found = events.lines().find(|line| line.contains(position));
        assert!(
            found.is_some_and(|line| line.contains("from/local")),
            "{events}"
        );

        assert!(attached.end().success());
        let stored = site.stored();
        let first = &stored.first().unwrap().0;
        let last = &stored.last().unwrap().0;
        assert_eq!(
            [first.as_str(), last.as_str()],
            ["brine/attach/joined", "brine/attach/leaving"]
        );
        let times = |tag: &str| stored.iter().filter(|(stored, _)| stored == tag).count();
        let fired = ["from/salt", "from/ours", "from/local"].map(times);
        assert_eq!(fired, [2, 2, 1]);
        // Salt's own sockets were left alone, and ours are gone.
        assert!(site.publish().exists() && !site.brine_sock().exists());
    }
}

#[test]
fn without_the_bus_nothing_is_fired_and_somebody_is_told() {
    let site = Site::new(Node::Master);
    let mut bus = site.start_bus("3008.3");
    let mut attached = site.attach(&[]);
    bus.kill();
    attached.says("waiting for it", 1);
    let answer = request(&site.brine_sock(), "POST /events", "{\"tag\": \"t\"}");
    assert!(answer.contains("not_fired"), "{answer}");
    let status = request(&site.brine_sock(), "GET /status", "");
    assert!(
        status.contains("\"attach\": {\"joined\": false"),
        "{status}"
    );
    let shown = shown_status(&site);
    assert!(
        shown.contains("attach   the bus that is joined is away; "),
        "{shown}"
    );
}

//! Several masters as one bus: jobs, returns and presence across them; masters that are killed.

use std::fs;
use std::process::Command;

use brine_bus::address::{Address, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::blocking::Publisher;
use brine_testkit::nats::Server;
use brine_wire::Map;
use rustix::process::Signal;

use crate::site::{DEADLINE, Site, wait_until};

/// A master and its minion, not started.
fn configured(server: &Server, master: &str, minion: &str) -> Site {
    let site = Site::configured(
        "tcp",
        &format!(
            "id: {master}\nauto_accept: true\nbrine: {{cluster: {{servers: '{}', secret: 'a secret for the test'}}}}\n",
            server.address()
        ),
    );
    let path = site.path("minion");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("id: m1\n", &format!("id: {minion}\n"))).unwrap();
    site
}

/// Two masters that see each other. Their minions are not started.
fn two_masters(server: &Server) -> [Site; 2] {
    let mut sites = [
        configured(server, "ma", "web1"),
        configured(server, "mb", "web2"),
    ];
    for site in &mut sites {
        site.start_master();
    }
    for site in &sites {
        wait_until("the other master", || is_connected(site));
    }
    sites
}

/// Whether a master sees the other one.
fn is_connected(site: &Site) -> bool {
    let status = site.run(&["status", "--json"]).stdout;
    status.contains("\"alive\": true") && status.contains("\"connected\": true")
}

/// The numbers of a master's test events in a site's history, in their order.
fn numbers(site: &Site, of: &str) -> Vec<u64> {
    let pattern = format!("test/{of}/*");
    let shown = site.run(&["history", &pattern, "-o", "ndjson"]).stdout;
    let tags = shown.lines().map(|line| {
        let tag = line
            .split("\"tag\": \"")
            .nth(1)
            .unwrap_or_else(|| panic!("no tag in {line}"));
        tag.split('"').next().unwrap().to_owned()
    });
    tags.map(|tag| tag.rsplit('/').next().unwrap().parse().unwrap())
        .collect()
}

/// What `brine consumer` prints.
fn consumer(site: &Site, words: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
    command
        .arg("consumer")
        .args(words)
        .arg("-c")
        .arg(site.path(""));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

fn publisher(site: &Site) -> Publisher {
    let address = Address::ipc(site.path("m/s"), &Node::Master).unwrap();
    Publisher::new(&address, PublisherConfig::default())
}

fn fire(publisher: &mut Publisher, of: &str, numbers: std::ops::Range<u64>) {
    for nth in numbers {
        let tag = format!("test/{of}/{nth}");
        // A master that was killed is connected to again.
        publisher
            .fire_event(&tag, &mut Map::new(), Some(DEADLINE))
            .unwrap();
    }
}

#[test]
fn a_job_at_one_master_is_run_by_minions_of_all() {
    let server = Server::start();
    let mut sites = two_masters(&server);
    let mut at_the_other = sites[0].master_bus();
    for site in &mut sites {
        site.start_minion();
    }
    // Both are seen at the first master.
    at_the_other.next("salt/minion/web2/start");
    wait_until("both minions", || {
        let up = sites[0]
            .run(&["salt", "*", "test.ping", "--out", "txt", "-t", "3"])
            .stdout;
        up.contains("web1: True") && up.contains("web2: True")
    });
    let both = "web1: True\nweb2: True\n";
    let sorted = |site: &Site, words: &[&str]| {
        let mut lines: Vec<_> = site
            .run(words)
            .stdout
            .lines()
            .map(|line| format!("{line}\n"))
            .collect();
        lines.sort();
        lines.concat()
    };
    for site in &sites {
        assert_eq!(
            sorted(site, &["salt", "*", "test.ping", "--out", "txt"]),
            both
        );
        let listed = ["salt", "-L", "web1,web2", "test.ping", "--out", "txt"];
        assert_eq!(sorted(site, &listed), both);
    }
    // Each alone has none of these.
    assert_eq!(
        sorted(&sites[0], &["salt", "web2", "test.ping", "--out", "txt"]),
        "web2: True\n"
    );
    let nobody = sites[0].run(&["salt", "db*", "test.ping"]);
    assert!(nobody.stdout.contains("No minions matched"), "{nobody:?}");
    // What a minion of the other master has returned is in the job cache here.
    let job = at_the_other.next("salt/job/*/ret/web2");
    let jid = job.get("jid").unwrap().as_str().unwrap().to_owned();
    wait_until("the return in the job cache", || {
        let found = sites[0].run(&["salt-run", "jobs.lookup_jid", &jid]).stdout;
        found.contains("web2:")
    });
}

#[test]
fn what_publishes_is_a_consumer_like_any_other() {
    let server = Server::start_with("max_payload: 64KB");
    let sites = two_masters(&server);
    let mut large = Map::new();
    large.insert("text", "x".repeat(100_000));
    let mut publisher = publisher(&sites[0]);
    publisher
        .fire_event("test/large", &mut large, Some(DEADLINE))
        .unwrap();
    fire(&mut publisher, "ma", 0..1);
    wait_until("the event after it", || numbers(&sites[1], "ma") == [0]);
    wait_until("its figures", || {
        let info = consumer(&sites[0], &["info", "cluster"]);
        let parts = ["\"kind\": \"sink\"", "\"dead\": 1", "\"lag\": 0"];
        parts.iter().all(|part| info.contains(part))
    });
    let dead = consumer(&sites[0], &["dead", "cluster"]);
    assert!(dead.contains("test/large: "), "{dead}");
    assert_eq!(
        consumer(&sites[0], &["resend", "cluster"]),
        "cluster: 0 delivered, 1 refused again and kept\n"
    );
    let moved = ["reset", "cluster", "--to-earliest", "--execute"];
    let moved = consumer(&sites[0], &moved);
    assert!(moved.contains(" again)"), "{moved}");
    // The others know what they have.
    fire(&mut publisher, "ma", 1..2);
    wait_until("the next event", || numbers(&sites[1], "ma").len() >= 2);
    assert_eq!(numbers(&sites[1], "ma"), [0, 1]);
}

#[test]
fn masters_that_are_killed_lose_and_double_nothing() {
    const EVENTS: u64 = 1500;
    let server = Server::start();
    let mut sites = two_masters(&server);
    let mut steady = publisher(&sites[1]);
    for round in 0..3u64 {
        let mut hasty = publisher(&sites[0]);
        let third = EVENTS / 3;
        fire(&mut steady, "mb", round * third..round * third + third / 2);
        fire(&mut hasty, "ma", round * 100..round * 100 + 100);
        let mut killed = sites[0].master.take().unwrap();
        killed.signal(Signal::KILL);
        killed.wait();
        fire(
            &mut steady,
            "mb",
            round * third + third / 2..(round + 1) * third,
        );
        sites[0].start_master();
    }
    let mut last = publisher(&sites[0]);
    fire(&mut last, "ma", 1000..1001);
    wait_until("all events of the other", || {
        numbers(&sites[0], "mb").len() as u64 >= EVENTS
    });
    wait_until("the last event of the killed one", || {
        numbers(&sites[1], "ma").last() == Some(&1000)
    });
    let all: Vec<_> = (0..EVENTS).collect();
    assert_eq!(numbers(&sites[0], "mb"), all);
    assert_eq!(numbers(&sites[1], "mb"), all);
    // Some of its own events may have died with it; what it has, the other has.
    let own = numbers(&sites[0], "ma");
    assert_eq!(numbers(&sites[1], "ma"), own);
    assert!(own.is_sorted_by(|a, b| a < b), "{own:?}");
}

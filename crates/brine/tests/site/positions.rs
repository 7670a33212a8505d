//! The positions of an API in a process of its own: the master's, across the ends of both.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{Acknowledge, Delivery, EventQuery, LocalAddress};
use brine_bus::client::{PublisherConfig, Wait};
use brine_wire::Map;
use rustix::process::Signal;

use crate::api::{Api, options};
use crate::site::{DEADLINE, Process, Site, free_port, wait_until};

/// A stream of events, and what it has said so far.
pub(super) struct Stream {
    connection: TcpStream,
    said: String,
}

impl Stream {
    /// Opens one, which goes on after an event.
    pub(super) fn open(api: &Api, token: &str, after: Option<&str>) -> Self {
        let mut connection = TcpStream::connect(("127.0.0.1", api.port)).unwrap();
        connection.set_read_timeout(Some(DEADLINE)).unwrap();
        let after = after.map_or_else(String::new, |id| format!("last-event-id: {id}\r\n"));
        let request = format!("GET /events?token={token} HTTP/1.1\r\nhost: x\r\n{after}\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        Self {
            connection,
            said: String::new(),
        }
    }

    /// Reads until it has said this.
    pub(super) fn until(&mut self, wanted: &str) {
        while !self.said.contains(wanted) {
            let mut piece = [0; 4096];
            let count = self.connection.read(&mut piece).unwrap();
            assert!(count > 0, "no {wanted:?}: {}", self.said);
            self.said
                .push_str(&String::from_utf8_lossy(&piece[..count]));
        }
    }

    /// All of what it has said.
    pub(super) fn said(&self) -> &str {
        &self.said
    }

    /// The position of the event with this tag.
    pub(super) fn id_of(&mut self, tag: &str) -> Option<String> {
        self.until(&format!("tag: {tag}\n"));
        let from = self.said.find(&format!("tag: {tag}\n")).unwrap();
        let rest = from + tag.len();
        // The line that follows the tag.
        while !self.said[rest..].contains("\ndata: ") {
            let mut piece = [0; 4096];
            let count = self.connection.read(&mut piece).unwrap();
            assert!(count > 0, "{}", self.said);
            self.said
                .push_str(&String::from_utf8_lossy(&piece[..count]));
        }
        let line = self.said[rest..].lines().nth(1)?;
        line.strip_prefix("id: ").map(str::to_owned)
    }

    /// The tags below `t/` and the gaps, in order.
    fn heard(&self) -> Vec<&str> {
        let lines = self.said.lines();
        let heard = lines.filter_map(|line| match line {
            "event: gap" => Some("gap"),
            line => line
                .strip_prefix("tag: ")
                .filter(|tag| tag.starts_with("t/")),
        });
        heard.collect()
    }
}

fn local_client(site: &Site) -> LocalClient {
    let address = LocalAddress::Socket(site.path("m/s/brine.sock"));
    LocalClient::new(address, PublisherConfig::default())
}

/// What a local socket has stored.
pub(super) struct Stored {
    /// Positions, oldest first.
    pub(super) ids: Vec<String>,
}

impl Stored {
    /// Of the master, under such tags.
    pub(super) fn of(site: &Site, tags: &str) -> Self {
        let client = local_client(site);
        let query = EventQuery {
            tags: vec![tags.to_owned()],
            ..EventQuery::default()
        };
        let mut events = client.history(query, Some(DEADLINE)).unwrap();
        let mut ids = Vec::new();
        while let Some(delivery) = events.next(Wait::For(DEADLINE)).unwrap() {
            match delivery {
                Delivery::Event(event) => ids.push(event.position.to_string()),
                Delivery::Gap { .. } => {}
                Delivery::End => break,
            }
        }
        Self { ids }
    }
}

pub(super) fn has_local_socket(site: &Site) {
    let path = site.path("m/s/brine.sock");
    wait_until("the master's local socket", || {
        UnixStream::connect(&path).is_ok()
    });
}

/// Fires on the master's bus, and waits until the events are on the disk.
fn fire(site: &Site, tags: &[&str]) {
    let mut client = local_client(site);
    let events = tags.iter().map(|tag| ((*tag).to_owned(), Map::new()));
    let fired = client.fire(events, Acknowledge::Durable, Some(DEADLINE));
    assert_eq!(fired.unwrap().len(), tags.len());
}

#[test]
fn an_api_of_its_own_has_its_masters_positions_whichever_of_the_two_is_killed() {
    let api = Api { port: free_port() };
    let mut site = Site::configured("tcp", &options(api.port));
    site.start_master();
    has_local_socket(&site);
    let start = |site: &Site| {
        let served = Process::start(site.command("salt-api"));
        api.wait();
        served
    };
    let served = start(&site);
    let token = api.log_in("fred");
    let mut stream = Stream::open(&api, &token, None);
    stream.until("retry: 400\n");
    fire(&site, &["t/1"]);
    let first = stream.id_of("t/1").unwrap();

    // The API is killed; what comes meanwhile is had afterwards.
    drop(served);
    fire(&site, &["t/2", "t/3"]);
    let _served = start(&site);
    let mut stream = Stream::open(&api, &token, Some(&first));
    stream.until("tag: t/3\n");
    fire(&site, &["t/4"]);
    stream.until("tag: t/4\n");
    assert_eq!(stream.heard(), ["t/2", "t/3", "t/4"]);

    // The master is killed: its numbers go on, and streams stay.
    site.master.take().unwrap().signal(Signal::KILL);
    site.start_master();
    has_local_socket(&site);
    fire(&site, &["t/5"]);
    stream.until("tag: t/5\n");
    assert_eq!(stream.heard(), ["t/2", "t/3", "t/4", "gap", "t/5"]);
    // From memory, and from what the master has stored: each says the same.
    let mut again = Stream::open(&api, &token, Some(&first));
    again.until("tag: t/5\n");
    assert_eq!(again.heard(), stream.heard());
    let tags = ["t/2", "t/3", "t/4", "t/5"];
    let ids: Vec<_> = tags.iter().map(|tag| again.id_of(tag).unwrap()).collect();
    let stored = Stored::of(&site, "t/*");
    assert_eq!((&stored.ids[0], &stored.ids[1..]), (&first, ids.as_slice()));
}

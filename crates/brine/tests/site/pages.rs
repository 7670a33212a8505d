//! Pages of the book whose examples show single commands: each is run as it is printed, in its order, and what it prints
//! is compared. Between them the tests bring about what the page assumes.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use brine_bus::address::{Address, Node};
use brine_bus::client::blocking::{Publisher, Subscriber};
use brine_bus::client::{PublisherConfig, SubscriberConfig};
use brine_testkit::database::Postgres;
use brine_testkit::user::{NOBODY, can_switch};
use brine_wire::{Value, json};
use fancy_regex::Regex;

use crate::desk::{Desk, Examples};
use crate::page::Example;
use crate::site::{DEADLINE, streams, wait_until};

/// Where a master's sockets are.
const MASTER: &str = "/var/run/salt/master";

/// A site in `/etc/salt` that has this in its master's file.
fn site(master: &str) -> Desk {
    let mut desk = Desk::new();
    desk.of_master = true;
    desk.write("/etc/salt/master", master);
    desk
}

/// Fires events on a master's bus, all at once.
fn fire(desk: &Desk, sock_dir: &str, events: &[(&str, &str)]) {
    let address = Address::ipc(desk.mine(sock_dir), &Node::Master).unwrap();
    let mut publisher = Publisher::new(&address, PublisherConfig::default());
    for (tag, data) in events {
        let Value::Map(mut data) = json::parse(data.as_bytes()).unwrap() else {
            panic!("{data} is a map")
        };
        publisher
            .fire_event(tag, &mut data, Some(DEADLINE))
            .unwrap();
    }
}

#[test]
fn the_page_of_metrics_is_true() {
    let mut page = Examples::of("docs/metrics.md");
    let mut desk = site("");
    desk.start_master();
    desk.follow(&page.next("curl "));
}

/// The tutorial's masters do for the page, too.
#[test]
fn the_pages_of_several_masters_are_true() {
    let mut tutorial = Examples::of("docs/tutorials/cluster.md");
    let mut page = Examples::of("docs/cluster.md");
    let mut desk = Desk::new();
    for _ in 0..6 {
        desk.follow(&tutorial.next("brine "));
    }
    let mut ping = page.next("brine salt ");
    ping.command = ping.command.replace("brine-oVXn5e", "cluster");
    desk.follow_in_any_order(&ping);
    let mut status = page.next("brine status");
    status.command.push_str(" -c /tmp/cluster/m1");
    // Numbers of another site.
    let number = Regex::new(r"\d+").unwrap();
    status.output = number.replace_all(&status.output, "…").into_owned();
    for (shown, here) in [
        ("/var/run/salt/master", "/tmp/cluster/m…"),
        ("…-…-…T…:…:….…Z", "…"),
    ] {
        status.output = status.output.replace(shown, here);
    }
    desk.follow(&status);
    desk.follow(&tutorial.next("kill %1"));
}

/// What of a page's first block is a file of the site's.
fn first_block(page: &str) -> String {
    crate::page::blocks(&crate::desk::read(page)).swap_remove(0)
}

#[test]
fn the_page_of_sinks_is_true() {
    let mut page = Examples::of("docs/sinks.md");
    let mut desk = site(&first_block("docs/sinks.md"));
    desk.run("brine check -c /etc/salt");
    let wrong = first_block("docs/sinks.md").replace(" host:", " hots:");
    desk.write("/etc/salt/master", &wrong);
    desk.fails(&page.next("brine bus "), 1);

    let directory = desk.mine("/tmp/db");
    let database = Postgres::start(directory.as_ref());
    desk.write(
        "/etc/salt/master",
        "brine:\n  history: true\n  sinks:\n    \
         audit: {type: postgres, host: /tmp/db/postgres, tables: [events], create_tables: true, attempts: 1}\n    \
         hook: {type: webhook, url: 'http://127.0.0.1:8000/in', attempts: 1}\n",
    );
    desk.serve("brine bus -c /etc/salt > /tmp/bus.log 2>&1");
    let events = |desk: &Desk| {
        fire(
            desk,
            MASTER,
            &[
                ("myco/backup", "{\"n\": 1}"),
                ("myco/odd", "{\"n\": 2}"),
                ("myco/backup", "{\"n\": 3}"),
            ],
        );
    };
    let dead = |desk: &Desk, sink: &str, count: usize| {
        wait_until("dead letters", || {
            desk.run(&format!("brine consumer dead {sink}"))
                .lines()
                .count()
                == count
        });
    };
    wait_until("the table", || {
        !database.sql("SELECT to_regclass('salt_events')").is_empty()
    });
    let refuse = "ALTER TABLE salt_events ADD CONSTRAINT no CHECK (tag <> 'myco/odd')";
    let allow = "ALTER TABLE salt_events DROP CONSTRAINT no";
    database.sql(refuse);
    events(&desk);
    let mut shown = page.next("brine consumer ls");
    for rate in ["   0.2  ", "   0.0  "] {
        shown.output = shown.output.replace(rate, "…");
    }
    desk.follow(&shown);
    desk.follow(&page.next("brine consumer dead"));
    database.sql(allow);
    desk.follow(&page.next("brine consumer resend audit"));

    // A receiver that refuses all, for as long as that takes.
    desk.write("/tmp/receiver.py", REFUSES);
    let receiver = desk.start("exec python3 /tmp/receiver.py");
    dead(&desk, "hook", 3);
    drop(receiver);
    desk.fails(&page.next("brine consumer resend hook"), 1);
    database.sql("TRUNCATE salt_events");
    database.sql(refuse);
    events(&desk);
    dead(&desk, "audit", 1);
    let letter = desk.run("brine consumer dead audit");
    let position = letter.split_whitespace().next().unwrap();
    for end in ["-2", "-2 --execute"] {
        let mut discard = page.next("brine consumer discard audit");
        assert!(discard.command.ends_with(end), "{discard:?}");
        discard.command = discard.command.replace("b4d0fa0d-2", position);
        desk.follow(&discard);
    }
}

const REFUSES: &str = "\
import http.server

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers['content-length']))
        self.send_response(422)
        self.end_headers()

    def log_message(self, *arguments):
        pass

http.server.HTTPServer(('127.0.0.1', 8000), Receiver).serve_forever()
";

#[test]
fn the_page_of_the_local_socket_is_true() {
    let mut page = Examples::of("docs/local-socket.md");
    let mut desk =
        site("auto_accept: true\nbrine: {acl: [{user: nobody, read: ['my/*'], fire: ['my/*']}]}\n");
    desk.start_master();
    desk.directory = "salt/var/run/salt/master";
    let as_nobody = [(); 3].map(|()| page.next("curl "));
    if can_switch() {
        desk.user = Some(NOBODY);
        for example in &as_nobody {
            desk.follow(example);
        }
        desk.user = None;
    }
    desk.end_all();

    // A bus alone, whose events are counted from here.
    let bus = |desk: &mut Desk, directory: &'static str| {
        desk.directory = "";
        desk.serve(&format!(
            "brine bus --sock-dir /tmp/{directory} --history /tmp/{directory}/history > /tmp/bus.log 2>&1"
        ));
        desk.directory = directory;
    };
    bus(&mut desk, "one");
    fire(&desk, "/tmp/one", &[("my/1", "{\"x\": 1}")]);
    desk.follow(&page.next("curl "));
    fire(&desk, "/tmp/one", &[("my/2", "{}")]);
    let mut resumed = page.next("curl ");
    let position = desk.run("brine history --history /tmp/one/history --seq --json");
    let log = position.split("\"position\": \"").nth(1).unwrap();
    let log = log.split('-').next().unwrap();
    resumed.command = resumed.command.replace("58b8433d", log);
    desk.follow(&resumed);
    desk.follow(&page.next("printf "));
    desk.write("/tmp/one/events.ndjson", "{\"tag\": \"my/4\"}\n");
    desk.follow(&page.next("tail -f "));
    fire(&desk, "/tmp/one", &[("my/x", "{}"); 8]);
    wait_until("the events", || {
        desk.run("curl -s --unix-socket brine.sock http://x/status")
            .contains("-12\", \"events\"")
    });
    desk.follow(&page.next("curl "));
    desk.follow(&page.next("curl "));
    desk.end_all();

    bus(&mut desk, "two");
    fire(&desk, "/tmp/two", &[("my/1", "{\"x\": 1}")]);
    wait_until("the event on the disk", || {
        desk.run("curl -s --unix-socket brine.sock http://x/status")
            .contains("\"next\": 2")
    });
    let mut status = page.next("curl ");
    status.output = status.output.replace("344064", "…");
    desk.follow(&status);
    desk.end_all();

    desk.directory = "";
    desk.start_master();
    desk.write("/etc/salt/minion", MINION);
    desk.start_minion();
    desk.directory = "salt/var/run/salt/master";
    for _ in 0..3 {
        desk.follow(&page.next("curl "));
    }
    desk.directory = "salt/var/run/salt/minion";
    desk.follow(&page.next("curl "));
    desk.end_all();

    desk.directory = "";
    desk.write("/etc/salt/master", "auto_accept: true\nipc_mode: tcp\n");
    desk.start_master();
    desk.start_minion();
    desk.directory = "salt/var/run/salt/master";
    let read = page.next("read address token").command;
    for _ in 0..2 {
        let mut request = page.next("curl ");
        request.command = format!("{read}; {}", request.command);
        desk.follow(&request);
    }
}

const MINION: &str = "id: m1\nroot_dir: /tmp/salt\nmaster: 127.0.0.1\nmaster_port: 4506\n";

/// The events of `/tmp/history`, as `brine log import` takes them.
const KEPT: &str = r#"{"time": "2026-11-29T08:00:00.000Z", "tag": "salt/job/20261129080000000000/new", "data": {"fun": "test.ping", "user": "root", "minions": ["web1"], "jid": "20261129080000000000", "tgt": "web1", "tgt_type": "glob", "arg": [], "_stamp": "2026-11-29T08:00:00.000000"}}
{"time": "2026-11-29T08:01:33.582Z", "tag": "myco/backup", "data": {"host": "web1", "ok": false, "_stamp": "2026-11-29T08:01:33.581406+00:00"}}
{"time": "2026-11-29T08:02:10.000Z", "tag": "myco/backup", "data": {"host": "web2", "ok": true, "_stamp": "2026-11-29T08:02:09.999873+00:00"}}
"#;

const NEW: (&str, &str) = (
    "salt/job/20261129100000000000/new",
    r#"{"user": "root", "fun": "state.apply", "tgt": "web*", "tgt_type": "glob", "minions": ["web1", "web2"], "arg": [], "jid": "20261129100000000000"}"#,
);

/// What a minion returns whose state failed.
const FAILED: (&str, &str) = (
    "salt/job/20261129100000000000/ret/web1",
    r#"{"id": "web1", "fun": "state.apply", "jid": "20261129100000000000", "retcode": 2, "success": false, "return": {"pkg_|-nginx_|-nginx_|-installed": {"result": false, "comment": "The following packages failed to install", "duration": 12300.0, "name": "nginx", "__run_num__": 0, "__id__": "nginx", "changes": {}}}}"#,
);

/// `brine top`'s are on a terminal of their own, in `tests/cli/top.rs`; `brine attach`'s is one of its own page.
#[test]
fn the_page_of_commands_is_true() {
    let mut page = Examples::of("docs/commands.md");
    let mut desk = site("brine: {history: true}\n");
    desk.serve("brine bus -c /etc/salt > /tmp/bus.log 2>&1");
    for directory in ["A", "B"] {
        desk.serve(&format!(
            "brine bus --sock-dir /tmp/{directory} > /tmp/{directory}.log 2>&1"
        ));
    }
    desk.follow(&page.next("brine send "));
    desk.follow(&page.next("brine send "));
    let passed_on = page.next("brine watch 'salt/job/*' --sock-dir A");
    desk.follow_while(&passed_on, None, || {
        wait_until("a reader", || readers(&desk, "A") == 1);
        fire(&desk, "/tmp/A", &[("salt/job/1/new", "{}")]);
        wait_until("the event on the other bus", || {
            let status = desk.run("brine status --sock-dir B --json");
            status.contains("\"appended_events\": 1")
        });
    });
    let x = "x".repeat(2_000_003);
    let big = format!("{{\"tag\": \"myco/big\", \"data\": {{\"x\": \"{x}\"}}}}");
    fs::write(desk.mine("/tmp/big.json"), big).unwrap();
    desk.fails(&page.next("brine send --stdin"), 1);
    desk.follow(&page.next("brine send --ack"));
    desk.follow(&page.next("seq 100 "));

    let others = |count| fire(&desk, MASTER, &vec![("test/other", "{}"); count]);
    let failed = page.next("brine watch 'salt/job/*/ret/*'");
    desk.follow_while(&failed, None, || fire(&desk, MASTER, &[NEW, FAILED]));
    desk.follow_while(&page.next("brine watch -n 2 -t 5"), Some(1), || others(3));
    desk.follow_while(&page.next("brine watch 'myco/*'"), None, || {
        others(40);
        wait_until("a reader that has read all", || {
            let status = desk.run("brine status --json");
            let streams = status.split("\"streams\": [").nth(1).unwrap_or_default();
            streams.split(']').next().unwrap().contains("\"lag\": 0")
        });
    });
    desk.follow_while(&page.next("brine watch --last 2"), None, || {});
    desk.serve("brine bus --sock-dir /tmp/bus > /tmp/bus.log 2>&1");
    fire(&desk, "/tmp/bus", &[("myco/1", "{}")]);
    desk.fails(&page.next("brine watch --from 7f3a-2"), 3);
    watched_from_elsewhere(page.next("brine watch --api"));
    for _ in 0..4 {
        page.next("brine top");
    }
    status_of_three_events(page.next("brine status"));
    check_and_doctor(&mut page);

    desk.write("/tmp/kept", KEPT);
    desk.run("brine log import --history /tmp/history < /tmp/kept");
    for _ in 0..2 {
        desk.follow(&page.next("brine history"));
    }
    desk.fails(&page.next("brine history"), 3);
    for _ in 0..6 {
        desk.follow(&page.next("brine log"));
    }
    for _ in 0..4 {
        desk.follow(&page.next("brine consumer"));
    }
    desk.follow(&page.next("echo hunter2"));
    assert!(!desk.run(&page.next("brine bench").command).is_empty());
    desk.fails(&page.next("brine bench -c"), 1);
}

/// How many streams a bus serves.
fn readers(desk: &Desk, sock_dir: &str) -> usize {
    let path = desk.mine(&format!("/tmp/{sock_dir}"));
    streams(&["--sock-dir", &path]).unwrap_or_default()
}

/// On a machine that no test has: its API is here, and who may log in is in no directory.
fn watched_from_elsewhere(mut example: Example) {
    let mut desk = site(
        "sharedsecret: hunter2\nexternal_auth: {sharedsecret: {fred: ['.*']}}\nbrine: {api: {in_master: true}}\n\
         rest_cherrypy: {host: 127.0.0.1, port: 8000, disable_ssl: true}\n",
    );
    desk.start_master();
    example.command = example
        .command
        .replace("https://salt:", "http://127.0.0.1:")
        .replace("ldap", "sharedsecret")
        .replace("brine", "env SALTAPI_PASS=hunter2 brine");
    example.output = example.output.replace("password:\n", "");
    desk.follow_while(&example, None, || {
        let config = desk.mine("/etc/salt");
        wait_until("a reader", || streams(&["-c", &config]) == Some(1));
        fire(&desk, MASTER, &[FAILED]);
    });
}

fn status_of_three_events(mut example: Example) {
    let mut desk = site("brine: {history: true}\n");
    desk.serve("brine bus -c /etc/salt > /tmp/bus.log 2>&1");
    let address = Address::ipc(desk.mine(MASTER), &Node::Master).unwrap();
    let mut subscriber = Subscriber::new(&address, SubscriberConfig::default());
    subscriber.connect(DEADLINE).unwrap();
    desk.serve("brine watch 'salt/job/*' -c /etc/salt > /tmp/watch.log 2>&1");
    desk.run("brine consumer add audit --filter 'myco/*'");
    let new = ("salt/job/20261129080000000000/new", "{}");
    fire(
        &desk,
        MASTER,
        &[new, ("myco/backup", "{}"), ("myco/backup", "{}")],
    );
    desk.run("brine consumer next audit");
    // The page shows root's, of other processes.
    if can_switch() {
        let pid = Regex::new(r"(?m)^ *\d+  ").unwrap();
        example.output = pid.replace_all(&example.output, "…  ").into_owned();
        desk.follow(&example);
    }
}

fn check_and_doctor(page: &mut Examples) {
    let mut desk = Desk::new();
    desk.write(
        "/tmp/site/master",
        "root_dir: /tmp/site/m\nsock_dir: /s\npki_dir: /pki\ncachedir: /cache\n\n\
         interface: 127.0.0.1\npublish_port: 4505\nret_port: 4506\n\nlog_level: info\n\nret_prot: 4506\n",
    );
    desk.write("/tmp/site/minion", "id: db3\nmaster: 127.0.0.1\n");
    desk.follow(&page.next("brine check"));
    desk.serve("prlimit --nofile=128 brine salt-master -c /tmp/site > /tmp/master.log 2>&1");
    let log = desk.mine("/tmp/master.log");
    wait_until("the master", || {
        fs::read_to_string(&log).is_ok_and(|log| log.contains("ready ret_port"))
    });
    desk.run(
        "brine salt-key -c /tmp/site --gen-keys=db3 --gen-keys-dir=/tmp && \
         cp /tmp/db3.pub /tmp/site/m/pki/minions/db3 && chmod 666 /tmp/site/m/s/master_event_pub.ipc",
    );
    for _ in 0..3 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let data = format!("{{\"id\": \"db3\", \"ts\": {}}}", now.as_secs() - 97);
        fire(
            &desk,
            "/tmp/site/m/s",
            &[("salt/beacon/db3/status/", &data)],
        );
    }
    let mut doctor = page.next("brine doctor");
    doctor.output = doctor.output.replace("97.0 s", "… s");
    desk.fails(&doctor, 1);
}

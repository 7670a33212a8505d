//! Real Salt's event library on our bus: it cannot tell it from Salt's own.
//!
//! The programs in `tests/salt/` print one line per check. What they expect is no opinion of ours:
//! each runs on the real bus of its release too, and both must give the same lines.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

use brine_testkit::salt::{Bus as RealBus, Client, Node, python};

use crate::process::{Bus, Setup};

/// A bus that is asked for, of ours and of Salt.
#[derive(Debug, Clone)]
struct Scene {
    version: &'static str,
    node: Node<'static>,
    /// Options besides, as the inside of a Python dict; as YAML flow they mean the same.
    options: String,
}

impl Scene {
    fn new(version: &'static str, node: Node<'static>) -> Self {
        let options = match node {
            Node::Master => String::new(),
            Node::Minion(id) => format!("'id': '{id}', "),
        };
        Self {
            version,
            node,
            options,
        }
    }

    /// The same over TCP, on two ports that nobody has.
    fn tcp(mut self) -> Self {
        let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [publish, pull] = listeners.map(|listener| listener.local_addr().unwrap().port());
        let prefix = match self.node {
            Node::Master => "tcp_master",
            Node::Minion(_) => "tcp",
        };
        self.options += &format!(
            "'ipc_mode': 'tcp', '{prefix}_pub_port': {publish}, '{prefix}_pull_port': {pull}"
        );
        self
    }

    fn start(&self) -> Bus {
        let setup = Setup::new(self.version).config(&format!("{{{}}}", self.options));
        match self.node {
            Node::Master => setup.start(),
            Node::Minion(id) => setup.minion(id).start(),
        }
    }

    /// Runs a program of `tests/salt/` on the bus in `sock_dir`; its checks by name, with what came
    /// where it was not what was expected. An error says why it did not come to its end.
    fn checks(&self, program: &str, sock_dir: &Path) -> Result<BTreeMap<String, String>, String> {
        let node = match self.node {
            Node::Master => "master",
            Node::Minion(_) => "minion",
        };
        let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/salt");
        let output = python(self.version)
            .arg(programs.join(program))
            .arg(node)
            .arg(sock_dir)
            .arg(format!("{{{}}}", self.options))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&output.stdout);
        let err = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(format!(
                "{self:?}, {program}: {}\n{out}{err}",
                output.status
            ));
        }
        let lines = out.lines().map(|line| {
            if let Some(name) = line.strip_prefix("ok ") {
                return (name.to_owned(), "ok".to_owned());
            }
            let failed = line
                .strip_prefix("FAILED ")
                .and_then(|line| line.rsplit_once(": "));
            let (name, came) = failed.unwrap_or_else(|| panic!("{program} printed {line:?}"));
            (name.to_owned(), came.to_owned())
        });
        Ok(lines.collect())
    }

    /// Every check of a program ends on our bus as it does on the real one, and well.
    fn same_as_real(&self, program: &str) {
        let ours = self.start();
        let found = self.checks(program, ours.sock_dir()).unwrap();
        let warnings = ours.warnings();
        drop(ours); // its ports are wanted
        let directory = tempfile::tempdir().unwrap();
        let _real = RealBus::start_with(self.version, self.node, directory.path(), &self.options);
        // A real bus under load loses an event now and then, and whoever waits for it without end is
        // stopped; what it does at its best counts.
        let mut expected = self.checks(program, directory.path());
        for _ in 0..2 {
            if expected.as_ref() != Ok(&found) {
                expected = self.checks(program, directory.path());
            }
        }
        let expected = expected.unwrap();
        for (name, outcome) in &expected {
            assert_eq!(
                found.get(name),
                Some(outcome),
                "{self:?}, {program}: {name}"
            );
        }
        assert!(expected.len() > 40 && found.len() == expected.len());
        assert!(
            expected.values().all(|outcome| outcome == "ok"),
            "{expected:#?}"
        );
        let about_tcp = |line: &String| line.starts_with("ipc_mode is tcp");
        assert!(warnings.iter().all(about_tcp), "{warnings:#?}");
    }
}

const MINION: Node<'_> = Node::Minion("m1");

fn every_way_to_listen(version: &'static str) {
    Scene::new(version, Node::Master).same_as_real("options.py");
}

fn every_way_to_listen_on_a_minion(version: &'static str) {
    Scene::new(version, MINION).same_as_real("options.py");
}

fn every_way_to_listen_over_tcp(version: &'static str) {
    Scene::new(version, Node::Master)
        .tcp()
        .same_as_real("options.py");
    Scene::new(version, MINION).tcp().same_as_real("options.py");
}

fn every_kind_and_size_of_data(version: &'static str) {
    Scene::new(version, Node::Master).same_as_real("values.py");
}

fn every_kind_and_size_of_data_on_a_minion(version: &'static str) {
    Scene::new(version, MINION).same_as_real("values.py");
}

/// Ours alone: with listeners that are behind, the real bus of 3007.14 starves others.
fn order_with_one_to_two_hundred_listeners(version: &'static str) {
    let scene = Scene::new(version, Node::Master);
    let bus = scene.start();
    let found = scene.checks("crowd.py", bus.sock_dir()).unwrap();
    let names = [
        "4 publishers x 25 events to 200 listeners, in order",
        "4 publishers x 500 events to 1 listeners, in order",
        "4 publishers x 500 events to 10 listeners, in order",
    ];
    let expected = names.map(|name| (name.to_owned(), "ok".to_owned()));
    assert_eq!(found, BTreeMap::from(expected));
    assert_eq!(bus.warnings(), [""; 0]);
}

/// After the bus was killed and started again the same objects go on, as each release does it.
fn a_restart_is_survived(version: &'static str) {
    let mut bus = Scene::new(version, Node::Master).start();
    let mut listener = Client::start(version, Node::Master, bus.sock_dir());
    let mut sender = Client::start(version, Node::Master, bus.sock_dir());
    assert_eq!(sender.run("bus.fire_event({'n': 1}, 'before')"), "True");
    assert_eq!(
        listener.run("bus.get_event(wait=20, tag='before')['n']"),
        "1"
    );
    for end in [Bus::kill, |bus: &mut Bus| assert!(bus.stop().success())] {
        end(&mut bus);
        bus.start_again();
        let first = sender.try_run("bus.fire_event({'n': 2}, 'first')");
        if version.starts_with("3006") {
            // It finds the connection dead and says so once.
            let raised = first.unwrap_err().to_string();
            assert!(raised.contains("StreamClosedError"), "{raised}");
        } else {
            assert_eq!(first.as_deref(), Ok("True"));
        }
        // When a listener is connected again is its own affair; events from then on reach it.
        let heard = (0..30).find(|n| {
            assert_eq!(
                sender.run(&format!("bus.fire_event({{'n': {n}}}, 'after')")),
                "True"
            );
            listener.run("bus.get_event(wait=1, tag='after')") != "None"
        });
        assert!(
            heard.is_some(),
            "Salt {version} hears nothing after the restart"
        );
    }
}

/// A message a listener of each release waits for arrives while it waits.
fn a_waiting_listener_is_woken(version: &'static str) {
    let bus = Scene::new(version, Node::Master).start();
    let mut listener = Client::start(version, Node::Master, bus.sock_dir());
    let mut sender = Client::start(version, Node::Master, bus.sock_dir());
    listener.request("bus.get_event(wait=0, tag='wanted', full=True)['tag']");
    assert_eq!(
        sender.run("time.sleep(0.3) or bus.fire_event({}, 'other')"),
        "True"
    );
    assert_eq!(sender.run("bus.fire_event({}, 'wanted/1')"), "True");
    assert_eq!(listener.answer().unwrap(), "'wanted/1'");
}

macro_rules! on_each_release {
    ($($rule:ident)*) => {
        on_each_release! { salt_3006 "3006.28" $($rule)* }
        on_each_release! { salt_3007 "3007.14" $($rule)* }
        on_each_release! { salt_3008 "3008.3" $($rule)* }
    };
    ($release:ident $version:literal $($rule:ident)*) => {
        mod $release {
            $(
                #[test]
                fn $rule() {
                    super::$rule($version);
                }
            )*
        }
    };
}

on_each_release! {
    every_way_to_listen
    every_way_to_listen_on_a_minion
    every_way_to_listen_over_tcp
    every_kind_and_size_of_data
    every_kind_and_size_of_data_on_a_minion
    order_with_one_to_two_hundred_listeners
    a_restart_is_survived
    a_waiting_listener_is_woken
}

/// One bus, offered to a release in each of two directories: they share their events.
#[test]
fn releases_of_other_framing_share_a_bus() {
    let other = tempfile::tempdir().unwrap();
    let also = format!("--also={}=3006.28", other.path().display());
    let bus = Setup::new("3008.3").argument(&also).start();
    let mut new = Client::start("3008.3", Node::Master, bus.sock_dir());
    let mut old = Client::start("3006.28", Node::Master, other.path());
    assert_eq!(
        old.run("bus.fire_event({'from': 'old', 'v': b'\\xff'}, 'one')"),
        "True"
    );
    assert_eq!(
        new.run("bus.get_event(wait=20, tag='one')['v']"),
        "b'\\xff'"
    );
    assert_eq!(
        old.run("bus.get_event(wait=20, tag='one')['from']"),
        "'old'"
    );
    assert_eq!(new.run("bus.fire_event({'from': 'new'}, 'two')"), "True");
    assert_eq!(
        old.run("bus.get_event(wait=20, tag='two')['from']"),
        "'new'"
    );
    assert_eq!(bus.warnings(), [""; 0]);
}

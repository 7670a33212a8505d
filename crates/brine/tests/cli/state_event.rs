//! `salt-run state.event` of Brine beside that of real Salt, on the same bus: the same bytes.
//!
//! Each of the three reads from a socket directory of its own, in the framing of its release; the
//! bus behind is one, so all see the same events with the same stamps.

use std::fs;
use std::path::Path;
use std::process::Command;

use brine_bus::address::{Address, Node};
use brine_bus::client::PublisherConfig;
use brine_bus::client::blocking::Publisher;
use brine_testkit::salt;
use brine_wire::{Map, Value};

use crate::support::{
    Bus, DEADLINE, Running, brine, configuration, connections, wait_for_connections, wait_until,
};

/// The arguments of each call; all end by their count.
const CALLS: &[&[&str]] = &[
    &["state.event", "my/*", "count=9"],
    &["state.event", "tagmatch=my/*", "count=9", "pretty=True"],
    &["state.event", "odd/*", "3"],
    &["state.event", "my/[bl]*", "2"],
    &["state.event", "my/(bytes|n.m)\\w+", "count=2"],
    &["state.event", "my/plain", "1", "False", "None", "True"],
    &["state.event", "my/*", "count=0"],
    &["state.event", "my/*", "count=3", "quiet=True"],
    &["--quiet", "state.event", "my/*", "count=2"],
    &[
        "--out=json",
        "state.event",
        "my/last",
        "count=1",
        "node=master",
    ],
    &["state.event", "own/*", "count=1", "node=minion"],
];

struct Side {
    name: &'static str,
    sock_dir: String,
    config_dir: String,
}

impl Side {
    fn new(bus: &Bus, name: &'static str) -> Self {
        let config_dir = bus.path(&format!("etc-{name}"));
        fs::create_dir(&config_dir).unwrap();
        let own = configuration(bus.root.path(), &format!("/s-{name}"));
        fs::write(Path::new(&config_dir).join("master"), own).unwrap();
        Self {
            name,
            sock_dir: bus.path(&format!("s-{name}")),
            config_dir,
        }
    }

    fn command(&self) -> Command {
        let mut command = match self.name {
            "brine" => brine(&["salt-run"]),
            version => {
                let mut python = salt::python(version);
                let program = Path::new(python.get_program()).with_file_name("salt-run");
                python.arg(program);
                python
            }
        };
        command
            .args(["-c", &self.config_dir])
            .env("LC_ALL", "C.UTF-8");
        command
    }
}

#[test]
fn prints_the_bytes_that_real_salt_prints() {
    let mut bus = Bus::absent();
    let sides = ["brine", "3008.3", "3006.28"].map(|name| Side::new(&bus, name));
    let also = |side: &Side| {
        let release = if side.name == "brine" {
            "3008"
        } else {
            side.name
        };
        format!("--also={}={release}", side.sock_dir)
    };
    let directories: Vec<String> = sides.iter().map(also).collect();
    let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
    bus.begin(&directories);
    let minion = [
        &["--node", "minion", "--id", "central"],
        directories.as_slice(),
    ]
    .concat();
    let mut minion_bus = bus.command(&[&["bus"], minion.as_slice()].concat());
    let mut minion_bus = Running::start(&mut minion_bus);
    for _ in 0..=sides.len() {
        minion_bus.says("ready");
    }
    let local_socket = Node::minion("central").local_socket_name();
    wait_until(|| Path::new(&bus.sock_dir()).join(&local_socket).exists());

    let before: Vec<usize> = sides
        .iter()
        .map(|side| connections(&side.sock_dir))
        .collect();
    let started: Vec<Vec<Running>> = sides.iter().map(start_all).collect();
    for (side, before) in sides.iter().zip(before) {
        // Each has told of its job on one connection and listens on another.
        wait_for_connections(&side.sock_dir, before + 2 * CALLS.len());
    }
    fire_all(&bus);

    let printed: Vec<Vec<(Option<i32>, String)>> = started.into_iter().map(ends).collect();
    for (at, call) in CALLS.iter().enumerate() {
        for (side, printed_there) in sides.iter().zip(&printed).skip(1) {
            assert_eq!(
                printed[0][at], printed_there[at],
                "{call:?}: ours, {}'s",
                side.name
            );
        }
    }
    assert_eq!(
        printed[0][0].1.lines().count(),
        10,
        "nine events and the return value"
    );
}

fn start_all(side: &Side) -> Vec<Running> {
    let calls = CALLS.iter();
    calls
        .map(|call| Running::start(side.command().args(*call)))
        .collect()
}

fn ends(running: Vec<Running>) -> Vec<(Option<i32>, String)> {
    let left = running.into_iter().map(Running::left);
    left.map(|left| (left.code, left.stdout)).collect()
}

/// Fires what the calls wait for: every kind of value that Salt can print.
fn fire_all(bus: &Bus) {
    let publisher = |node: &Node| {
        let address = Address::ipc(bus.sock_dir(), node).unwrap();
        Publisher::new(&address, PublisherConfig::default())
    };
    let mut fire = {
        let mut master = publisher(&Node::Master);
        move |tag: &str, data: Vec<(Value, Value)>| {
            let mut data = Map::from(data);
            master.fire_event(tag, &mut data, Some(DEADLINE)).unwrap();
        }
    };
    let text = |key: &str| Value::from(key);
    let date = Value::Ext(78, b"20261123T21:30:01.000042".to_vec());
    let deep = Value::from(vec![
        Map::from(vec![(text("k"), Map::new().into())]).into(),
        Vec::new().into(),
    ]);
    fire("not/mine", vec![]);
    fire(
        "my/plain",
        vec![
            (text("z"), 1.into()),
            (text("a"), true.into()),
            (text("n"), Value::Nil),
        ],
    );
    fire(
        "my/bytes_",
        vec![
            (text("good"), Value::Bin(b"abc".to_vec())),
            (text("bad"), Value::Bin(vec![255, 0])),
        ],
    );
    fire(
        "my/nums",
        vec![
            (text("big"), u64::MAX.into()),
            (text("neg"), i64::MIN.into()),
            (
                text("f"),
                vec![
                    1.5.into(),
                    1e16.into(),
                    1e-7.into(),
                    (-0.0).into(),
                    100.0.into(),
                ]
                .into(),
            ),
            (
                text("inf"),
                vec![
                    f64::INFINITY.into(),
                    f64::NEG_INFINITY.into(),
                    f64::NAN.into(),
                ]
                .into(),
            ),
        ],
    );
    fire(
        "my/text",
        vec![(
            text("s"),
            text("é☃😀 \"q\" \\ / \t\n\r\u{1}\u{7f}\u{85}\u{2028}"),
        )],
    );
    fire(
        "my/deep",
        vec![(text("x"), deep), (text("e"), Vec::new().into())],
    );
    fire("my/date", vec![(text("d"), date)]);
    fire("my/é ☃", vec![(text("é"), text("ü"))]);
    fire("my/long", vec![(text("l"), "x".repeat(200_000).into())]);
    fire("my/last", vec![]);
    fire(
        "odd/keys",
        vec![
            (5.into(), 1.into()),
            (Value::Nil, 2.into()),
            (true.into(), 3.into()),
            (1.5.into(), 4.into()),
        ],
    );
    fire("odd/bin", vec![(Value::Bin(b"k".to_vec()), 1.into())]);
    fire("odd/last", vec![]);
    let mut own = publisher(&Node::minion("central"));
    own.fire_event("own/event", &mut Map::new(), Some(DEADLINE))
        .unwrap();
}

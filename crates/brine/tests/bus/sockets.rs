//! Whose sockets: modes and refusals as Salt's, own directories for ordinary users, and what stands
//! in the way of a start.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use brine_testkit::salt::{Bus as RealBus, Client, Node, VERSIONS};
use brine_testkit::user::{NOBODY, as_nobody, can_switch};
use brine_wire::frame::Framing;

use crate::peers::{Publisher, Subscriber};
use crate::process::{Bus, Setup};

/// Modes of the two sockets of a directory, publish first.
fn modes(sock_dir: &Path) -> Vec<u32> {
    ["_pub.ipc", "_pull.ipc"]
        .map(|end| mode_of_the_one(sock_dir, end))
        .to_vec()
}

fn mode_of_the_one(sock_dir: &Path, end: &str) -> u32 {
    let mut entries = fs::read_dir(sock_dir).unwrap().map(Result::unwrap);
    let found = entries.find(|entry| entry.file_name().to_string_lossy().ends_with(end));
    let found = found.unwrap_or_else(|| panic!("no {end} in {}", sock_dir.display()));
    found.metadata().unwrap().permissions().mode() & 0o7777
}

#[test]
fn modes_are_those_of_each_release() {
    for version in VERSIONS {
        for (node, yaml, python) in [
            (Node::Master, "", ""),
            (
                Node::Master,
                "publisher_acl: {fred: [test.ping]}",
                "'publisher_acl': {'fred': ['test.ping']}",
            ),
            (
                Node::Master,
                "external_auth: {pam: {fred: [test.ping]}}",
                "'external_auth': {'pam': {'fred': ['test.ping']}}",
            ),
            (Node::Minion("m1"), "", ""),
        ] {
            let setup = Setup::new(version).config(yaml);
            let ours = match node {
                Node::Master => setup.start(),
                Node::Minion(id) => setup.minion(id).start(),
            };
            let directory = tempfile::tempdir().unwrap();
            let sock_dir = directory.path().join("s");
            let _real = RealBus::start_with(version, node, &sock_dir, python);
            let mut expected = modes(&sock_dir);
            if yaml.starts_with("publisher_acl") {
                // Salt's group of root lets none of these users in. Ours checks who connects.
                expected[0] = 0o666;
            }
            assert_eq!(
                modes(ours.sock_dir()),
                expected,
                "Salt {version}, {node:?}, {yaml}"
            );
            let directory_mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
            assert_eq!(
                directory_mode(ours.sock_dir()),
                directory_mode(&sock_dir),
                "Salt {version}, {yaml}"
            );
        }
    }
}

fn connect_as_nobody(socket: &Path) -> Result<(), ErrorKind> {
    as_nobody(|| {
        UnixStream::connect(socket)
            .map(drop)
            .map_err(|error| error.kind())
    })
}

#[test]
fn another_user_is_refused_as_salt_refuses() {
    if !can_switch() {
        eprintln!("not run: only root can try to be another user");
        return;
    }
    for version in VERSIONS {
        let ours = Setup::new(version).start();
        open_way_to(ours.sock_dir());
        let directory = tempfile::tempdir().unwrap();
        open_way_to(&directory.path().join("s"));
        let sock_dir = directory.path().join("s");
        let _real = RealBus::start(version, Node::Master, &sock_dir);
        for side in ["pub", "pull"] {
            let real = connect_as_nobody(&sock_dir.join(format!("master_event_{side}.ipc")));
            assert_eq!(real, Err(ErrorKind::PermissionDenied));
            assert_eq!(
                connect_as_nobody(&ours.socket(side)),
                real,
                "Salt {version}, {side}"
            );
        }
    }
}

/// So that a refusal is the socket's and not the directory's.
fn open_way_to(sock_dir: &Path) {
    fs::create_dir_all(sock_dir).unwrap();
    for directory in [sock_dir, sock_dir.parent().unwrap()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn an_ordinary_user_runs_a_bus_in_a_directory_of_its_own() {
    if !can_switch() {
        eprintln!("nothing to try: this and every other test runs as an ordinary user");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = directory.path().join("brine");
    fs::copy(env!("CARGO_BIN_EXE_brine"), &program).unwrap();
    let mut bus = Setup::new("3008").user(NOBODY, program).start();
    assert_eq!(fs::metadata(bus.socket("pub")).unwrap().uid(), NOBODY);
    assert_eq!(connect_as_nobody(&bus.socket("pub")), Ok(()));
    assert_eq!(connect_as_nobody(&bus.socket("pull")), Ok(()));
    exchange(&bus);
    // Real Salt's client of another user that may (root) is served as well.
    let mut listener = Client::start("3008.3", Node::Master, bus.sock_dir());
    assert!(Publisher::connect(&bus.socket("pull")).fire("mine", 1));
    assert_eq!(listener.run("bus.get_event(wait=20, tag='mine')['n']"), "1");
    assert!(bus.stop().success());
}

/// An event goes through.
fn exchange(bus: &Bus) {
    let mut subscriber = Subscriber::connect(&bus.socket("pub"), Framing::Bare);
    assert!(Publisher::connect(&bus.socket("pull")).fire("exchange", 3));
    assert_eq!(subscriber.next_of("exchange"), Some(3));
}

#[test]
fn a_bus_that_is_alive_is_not_replaced() {
    let mut bus = Setup::new("3008").start();
    let second = bus.command().output().unwrap();
    let text = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{text}");
    let pid = format!("pid {}", bus.pid());
    for part in ["master_event_pub.ipc", "already running", &pid] {
        assert!(text.contains(part), "{part}: {text}");
    }
    exchange(&bus);
    assert!(bus.is_alive());
}

#[test]
fn what_a_dead_bus_left_is_replaced() {
    let mut bus = Setup::new("3008").start();
    bus.kill();
    assert!(
        fs::metadata(bus.socket("pub"))
            .unwrap()
            .file_type()
            .is_socket()
    );
    // One that was killed in the middle of its start leaves what it had begun.
    let begun = bus.sock_dir().join(".4194304");
    fs::create_dir(&begun).unwrap();
    drop(UnixListener::bind(begun.join("s")).unwrap());
    bus.start_again();
    exchange(&bus);
    // Salt's own leave theirs too.
    assert!(bus.stop().success());
    for side in ["pub", "pull"] {
        drop(UnixListener::bind(bus.socket(side)).unwrap());
    }
    bus.start_again();
    exchange(&bus);
    assert!(bus.stop().success());
    let left: Vec<_> = fs::read_dir(bus.sock_dir())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let mut bus = Setup::new("3008").start();
    assert!(bus.stop().success());
    fs::write(bus.socket("pull"), "precious").unwrap();
    let refused = bus.command().output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(
        text.contains("master_event_pull.ipc") && text.contains("file"),
        "{text}"
    );
    assert_eq!(fs::read(bus.socket("pull")).unwrap(), b"precious");
    // Nothing of a half-made bus stays.
    assert!(!bus.socket("pub").exists());
}

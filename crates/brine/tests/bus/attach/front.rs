//! In front of a bus of Salt's: clients never find it missing, and it is as before in the end.

use std::fs::{self, Metadata, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use brine_testkit::salt::{Client, Node};
use brine_testkit::user;
use rustix::process::{Signal, kill_process};

use super::beside::said_by;
use super::{Site, until};
use crate::process::DEADLINE;

/// Connects to a path all the time, and keeps the longest time in which it could not.
pub(super) struct Watch {
    end: Arc<AtomicBool>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    pub(super) fn start(path: PathBuf) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&end);
        let thread = thread::spawn(move || {
            let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
            while !is_over.load(Ordering::Relaxed) {
                let is_there = UnixStream::connect(&path).is_ok();
                longest = longest.max(last.elapsed());
                if is_there {
                    last = Instant::now();
                }
                sleep(Duration::from_millis(2));
            }
            longest
        });
        Self { end, thread }
    }

    /// The longest time without a socket that could be connected to.
    pub(super) fn longest(self) -> Duration {
        self.end.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What others see of a socket.
pub(super) fn look(path: &Path) -> (u32, u32, u32) {
    let see = |metadata: Metadata| {
        let mode = metadata.permissions().mode();
        (mode, metadata.uid(), metadata.gid())
    };
    see(fs::symlink_metadata(path).unwrap())
}

/// The names in the directory of the sockets.
fn names(site: &Site) -> Vec<String> {
    let entries = fs::read_dir(site.sock_dir()).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.collect();
    names.sort();
    names
}

/// Fires until a listener hears it: one that has to connect again first is not told when it is heard.
pub(super) fn hears(listener: &mut Client, tag: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let fire = format!("bus.fire_event({{}}, {tag:?})");
        let fired = listener.try_run(&fire);
        let heard = listener.try_run(&format!("bus.get_event(wait=1, tag={tag:?}) is not None"));
        if fired.is_ok_and(|fired| fired == "True") && heard.as_deref() == Ok("True") {
            return;
        }
        assert!(Instant::now() < deadline, "{tag} is not heard");
    }
}

fn stands_in_front(version: &'static str, node: Node<'static>) {
    println!("{version} {node:?}");
    let site = Site::new(node);
    let bus = site.start_bus(version);
    let before = names(&site);
    let salts = look(&site.publish());
    let watch = Watch::start(site.publish());
    let mut old = site.listener(version, &site.sock_dir());
    hears(&mut old, "before");

    // Begins.
    let mut attached = site.attach(&["--in-front"]);
    attached.says("in front: ", 1);
    assert_eq!(look(&site.publish()), salts);
    let mut new = site.listener(version, &site.sock_dir());
    hears(&mut new, "in/front");
    hears(&mut old, "in/front/too");

    // The bus restarts: our listeners stay connected, and the place is taken again.
    drop(bus);
    let _bus = site.start_bus(version);
    attached.says("in front: ", 2);
    assert_eq!(look(&site.publish()), salts);
    hears(&mut new, "restarted");
    hears(&mut old, "restarted/too");

    // A second one is refused.
    let mut second = site.command(&["--in-front"]);
    let refused = second.output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(
        text.contains("another brine attach stands in front"),
        "{text}"
    );
    let mut second = site.command(&["--restore"]);
    assert!(!second.output().unwrap().status.success());

    // Killed, the process that serves: the other puts the socket back.
    kill_process(attached.child(), Signal::KILL).unwrap();
    assert_eq!(attached.wait().code(), Some(1));
    assert_eq!(look(&site.publish()), salts);
    hears(&mut new, "killed");
    hears(&mut old, "killed/too");

    // Killed, the process that waits: the one that serves ends as it should.
    let mut attached = site.attach(&["--in-front"]);
    attached.says("in front: ", 1);
    let child = attached.child();
    kill_process(
        rustix::process::Pid::from_child(&attached.process),
        Signal::KILL,
    )
    .unwrap();
    until("the other to end", || {
        rustix::process::test_kill_process(child).is_err()
    });
    hears(&mut new, "orphaned");

    // Ended.
    let mut attached = site.attach(&["--in-front"]);
    attached.says("in front: ", 1);
    hears(&mut old, "in/front/again");
    assert_eq!(attached.end().code(), Some(0));
    assert_eq!((look(&site.publish()), names(&site)), (salts, before));
    hears(&mut new, "after");
    hears(&mut old, "after/too");
    let longest = watch.longest();
    println!("{version} {node:?}: the longest time without a socket: {longest:?}");
    assert!(longest < DEADLINE, "{longest:?}");
}

#[test]
fn in_front_of_3006() {
    stands_in_front("3006.28", Node::Master);
}

#[test]
fn in_front_of_a_minion_of_3007() {
    stands_in_front("3007.14", Node::Minion("m1"));
}

#[test]
fn in_front_of_3008() {
    stands_in_front("3008.3", Node::Master);
}

/// Attach in front, and both its processes killed: nobody listens on the bus's socket then.
fn stood_in_front(site: &Site) {
    let mut attached = site.attach(&["--in-front"]);
    attached.says("in front: ", 1);
    let child = attached.child();
    kill_process(
        rustix::process::Pid::from_child(&attached.process),
        Signal::STOP,
    )
    .unwrap();
    kill_process(child, Signal::KILL).unwrap();
    attached.kill();
    until("a dead socket", || {
        UnixStream::connect(site.publish()).is_err()
    });
}

#[test]
fn killed_with_whoever_waits_for_it_the_socket_is_put_back_by_the_next_start() {
    let site = Site::new(Node::Master);
    let _bus = site.start_bus("3008.3");
    stood_in_front(&site);
    let mut attached = site.attach(&[]);
    attached.says("put the bus's own socket back", 1);
    assert!(UnixStream::connect(site.publish()).is_ok());
    assert!(attached.end().success());
}

#[test]
fn killed_with_whoever_waits_for_it_the_socket_is_put_back_when_asked_for() {
    let site = Site::new(Node::Master);
    let _bus = site.start_bus("3008.3");
    let before = names(&site);
    stood_in_front(&site);
    let doctor = said_by(&site, "doctor").1;
    assert!(
        doctor.contains("a brine attach --in-front was killed")
            && doctor.contains("→ brine attach --restore puts it back")
            && doctor.contains("brine.sock: stale socket: nobody listens on it; the brine attach")
            && !doctor.contains("brine.sock does not answer"),
        "{doctor}"
    );
    let status = said_by(&site, "status").1;
    assert!(status.contains("brine attach --restore puts"), "{status}");
    let restored = site.command(&["--restore"]).output().unwrap();
    let text = String::from_utf8_lossy(&restored.stdout);
    assert!(text.contains("the bus's own socket is back"), "{text}");
    assert!(UnixStream::connect(site.publish()).is_ok());
    assert_eq!(names(&site), before);
    assert_eq!(said_by(&site, "doctor").0, Some(0));
    let restored = site.command(&["--restore"]).output().unwrap();
    let text = String::from_utf8_lossy(&restored.stdout);
    assert!(text.contains("nothing to put back"), "{text}");
}

#[test]
fn a_bus_on_ports_has_no_place_to_take() {
    let site = Site::new(Node::Master);
    let config = site.path("master");
    fs::write(&config, "ipc_mode: tcp\n").unwrap();
    let mut command = site.command(&["--in-front", "--config", config.to_str().unwrap()]);
    let refused = command.output().unwrap();
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("ipc_mode: tcp"), "{text}");
    assert_eq!(refused.status.code(), Some(1));
}

#[test]
fn a_list_says_who_may_listen_in_front() {
    if !user::can_switch() {
        return;
    }
    let site = Site::new(Node::Master);
    for directory in [site.path(""), site.sock_dir()] {
        fs::set_permissions(directory, Permissions::from_mode(0o755)).unwrap();
    }
    let config = site.path("master");
    let pid_file = site.path("pid");
    fs::write(&pid_file, "1").unwrap();
    let acl = "[{user: nobody, read: ['*']}, {user: daemon, read: ['salt/*']}]";
    let text = format!("pidfile: {}\nbrine: {{acl: {acl}}}\n", pid_file.display());
    fs::write(&config, text).unwrap();
    let _bus = site.start_bus("3008.3");
    let salts = look(&site.publish());
    let mut attached = site.attach(&["--in-front", "--config", config.to_str().unwrap()]);
    attached.says("in front: ", 1);
    let connect = || UnixStream::connect(site.publish()).unwrap();
    let (mut named, mut other) = (user::as_nobody(connect), user::as_user(12_345, connect));
    let reader = thread::spawn(move || named.read(&mut [0; 10]).unwrap());
    let mut listener = site.listener("3008.3", &site.sock_dir());
    until("the named user to hear something", || {
        listener.run("bus.fire_event({}, 'for/listeners')");
        reader.is_finished()
    });
    assert!(reader.join().unwrap() > 0);
    // Nothing is written to the other, whose connection is closed.
    assert_eq!(other.read(&mut [0; 10]).unwrap(), 0);
    // The socket's mode lets everybody connect, which is as it should be.
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_brine"));
    doctor.args(["doctor", "--config"]).arg(&config);
    let said = String::from_utf8(doctor.output().unwrap().stdout).unwrap();
    assert!(!said.contains("every user may read all events"), "{said}");
    // Nor does it seem wrong to a user who cannot see who serves Salt's own socket, and takes attach for the bus.
    let daemon = 1;
    let said = String::from_utf8(doctor.uid(daemon).gid(daemon).output().unwrap().stdout).unwrap();
    assert!(said.contains("master: "), "{said}");
    for wrong in ["every user may read all events", " serves the bus"] {
        assert!(!said.contains(wrong), "{said}");
    }
    assert!(attached.end().success());
    assert_eq!(look(&site.publish()), salts);
}

//! A socket that the service manager bound for `brine salt-api`: it outlives the process, so that nobody is refused.
//!
//! The test is the service manager: it passes the socket as descriptor 3, with `LISTEN_PID` and `LISTEN_FDS`.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::process::Stdio;

use rustix::process::Signal;

use crate::api::options;
use crate::site::{DEADLINE, Process, Site};

/// Starts `brine salt-api` as a service manager does, with this as its first passed descriptor.
fn start(site: &Site, passed: impl Into<OwnedFd>, count: usize) -> Process {
    let log = File::options()
        .create(true)
        .append(true)
        .open(site.path("salt-api"))
        .unwrap();
    let mut command = std::process::Command::new("sh");
    // A shell can move only descriptors of one digit, so the socket comes as its standard input.
    command
        .arg("-c")
        .arg(r#"exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS="$0" exec "$@""#)
        .arg(count.to_string())
        .arg(env!("CARGO_BIN_EXE_brine"))
        .args(["salt-api", "-c"])
        .arg(site.path(""))
        .env("NO_COLOR", "1")
        .stdin(Stdio::from(passed.into()))
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    Process::of(command.spawn().unwrap())
}

/// A request that nobody may have begun to read yet.
fn ask(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("nobody is refused");
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let request =
        "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: application/json\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn is_answered(mut stream: TcpStream) {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn a_passed_socket_refuses_nobody_while_the_api_restarts() {
    let socket = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    let mut site = Site::configured("tcp", &options(port));
    site.start_master();

    let waiting = ask(port);
    let first = start(&site, socket.try_clone().unwrap(), 1);
    is_answered(waiting);
    assert_eq!(first.end(), Some(0));

    let waiting = ask(port);
    let mut second = start(&site, socket.try_clone().unwrap(), 1);
    is_answered(waiting);
    second.signal(Signal::KILL);
    second.wait();

    let waiting = ask(port);
    let third = start(&site, socket, 1);
    is_answered(waiting);
    assert_eq!(third.end(), Some(0));
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    let site = Site::configured("tcp", &options(8000));
    let listener = || TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let no_listener = UnixDatagram::unbound().unwrap();
    let faults = [
        (
            start(&site, no_listener, 1),
            "socket activation: expected a TCP socket",
        ),
        (
            start(&site, listener(), 2),
            "socket activation: expected one socket, got 2",
        ),
    ];
    for (mut process, fault) in faults {
        assert_eq!(process.wait(), Some(1));
        let log = std::fs::read_to_string(site.path("salt-api")).unwrap();
        assert!(log.contains(fault), "{log}");
    }
}

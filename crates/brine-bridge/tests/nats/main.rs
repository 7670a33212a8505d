//! Logs that are one bus over a real nats-server, which is killed, forgets, and comes back.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, and says where it was"
)]

mod faults;
mod member;
mod outside;
mod tls;
mod trio;

use std::fs;
use std::time::Duration;

use brine_testkit::nats::Server;
use brine_testkit::wait_until;

use member::Member;

/// Events of each master in a test.
const EVENTS: u64 = 2000;

/// Two masters on a server, connected to it.
fn two_masters(server: &Server) -> (Member, Member) {
    let masters = ["m1", "m2"].map(|name| Member::start(name, &server.address()));
    for master in &masters {
        master.wait_connected();
    }
    masters.into()
}

#[test]
fn every_event_is_at_every_master_once_and_in_order_while_the_server_is_killed() {
    let mut server = Server::start();
    let members = ["m1", "m2", "m3"].map(|name| Member::start(name, &server.address()));
    for member in &members {
        member.wait_connected();
    }
    std::thread::scope(|scope| {
        for member in &members {
            scope.spawn(|| {
                for nth in 0..EVENTS {
                    member.fire(nth);
                    if nth % 100 == 0 {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                }
            });
        }
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(150));
            server.kill();
            std::thread::sleep(Duration::from_millis(100));
            server.up();
        }
    });
    for member in &members {
        for of in ["m1", "m2", "m3"] {
            wait_until("events", || member.numbers(of).len() as u64 >= EVENTS);
            let numbers: Vec<_> = (0..EVENTS).collect();
            assert_eq!(
                member.numbers(of),
                numbers,
                "events of {of} at {}",
                member.name
            );
        }
        // What came in is published by nobody again.
        wait_until("events", || member.published() == EVENTS);
    }
}

#[test]
fn a_master_that_was_away_catches_up_and_one_without_a_server_goes_on_alone() {
    let mut server = Server::start();
    let (first, mut second) = two_masters(&server);
    first.fire(0);
    wait_until("events", || second.numbers("m1") == [0]);
    second.stop();
    (1..500).for_each(|nth| first.fire(nth));
    wait_until("events", || first.published() == 500);
    server.kill();
    // Alone, and it knows nothing of the others' last events yet.
    second.restart();
    (0..100).for_each(|nth| second.fire(nth));
    (500..600).for_each(|nth| first.fire(nth));
    assert_eq!(second.numbers("m2").len(), 100);
    server.up();
    wait_until("events", || {
        second.numbers("m1").len() == 600 && first.numbers("m2").len() == 100
    });
    assert_eq!(second.numbers("m1"), (0..600).collect::<Vec<_>>());
    assert_eq!(first.numbers("m2"), (0..100).collect::<Vec<_>>());
}

#[test]
fn a_crash_before_anything_is_written_down_brings_nothing_twice() {
    let server = Server::start();
    let (first, mut second) = two_masters(&server);
    first.fire(0);
    wait_until("events", || second.numbers("m1") == [0]);
    second.stop();
    let early = fs::read(second.state()).unwrap();
    second.restart();
    (1..1000).for_each(|nth| first.fire(nth));
    wait_until("events", || second.numbers("m1").len() == 1000);
    second.stop();
    // As a crash leaves it: the history is ahead of the file.
    fs::write(second.state(), early).unwrap();
    second.restart();
    (1000..1100).for_each(|nth| first.fire(nth));
    wait_until("events", || second.numbers("m1").len() >= 1100);
    assert_eq!(second.numbers("m1"), (0..1100).collect::<Vec<_>>());
    assert!(second.figures().repeated >= 999, "it has read them again");
}

#[test]
fn a_stream_that_was_lost_is_noticed() {
    let mut server = Server::start();
    let (first, second) = (
        Member::start("m1", &server.address()),
        Member::start("m2", &server.address()),
    );
    first.wait_connected();
    second.wait_connected();
    (0..300).for_each(|nth| first.fire(nth));
    wait_until("events", || second.numbers("m1").len() == 300);
    server.kill();
    server.forget();
    server.up();
    // The new stream's numbers begin anew, and soon are where the old one's were.
    (300..700).for_each(|nth| first.fire(nth));
    wait_until("events", || second.numbers("m1").len() >= 700);
    assert_eq!(second.numbers("m1"), (0..700).collect::<Vec<_>>());
}

//! What goes wrong in the life of a site, and costs no event.

use rustix::process::Signal;

use crate::site::{Site, at, map, wait_until};

#[test]
fn events_sent_while_the_master_is_away_arrive_in_order_when_it_is_back() {
    for transport in ["tcp", "zeromq"] {
        println!("{transport}");
        let mut site = Site::up(transport);
        assert_eq!(site.master.take().unwrap().end(), Some(0));
        for n in 0..20 {
            let left = site.run(&[
                "salt-call",
                "event.send",
                "away/order",
                &format!("{{n: {n}}}"),
            ]);
            assert_eq!(left.code, Some(0), "{left:?}");
        }
        // Held back until there is a listener.
        site.minion.as_ref().unwrap().signal(Signal::STOP);
        site.start_master();
        let mut bus = site.master_bus();
        site.minion.as_ref().unwrap().signal(Signal::CONT);
        for n in 0..20 {
            assert_eq!(at(map(&bus.next("away/order"), "data"), "n"), &n.into());
        }
        // Over zeromq the subscription comes back when it tries again, which is not told.
        wait_until("an answer", || {
            site.run(&["salt", "-t", "2", "m1", "test.ping"]).stdout == "m1:\n    True\n"
        });
    }
}

#[test]
fn a_killed_minion_is_reported_and_comes_back() {
    let mut site = Site::up("tcp");
    site.minion.take().unwrap().signal(Signal::KILL);
    let left = site.run(&["salt", "-t", "1", "m1", "test.ping"]);
    assert!(left.stdout.contains("did not return"), "{left:?}");
    assert_ne!(left.code, Some(0));
    let mut bus = site.master_bus();
    site.start_minion();
    bus.next("salt/minion/m1/start");
    site.prints(&["salt", "m1", "test.ping"], "m1:\n    True\n");
}

#[test]
fn without_a_master_commands_say_so() {
    let site = Site::configured("tcp", "");
    let left = site.run(&["salt", "*", "test.ping"]);
    assert!(
        left.stdout
            .contains("The salt master could not be contacted. Is master running?"),
        "{left:?}"
    );
}

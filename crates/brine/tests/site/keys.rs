//! A key's life: pending, accepted, deleted, rejected, and what is told of it.

use std::fs;

use brine_wire::Value;
use rustix::process::Signal;

use crate::site::{Site, at, wait_until};

#[test]
fn a_key_waits_and_is_accepted_deleted_rejected_and_denied() {
    for transport in ["tcp", "zeromq"] {
        println!("{transport}");
        let mut site = Site::configured(transport, "loop_interval: 1\n");
        site.start_master();
        let mut bus = site.master_bus();
        site.start_minion();
        assert_eq!(at(&bus.next("salt/auth"), "act"), &"pend".into());
        let pending = "Accepted Keys:\nDenied Keys:\nUnaccepted Keys:\nm1\nRejected Keys:\n";
        site.prints(&["salt-key", "-L"], pending);
        site.prints(
            &["salt-key", "-a", "m1", "-y"],
            "The following keys are going to be accepted:\nUnaccepted Keys:\nm1\nKey for minion m1 accepted.\n",
        );
        assert_eq!(at(&bus.next("salt/key"), "id"), &"m1".into());
        assert_eq!(at(&bus.next("salt/minion/m1/start"), "id"), &"m1".into());
        site.prints(&["salt", "m1", "test.ping"], "m1:\n    True\n");

        // Deleted: the shared key is replaced, and the minion waits again.
        let left = site.run(&["salt-key", "-d", "m1", "-y"]);
        assert_eq!(left.code, Some(0), "{left:?}");
        assert_eq!(at(&bus.next("key"), "rotate_aes_key"), &Value::Bool(true));
        let left = site.run(&["salt", "m1", "test.ping"]);
        assert_ne!(left.code, Some(0), "{left:?}");

        // Started anew it asks again; rejected, it ends with Salt's code.
        assert_eq!(site.minion.take().unwrap().end(), Some(0));
        let mut bus = site.master_bus();
        site.start_minion();
        assert_eq!(at(&bus.next("salt/auth"), "act"), &"pend".into());
        let left = site.run(&["salt-key", "-r", "m1", "-y"]);
        assert!(
            left.stdout.contains("Key for minion m1 rejected."),
            "{left:?}"
        );
        while at(&bus.next("salt/auth"), "act") != &"reject".into() {}
        assert_eq!(site.minion.take().unwrap().wait(), Some(77));

        // Another key under an id that is taken is denied.
        let left = site.run(&["salt-key", "-a", "m1", "--include-rejected", "-y"]);
        assert!(
            left.stdout.contains("Key for minion m1 accepted."),
            "{left:?}"
        );
        for name in ["minion.pem", "minion.pub"] {
            fs::remove_file(site.path("n/pki").join(name)).unwrap();
        }
        site.start_minion();
        while at(&bus.next("salt/auth"), "act") != &"denied".into() {}
        assert_eq!(site.minion.take().unwrap().wait(), Some(77));
        let left = site.run(&["salt-key", "-l", "den"]);
        assert_eq!(left.stdout, "Denied Keys:\nm1\n", "{left:?}");
    }
}

#[test]
fn who_sends_events_is_told_that_the_master_is_away() {
    let mut site = Site::configured("tcp", "auto_accept: true\n");
    site.start_master();
    site.start_minion();
    let send = ["send", "--node", "minion", "--to-master", "a/b", "{x: 1}"];
    wait_until("the minion to be connected", || {
        site.run(&send).stderr.is_empty()
    });
    let mut master = site.master.take().unwrap();
    master.signal(Signal::TERM);
    master.wait();
    let kept = "brine: kept for the master: this minion has no connection to it now, and sends the event once it has one\n";
    wait_until("the minion to notice that the master is away", || {
        let left = site.run(&send);
        assert_eq!(left.code, Some(0), "{left:?}");
        left.stderr == kept
    });
    site.start_master();
    let mut bus = site.master_bus();
    assert_eq!(at(&bus.next("a/b"), "id"), &"m1".into());
}

#[test]
fn who_sends_events_is_told_that_the_key_is_not_accepted() {
    let mut site = Site::configured("tcp", "");
    site.start_master();
    let mut bus = site.master_bus();
    site.start_minion();
    assert_eq!(at(&bus.next("salt/auth"), "act"), &"pend".into());
    let send = ["send", "--node", "minion", "--to-master", "a/b", "{x: 1}"];
    let call = ["salt-call", "event.send", "a/b", "{x: 1}"];
    let kept = "kept for the master, which has not accepted this minion's key yet";
    wait_until("the minion to know that its key waits", || {
        let left = site.run(&send);
        assert_eq!(left.code, Some(0), "{left:?}");
        left.stderr == format!("brine: {kept}\n")
    });
    let left = site.run(&call);
    assert_eq!(left.stdout, "local:\n    True\n", "{left:?}");
    assert_eq!(left.stderr, format!("[WARNING ] {kept}\n"));
    is_found(
        &site,
        "master: has not accepted this minion's key yet, since ",
        "accept it there: salt-key -a m1\n",
    );
    // Once, also where the minion has no key of the master either.
    let left = site.run(&["doctor", "--node", "minion"]);
    assert_eq!(left.stdout.matches("salt-key -a m1").count(), 1, "{left:?}");

    // Nobody has signed that: the minion goes on asking.
    let left = site.run(&["salt-key", "-r", "m1", "-y"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let refused = "not sent: the master has rejected this minion's key";
    wait_until("the minion to know that its key is rejected", || {
        let left = site.run(&send);
        left.code == Some(1) && left.stderr == format!("brine: {refused}\n")
    });
    let left = site.run(&call);
    assert_eq!(left.stdout, "local:\n    False\n", "{left:?}");
    assert_eq!(left.stderr, format!("[WARNING ] {refused}\n"));

    let left = site.run(&["salt-key", "-a", "m1", "--include-rejected", "-y"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    // What was kept arrives.
    assert_eq!(at(&bus.next("a/b"), "id"), &"m1".into());

    wait_until("the minion to be connected", || {
        site.run(&call).stderr.is_empty()
            && site.run(&["doctor", "--node", "minion"]).code == Some(0)
    });

    // The same while the minion is connected: the first event is kept, and from it the minion learns of the rejection.
    let left = site.run(&["salt-key", "-r", "m1", "--include-accepted", "-y"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let left = site.run(&["doctor"]);
    assert!(left.stdout.contains(": 1 key rejected: m1\n"), "{left:?}");
    let left = site.run(&call);
    assert_eq!(left.stdout, "local:\n    False\n", "{left:?}");
    assert_eq!(
        left.stderr,
        format!(
            "[WARNING ] {refused}; this event is kept, and goes if the key is accepted again\n"
        )
    );
    wait_until(
        "the connected minion to know that its key is rejected",
        || site.run(&send).stderr == format!("brine: {refused}\n"),
    );
    is_found(
        &site,
        "master: has rejected or denied this minion's key, since ",
        "if the key is the right one, salt-key -d m1 there",
    );
    let left = site.run(&["salt-key", "-a", "m1", "--include-rejected", "-y"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    assert_eq!(at(&bus.next("a/b"), "id"), &"m1".into());
    wait_until("the minion to know that its key is accepted", || {
        site.run(&send).stderr.is_empty()
    });
}

#[test]
fn the_doctor_leaves_a_deleted_key_deleted() {
    let mut site = Site::up("tcp");
    assert_eq!(site.minion.take().unwrap().end(), Some(0));
    let left = site.run(&["salt-key", "-d", "m1", "-y"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let mut bus = site.master_bus();
    let left = site.run(&["doctor", "--node", "minion"]);
    assert!(
        left.stdout
            .contains("master: whether it accepts this minion's key is not known")
            && left.stdout.contains(" salt-key -l all shows where m1 is\n"),
        "{left:?}"
    );
    let left = site.run(&["salt-key", "-l", "all"]);
    assert!(!left.stdout.contains("m1"), "{left:?}");
    let left = site.run(&["send", "the/end"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    let (tag, _) = bus.next_with_tag("[st]*/[ae]*");
    assert_eq!(tag, "the/end");
}

/// What the doctor says of the minion, and what to do.
fn is_found(site: &Site, what: &str, remedy: &str) {
    let left = site.run(&["doctor", "--node", "minion"]);
    let remedy = format!("→ {remedy}");
    assert!(
        left.code == Some(1) && left.stdout.contains(what) && left.stdout.contains(&remedy),
        "{left:?}"
    );
}

#[test]
fn of_a_master_that_was_set_up_anew_the_minion_says_which_file_to_remove() {
    let mut site = Site::up("tcp");
    let left = site.run(&["doctor", "--node", "minion"]);
    assert!(
        left.code == Some(0)
            && left.stdout.starts_with(
                "note     master: had accepted this minion's key when it last signed in, at "
            )
            && left.stdout.ends_with("0 errors, 0 warnings, 1 note\n"),
        "{left:?}"
    );
    assert_eq!(site.master.take().unwrap().end(), Some(0));
    fs::remove_dir_all(site.path("m/pki")).unwrap();
    let config = fs::read_to_string(site.path("master")).unwrap();
    fs::write(
        site.path("master"),
        config.replace("auto_accept: true\n", ""),
    )
    .unwrap();
    site.start_master();
    let mut bus = site.master_bus();
    let known = site.path("n/pki/minion_master.pub");
    let log = |text: &str| {
        let line = format!("master \"127.0.0.1\" {text} {0}: ", known.display());
        wait_until(&line, || {
            fs::read_to_string(site.path("salt-minion"))
                .unwrap()
                .contains(&line)
        });
        is_found(
            &site,
            "master: gives answers that are not trusted",
            &format!(
                "read the minion's log for why; if the master was set up anew, remove {}",
                known.display()
            ),
        );
    };
    // It has not accepted the minion's key, and signs that with its own.
    log("does not sign with the key in");
    let left = site.run(&["salt-key", "-a", "m1", "-y"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    log("has another key than the one in");
    fs::remove_file(&known).unwrap();
    assert_eq!(at(&bus.next("salt/minion/m1/start"), "id"), &"m1".into());
}

//! Messages signed by their minion: `minion_sign_messages`, and masters that require it.

use std::fs;

use brine_bus::address::Node;
use brine_testkit::program::{Program, command};
use brine_testkit::salt::LATER_3007;
use serde_json::json;

use crate::minion_options::{minion_of, twins};
use crate::salt_masters::{configure_master, start_master};
use crate::support::{Fixture, Listener, json_of, publish, run_to_end};

const REQUIRE: &str = "require_minion_sign_messages: true\ndrop_messages_signature_fail: true";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_requires_signatures_takes_signed_returns_alone() {
    for (minion, taken) in [
        ("minion_sign_messages: true", true),
        (
            "minion_sign_messages: true\nsigning_algorithm: PKCS1v15-SHA224",
            true,
        ),
        ("", false),
    ] {
        let fixture = Fixture::new("tcp");
        let master = fixture
            .master(&format!("auto_accept: true\n{REQUIRE}"))
            .await;
        let mut bus = fixture.master_bus().await;
        let minion = fixture.minion(master.ret_port, &format!("process_count_max: 1\n{minion}"));
        bus.next("salt/minion/m1/start").await;
        publish(&master, "test.ping", &[]).await;
        // Begins when the other has returned. Events need no signature, as on Salt's masters.
        publish(
            &master,
            "event.fire_master",
            &["{}".into(), "from/job".into()],
        )
        .await;
        let tags = bus.tags_until("from/job").await;
        let returned = tags.iter().any(|tag| tag.contains("/ret/m1"));
        assert_eq!(returned, taken, "{tags:?}");
        minion.end().await;
        master.end().await;
    }
}

/// Real masters do not know what to check a signature with unless they are told.
fn require_of_real_master() -> String {
    format!("auto_accept: true\nsigning_algorithm: PKCS1v15-SHA1\n{REQUIRE}")
}

/// Asks with real `salt` of a real master whether the minion returns.
async fn returns_to(version: &str, fixture: &Fixture) {
    let salt = command(version, "salt", &fixture.path("r"));
    let asked = ["m1", "test.ping", "--out", "json", "-t", "30"];
    let printed = run_to_end(salt, &asked, fixture, "salt").await;
    assert_eq!(json_of(&printed), json!({"m1": true}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_signed_returns_are_taken_by_a_real_3006_master_that_requires_them() {
    let fixture = Fixture::new("zeromq");
    configure_master(&fixture, &require_of_real_master());
    let master = start_master("3006.28", &fixture).await;
    let mut bus = Listener::at(&fixture.path("r/s"), &Node::Master).await;
    let minion = fixture.minion(fixture.ports[0], "minion_sign_messages: true");
    bus.next("salt/minion/m1/start").await;
    returns_to("3006.28", &fixture).await;
    minion.end().await;
    drop(master);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_minion_goes_back_to_a_real_3008_master_which_takes_its_signed_returns() {
    let fixtures = twins("zeromq");
    let [first, second] = &fixtures;
    let ours = second.master("auto_accept: true").await;
    let mut bus = second.master_bus().await;
    let minion = minion_of(&fixtures, "minion_sign_messages: true");
    let mut own = first.minion_bus().await;
    bus.next("salt/minion/m1/start").await;
    configure_master(first, &require_of_real_master());
    let master = start_master("3008.3", first).await;
    own.next("__master_failback").await;
    own.next("__master_connected").await;
    returns_to("3008.3", first).await;
    minion.end().await;
    ours.end().await;
    drop(master);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn returns_that_real_minions_sign_are_taken_by_our_master_that_requires_them() {
    for version in [LATER_3007, "3008.3"] {
        signed_returns_are_taken(version).await;
    }
}

async fn signed_returns_are_taken(version: &str) {
    let fixture = Fixture::new("zeromq");
    let master = fixture
        .master(&format!("auto_accept: true\n{REQUIRE}"))
        .await;
    let mut bus = fixture.master_bus().await;
    let root = fixture.path("minion");
    fs::create_dir_all(root.join("pki")).unwrap();
    let config = format!(
        "id: m1\nmaster: 127.0.0.1\nmaster_port: {port}\ntransport: zeromq\nroot_dir: {path}\n\
         pki_dir: {path}/pki\ncachedir: {path}/cache\nsock_dir: {path}/sock\nlog_file: {path}/log\n\
         user: {user}\nminion_sign_messages: true\n",
        port = master.ret_port,
        path = root.display(),
        user = brine_config::Environment::current().user,
    );
    fs::write(root.join("minion"), config).unwrap();
    let real = command(version, "salt-minion", &root);
    let minion = Program::start(real, fixture.path("minion.out"));
    bus.next("salt/minion/m1/start").await;
    publish(&master, "test.ping", &[]).await;
    let ret = bus.next("salt/job/*/ret/m1").await;
    assert!(ret.get("sig").is_some());
    drop(minion);
    master.end().await;
}

//! The documentation's examples of firing events from the command line.

use brine_wire::Value;

use crate::site::{Site, at, map};

#[test]
fn every_documented_command_fires_what_it_says() {
    for transport in ["tcp", "zeromq"] {
        println!("{transport}");
        let site = Site::up(transport);
        events_of_salt_call(&site);
        events_of_jobs(&site);
        events_of_the_runner(&site);
    }
}

fn events_of_salt_call(site: &Site) {
    let mut bus = site.master_bus();
    let local = "local:\n    True\n";
    site.prints(
        &[
            "salt-call",
            "event.send",
            "/my/test/event",
            r#"{"data": "my event test"}"#,
        ],
        local,
    );
    let event = bus.next("/my/test/event");
    assert_eq!(at(&event, "id"), &"m1".into());
    assert_eq!(at(&event, "cmd"), &"_minion_event".into());
    let data = map(&event, "data");
    assert_eq!(at(data, "data"), &"my event test".into());
    assert_eq!(at(data, "__pub_fun"), &"event.send".into());
    assert_eq!(at(data, "__pub_tgt"), &"salt-call".into());

    site.prints(
        &[
            "salt-call",
            "event.send",
            "myco/custom/event",
            r#"{success: True, message: "It works!"}"#,
        ],
        local,
    );
    let event = bus.next("myco/custom/event");
    assert_eq!(at(map(&event, "data"), "success"), &true.into());
    assert_eq!(at(map(&event, "data"), "message"), &"It works!".into());

    site.prints(
        &[
            "salt-call",
            "event.send",
            "myco/mytag",
            "foo=Foo",
            "bar=Bar",
        ],
        local,
    );
    let event = bus.next("myco/mytag");
    assert_eq!(at(map(&event, "data"), "foo"), &"Foo".into());
    assert_eq!(at(map(&event, "data"), "bar"), &"Bar".into());

    site.prints(
        &[
            "salt-call",
            "event.send",
            "myco/mytag",
            "{foo: Foo, bar: Bar}",
        ],
        local,
    );
    assert_eq!(
        at(map(&bus.next("myco/mytag"), "data"), "bar"),
        &"Bar".into()
    );

    let build = [
        ("BUILD_ID", "139"),
        ("BUILD_URL", "http://ci/139"),
        ("GIT_COMMIT", "abc"),
    ];
    let words = [
        "salt-call",
        "event.send",
        "myco/jenkins/build/success",
        "with_env=[BUILD_ID, BUILD_URL, GIT_BRANCH, GIT_COMMIT]",
    ];
    let left = site.run_with(&words, &build, "");
    assert_eq!(left.stdout, local, "{left:?}");
    let event = bus.next("myco/jenkins/build/success");
    let environ = map(map(&event, "data"), "environ");
    assert_eq!(at(environ, "BUILD_URL"), &"http://ci/139".into());

    site.prints(
        &[
            "salt-call",
            "event.fire_master",
            r#"{"data":"my event data"}"#,
            "tag",
        ],
        local,
    );
    assert_eq!(
        at(map(&bus.next("tag"), "data"), "data"),
        &"my event data".into()
    );
    // What salt-call ran is a return on the bus.
    let ret = bus.next("salt/job/*/ret/m1");
    assert_eq!(at(&ret, "return"), &true.into());
    assert_eq!(at(&ret, "tgt"), &"m1".into());
}

fn events_of_jobs(site: &Site) {
    let mut bus = site.master_bus();
    let mut minion_bus = site.minion_bus();
    site.prints(
        &[
            "salt",
            "m1",
            "event.fire",
            r#"{"data": "message for the minion"}"#,
            "customtag/african/unladen",
        ],
        "m1:\n    True\n",
    );
    let event = minion_bus.next("customtag/african/unladen");
    assert_eq!(at(&event, "data"), &"message for the minion".into());
    let ret = bus.next("salt/job/*/ret/m1");
    assert_eq!(at(&ret, "fun"), &"event.fire".into());
    assert_eq!(at(&ret, "success"), &true.into());

    site.prints(
        &[
            "salt",
            "*",
            "event.fire_master",
            r#"{"data":"my event data"}"#,
            "tag",
        ],
        "m1:\n    True\n",
    );
    assert_eq!(
        at(map(&bus.next("tag"), "data"), "data"),
        &"my event data".into()
    );

    site.prints(&["salt", "*", "test.ping"], "m1:\n    True\n");
    let (tag, new) = bus.next_with_tag("salt/job/*/new");
    let jid = at(&new, "jid").as_str().unwrap().to_owned();
    assert_eq!(tag, format!("salt/job/{jid}/new"));
    assert_eq!(at(&new, "fun"), &"test.ping".into());
    assert_eq!(at(&new, "minions"), &Value::Array(vec!["m1".into()]));
    let ret = bus.next(&format!("salt/job/{jid}/ret/m1"));
    assert_eq!(at(&ret, "return"), &true.into());

    let left = site.run(&["salt", "m1", "event.send", "t/async", "{a: 1}", "--async"]);
    assert_eq!(left.code, Some(0), "{left:?}");
    assert!(
        left.stdout.starts_with("Executed command with job ID: "),
        "{left:?}"
    );
    assert_eq!(at(map(&bus.next("t/async"), "data"), "a"), &Value::Int(1));
}

fn events_of_the_runner(site: &Site) {
    let mut bus = site.master_bus();
    site.prints(
        &[
            "salt-run",
            "event.send",
            "my/custom/event",
            r#"{"foo": "bar"}"#,
        ],
        "True\n",
    );
    bus.next("salt/run/*/new");
    assert_eq!(at(&bus.next("my/custom/event"), "foo"), &"bar".into());
    bus.next("salt/run/*/ret");
    site.prints(&["salt-run", "manage.up"], "- m1\n");
    site.prints(&["salt-run", "manage.down"], "");
    let left = site.run(&["salt-run", "jobs.list_jobs", "--out", "json"]);
    assert!(left.stdout.contains("test.ping"), "{left:?}");
}

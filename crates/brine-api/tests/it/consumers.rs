//! `/consumers`: named positions of a running bus.

use brine_testkit::user::{as_nobody, can_switch};

use crate::history::{Bus, numbers};
use crate::support::at;

/// The answer to a request that succeeds.
fn done(bus: &Bus, method: &str, path: &str) -> serde_json::Value {
    let (status, body) = bus.api.request(&format!("{method} /consumers{path}"), "");
    assert_eq!(status, 200, "{method} {path}: {body}");
    serde_json::from_str(&body).unwrap()
}

/// Status and code of an answer to one that is refused.
fn refused(bus: &Bus, method: &str, path: &str) -> (u16, String) {
    let (status, body) = bus.api.request(&format!("{method} /consumers{path}"), "");
    let code = at(&body, "/error/code").as_str().unwrap().to_owned();
    (status, code)
}

#[test]
fn a_consumer_is_made_read_acknowledged_and_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::start(directory.path());
    bus.fire(1..11);
    let made = done(&bus, "PUT", "/audit?deliver=all&filter=job/*");
    assert_eq!(
        (&made["lag"], &made["state"]),
        (&10.into(), &"active".into())
    );
    let (_, body) = bus.api.get("/consumers/audit/events?limit=4");
    assert_eq!(numbers(&body), [1, 2, 3, 4]);
    let acknowledged = done(&bus, "POST", &format!("/audit/ack?position={}-4", bus.id));
    assert_eq!(acknowledged["lag"], 6);
    // Going back is what reset is for.
    let again = done(&bus, "POST", &format!("/audit/ack?position={}-2", bus.id));
    assert_eq!(again["lag"], 6);
    bus.end();

    let bus = Bus::start(directory.path());
    let (_, body) = bus.api.get("/consumers/audit/events?follow=false");
    assert_eq!(numbers(&body), (5..11).collect::<Vec<_>>());
    assert_eq!(done(&bus, "GET", "")["consumers"][0]["name"], "audit");
    done(&bus, "DELETE", "/audit");
    assert_eq!(refused(&bus, "GET", "/audit"), (404, "no_consumer".into()));
    bus.end();
}

#[test]
fn names_that_read_as_directories_or_options_are_refused_at_creation() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::start(directory.path());
    for name in [".", "..", "-a", "--all"] {
        let found = refused(&bus, "PUT", &format!("/{name}"));
        assert_eq!(found, (400, "bad_request".into()), "{name}");
    }
    for name in [".a", "a.", "a-", "..."] {
        done(&bus, "PUT", &format!("/{name}"));
    }
    bus.end();
}

#[test]
fn a_reset_says_what_it_does_before_it_does_it() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::start(directory.path());
    bus.fire(1..11);
    done(&bus, "PUT", "/c?deliver=5");
    for (query, to, effect) in [
        ("to=earliest", 0, "4 events again"),
        ("to=latest", 10, "6 events skipped"),
        ("to=6", 5, "1 event skipped"),
        ("to=@1008", 7, "3 events skipped"),
        ("shift=-2", 2, "2 events again"),
        ("shift=0", 4, "no change"),
    ] {
        let shown = done(&bus, "POST", &format!("/c/reset?{query}"));
        assert_eq!(shown["effect"], effect, "{query}");
        assert_eq!(shown["to"], format!("{}-{to}", bus.id), "{query}");
        assert_eq!(shown["executed"], false);
    }
    assert_eq!(done(&bus, "GET", "/c")["lag"], 6, "nothing was done");
    done(&bus, "POST", "/c/reset?to=latest&execute=true");
    assert_eq!(done(&bus, "GET", "/c")["lag"], 0);
    for query in ["to=12", "shift=7", "to=99-1"] {
        let answer = refused(&bus, "POST", &format!("/c/reset?{query}"));
        assert_eq!(answer, (410, "gone".into()), "{query}");
    }
    bus.end();
}

#[test]
fn a_paused_consumer_gets_nothing_until_it_is_resumed() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::start(directory.path());
    bus.fire(1..3);
    done(&bus, "PUT", "/c?deliver=all");
    assert_eq!(done(&bus, "POST", "/c/pause")["state"], "paused");
    let (status, _) = bus.api.get("/consumers/c/events?follow=false");
    assert_eq!(status, 409);
    assert_eq!(done(&bus, "POST", "/c/resume")["state"], "active");
    let paused = done(&bus, "POST", "/c/pause?until=%2B1h");
    assert_ne!(paused["state"], "active");
    done(&bus, "POST", "/c/resume");
    let (_, body) = bus.api.get("/consumers/c/events?follow=false");
    assert_eq!(numbers(&body), [1, 2]);
    bus.end();
}

#[test]
fn what_is_wrong_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::start(directory.path());
    done(&bus, "PUT", "/c");
    for (method, path, status) in [
        ("PUT", "/c", 409),
        ("PUT", "/a%20b", 400),
        ("PUT", "/d?deliver=soon", 400),
        ("PUT", "/d?start=all", 400),
        ("POST", "/c", 405),
        ("GET", "/c/pause", 405),
        ("POST", "/c/reset", 400),
        ("POST", "/c/ack", 400),
        // Times go back unless they say otherwise.
        ("POST", "/c/pause?until=1h", 400),
        ("POST", "/c/ack?position=99-1", 409),
        ("POST", "/c/nothing", 404),
        ("POST", "/none/pause", 404),
    ] {
        assert_eq!(refused(&bus, method, path).0, status, "{method} {path}");
    }
    bus.end();
}

#[test]
fn a_listed_user_has_the_consumers_that_are_named_and_its_tags_alone() {
    let directory = tempfile::tempdir().unwrap();
    let list = r#"[{"user": 65534, "read": ["rare/*"], "consume": ["ops-*"]}]"#;
    let bus = Bus::with_acl(directory.path(), list);
    bus.fire(1..31);
    done(&bus, "PUT", "/audit");
    if can_switch() {
        as_nobody(|| {
            done(&bus, "PUT", "/ops-1?deliver=all");
            let (_, body) = bus.api.get("/consumers/ops-1/events?follow=false");
            assert_eq!(numbers(&body), [20]);
            let all = done(&bus, "GET", "");
            let all = all["consumers"].as_array().unwrap();
            assert_eq!((all.len(), &all[0]["name"]), (1, &"ops-1".into()));
            for (method, path) in [("GET", "/audit"), ("DELETE", "/audit"), ("PUT", "/other")] {
                assert_eq!(refused(&bus, method, path).0, 403, "{method} {path}");
            }
            let (status, _) = bus.api.get("/consumers/audit/events?follow=false");
            assert_eq!(status, 403);
        });
    }
    assert_eq!(
        done(&bus, "GET", "")["consumers"].as_array().unwrap().len(),
        if can_switch() { 2 } else { 1 }
    );
    bus.end();
}

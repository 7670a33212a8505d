//! Who is admitted, seen as a second real user.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use brine_testkit::user::{NOBODY, as_nobody, can_switch};

use crate::support::{Api, Setup, at};

const LIST: &str = r#"[{"user": 65534, "read": ["my/*"], "fire": ["ops/*"], "run": ["test.*"]}]"#;

fn mode(api: &Api) -> u32 {
    std::fs::metadata(&api.path).unwrap().permissions().mode() & 0o777
}

#[test]
fn without_a_list_the_socket_is_its_users_alone() {
    let api = Api::start();
    assert_eq!(mode(&api), 0o600);
    if can_switch() {
        let refused = as_nobody(|| std::os::unix::net::UnixStream::connect(&api.path).is_err());
        assert!(refused);
    }
}

#[test]
fn a_listed_user_reads_and_fires_its_tags_alone() {
    let api = Api::with(Setup {
        acl: LIST,
        ..Setup::default()
    });
    assert_eq!(mode(&api), 0o666);
    api.fire("my/tag", "{}");
    api.fire("salt/auth", "{}");
    if !can_switch() {
        return;
    }
    as_nobody(|| {
        let (status, body) = api.get("/events?from=earliest&follow=false");
        assert_eq!(status, 200);
        assert_eq!(body.lines().count(), 1, "{body}");
        assert_eq!(at(&body, "/tag"), "my/tag");
        let (status, body) = api.request(
            "POST /events?durable=false",
            "{\"tag\": \"ops/x\"}\n{\"tag\": \"salt/auth\"}\n",
        );
        assert_eq!(status, 200);
        let answers: Vec<_> = body.lines().collect();
        assert!(answers[0].contains("position"), "{body}");
        assert_eq!(at(answers[1], "/error/code"), "forbidden");
        let (status, _) = api.request("POST /events?durable=false", "{\"tag\": \"salt/auth\"}");
        assert_eq!(status, 403);
        // The status shows its own streams, and none of anybody else's.
        let (status, body) = api.get("/status");
        assert_eq!(
            (status, at(&body, "/streams")),
            (200, serde_json::json!([]))
        );
        let (status, body) = api.request("POST /run", r#"{"client": "caller", "fun": "cmd.run"}"#);
        assert_eq!(status, 501, "nothing runs here: {body}");
    });
}

/// What a webhook's event and one with a configured field carry.
fn fire_secrets(api: &Api) {
    api.fire("my/hook-not", r#"{"password": "s3cret", "user": "ann"}"#);
    api.fire(
        "salt/netapi/hook/x",
        r#"{"headers": {"X-Auth-Token": "s3cret", "Cookie": "s3cret", "Host": "h"}}"#,
    );
}

#[test]
fn whoever_is_not_trusted_gets_redacted_events_wherever_they_are() {
    let api = Api::with(Setup {
        acl: r#"[{"user": 65534, "read": ["*"]}]"#,
        change: Box::new(|state| state.redact = ["password".to_owned()].into()),
        ..Setup::default()
    });
    fire_secrets(&api);
    // The bus's own user sees them as Salt's listeners do.
    let (_, body) = api.get("/events?from=earliest&follow=false");
    assert_eq!(body.matches("s3cret").count(), 3, "{body}");
    let (_, body) = api.get("/events?from=earliest&follow=false&filter=data.password:s3*");
    assert_eq!(body.lines().count(), 1, "{body}");
    if !can_switch() {
        return;
    }
    as_nobody(|| {
        for query in ["from=earliest", "last=10"] {
            let (_, body) = api.get(&format!("/events?{query}&follow=false"));
            assert_eq!(body.lines().count(), 2, "{body}");
            assert!(!body.contains("s3cret") && body.contains("ann"), "{body}");
        }
        // Nor does a filter say what it was.
        for query in ["from=earliest", "last=10"] {
            let filter = "filter=data.password:s3*";
            let (_, body) = api.get(&format!("/events?{query}&follow=false&{filter}"));
            assert_eq!(body, "", "{query}");
        }
        let mut client = api.connect();
        client.send(
            "GET /events?from=earliest&follow=false HTTP/1.1\r\nhost: x\r\n\
             accept: application/x-msgpack\r\nconnection: close\r\n\r\n",
        );
        assert!(!client.rest().contains("s3cret"));
    });
}

#[test]
fn a_user_whom_nothing_names_is_refused_everything() {
    let api = Api::with(Setup {
        acl: r#"[{"user": "somebody-else", "read": ["*"], "fire": ["*"], "run": ["*"]}]"#,
        ..Setup::default()
    });
    if !can_switch() {
        return;
    }
    as_nobody(|| {
        for (head, body) in [
            ("GET /events", ""),
            ("GET /status", ""),
            ("POST /events?durable=false", "{\"tag\": \"a\"}"),
            ("POST /run", "{}"),
        ] {
            let (status, answer) = api.request(head, body);
            assert_eq!(status, 403, "{head}: {answer}");
        }
    });
    assert_eq!(api.state.log.position().seq.0, 0);
    let _ = NOBODY;
}

#[test]
fn a_group_is_found_by_its_name() {
    if !can_switch() {
        return;
    }
    // The first group of the user without rights, whatever this system calls it.
    let api = Api::with(Setup {
        acl: r#"[{"group": "nogroup", "read": ["my/*"]}, {"group": "nobody", "read": ["my/*"]}]"#,
        ..Setup::default()
    });
    api.fire("my/tag", "{}");
    as_nobody(|| {
        let (status, body) = api.get("/events?from=earliest&follow=false");
        assert_eq!((status, body.lines().count()), (200, 1), "{body}");
    });
}

#[test]
fn an_audit_hears_who_may_not_fire() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = heard.clone();
    let api = Api::with(Setup {
        acl: LIST,
        change: Box::new(move |state| {
            state.audit = Some(Arc::new(move |subject, noticed| {
                let uid = subject.uid();
                hears.lock().unwrap().push(format!("{uid:?} {noticed:?}"));
            }));
        }),
        ..Setup::default()
    });
    if !can_switch() {
        return;
    }
    as_nobody(|| {
        let events =
            ["ops/x", "salt/auth", "salt/key"].map(|tag| format!("{{\"tag\": \"{tag}\"}}\n"));
        let (status, body) = api.request("POST /events?durable=false", &events.concat());
        assert_eq!(status, 200, "{body}");
    });
    // Of those that were refused together, the first.
    let uid = NOBODY;
    assert_eq!(
        *heard.lock().unwrap(),
        [
            format!("Some({uid}) IsRefused {{ tag: Some(\"salt/auth\") }}"),
            format!("Some({uid}) Fires {{ tag: \"ops/x\" }}"),
        ]
    );
}

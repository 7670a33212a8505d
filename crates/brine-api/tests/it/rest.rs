//! Salt's REST surface, where no capture shows it: options, permissions, files, and what must not happen.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use brine_api::rest::{Limits, RestOptions};
use brine_testkit::wait_until;
use brine_wire::{Value, json};

use crate::network::{Network, Nobody, TOKEN};
use crate::recorded::Recorded;

/// A request with the head's other lines; the status and the whole answer.
fn ask(network: &Network, line: &str, head: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let answer = network.raw(
        format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{head}\r\n{body}"
        )
        .as_bytes(),
    );
    (status(&answer), answer)
}

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or_else(|_| panic!("{answer}"))
}

fn logged_in() -> String {
    format!("x-auth-token: {TOKEN}\r\n")
}

pub(crate) fn recorded(
    acl: &str,
    change: impl FnOnce(&mut RestOptions),
) -> (Network, Arc<Recorded>) {
    let (recorded, external_auth) = Recorded::start();
    let clients = ["local", "runner", "wheel"].map(str::to_owned);
    let mut options = RestOptions {
        enabled_clients: clients.to_vec(),
        external_auth,
        ..RestOptions::default()
    };
    change(&mut options);
    (
        Network::with(acl, options, Arc::clone(&recorded) as _),
        recorded,
    )
}

/// Logs in; the session's token.
pub(crate) fn log_in(network: &Network) -> String {
    let login = r#"{"username": "fred", "password": "hunter2", "eauth": "sharedsecret"}"#;
    let (status, answer) = ask(
        network,
        "POST /login",
        "content-type: text/plain\r\n",
        login,
    );
    assert_eq!(status, 200, "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let Value::Map(body) = json::parse(body.as_bytes()).unwrap() else {
        panic!("{body}");
    };
    let login = &body.get("return").unwrap().as_array().unwrap()[0];
    login
        .as_map()
        .unwrap()
        .get("token")
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn who_is_not_logged_in_gets_salts_page() {
    let network = Network::start();
    let (code, answer) = ask(&network, "GET /events", "", "");
    assert_eq!(code, 401, "{answer}");
    assert!(answer.contains("<p>No permission -- see authorization schemes</p>"));
    let (code, answer) = ask(&network, "DELETE /login", "", "");
    assert_eq!(code, 405, "{answer}");
    assert!(answer.contains("allow: GET, HEAD, POST\r\n"), "{answer}");
}

#[test]
fn a_session_ends_with_its_token_and_outlives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = directory.path().join("sessions");
    let (network, recorded) = recorded("[]", |options| {
        options.session_directory = Some(sessions.clone());
    });
    let token = log_in(&network);
    let shown = format!("x-auth-token: {token}\r\n");
    assert_eq!(ask(&network, "GET /keys", &shown, "").0, 200);
    let files: Vec<_> = std::fs::read_dir(&sessions).unwrap().collect();
    let name = files.last().unwrap().as_ref().unwrap().file_name();
    assert!(!name.to_string_lossy().contains(&token), "hashed at rest");
    // The same master and the same directory, but another process.
    let options = RestOptions {
        enabled_clients: vec!["wheel".to_owned()],
        session_directory: Some(sessions.clone()),
        ..RestOptions::default()
    };
    let restarted = Network::with("[]", options, recorded as _);
    assert_eq!(ask(&restarted, "GET /keys", &shown, "").0, 200);
    let cookie = format!("cookie: a=b; session_id={token}\r\n");
    assert_eq!(ask(&restarted, "POST /logout", &cookie, "").0, 200);
    for network in [&restarted, &network] {
        assert_eq!(
            ask(network, "POST /logout", &shown, "").0,
            if std::ptr::eq(network, &restarted) {
                401
            } else {
                200
            }
        );
        assert_eq!(ask(network, "GET /keys", &shown, "").0, 401);
    }
}

#[test]
fn a_token_that_cannot_be_read_is_not_said_to_be_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = directory.path().join("sessions");
    let options = |options: &mut RestOptions| options.session_directory = Some(sessions.clone());
    let (network, master) = recorded("[]", options);
    let shown = format!("x-auth-token: {}\r\n", log_in(&network));
    // A directory in the place of a session's file is one that cannot be read.
    for file in std::fs::read_dir(&sessions).unwrap() {
        let file = file.unwrap().path();
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
    }
    let options = RestOptions {
        session_directory: Some(sessions.clone()),
        ..RestOptions::default()
    };
    let restarted = Network::with("[]", options, master as _);
    for path in ["/events?follow=false", "/stats"] {
        let (code, answer) = ask(&restarted, &format!("GET {path}"), &shown, "");
        assert_eq!(code, 503, "{path}: {answer}");
    }
}

#[test]
fn a_stream_ends_when_its_user_logs_out() {
    let (network, _recorded) = recorded("[]", |_| {});
    let token = log_in(&network);
    let mut stream = network.connect();
    let request = format!("GET /events?token={token} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    let shown = format!("x-auth-token: {token}\r\n");
    assert_eq!(ask(&network, "POST /logout", &shown, "").0, 200);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).unwrap();
}

#[test]
fn a_stream_with_salts_token_goes_on_as_long_as_the_token_lives() {
    let (network, recorded) = recorded("[]", |_| {});
    let session = log_in(&network);
    let file = recorded.token_files().pop().unwrap();
    let token = file.file_stem().unwrap().to_str().unwrap();
    network.fire("my/first", "{}");
    let mut client = network.client();
    client.send(&format!(
        "GET /events?from=earliest HTTP/1.1\r\nhost: x\r\nx-auth-token: {token}\r\n\r\n"
    ));
    client.until("tag: my/first\n");
    // From here on it is one of those that the fan-out serves.
    for tag in ["my/second", "my/third"] {
        network.fire(tag, "{}");
        client.until(&format!("tag: {tag}\n"));
    }
    let shown = format!("x-auth-token: {session}\r\n");
    assert_eq!(ask(&network, "POST /logout", &shown, "").0, 200);
    client.until("\r\n0\r\n\r\n");
}

#[test]
fn a_user_has_so_many_streams_and_no_more() {
    let (network, _recorded) = recorded("[]", |options| options.limits.streams_per_user = 2);
    let token = log_in(&network);
    let open = || {
        let mut stream = network.connect();
        let request = format!("GET /events?token={token} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (stream, String::from_utf8_lossy(&first).into_owned())
    };
    let held = [open(), open()];
    assert!(held.iter().all(|(_, first)| first == "HTTP/1.1 200"));
    assert_eq!(open().1, "HTTP/1.1 429");
    assert_eq!(
        ask(
            &network,
            "GET /keys",
            &format!("x-auth-token: {token}\r\n"),
            ""
        )
        .0,
        200
    );
}

#[test]
fn query_tokens_can_be_refused() {
    let (network, _recorded) = recorded("[]", |options| options.allow_query_token = false);
    let token = log_in(&network);
    for query in ["token", "salt_token"] {
        let (code, answer) = ask(&network, &format!("GET /events?{query}={token}"), "", "");
        assert_eq!(code, 400);
        assert!(
            answer.contains("tokens must not be passed via the query string"),
            "{answer}"
        );
        assert!(!answer.contains(&token), "{answer}");
    }
    // In the path Salt takes it all the same, and nothing else names it for a browser's WebSocket.
    let handshake = |path: &str| {
        let head = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n{head}\r\n");
        let mut client = network.client();
        client.send(&request);
        client.until("\r\n\r\n")
    };
    let opened = handshake(&format!("/ws/{token}"));
    assert!(opened.starts_with("HTTP/1.1 101 "), "{opened}");
    let refused = handshake(&format!("/ws?token={token}"));
    assert!(refused.starts_with("HTTP/1.1 400 "), "{refused}");
    // Elsewhere a token in the query counts for nothing in any case.
    assert_eq!(
        ask(&network, &format!("GET /jobs?token={token}"), "", "").0,
        401
    );
}

#[test]
fn webhooks_are_fired_as_salt_fires_them_without_secrets() {
    let (network, recorded) = recorded("[]", |_| {});
    let head = format!(
        "{}content-type: application/json\r\nx-my-secret-key: k\r\ncookie: a=b\r\n",
        logged_in()
    );
    let (code, answer) = ask(
        &network,
        "POST /hook/mycompany/build?q=1",
        &head,
        r#"{"foo": "Foo!"}"#,
    );
    assert_eq!(code, 200, "{answer}");
    assert!(answer.ends_with(r#"{"success": true}"#), "{answer}");
    let fired = recorded.fired.lock().unwrap();
    let (tag, data) = &fired[0];
    assert_eq!(tag, "salt/netapi/hook/mycompany/build");
    let mut text = String::new();
    json::to_line(&data.clone().into(), &mut text);
    assert!(
        text.starts_with(r#"{"body": "{\"foo\": \"Foo!\"}", "post": {"foo": "Foo!"}, "headers": {"Remote-Addr": "127.0.0.1", "Host": "x""#),
        "{text}"
    );
    assert!(
        text.contains(r#""X-My-Secret-Key": "k""#) && text.contains(r#""Cookie": "[redacted]""#)
    );
    assert!(!text.contains(TOKEN), "{text}");
}

/// A browser sends the cookie with whatever a page of the same site asks, on another port or host of it.
#[test]
fn a_page_of_another_origin_cannot_use_the_browsers_cookie() {
    let (network, _recorded) = recorded("[]", |options| {
        options.cors_origin = vec!["https://ui.example".to_owned()];
    });
    let token = log_in(&network);
    let cookie = format!("cookie: session_id={token}\r\n");
    let requests = [
        ("GET /keys", ""),
        ("GET /minions", ""),
        ("GET /jobs", ""),
        ("GET /stats", ""),
        ("GET /status", ""),
        ("GET /metrics/salt-exporter", ""),
        ("HEAD /events", ""),
        (
            "POST /",
            r#"{"client": "local", "tgt": "*", "fun": "test.ping"}"#,
        ),
        ("POST /minions", r#"{"tgt": "*", "fun": "test.ping"}"#),
        ("POST /hook/x", "{}"),
        ("POST /logout", "{}"),
    ];
    let content = "content-type: text/plain\r\n";
    for origin in [
        "http://x:9000",
        "http://evil.x",
        "null",
        "https://ui.example.org",
        "x",
    ] {
        for (line, body) in requests {
            let head = format!("{cookie}{content}origin: {origin}\r\n");
            let (code, answer) = ask(&network, line, &head, body);
            assert_eq!(code, 403, "{origin} {line}: {answer}");
            assert!(!answer.contains("set-cookie"), "{answer}");
        }
    }
    for shown in [
        cookie.clone(),
        format!("{cookie}origin: http://x\r\n"),
        format!("{cookie}origin: https://X\r\n"),
        format!("{cookie}origin: https://ui.example\r\n"),
        format!("{cookie}origin: https://salt.example\r\nsec-fetch-site: same-origin\r\n"),
        format!("x-auth-token: {token}\r\norigin: http://evil.x\r\n"),
    ] {
        let (code, answer) = ask(&network, "GET /keys", &shown, "");
        assert_eq!(code, 200, "{shown}: {answer}");
        // The answer names the origin: no cache may give it to another.
        assert!(
            answer.contains("\r\nvary: Accept-Encoding, Origin\r\n"),
            "{answer}"
        );
    }
    let two = format!("{cookie}origin: http://x\r\norigin: http://evil.x\r\n");
    assert_eq!(ask(&network, "GET /keys", &two, "").0, 400);
}

#[test]
fn a_token_in_any_header_of_a_webhook_is_not_fired() {
    let (network, recorded) = recorded("[]", |options| options.webhook_disable_auth = true);
    let session = log_in(&network);
    let file = recorded.token_files().pop().unwrap();
    let salts = file.file_stem().unwrap().to_str().unwrap().to_owned();
    let signature = "5".repeat(64);
    let head = format!(
        "referer: https://x/events?token={session}&a=b\r\nx-original-url: /ws/{salts}\r\n\
         x-hub-signature-256: sha256={signature}\r\n"
    );
    assert_eq!(ask(&network, "POST /hook/a", &head, "").0, 200);
    let (_, data) = recorded.fired.lock().unwrap().pop().unwrap();
    let mut text = String::new();
    json::to_line(&data.into(), &mut text);
    for (held, is_held) in [
        (&*session, false),
        (&*salts, false),
        (&*signature, true),
        (
            r#""Referer": "https://x/events?token=[redacted]&a=b""#,
            true,
        ),
        (r#""X-Original-Url": "/ws/[redacted]""#, true),
    ] {
        assert_eq!(text.contains(held), is_held, "{held}: {text}");
    }
    let hook = |head: &str| {
        assert_eq!(ask(&network, "POST /hook/a", head, "").0, 200);
        let (_, data) = recorded.fired.lock().unwrap().pop().unwrap();
        let mut text = String::new();
        json::to_line(&data.into(), &mut text);
        text
    };
    for token in [&session, &salts] {
        // Digits that stand beside a token do not hide it.
        for digits in [
            token.clone(),
            format!("3D{token}"),
            format!("{token}%20"),
            format!("a{token}"),
            format!("{token}12"),
            token.to_uppercase(),
            // As many as a digest has.
            format!("{token}{}", "d".repeat(64 - 40))
                .chars()
                .take(64.max(token.len()))
                .collect(),
        ] {
            let fired = hook(&format!("referer: https://x/?next=%2Fws%{digits}\r\n"));
            let fired = fired.to_lowercase();
            assert!(!fired.contains(&**token), "{digits}: {fired}");
        }
        for path in [
            format!("{token}/x"),
            format!("ab{token}"),
            token.to_uppercase(),
        ] {
            let (code, answer) = ask(&network, &format!("POST /hook/{path}"), "", "");
            assert_eq!(code, 400, "{answer}");
        }
    }
    // A long text costs a bounded number of look-ups; what is left then is taken for tokens.
    let long = format!("{}{session}", "7".repeat(2000));
    let fired = hook(&format!("x-long: {long}\r\nx-later: {salts}\r\n"));
    assert!(
        !fired.contains(&session) && !fired.contains(&salts),
        "{fired}"
    );
    assert!(recorded.fired.lock().unwrap().is_empty());
}

#[test]
fn what_api_users_may_fire_is_in_the_one_list() {
    let acl = r#"[{"api_user": "fred", "read": ["my/*"], "fire": ["salt/netapi/hook/ok*"]}]"#;
    let (network, recorded) = recorded(acl, |_| {});
    assert_eq!(ask(&network, "POST /hook/ok/1", &logged_in(), "").0, 200);
    let (code, answer) = ask(&network, "POST /hook/other", &logged_in(), "");
    assert_eq!(code, 403, "{answer}");
    // No trick of the path makes it another tag than the one that is checked.
    for path in [
        "/hook/ok/../other",
        "/hook//other",
        "/hook/%6fther",
        "/hook/ok%0a%0a",
    ] {
        let code = ask(&network, &format!("POST {path}"), &logged_in(), "").0;
        assert!(
            code == 403 || path.starts_with("/hook/ok"),
            "{path}: {code}"
        );
    }
    for (tag, _) in recorded.fired.lock().unwrap().iter() {
        assert!(
            tag.starts_with("salt/netapi/hook/ok") && !tag.contains('\n'),
            "{tag}"
        );
    }
}

#[test]
fn no_command_fires_what_its_user_may_not_fire() {
    let acl = r#"[{"api_user": "fred", "fire": ["my/*"]}, {"api_user": "bob", "fire": ["*"]}]"#;
    let (network, recorded) = recorded(acl, |options| {
        options.enabled_clients.push("runner_async".to_owned());
    });
    let token = log_in(&network);
    let fred = r#""username": "fred", "password": "hunter2", "eauth": "sharedsecret""#;
    let bob = r#""username": "bob", "password": "secret", "eauth": "file""#;
    let logged_in = |form: &str, body: &str| {
        let head = format!("x-auth-token: {token}\r\ncontent-type: {form}\r\n");
        ask(&network, "POST /", &head, body)
    };
    let run = |who: &str, body: &str| {
        let body = format!("{{{who}, {body}}}");
        ask(
            &network,
            "POST /run",
            "content-type: application/json\r\n",
            &body,
        )
    };
    let (json, yaml, pairs) = (
        "application/json",
        "application/x-yaml",
        "application/x-www-form-urlencoded",
    );
    let files = recorded.token_files().len();
    let send = r#""client": "runner", "fun": "event.send""#;
    let refused = [
        logged_in(json, &format!(r#"{{{send}, "tag": "secret/1"}}"#)),
        logged_in(
            json,
            &format!(r#"{{{send}, "kwarg": {{"tag": "secret/1"}}}}"#),
        ),
        logged_in(json, &format!(r#"{{{send}, "arg": ["secret/1", {{}}]}}"#)),
        logged_in(json, &format!(r#"{{{send}, "arg": "'secret/1'"}}"#)),
        logged_in(json, &format!(r#"{{{send}, "arg": ["tag=secret/1"]}}"#)),
        logged_in(
            json,
            &format!(r#"{{{send}, "arg": [{{"__kwarg__": true, "tag": "secret/1"}}]}}"#),
        ),
        logged_in(
            json,
            &format!(r#"{{{send}, "arg": ["my/1"], "tag": "secret/1"}}"#),
        ),
        logged_in(json, &format!(r#"{{{send}, "tag": ["my/1"]}}"#)),
        logged_in(json, &format!(r#"{{{send}, "tag": "MY/1"}}"#)),
        logged_in(
            json,
            r#"[{"client": "runner_async", "fun": "event.send", "tag": "secret/1"}]"#,
        ),
        logged_in(
            yaml,
            "client: runner\nfun: event.send\ntag: !!binary c2VjcmV0LzE=\n",
        ),
        logged_in(pairs, "client=runner&fun=event.send&tag=my/1&tag=secret/1"),
        logged_in(pairs, "client=runner&fun=event.send&arg=secret/1"),
        logged_in(
            json,
            r#"{"client": "runner", "fun": "salt.cmd", "arg": ["event.fire", {}, "secret/1"]}"#,
        ),
        logged_in(
            json,
            r#"{"client": "runner", "fun": "state.orchestrate_single", "arg": ["salt.runner"]}"#,
        ),
        run(fred, &format!(r#"{send}, "tag": "secret/1""#)),
    ];
    for (code, answer) in refused {
        assert_eq!(code, 403, "{answer}");
        assert!(answer.contains("brine: {acl: …}"), "{answer}");
    }
    // A user who may not call them at all gets a 401, as from Salt.
    let limited = r#""username": "limited", "password": "x", "eauth": "auto""#;
    for call in [
        format!(r#"{send}, "tag": "my/1""#),
        r#""client": "runner", "fun": "salt.cmd""#.to_owned(),
        r#""client": "runner_async", "fun": "salt.cmd""#.to_owned(),
    ] {
        let (code, answer) = run(limited, &call);
        assert_eq!(code, 401, "{call}: {answer}");
        assert!(answer.contains("Authorization error"), "{answer}");
    }
    assert!(recorded.ran.lock().unwrap().is_empty());
    // No recorded master sends events: these have reached it.
    let permitted = [
        logged_in(json, &format!(r#"{{{send}, "tag": "my/1"}}"#)),
        logged_in(json, &format!(r#"{{{send}, "arg": ["my/1", {{"a": 1}}]}}"#)),
        run(fred, &format!(r#"{send}, "tag": "my/1""#)),
        run(bob, &format!(r#"{send}, "tag": "secret/1""#)),
        run(bob, r#""client": "runner", "fun": "salt.cmd""#),
    ];
    for (code, answer) in &permitted {
        assert_eq!(*code, 500, "{answer}");
    }
    assert_eq!(recorded.ran.lock().unwrap().len(), permitted.len());
    let (code, answer) = run(
        r#""username": "fred", "password": "wrong", "eauth": "sharedsecret""#,
        send,
    );
    assert_eq!(code, 401, "{answer}");
    assert_eq!(recorded.token_files().len(), files, "none is left behind");
}

#[test]
fn options_of_salt_close_what_they_close() {
    let (network, _recorded) = recorded("[]", |options| {
        options.authorized_ips = vec!["192.0.2.1".to_owned()];
    });
    let (code, answer) = ask(&network, "GET /", "", "");
    assert!(code == 403 && answer.contains("<p>Bad IP</p>"), "{answer}");

    let (network, _recorded) = recorded("[]", |options| {
        let of = |addresses: &[&str]| addresses.iter().map(ToString::to_string).collect();
        let users = [
            ("fred".to_owned(), of(&["192.0.2.1"])),
            ("7".to_owned(), of(&["192.0.2.1"])),
            ("*".to_owned(), of(&["*"])),
        ];
        options.api_acl = Some(users.into_iter().collect());
        options.enabled_clients.clear();
        options.webhook_disable_auth = true;
        options.webhook_url = "github".to_owned();
    });
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let fred = "username=fred&password=hunter2&eauth=sharedsecret";
    assert_eq!(ask(&network, "POST /login", form, fred).0, 401);
    // A number is a name like any other.
    let seven = r#"{"username": 7, "password": "hunter2", "eauth": "sharedsecret"}"#;
    let json = "content-type: application/json\r\n";
    assert_eq!(ask(&network, "POST /login", json, seven).0, 401);
    let many = format!("[{}{seven}]", format!("{seven},").repeat(1000));
    let (code, answer) = ask(&network, "POST /token", json, &many);
    assert!(
        code == 400 && answer.contains("Too many commands"),
        "{answer}"
    );
    let bob = "username=bob&password=secret&eauth=file";
    assert_eq!(ask(&network, "POST /login", form, bob).0, 200);
    let (code, answer) = ask(&network, "GET /keys", &logged_in(), "");
    assert!(
        code == 400 && answer.contains("Client disabled: 'wheel'. Add to"),
        "{answer}"
    );
    assert_eq!(ask(&network, "POST /github/push", "", "").0, 200);
    assert_eq!(ask(&network, "POST /hook/push", "", "").0, 404);

    let (network, _recorded) = recorded("[]", |options| {
        options.enable_sessions = false;
        options.root_prefix = "/salt".to_owned();
    });
    assert_eq!(ask(&network, "GET /salt/login", "", "").0, 404);
    assert_eq!(ask(&network, "GET /salt", "", "").0, 200);
    assert_eq!(ask(&network, "GET /", "", "").0, 404);
    assert_eq!(ask(&network, "GET /saltlogin", "", "").0, 404);
}

#[test]
fn preflights_permit_what_salt_means_to_permit() {
    let network = Network::start();
    let head = "origin: http://ui.example\r\naccess-control-request-method: GET\r\n";
    let (code, answer) = ask(&network, "OPTIONS /events", head, "");
    assert_eq!(code, 200, "{answer}");
    for header in [
        "access-control-allow-origin: http://ui.example\r\n",
        "access-control-allow-methods: GET, POST\r\n",
        "access-control-allow-headers: Content-Type, X-Auth-Token, X-Requested-With\r\n",
        "access-control-max-age: 1400\r\n",
    ] {
        assert!(answer.contains(header), "{answer}");
    }
    assert!(!answer.contains("set-cookie"), "{answer}");
}

#[test]
fn a_page_and_its_files_are_served_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("static");
    std::fs::create_dir_all(files.join("scripts")).unwrap();
    std::fs::write(files.join("scripts/Main.js"), "1;").unwrap();
    std::fs::write(directory.path().join("index.html"), "<p>the page").unwrap();
    std::fs::write(directory.path().join("secret"), "secret").unwrap();
    let (network, _recorded) = recorded("[]", |options| {
        options.app = Some(directory.path().join("index.html"));
        options.static_files = Some(files);
    });
    let browser = "accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    for path in ["/", "/jobs", "/nope/x", "/app", "/app/x"] {
        let (code, answer) = ask(&network, &format!("GET {path}"), browser, "");
        assert!(
            code == 200 && answer.ends_with("<p>the page"),
            "{path}: {answer}"
        );
    }
    let (code, answer) = ask(&network, "GET /", "accept: */*\r\n", "");
    assert!(code == 200 && answer.contains("Welcome"), "{answer}");
    assert_eq!(ask(&network, "GET /", "", "").0, 200);
    for path in ["/static/scripts/Main.js", "/static/nope", "/app"] {
        let (code, answer) = ask(&network, &format!("POST {path}"), "", "");
        assert!(
            code == 405 && answer.contains("allow: GET, HEAD\r\n"),
            "{path}: {answer}"
        );
    }
    assert_eq!(ask(&network, "GET /static/nope", "", "").0, 404);
    let (code, answer) = ask(&network, "GET /static/scripts/Main.js", "", "");
    assert!(
        code == 200 && answer.contains("content-type: text/javascript"),
        "{answer}"
    );
    assert!(answer.contains("last-modified: "), "{answer}");
    for path in [
        "/static/..%2fsecret",
        "/static/%2e%2e/secret",
        "/static/../secret",
        "/static/scripts/..%2f..%2fsecret",
        "/static//etc/passwd",
        "/static/%2fetc%2fpasswd",
        "/static/scripts%00",
        "/static/",
        "/static",
        "/static/missing",
    ] {
        let (code, answer) = ask(&network, &format!("GET {path}"), "", "");
        assert!(
            code == 404 && !answer.contains("secret\r"),
            "{path}: {answer}"
        );
    }
}

#[test]
fn new_keys_come_as_an_archive() {
    let (network, recorded) = recorded("[]", |_| {});
    let body = "mid=m2&username=fred&password=hunter2&eauth=sharedsecret";
    let form = "content-type: application/x-www-form-urlencoded\r\n";
    let (code, answer) = ask(&network, "POST /keys", form, body);
    assert_eq!(code, 200, "{answer}");
    assert!(answer.contains("filename=\"saltkeys-m2.tar\""), "{answer}");
    assert!(
        answer.contains("minion.pem") && answer.contains("PRIVATE"),
        "{answer}"
    );
    let as_tar = format!("{form}accept: application/x-tar\r\n");
    for (more, force) in [
        ("", None),
        ("&force=False", Some(false)),
        ("&force=True", Some(true)),
    ] {
        let (code, answer) = ask(&network, "POST /keys", &as_tar, &format!("{body}{more}"));
        assert_eq!(code, 200, "{answer}");
        let low = recorded.ran.lock().unwrap().pop().unwrap();
        assert_eq!(low.fields.get("force").cloned(), force.map(Value::from));
    }
    recorded.ran.lock().unwrap().clear();
    let long = "m".repeat(300);
    for wrong in [
        "mid=..%2fm2%0d%0ax",
        "mid=..",
        "mid=",
        "mid=-x",
        &*format!("mid={long}"),
        "keysize=8193&mid=m2",
        "keysize=2047&mid=m2",
        "keysize=many&mid=m2",
        "keysize=100000000000000000000000000000000000000000&mid=m2",
        "arg=other&mid=m2",
        "kwarg=other&mid=m2",
        "force=maybe&mid=m2",
    ] {
        let body = body.replace("mid=m2", wrong);
        let (code, answer) = ask(&network, "POST /keys", form, &body);
        assert_eq!(code, 400, "{wrong}: {answer}");
    }
    let json = r#"{"mid": "m2", "keysize": 4096.5, "eauth": "sharedsecret", "username": "fred", "password": "hunter2"}"#;
    let as_json = "content-type: application/json\r\n";
    assert_eq!(ask(&network, "POST /keys", as_json, json).0, 400);
    assert!(
        recorded.ran.lock().unwrap().is_empty(),
        "the master was asked"
    );
}

#[test]
fn a_refused_method_is_answered_with_those_that_there_are() {
    let (network, _recorded) = recorded("[]", |_| {});
    for path in [
        "/",
        "/login",
        "/logout",
        "/run",
        "/token",
        "/minions",
        "/minions/m1",
        "/jobs",
        "/jobs/1",
        "/keys",
        "/keys/m1",
        "/events",
        "/ws",
        "/all_events/x",
        "/stats",
        "/status",
        "/metrics",
        "/hook/x",
        "/healthz",
    ] {
        let allowed = |method: &str| {
            let (code, answer) = ask(&network, &format!("{method} {path}"), &logged_in(), "");
            let allow = answer.lines().find_map(|line| line.strip_prefix("allow: "));
            (code, allow.unwrap_or_else(|| panic!("{answer}")).to_owned())
        };
        let (code, allow) = allowed("DELETE");
        assert_eq!(code, 405, "{path}");
        assert_eq!(allowed("OPTIONS"), (200, allow.clone()), "{path}");
        let allow: Vec<&str> = allow.split(", ").collect();
        for method in ["GET", "HEAD", "POST", "PUT"] {
            if allow.contains(&method) && path == "/events" {
                continue; // a stream does not end
            }
            let is_refused = allowed(method).0 == 405;
            assert_eq!(is_refused, !allow.contains(&method), "{method} {path}");
            if path == "/logout" && method == "POST" {
                network.log_in(TOKEN, "fred", Duration::from_secs(3600));
            }
        }
    }
}

#[test]
fn what_smuggles_a_second_request_is_refused() {
    let network = Network::start();
    let second = "GET /stats HTTP/1.1\r\nhost: x\r\n\r\n";
    for head in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "content-length: 5\r\ncontent-length: 0\r\n",
        "content-length: +5\r\n",
        "content-length: 5, 0\r\n",
        "content-length: 0x5\r\n",
        "content-length: -1\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding : chunked\r\n",
        "host: y\r\n",
        "host: x\r\n",
        "x: y\r\n folded\r\n",
        "x\0: y\r\n",
        "x: \u{1}\r\n",
    ] {
        let request =
            format!("POST /login HTTP/1.1\r\nhost: x\r\n{head}connection: close\r\n\r\n{second}");
        let answer = network.raw(request.as_bytes());
        let answers = answer.matches("HTTP/1.1 ").count();
        assert!(answers <= 1, "{head:?}: {answer}");
        assert!(!answer.starts_with("HTTP/1.1 200"), "{head:?}: {answer}");
    }
    for hosts in [
        "",
        "host: x\r\nhost: x\r\n",
        "host: a/b\r\n",
        "host: a@b\r\n",
        "host: a b\r\n",
    ] {
        // Without our closing it, so that the second request would be served.
        let request = format!("GET / HTTP/1.1\r\n{hosts}\r\n{second}");
        let answer = network.raw(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400 "), "{hosts:?}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{hosts:?}: {answer}"
        );
    }
    // What RFC 9112 leaves to the server, and hyper takes.
    for request in [
        "GET / HTTP/1.1\nhost: x\nconnection: close\n\n",
        "GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: [::1]:8000\r\nconnection: close\r\n\r\n",
    ] {
        let answer = network.raw(request.as_bytes());
        assert!(answer.contains(" 200 "), "{request:?}: {answer}");
        assert_eq!(
            answer.matches("HTTP/1.").count(),
            1,
            "{request:?}: {answer}"
        );
    }
    // Still there.
    assert_eq!(ask(&network, "GET /", "", "").0, 200);
}

#[test]
fn what_is_too_large_or_too_slow_is_refused() {
    let limits = Limits {
        head_bytes: 16 << 10,
        body_bytes: 1000,
        connections_per_address: 8,
        ..Limits::default()
    };
    let options = RestOptions {
        limits,
        ..RestOptions::default()
    };
    let network = Network::with("[]", options, Arc::new(Nobody));
    let big = format!("x: {}\r\n", "y".repeat(20_000));
    assert_eq!(ask(&network, "GET /", &big, "").0, 431);
    let many = "x: y\r\n".repeat(100);
    assert_eq!(ask(&network, "GET /", &many, "").0, 431);
    let json = "content-type: application/json\r\n";
    let (code, answer) = ask(&network, "POST /login", json, &" ".repeat(1001));
    assert!(
        code == 413 && answer.contains("max_request_body_size"),
        "{answer}"
    );
    // An address has so many connections and no more; the others are told so.
    let held: Vec<_> = (0..8).map(|_| network.connect()).collect();
    let mut refused = network.connect();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(held);
    // A head that comes byte by byte, one that never ends, and none at all.
    let limits = Limits {
        head_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let options = RestOptions {
        limits,
        ..RestOptions::default()
    };
    let network = Network::with("[]", options, Arc::new(Nobody));
    for start in ["", "G", "GET / HTTP/1.1\r\nhost: x\r\nx: "] {
        let mut stream = network.connect();
        stream.write_all(start.as_bytes()).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).unwrap();
    }
}

#[test]
fn an_address_sends_so_many_large_bodies_at_a_time() {
    let (network, _recorded) = recorded("[]", |_| {});
    let head = "POST /login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    let begin = || {
        let mut stream = network.connect();
        let begun = format!("{head}content-length: 900000\r\n\r\n");
        stream.write_all(begun.as_bytes()).unwrap();
        stream
    };
    let mut begun: Vec<_> = (0..64).map(|_| begin()).collect();
    let large = format!(r#"{{"a": "{}"}}"#, "x".repeat(20_000));
    let json = "content-type: application/json\r\n";
    let code = || ask(&network, "POST /login", json, &large).0;
    wait_until("no more are read", || {
        begun.push(begin()); // ours may have come before one of them
        code() == 429
    });
    // Whoever logs in sends a small one.
    log_in(&network);
    drop(begun);
    wait_until("there is room again", || code() == 401);
}

#[test]
fn a_batch_has_a_result_for_each_minion_and_there_is_no_ssh() {
    let (network, _recorded) = recorded("[]", |options| {
        options.enabled_clients = ["local_batch", "ssh"].map(str::to_owned).to_vec();
    });
    let head = format!(
        "content-type: application/json\r\nx-auth-token: {}\r\n",
        log_in(&network)
    );
    let batch = r#"{"client": "local_batch", "tgt": "*", "fun": "test.ping", "batch": "50%"}"#;
    let (code, answer) = ask(&network, "POST /", &head, batch);
    assert_eq!(code, 200, "{answer}");
    assert!(
        answer.ends_with(r#"{"return": [{"m1": true}, {"m2": {}}]}"#),
        "{answer}"
    );
    let ssh = r#"{"client": "ssh", "tgt": "*", "fun": "test.ping"}"#;
    let (code, answer) = ask(&network, "POST /", &head, ssh);
    assert_eq!(code, 400, "{answer}");
    assert!(answer.contains("Brine has no Salt SSH"), "{answer}");
}

#[test]
fn bodies_of_every_wrong_kind_are_refused_clearly() {
    let (network, _recorded) = recorded("[]", |_| {});
    let nested = "[".repeat(100_000);
    let aliases = "a: &a [x, x]\nb: &b [*a, *a]\n".to_owned()
        + &(0..30)
            .map(|at| format!("c{at}: &c{at} [*b, *b]\n"))
            .collect::<String>();
    for (kind, body) in [
        ("application/json", "{nope"),
        ("application/json", "\u{feff}"),
        ("application/json", nested.as_str()),
        ("application/json", "[[]]"),
        ("application/json", "[1]"),
        ("application/json", "[null, null]"),
        ("application/json", ""),
        ("application/json", "null"),
        ("application/json", r#"[{"client": 1}]"#),
        ("application/json", r#"[{"client": "local", "fun": 5}]"#),
        ("application/json", r#"[{"client": "wheel"}]"#),
        ("application/x-yaml", "a: ["),
        ("application/x-yaml", aliases.as_str()),
        ("application/x-yaml", "!!python/object:os.system x"),
        ("application/x-www-form-urlencoded", "=&&=&%"),
        ("text/plain", "hello"),
        ("application/xml", "<a/>"),
        ("multipart/form-data", "x"),
    ] {
        let head = format!("{}content-type: {kind}\r\n", logged_in());
        for path in ["/", "/run", "/login", "/minions", "/token", "/keys"] {
            let (code, answer) = ask(&network, &format!("POST {path}"), &head, body);
            let is_known = [400, 401, 406].contains(&code);
            assert!(
                is_known && !answer.contains("panicked"),
                "{path} {kind} {body:.40}: {answer}"
            );
        }
    }
    assert_eq!(ask(&network, "GET /", "", "").0, 200);
}

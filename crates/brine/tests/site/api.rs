//! The HTTP API: of a master of ours in its own process, and of a real master beside which it runs.
//!
//! The requests are those that SaltGUI, Pepper and curl send.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use brine_testkit::program::{self, Program};
use brine_testkit::salt::python;
use brine_wire::{Value, json};

use crate::login::commands_log_in;
use crate::positions::{Stored, Stream};
use crate::site::{Bus, DEADLINE, Process, Site, free_port, map, wait_until};

const SALT: &str = "3008.3";

/// What both kinds of masters are told.
pub(super) fn options(port: u16) -> String {
    format!(
        "sharedsecret: hunter2\ntimeout: 60\ngather_job_timeout: 60\nexternal_auth:\n  sharedsecret:\n    \
         fred: ['.*', '@wheel', '@runner', '@jobs']\n    \
         ann: ['test.*', {{'m1': ['grains.*']}}, {{'@jobs': ['list_jobs']}}]\n\
         netapi_enable_clients: [local, local_async, local_batch, local_subset, runner, runner_async, wheel, \
         wheel_async]\n\
         rest_cherrypy: {{host: 127.0.0.1, port: {port}, disable_ssl: true}}\n"
    )
}

/// An API that is served.
pub(super) struct Api {
    pub(super) port: u16,
}

pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) text: String,
}

impl Answer {
    fn value(&self) -> Value {
        let body = self.text.split_once("\r\n\r\n").unwrap().1;
        json::parse(body.as_bytes()).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The first result.
    fn first(&self) -> Value {
        let value = self.value();
        let returned = value.as_map().unwrap().get("return").unwrap();
        returned
            .as_array()
            .unwrap_or_else(|| panic!("{}", self.text))[0]
            .clone()
    }
}

impl Api {
    fn ask(&self, line: &str, head: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let request = format!(
            "{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\naccept: application/json\r\n\
             content-length: {length}\r\n{head}\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer {
            code: code.unwrap_or_else(|| panic!("{text}")),
            text,
        }
    }

    /// As SaltGUI sends it: one mapping as JSON, called text.
    pub(super) fn post(&self, token: &str, path: &str, body: &str) -> Answer {
        let head = format!("content-type: text/plain;charset=UTF-8\r\nx-auth-token: {token}\r\n");
        self.ask(&format!("POST {path}"), &head, body)
    }

    fn try_to_log_in(&self, user: &str) -> Answer {
        let login =
            format!(r#"{{"username": "{user}", "password": "hunter2", "eauth": "sharedsecret"}}"#);
        self.post("", "/login", &login)
    }

    pub(super) fn log_in(&self, user: &str) -> String {
        let answer = self.try_to_log_in(user);
        assert_eq!(answer.code, 200, "{}", answer.text);
        text(&answer.first(), "token")
    }

    pub(super) fn wait(&self) {
        wait_until("the API", || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }
}

fn text(value: &Value, key: &str) -> String {
    let text = value.as_map().unwrap().get(key).and_then(Value::as_str);
    text.unwrap_or_else(|| panic!("{key} of {value:?}"))
        .to_owned()
}

fn shown(value: &Value) -> String {
    let mut text = String::new();
    json::to_line(value, &mut text);
    text
}

#[test]
fn a_master_of_ours_serves_salts_api() {
    let port = free_port();
    let api = Api { port };
    let more = format!(
        "auto_accept: true\nnodegroups: {{all: '*'}}\nbrine: {{api: {{in_master: true}}}}\n{}",
        options(port)
    );
    let mut site = Site::configured("zeromq", &more);
    site.start_master();
    let mut bus = site.master_bus();
    site.start_minion();
    bus.next("salt/minion/m1/start");
    api.wait();
    serves(&api);
    saltgui(&api);
    a_job_id_is_its_users(&api);
    salts_own_clients_know_our_users(&site.path(""));
    commands_log_in(&site, SALT);
}

#[test]
fn the_api_runs_beside_a_real_master() {
    let port = free_port();
    let api = Api { port };
    let more = format!(
        "auto_accept: true\nbrine: {{history: true}}\n{}",
        options(port)
    );
    let site = Site::configured("zeromq", &more);
    let start = |name: &str| {
        let command = program::command(SALT, name, &site.path(""));
        Program::start(command, site.path(&format!("{name}.out")))
    };
    let _master = start("salt-master");
    let served = Process::start(site.command("salt-api"));
    let mut bus = site.master_bus();
    let _minion = start("salt-minion");
    bus.next("salt/minion/m1/start");
    api.wait();
    serves(&api);
    says_what_nobody_foresaw(&site, "salt-api");
    refused_jobs_show_no_secrets(&api, &mut bus);
    a_job_id_is_its_users(&api);
    a_refused_function_is_no_failed_login(&api);
    let denied = site.path("m/pki/minions_denied");
    fs::copy(site.path("m/pki/minions/m1"), denied.join("m2")).unwrap();
    let make = |id: &str, user: &str, password: &str, more: &str| {
        let login =
            format!(r#""username": "{user}", "password": "{password}", "eauth": "sharedsecret""#);
        api.post("", "/keys", &format!(r#"{{"mid": "{id}", {login}{more}}}"#))
    };
    assert_eq!(make("m2", "fred", "hunter2", "").code, 409);
    let made = api.post(
        &api.log_in("fred"),
        "/",
        r#"{"client": "wheel_async", "fun": "key.gen_accept", "id_": "m2"}"#,
    );
    let place = made.first();
    assert_eq!(
        text(&place, "tag"),
        format!("salt/wheel/{}", text(&place, "jid"))
    );
    // Whoever may not make keys learns nothing of those that are there.
    for (user, password) in [("ann", "hunter2"), ("fred", "wrong")] {
        let (refused, other) = (
            make("m2", user, password, ""),
            make("m3", user, password, ""),
        );
        assert_eq!(refused.code, 401, "{}", refused.text);
        let body = |answer: &Answer| answer.text.split_once("\r\n\r\n").unwrap().1.to_owned();
        assert_eq!(body(&refused), body(&other));
    }
    assert_eq!(
        make("m2", "fred", "hunter2", r#", "force": true"#).code,
        200
    );
    // There is no such minion to wait for.
    for state in ["minions", "minions_denied"] {
        fs::remove_file(site.path(&format!("m/pki/{state}/m2"))).unwrap();
    }
    commands_log_in(&site, SALT);
    // With a history of its own, positions outlive the API, and the log says when it was away.
    let fred = api.log_in("fred");
    let hook = |path: &str| {
        let hook = api.post(&fred, path, "{}");
        assert_eq!(hook.code, 200, "{}", hook.text);
    };
    let mut stream = Stream::open(&api, &fred, None);
    stream.until("retry: 400\n");
    hook("/hook/site/before");
    let before = stream.id_of("salt/netapi/hook/site/before").unwrap();
    drop(served);
    let served = Process::start(site.command("salt-api"));
    api.wait();
    let mut stream = Stream::open(&api, &fred, Some(&before));
    stream.until("tag: brine/gap\n");
    hook("/hook/site/after");
    let after = stream.id_of("salt/netapi/hook/site/after").unwrap();
    let log = |id: &str| id.split_once('-').unwrap().0.to_owned();
    assert_eq!(log(&before), log(&after));
    // Once there is attach, positions are those of its history; streams continue there, and the port stays.
    let attached = Process::start(site.command("attach"));
    let head = format!("x-auth-token: {fred}\r\n");
    let newest = format!("\"newest\": \"{}-", log(&after));
    wait_until("attach's log is read", || {
        !api.ask("GET /status", &head, "").text.contains(&newest)
    });
    hook("/hook/site/moved");
    let moved = stream.id_of("salt/netapi/hook/site/moved").unwrap();
    assert_ne!(log(&moved), log(&after));
    drop(attached);
    drop(served);
    // As a part of attach, the API has its events and its positions.
    let mut attach = site.command("attach");
    attach.arg("--api");
    let _attached = Process::start(attach);
    api.wait();
    self::stream(&api, &fred);
    hook("/hook/site/attached");
    let stored = || Stored::of(&site, "salt/netapi/hook/site/*").ids;
    wait_until("both events are on the disk", || stored().len() >= 3);
    let stored = stored();
    let mut stream = Stream::open(&api, &fred, Some(&stored[0]));
    stream.until("tag: salt/netapi/hook/site/attached\n");
    let id = stream.id_of("salt/netapi/hook/site/attached");
    assert_eq!(id.as_ref(), stored.last());
}

/// The client does not wait for the rest of `rest_timeout`, five minutes.
#[test]
fn a_runner_whose_real_master_ends_is_given_up() {
    let port = free_port();
    let api = Api { port };
    let site = Site::configured("zeromq", &options(port));
    let command = program::command(SALT, "salt-master", &site.path(""));
    let master = Program::start(command, site.path("salt-master.out"));
    let _served = Process::start(site.command("salt-api"));
    let mut bus = site.master_bus();
    api.wait();
    wait_until("the master", || api.try_to_log_in("fred").code != 503);
    let fred = api.log_in("fred");
    std::thread::scope(|scope| {
        let sleeps = r#"{"client": "runner", "fun": "test.sleep", "s_time": 200}"#;
        let answer = scope.spawn(|| api.post(&fred, "/", sleeps));
        while bus.next("salt/run/*/new").get("fun") != Some(&"runner.test.sleep".into()) {}
        drop(master);
        let answer = answer.join().unwrap();
        assert_eq!(answer.code, 503, "{}", answer.text);
    });
}

#[test]
fn a_key_that_the_api_makes_signs_a_real_minion_in() {
    let port = free_port();
    let api = Api { port };
    let more = format!("brine: {{api: {{in_master: true}}}}\n{}", options(port));
    let mut site = Site::configured("zeromq", &more);
    site.start_master();
    let mut bus = site.master_bus();
    api.wait();
    let body =
        r#"{"mid": "m1", "username": "fred", "password": "hunter2", "eauth": "sharedsecret"}"#;
    let made = api.post("", "/keys", body);
    assert_eq!(made.code, 200, "{}", made.text);
    let archive = site.path("keys.tar");
    fs::write(&archive, made.text.split_once("\r\n\r\n").unwrap().1).unwrap();
    let pki = site.path("n/pki");
    fs::create_dir_all(&pki).unwrap();
    let unpacked = Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .arg("-C")
        .arg(&pki)
        .status();
    assert!(unpacked.unwrap().success());
    // There is a key now: it stays, and nobody is handed an empty one.
    assert_eq!(api.post("", "/keys", body).code, 409);
    for (wrong, code) in [
        (r#""mid": "../m2""#, 400),
        (r#""mid": "m2", "keysize": "many""#, 400),
    ] {
        let body = body.replace(r#""mid": "m1""#, wrong);
        let refused = api.post("", "/keys", &body);
        assert_eq!(refused.code, code, "{}", refused.text);
    }
    let command = program::command(SALT, "salt-minion", &site.path(""));
    let _minion = Program::start(command, site.path("salt-minion.out"));
    bus.next("salt/minion/m1/start");
}

/// What every master must do.
fn serves(api: &Api) {
    let fred = api.log_in("fred");
    let answer = api.post(
        &fred,
        "/",
        r#"[{"client": "local", "tgt": "*", "fun": "test.ping"},
            {"client": "runner", "fun": "manage.up"},
            {"client": "local", "tgt": "m1", "fun": "test.echo", "arg": ["1"]},
            {"client": "local", "tgt": "nobody", "fun": "test.ping"}]"#,
    );
    assert_eq!(
        shown(&answer.value()),
        r#"{"return": [{"m1": true}, ["m1"], {"m1": 1}, {}]}"#
    );
    let answer = api.post(
        &fred,
        "/",
        r#"[{"client": "local_batch", "tgt": "*", "fun": "test.ping", "batch": "50%"},
            {"client": "local_batch", "tgt": "nobody", "fun": "test.ping"},
            {"client": "local_subset", "tgt": "*", "fun": "test.echo", "arg": ["x"], "subset": 2},
            {"client": "local_subset", "tgt": "*", "fun": "no.such"}]"#,
    );
    assert_eq!(
        shown(&answer.value()),
        r#"{"return": [{"m1": true}, {"m1": "x"}, {}]}"#
    );
    let keys = api
        .post(&fred, "/", r#"{"client": "wheel", "fun": "key.list_all"}"#)
        .first();
    assert!(shown(&keys).contains(r#""minions": ["m1"]"#), "{keys:?}");
    let head = format!("x-auth-token: {fred}\r\n");
    let minions = api.ask("GET /minions/m1", &head, "");
    assert_eq!(
        (
            minions.code,
            text(minions.first().as_map().unwrap().get("m1").unwrap(), "id")
        ),
        (200, "m1".to_owned())
    );
    let started = api.post(&fred, "/minions", r#"{"tgt": "*", "fun": "test.ping"}"#);
    assert_eq!(started.code, 202, "{}", started.text);
    let jid = text(&started.first(), "jid");
    let path = format!("GET /jobs/{jid}");
    wait_until("the job's return", || {
        shown(&api.ask(&path, &head, "").value()).ends_with(r#""return": [{"m1": true}]}"#)
    });
    functions(api, &fred);
    permissions(api);
    for token in [&fred, &salts_token(api, "fred")] {
        stream(api, token);
    }
    let logout = api.post(&fred, "/logout", "{}");
    assert_eq!(
        shown(&logout.value()),
        r#"{"return": "Your token has been cleared"}"#
    );
    assert_eq!(api.ask("GET /keys", &head, "").code, 401);
    let wrong = r#"{"username": "fred", "password": "wrong", "eauth": "sharedsecret"}"#;
    assert_eq!(api.post("", "/login", wrong).code, 401);
    // Some ten failures of a user from an address are enough, whoever the master is: they come one after the other, and the
    // oldest are forgotten meanwhile.
    let wrong = r#"{"username": "mallory", "password": "wrong", "eauth": "sharedsecret"}"#;
    let codes: Vec<u16> = std::thread::scope(|scope| {
        let logins = (0..30).map(|_| scope.spawn(|| api.post("", "/login", wrong).code));
        let logins: Vec<_> = logins.collect();
        logins
            .into_iter()
            .map(|login| login.join().unwrap())
            .collect()
    });
    let count = |wanted| codes.iter().filter(|code| **code == wanted).count();
    assert!(
        count(401) >= 10 && count(401) + count(429) == 30,
        "{codes:?}"
    );
    let with_login = wrong.replace('}', r#", "client": "runner", "fun": "manage.up"}"#);
    for (path, body) in [("/login", wrong), ("/token", wrong), ("/run", &with_login)] {
        wait_until("too many failures", || {
            let refused = api.post("", path, body);
            let text = refused.text.to_ascii_lowercase();
            assert_eq!(
                refused.code == 429,
                text.contains("\r\nretry-after: "),
                "{path}: {text}"
            );
            refused.code == 429
        });
    }
}

/// Runner and wheel functions are jobs of the master, and one that does not exist is an unforeseen error.
fn functions(api: &Api, session: &str) {
    let echoed = api.post(
        session,
        "/",
        r#"{"client": "runner", "fun": "test.arg", "arg": ["x"], "full_return": true}"#,
    );
    let event = echoed.first();
    let jid = text(event.as_map().unwrap().get("data").unwrap(), "jid");
    let command = format!(r#"{{"client": "runner", "fun": "jobs.list_job", "jid": "{jid}"}}"#);
    let job = shown(&api.post(session, "/", &command).first());
    for holds in [
        r#""Function": "runner.test.arg", "Arguments": [], "Target": ""#,
        r#"", "Target-type": "list", "User": "fred", "StartTime": ""#,
        r#""return": {"args": ["x"], "kwargs": {}}, "success": true}}}"#,
    ] {
        assert!(job.contains(holds), "{job}");
    }
    let unknown = api.post(session, "/", r#"{"client": "runner", "fun": "no.such"}"#);
    assert_eq!(unknown.code, 500, "{}", unknown.text);
    assert_eq!(
        shown(&unknown.value()),
        r#"{"status": 500, "return": "An unexpected error occurred"}"#
    );
}

/// Why a request failed is in the log.
fn says_what_nobody_foresaw(site: &Site, program: &str) {
    let log = fs::read_to_string(site.path(program)).unwrap();
    let said = |line: &&str| line.contains("request failed") && line.contains("no.such");
    assert!(log.lines().any(|line| said(&line)), "{log}");
}

/// Users may do what `external_auth` says, by session, by Salt's token, and by password.
fn permissions(api: &Api) {
    let session = api.log_in("ann");
    let credentials = r#""username": "ann", "password": "hunter2", "eauth": "sharedsecret""#;
    let token = salts_token(api, "ann");
    for (command, code) in [
        (r#""client": "local", "tgt": "*", "fun": "test.ping""#, 200),
        (
            r#""client": "local", "tgt": "m1", "fun": "grains.item", "arg": ["id"]"#,
            200,
        ),
        (
            r#""client": "local", "tgt": "*", "fun": "cmd.run", "arg": ["id"]"#,
            401,
        ),
        (
            r#""client": "local", "tgt": "*", "fun": ["test.ping", "cmd.run"], "arg": [[], ["id"]]"#,
            401,
        ),
        (
            r#""client": "local_batch", "batch": "1", "tgt": "*", "fun": ["test.ping", "cmd.run"], "arg": [[], ["id"]]"#,
            401,
        ),
        (
            r#""client": "local", "tgt": "*", "fun": ["test.ping", "test.echo"], "arg": [[], ["x"]]"#,
            200,
        ),
        (r#""client": "runner", "fun": "jobs.list_jobs""#, 200),
        (r#""client": "runner", "fun": "jobs.active""#, 401),
        (r#""client": "runner", "fun": "salt.cmd""#, 401),
        (r#""client": "wheel", "fun": "key.list_all""#, 401),
    ] {
        let by = [
            api.post(&session, "/", &format!("{{{command}}}")),
            api.post("", "/run", &format!(r#"{{{command}, "token": "{token}"}}"#)),
            api.post("", "/run", &format!("{{{command}, {credentials}}}")),
        ];
        for answer in by {
            assert_eq!(answer.code, code, "{command}: {}", answer.text);
        }
    }
}

/// A master of Salt fires the request of a job that it refuses: it never gets its own key with the user's proof, and
/// streams do not show the proof.
fn refused_jobs_show_no_secrets(api: &Api, bus: &mut Bus) {
    let fred = api.log_in("fred");
    let token = salts_token(api, "ann");
    let mut stream = Stream::open(api, &fred, None);
    stream.until("retry: 400\n");
    for (count, proof) in [
        format!(r#""token": "{token}""#),
        r#""username": "ann", "password": "hunter2", "eauth": "sharedsecret""#.to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let job = format!(
            r#"{{"client": "local_async", "tgt": "m1", "fun": "cmd.run", "arg": ["{count}"], {proof}}}"#
        );
        assert_eq!(api.post("", "/run", &job).code, 401);
        let fired = bus.next("salt/job/*error");
        assert_eq!(fired.get("key"), None, "{fired:?}");
        assert!(
            map(&fired, "kwargs")
                .get("eauth")
                .or(map(&fired, "kwargs").get("token"))
                .is_some()
        );
        stream.until(&format!(r#""arg": [{count}]"#));
    }
    api.post(&fred, "/hook/site/last", "{}");
    stream.until("tag: salt/netapi/hook/site/last\n");
    for secret in [&*token, "hunter2"] {
        assert!(
            !stream.said().contains(secret),
            "{secret}: {}",
            stream.said()
        );
    }
}

/// Nobody adds to another user's job.
fn a_job_id_is_its_users(api: &Api) {
    let (fred, ann) = (api.log_in("fred"), api.log_in("ann"));
    let job = |session: &str, client: &str| {
        let job = r#""fun": "test.ping", "tgt": "*", "jid": "20260101000000000007""#;
        api.post(session, "/", &format!(r#"{{"client": "{client}", {job}}}"#))
            .code
    };
    assert_eq!(job(&fred, "local_async"), 200);
    for client in ["local_async", "local", "local_batch"] {
        assert_eq!(job(&ann, client), 401, "{client}");
    }
    assert_eq!(job(&fred, "local_async"), 200);
    // Whoever may not run it does not learn whether there is such a job.
    for client in ["local_async", "local", "local_batch", "local_subset"] {
        let refused = |jid: &str| {
            let job = r#""fun": "cmd.run", "arg": ["id"], "tgt": "m1""#;
            let job = format!(r#"{{"client": "{client}", {job}, "jid": "{jid}"}}"#);
            let answer = api.post(&ann, "/", &job);
            let (_, body) = answer.text.split_once("\r\n\r\n").unwrap();
            (answer.code, body.to_owned())
        };
        let (of_fred, free) = (
            refused("20260101000000000007"),
            refused("20260101000000000008"),
        );
        assert_eq!(of_fred, free, "{client}");
        assert_eq!(free.0, 401, "{client}: {}", free.1);
    }
}

/// Masters refuse both in the same words.
fn a_refused_function_is_no_failed_login(api: &Api) {
    let login = r#""username": "ann", "password": "hunter2", "eauth": "sharedsecret""#;
    for _ in 0..11 {
        let command = format!(r#"{{"client": "wheel", "fun": "key.list_all", {login}}}"#);
        let refused = api.post("", "/run", &command);
        assert_eq!(refused.code, 401, "{}", refused.text);
    }
    api.log_in("ann");
}

/// A token of Salt's.
fn salts_token(api: &Api, user: &str) -> String {
    let login =
        format!(r#"{{"username": "{user}", "password": "hunter2", "eauth": "sharedsecret"}}"#);
    let made = api.post("", "/token", &login).value();
    text(&made.as_array().unwrap()[0], "token")
}

/// Events come, and webhooks are among them.
fn stream(api: &Api, token: &str) {
    let mut stream = Stream::open(api, token, None);
    stream.until("retry: 400\n");
    let session = api.log_in("fred");
    let hook = api.post(&session, "/hook/site/done", r#"{"ok": true}"#);
    assert_eq!(shown(&hook.value()), r#"{"success": true}"#);
    stream.until("tag: salt/netapi/hook/site/done\n");
}

/// Every request of SaltGUI, as it sends them: after its login, from its pages and from its menus.
fn saltgui(api: &Api) {
    let fred = api.log_in("fred");
    let ping = api.post(
        &fred,
        "/",
        r#"{"client": "local_async", "fun": "test.ping", "tgt": "*"}"#,
    );
    let jid = text(&ping.first(), "jid");
    wait_until("no job to be active", || {
        let active = api.post(&fred, "/", r#"{"client": "runner", "fun": "jobs.active"}"#);
        shown(&active.value()) == r#"{"return": [{}]}"#
    });
    let minion = r#""m1": "#;
    let returned = r#""m1": "30"#;
    // What a minion says of a function that it does not have.
    let not_there = "is not available";
    for (fields, holds) in [
        // Wheel functions: `return[0].data.return`.
        (r#""client": "wheel", "fun": "config.values""#, r#""id": ""#),
        (
            r#""client": "wheel", "fun": "key.list_all""#,
            r#""minions": ["m1"]"#,
        ),
        (
            r#""client": "wheel", "fun": "key.finger", "match": "*""#,
            r#""minions": {"m1": ""#,
        ),
        (
            r#""client": "wheel", "fun": "key.finger", "match": "nobody""#,
            r#""return": {}"#,
        ),
        (
            r#""client": "wheel", "fun": "minions.connected""#,
            r#""success": true"#,
        ),
        (
            r#""client": "wheel", "fun": "key.accept", "match": "m1", "include_rejected": true, "include_denied": true"#,
            r#""success": true"#,
        ),
        (
            r#""client": "wheel", "fun": "key.reject", "match": "nobody", "include_accepted": true, "include_denied": true"#,
            r#""success": true"#,
        ),
        (
            r#""client": "wheel", "fun": "key.delete", "match": "nobody""#,
            r#""success": true"#,
        ),
        (
            r#""client": "wheel", "fun": "no.such""#,
            r#""success": false"#,
        ),
        // Runner functions: `return[0]`.
        (
            r#""client": "runner", "fun": "jobs.list_jobs""#,
            "Target-type",
        ),
        (
            r#""client": "runner", "fun": "jobs.list_jobs", "search_function": "test.ping""#,
            r#""Function": "test.ping""#,
        ),
        (
            r#""client": "runner", "fun": "jobs.list_jobs", "search_function": ["test.ping", "state.*"]"#,
            r#""Function": "test.ping""#,
        ),
        (
            r#""client": "runner", "fun": "jobs.list_job", "jid": "JID""#,
            r#""Result": {"m1": {"#,
        ),
        (
            r#""client": "runner", "fun": "jobs.list_job", "jid": "20200101000000000000""#,
            r#""Result": {}"#,
        ),
        (r#""client": "runner", "fun": "jobs.active""#, "[{}]"),
        (
            r#""client": "runner", "fun": "manage.versions""#,
            r#"[{"Up to date": {"m1": "30"#,
        ),
        (
            r#""client": "runner", "fun": "jobs.active", "full_return": true"#,
            r#""success": true"#,
        ),
        (
            r#""client": "runner", "fun": "doc.runner""#,
            r#""jobs.list_jobs": "#,
        ),
        (
            r#""client": "runner", "fun": "doc.wheel""#,
            r#""key.finger": "#,
        ),
        (
            r#""client": "runner", "fun": "test.arg", "arg": [1, "a=2"], "match": "*""#,
            r#"[{"args": [1], "kwargs": {"a": 2, "match": "*"}}]"#,
        ),
        // Its pages of jobs list these, too.
        (
            r#""client": "runner", "fun": "jobs.list_jobs", "search_function": "wheel.key.finger""#,
            r#""Function": "wheel.key.finger", "Arguments": [], "Target": ""#,
        ),
        (
            r#""client": "runner", "fun": "jobs.last_run", "function": "runner.test.arg""#,
            r#""return": {"args": [1], "kwargs": {"a": 2, "match": "*"}}, "success": true}}}}}]}"#,
        ),
        // Functions of minions: `return[0]`, by id.
        (
            r#""client": "local", "fun": "grains.items", "tgt": "*""#,
            "saltversion",
        ),
        (
            r#""client": "local", "fun": "sys.doc", "tgt": "*", "arg": ["test.ping"]"#,
            minion,
        ),
        (
            r#""client": "local", "fun": "test.version", "tgt": "m1", "tgt_type": "list", "full_return": true"#,
            r#""retcode": 0"#,
        ),
        (
            r#""client": "local", "fun": "test.version", "tgt": "m1,m2", "tgt_type": "list""#,
            returned,
        ),
        (
            r#""client": "local", "fun": "test.version", "tgt": "N@all", "tgt_type": "compound""#,
            returned,
        ),
        (
            r#""client": "local", "fun": "test.version", "tgt": "all", "tgt_type": "nodegroup""#,
            returned,
        ),
        (
            r#""client": "local", "fun": "pillar.items", "tgt": "*""#,
            minion,
        ),
        (
            r#""client": "local", "fun": "beacons.list_available", "tgt": "*", "kwarg": {"return_yaml": false}"#,
            not_there,
        ),
        (
            r#""client": "local", "fun": "test.providers", "tgt": "*""#,
            minion,
        ),
        (
            r#""client": "local_async", "fun": "test.ping", "tgt": "*""#,
            r#""minions": ["m1"]"#,
        ),
        (
            r#""client": "local_async", "fun": "test.ping", "tgt": "nobody""#,
            r#"[{}]"#,
        ),
    ] {
        let command = format!("{{{}}}", fields.replace("JID", &jid));
        let answer = api.post(&fred, "/", &command);
        assert!(
            answer.code == 200 && answer.text.contains(holds),
            "{command}: {}",
            answer.text
        );
    }
    // No orchestrations: it shows the status.
    let orchestrations =
        r#"{"client": "runner", "fun": "state.orchestrate_show_sls", "arg": ["*"]}"#;
    assert_eq!(api.post(&fred, "/", orchestrations).code, 500);
    for fields in SALTGUI_ELSEWHERE {
        let answer = api.post(&fred, "/", &format!("{{{fields}}}"));
        let holds = match fields.contains("runner") {
            true => "\"return\": [",
            false => minion,
        };
        let is_answered = answer.code == 200 && answer.text.contains(holds);
        assert!(is_answered, "{fields}: {}", answer.text);
    }
    let head = format!("x-auth-token: {fred}\r\n");
    // Its heartbeat: a user with another answer than an object is logged out.
    let stats = api.ask("GET /stats", &head, "");
    assert!(
        stats.code == 200 && stats.value().as_map().is_some(),
        "{}",
        stats.text
    );
    assert_eq!(api.post(&fred, "/logout", "{}").code, 200);
    assert_eq!(api.ask("GET /stats", &head, "").code, 401);
}

/// What SaltGUI asks that a Brine master or minion need not have: it shows the refusal, or nothing.
const SALTGUI_ELSEWHERE: [&str; 10] = [
    r#""client": "runner", "fun": "cache.grains", "tgt": "*""#,
    r#""client": "runner", "fun": "cache.pillar""#,
    r#""client": "local", "fun": "pillar.obfuscate", "tgt": "*""#,
    r#""client": "local", "fun": "schedule.list", "tgt": "*", "kwarg": {"return_yaml": false}"#,
    r#""client": "local", "fun": "beacons.list", "tgt": "*", "kwarg": {"return_yaml": false}"#,
    r#""client": "local", "fun": "mine.valid", "tgt": "*""#,
    r#""client": "local", "fun": "mine.get", "tgt": "*", "arg": ["*", "x"]"#,
    r#""client": "local", "fun": "state.apply", "tgt": "*", "kwarg": {"test": true}"#,
    r#""client": "local", "fun": "saltutil.refresh_grains", "tgt": "*""#,
    r#""client": "local", "fun": "ps.proc_info", "tgt": "*", "arg": [1]"#,
];

/// Tokens that real Salt asks our master for, and commands it gives with them.
fn salts_own_clients_know_our_users(config: &Path) {
    let script = config.join("tokens.py");
    fs::write(
        &script,
        "import sys, salt.config, salt.auth, salt.client\n\
         opts = salt.config.client_config(sys.argv[1] + '/master')\n\
         creds = {'username': 'ann', 'password': 'hunter2', 'eauth': 'sharedsecret'}\n\
         token = salt.auth.Resolver(opts).mk_token(dict(creds))\n\
         client = salt.client.LocalClient(mopts=opts)\n\
         print(client.cmd('*', 'test.ping', token=token['token']))\n\
         print(client.cmd('*', 'test.ping', **creds))\n\
         print(salt.auth.Resolver(opts).get_token(token['token'])['name'])\n\
         print(salt.auth.LoadAuth(opts).get_tok(token['token'])['name'])\n\
         try:\n    print(client.cmd('*', 'cmd.run', ['id'], token=token['token']))\n\
         except Exception as error:\n    print(type(error).__name__)\n\
         print(repr(salt.auth.Resolver(opts).mk_token(dict(creds, password='x'))))\n",
    )
    .unwrap();
    let mut command: Command = python(SALT);
    let output = command.arg(&script).arg(config).output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "{'m1': True}\n{'m1': True}\nann\nann\nAuthorizationError\n''\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

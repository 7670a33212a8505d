//! Clear requests on a whole master: whom a key helps to what, and the events that tell of it.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

use brine_auth::LoginError;
use brine_config::Arguments;
use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_net::tcp::client::Requester;
use brine_node::{JobRequest, PublishError};
use brine_wire::network::Jid;
use brine_wire::network::payload::Payload;
use brine_wire::{Map, Value};
use serde_json::json;

use crate::support::{DEADLINE, Fixture, Listener, Running, as_json, from_json};

/// A user of every Debian, who is not the one that runs tests.
const USER: &str = "daemon";

struct Site {
    fixture: Fixture,
    master: Running,
}

impl Site {
    async fn start(options: &str) -> Self {
        let fixture = Fixture::new("tcp");
        let master = fixture.master(options).await;
        Self { fixture, master }
    }

    fn key_of(&self, user: &str) -> String {
        let path = self.fixture.path(&format!("m/cache/.{user}_key"));
        fs::read_to_string(path).unwrap().trim().to_owned()
    }

    /// The key of the master's own user.
    fn own_key(&self) -> String {
        self.key_of(&brine_config::Environment::current().user)
    }

    async fn ask(&self, load: serde_json::Value) -> serde_json::Value {
        let Value::Map(load) = from_json(&load) else {
            panic!("a load is a map")
        };
        let payload = Payload::Clear { version: 3, load }.to_value();
        let requester = Requester::new(format!("127.0.0.1:{}", self.master.ret_port));
        as_json(&requester.request(&payload, DEADLINE).await.unwrap())
    }

    async fn publish(&self, key: &str, user: &str, fun: &str, more: Map) -> serde_json::Value {
        self.ask(json!({
            "cmd": "publish", "fun": fun, "tgt": "*", "arg": [], "key": key, "user": user,
            "kwargs": as_json(&more.into()),
        }))
        .await
    }

    fn pending(&self, ids: &[&str]) {
        for id in ids {
            let key = PrivateKey::generate(2048).unwrap();
            let path = self.fixture.path("m/pki/minions_pre").join(id);
            fs::write(path, key.public().pem()).unwrap();
        }
    }
}

fn refusal(answer: &serde_json::Value) -> Option<&str> {
    answer.pointer("/error/name")?.as_str()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_helps_neither_what_is_blacklisted_nor_what_asks_for_external_authentication() {
    let site = Site::start("publisher_acl_blacklist: {users: [fred], modules: ['cmd.*']}").await;
    let key = site.own_key();
    let external: Map = [("token", "x")].into_iter().collect();
    for (user, fun, kwargs, name) in [
        ("root", "cmd.run", Map::new(), Some("AuthorizationError")),
        ("fred", "test.ping", Map::new(), Some("AuthorizationError")),
        ("root", "test.ping", external, Some("AuthenticationError")),
        ("root", "test.ping", Map::new(), None),
    ] {
        let answer = site.publish(&key, user, fun, kwargs).await;
        assert_eq!(refusal(&answer), name, "{user} {fun}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_publisher_acl_publishes_what_it_says_with_a_key_of_his_own() {
    let acl = format!("publisher_acl: {{'{USER}': ['test.*', {{'web*': ['state.apply']}}]}}");
    let site = Site::start(&acl).await;
    let mut bus = site.fixture.master_bus().await;
    let path = site.fixture.path(&format!("m/cache/.{USER}_key"));
    let file = fs::metadata(&path).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    let account = nix::unistd::User::from_name(USER).unwrap().unwrap();
    if nix::unistd::geteuid().is_root() {
        assert_eq!(file.uid(), account.uid.as_raw());
    }
    // The user can read the key, and nothing else.
    let folder = fs::metadata(site.fixture.path("m/cache")).unwrap();
    assert_eq!(folder.permissions().mode() & 0o007, 0o001);

    let key = site.key_of(USER);
    for (key, user, fun, name) in [
        (key.as_str(), USER, "test.ping", None),
        (&key, USER, "saltutil.find_job", None),
        (&key, USER, "cmd.run", Some("AuthorizationError")),
        (&key, "root", "test.ping", Some("AuthenticationError")),
        (&key, "fred", "test.ping", Some("AuthenticationError")),
        ("", USER, "test.ping", Some("AuthenticationError")),
    ] {
        let answer = site.publish(key, user, fun, Map::new()).await;
        assert_eq!(refusal(&answer), name, "{user} {fun}");
    }
    let event = bus.next("salt/job/error").await;
    assert_eq!(event.get("fun"), Some(&"cmd.run".into()));
    assert_eq!(event.get("key"), None);
    // The key permits publishing, but no change of the master.
    for cmd in ["wheel", "runner"] {
        let load = json!({"cmd": cmd, "fun": "key.list_all", "key": key, "user": USER});
        assert_eq!(
            refusal(&site.ask(load).await),
            Some("UserAuthenticationError")
        );
    }
}

/// The job cache says who ran what: nobody writes that anew in another's place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_id_of_another_users_job_is_taken() {
    let site = Site::start(&format!("publisher_acl: {{'{USER}': ['test.*']}}")).await;
    let key = PrivateKey::generate(2048).unwrap();
    fs::write(site.fixture.path("m/pki/minions/a1"), key.public().pem()).unwrap();
    let (own, users) = (site.own_key(), site.key_of(USER));
    let handle = site.master.handle.clone().unwrap();
    let publish = async |user: &str, jid: &str, arg: &str| {
        let key = if user == USER { &users } else { &own };
        site.ask(json!({
            "cmd": "publish", "fun": "test.echo", "tgt": "*", "arg": [arg], "key": key, "user": user,
            "jid": jid, "kwargs": {},
        }))
        .await
    };
    let (roots, others) = ("20260101000000000001", "20260101000000000002");
    let recorded = async |jid: &str| {
        let arguments = Arguments {
            positional: vec![jid.into()],
            ..Arguments::default()
        };
        let own = handle.own_caller();
        let found = handle.runner("jobs.list_job", arguments, &own).await;
        let job = as_json(&found.unwrap().value);
        (
            job["User"].as_str().unwrap().to_owned(),
            job["Arguments"][0].as_str().unwrap().to_owned(),
        )
    };
    for (user, jid, arg, refused) in [
        ("root", roots, "1", None),
        (USER, others, "2", None),
        (USER, roots, "3", Some("AuthorizationError")),
        // A batch publishes its parts under one id.
        (USER, others, "4", None),
        ("root", others, "5", None),
        (USER, others, "6", Some("AuthorizationError")),
    ] {
        let answer = publish(user, jid, arg).await;
        assert_eq!(refusal(&answer), refused, "{user} {jid}: {answer}");
        if refused.is_none() {
            assert_eq!(recorded(jid).await, (user.to_owned(), arg.to_owned()));
        }
    }
    // Whom the local socket's list permits the function is no master either.
    let request = JobRequest {
        jid: Jid::parse(roots).ok(),
        ..JobRequest::new("*", "glob", "test.echo")
    };
    let eve = handle.permitted_caller("eve");
    let refused = handle.publish(request, &eve).await;
    assert_eq!(refused, Err(PublishError::JidInUse));
    assert_eq!(recorded(roots).await.1, "1");
    assert_eq!(recorded(others).await.1, "5");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_job_id_goes_to_one_of_those_who_choose_it_at_the_same_time() {
    let site = Site::start("").await;
    let key = PrivateKey::generate(2048).unwrap();
    fs::write(site.fixture.path("m/pki/minions/a1"), key.public().pem()).unwrap();
    let handle = site.master.handle.clone().unwrap();
    for round in 0..100 {
        let jid = format!("20260101000000{round:06}");
        let publishes = (0..6).map(|count| {
            let request = JobRequest {
                jid: Jid::parse(&jid).ok(),
                ..JobRequest::new("*", "glob", "test.echo")
            };
            let (handle, user) = (handle.clone(), ["ann", "bob"][count % 2]);
            tokio::spawn(async move {
                let by = handle.permitted_caller(user);
                handle.publish(request, &by).await.is_ok().then_some(user)
            })
        });
        let mut winners = std::collections::BTreeSet::new();
        for publish in publishes.collect::<Vec<_>>() {
            winners.extend(publish.await.unwrap());
        }
        assert_eq!(winners.len(), 1, "{jid}: {winners:?}");
    }
}

/// Whoever asks for somebody else must be able to tell that person to wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_was_not_looked_at_is_told_from_a_wrong_one() {
    let site = Site::start(
        "sharedsecret: hunter2\nexternal_auth: {sharedsecret: {fred: ['.*', '@runner']}}",
    )
    .await;
    let login = json!({"username": "fred", "password": "wrong", "eauth": "sharedsecret"});
    let with = |mut load: serde_json::Value| {
        let fields = login.as_object().unwrap().clone();
        load.as_object_mut().unwrap().extend(fields);
        load
    };
    for _ in 0..10 {
        assert_eq!(site.ask(with(json!({"cmd": "mk_token"}))).await, json!(""));
    }
    for load in [
        with(json!({"cmd": "mk_token"})),
        with(json!({"cmd": "runner", "fun": "manage.up"})),
        json!({"cmd": "publish", "fun": "test.ping", "tgt": "*", "arg": [], "kwargs": login}),
    ] {
        let answer = site.ask(load.clone()).await;
        let text = answer["error"]["message"].as_str().unwrap();
        let limit = LoginError::limit(text);
        assert!(
            matches!(limit, Some(LoginError::TooMany { .. })),
            "{load}: {answer}"
        );
    }
}

/// Without what differs from run to run.
fn comparable(mut data: Map) -> serde_json::Value {
    for name in ["jid", "tag", "_stamp"] {
        assert!(
            data.remove(name).is_some() || name == "tag",
            "{name}: {data:?}"
        );
    }
    as_json(&data.into())
}

async fn next(bus: &mut Listener, what: &str) -> serde_json::Value {
    comparable(bus.next(&format!("salt/wheel/*/{what}")).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wheel_function_fires_the_events_of_3008() {
    let site = Site::start("").await;
    site.pending(&["m1"]);
    let mut bus = site.fixture.master_bus().await;
    let load = json!({
        "cmd": "wheel", "fun": "key.list", "match": "pre", "key": site.own_key(), "user": "root",
    });
    let answer = site.ask(load).await;
    let ret = json!({"minions_pre": ["m1"]});
    let jid = answer["data"]["jid"].as_str().unwrap();
    assert_eq!(answer["tag"], json!(format!("salt/wheel/{jid}")));
    assert_eq!(answer["data"]["return"], ret);
    assert_eq!(answer["data"]["user"], json!("root"));
    let begins = json!({"fun": "wheel.key.list", "user": "root", "fun_args": ["pre"]});
    assert_eq!(next(&mut bus, "new").await, begins);
    let mut ended = begins;
    ended["return"] = ret;
    ended["success"] = json!(true);
    assert_eq!(next(&mut bus, "ret").await, ended);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wheel_function_fires_the_events_of_3006() {
    let site = Site::start("brine: {compat: 3006}").await;
    let mut bus = site.fixture.master_bus().await;
    let load = json!({
        "cmd": "wheel", "fun": "key.accept", "match": "nobody", "key": site.own_key(),
        "user": "sudo_fred",
    });
    site.ask(load).await;
    let user = brine_config::Environment::current().user;
    let request = json!({"fun": "wheel.key.accept", "user": user});
    let mut function = json!({
        "fun": "wheel.key.accept", "user": "UNKNOWN",
        "fun_args": ["nobody", {"include_rejected": false, "include_denied": false}],
    });
    assert_eq!(next(&mut bus, "new").await, request);
    assert_eq!(next(&mut bus, "new").await, function);
    let mut request = request;
    for ended in [&mut function, &mut request] {
        ended["return"] = json!({});
        ended["success"] = json!(true);
    }
    assert_eq!(next(&mut bus, "ret").await, function);
    assert_eq!(next(&mut bus, "ret").await, request);
}

/// The returns are Salt's, asked the same of 3006.28 and 3008.3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wheel_functions_change_keys_and_show_where_they_are() {
    let site = Site::start("").await;
    site.pending(&["a1", "a2", "a3", "a4"]);
    let mut bus = site.fixture.master_bus().await;
    let key = site.own_key();
    let pre = |ids: &[&str]| json!({"minions_pre": ids});
    for (fun, args, kwargs, ret) in [
        (
            "key.list",
            json!(["all"]),
            json!({}),
            json!({
                "minions_pre": ["a1", "a2", "a3", "a4"], "minions_rejected": [], "minions": [],
                "minions_denied": [], "local": ["master.pem", "master.pub"],
            }),
        ),
        ("key.list", json!(["bogus"]), json!({}), json!({})),
        (
            "key.name_match",
            json!(["a*"]),
            json!({}),
            pre(&["a1", "a2", "a3", "a4"]),
        ),
        (
            "key.accept",
            json!(["a1"]),
            json!({}),
            json!({"minions": ["a1"]}),
        ),
        ("key.accept", json!(["nosuch"]), json!({}), json!({})),
        (
            "key.accept_dict",
            json!([{"minions_pre": ["a2"]}]),
            json!({}),
            json!({"minions": ["a2"]}),
        ),
        (
            "key.reject",
            json!(["a3"]),
            json!({}),
            json!({"minions_rejected": ["a3"]}),
        ),
        (
            "key.reject",
            json!(["a1"]),
            json!({}),
            json!({"minions": ["a1"]}),
        ),
        (
            "key.reject",
            json!(["a1"]),
            json!({"include_accepted": true}),
            json!({"minions_rejected": ["a1"]}),
        ),
        (
            "key.reject_dict",
            json!([{"minions_pre": ["a4"]}]),
            json!({}),
            json!({"minions_rejected": ["a4"]}),
        ),
        (
            "key.accept",
            json!(["a3"]),
            json!({"include_rejected": true}),
            json!({"minions": ["a3"]}),
        ),
        ("key.delete", json!(["a3"]), json!({}), json!({})),
        (
            "key.delete_dict",
            json!([{"minions_rejected": ["a4"]}]),
            json!({}),
            json!({}),
        ),
        (
            "key.list_all",
            json!([]),
            json!({}),
            json!({
                "minions_pre": [], "minions_rejected": ["a1"], "minions": ["a2"],
                "minions_denied": [], "local": ["master.pem", "master.pub"],
            }),
        ),
    ] {
        let load = json!({
            "cmd": "wheel", "fun": fun, "arg": args, "kwarg": kwargs, "key": key, "user": "root",
        });
        let answer = site.ask(load).await;
        assert_eq!(answer["data"]["return"], ret, "{fun} {args} {kwargs}");
    }
    for (id, act) in [("a1", "accepted"), ("a2", "accepted"), ("a3", "rejected")] {
        let event = bus.next("salt/key").await;
        assert_eq!(event.get("id"), Some(&id.into()));
        assert_eq!(event.get("act"), Some(&act.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_made_for_minions_and_none_that_there_is_gives_way_unasked() {
    let site = Site::start("").await;
    site.pending(&["a1"]);
    let key = site.own_key();
    let call = async |fun: &str, args: serde_json::Value| {
        let load = json!({
            "cmd": "wheel", "fun": fun, "arg": args, "kwarg": {}, "key": key, "user": "root",
        });
        site.ask(load).await["data"].clone()
    };
    let size = |made: &serde_json::Value| {
        let private = made["priv"].as_str().unwrap_or_else(|| panic!("{made}"));
        let private = PrivateKey::from_pem(private, None).unwrap();
        let public = PublicKey::from_pem(made["pub"].as_str().unwrap()).unwrap();
        assert_eq!(*private.public(), public);
        private.public().size() * 8
    };
    // Salt's documentation: what is less than 2048 is 2048.
    assert_eq!(
        size(&call("key.gen", json!([null, 1024])).await["return"]),
        2048
    );
    let made = call("key.gen_accept", json!(["b1", "2304"])).await;
    assert_eq!(size(&made["return"]), 2304);
    let kept = call("key.print", json!(["b1"])).await["return"].clone();
    let public = made["return"]["pub"].as_str().unwrap().trim_end();
    assert_eq!(kept, json!({"minions": {"b1": public}}));
    let denied = site.fixture.path("m/pki/minions_denied");
    fs::create_dir_all(&denied).unwrap();
    fs::write(denied.join("d1"), public).unwrap();
    for id in ["a1", "b1", "d1"] {
        let again = call("key.gen_accept", json!([id])).await;
        assert_eq!(
            (&again["return"], &again["success"]),
            (&json!({}), &json!(true))
        );
    }
    assert_eq!(call("key.print", json!(["b1"])).await["return"], kept);
    for id in ["a1", "b1"] {
        size(&call("key.gen_accept", json!([id, 2048, true])).await["return"]);
    }
    let listed = call("key.list", json!(["all"])).await["return"].clone();
    assert_eq!(
        (&listed["minions"], &listed["minions_pre"]),
        (&json!(["a1", "b1"]), &json!([]))
    );
    assert_ne!(call("key.print", json!(["b1"])).await["return"], kept);
    for args in [
        json!(["../x"]),
        json!([""]),
        json!([".x"]),
        json!(["c", "many"]),
        json!(["c", 99_999]),
    ] {
        let refused = call("key.gen_accept", args.clone()).await;
        let text = refused["return"]
            .as_str()
            .unwrap_or_else(|| panic!("{args}: {refused}"));
        assert!(text.contains("SaltInvocationError"), "{args}: {text}");
        assert_eq!(refused["success"], json!(false));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wheel_function_that_is_not_there_or_called_wrongly_says_so() {
    let site = Site::start("").await;
    let key = site.own_key();
    for (load, text) in [
        (
            json!({"cmd": "wheel", "fun": "nope.nope", "key": key, "user": "root"}),
            "Exception occurred in wheel nope.nope: CommandExecutionError: 'nope.nope' is not available.",
        ),
        (
            json!({"cmd": "wheel", "fun": "key.accept", "key": key, "user": "root"}),
            "Exception occurred in wheel key.accept: SaltInvocationError: key.accept() missing 1 \
             required positional argument: 'match'",
        ),
    ] {
        let answer = site.ask(load).await;
        assert_eq!(answer["data"]["return"], json!(text));
        assert_eq!(answer["data"]["success"], json!(false));
    }
    let load = json!({"cmd": "wheel", "fun": "key.list_all", "key": "bad", "user": "root"});
    assert_eq!(
        site.ask(load).await,
        json!({"error": {
            "name": "UserAuthenticationError",
            "message": "Authentication failure of type \"user\" occurred",
        }})
    );
}

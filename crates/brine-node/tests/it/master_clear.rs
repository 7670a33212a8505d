//! Clear requests on a whole master: whom the key of local clients does not help.

use std::fs;

use brine_net::tcp::client::Requester;
use brine_wire::network::payload::Payload;
use brine_wire::{Map, Value};

use crate::support::{PATIENCE, Place};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_helps_neither_what_is_blacklisted_nor_what_asks_for_external_authentication() {
    let place = Place::new("tcp");
    let master = place
        .master("publisher_acl_blacklist: {users: [fred], modules: ['cmd.*']}")
        .await;
    let key = fs::read_dir(place.path("m/cache"))
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().ends_with("_key"))
        .map(|entry| fs::read_to_string(entry.path()).unwrap())
        .expect("the master keeps the key of local clients in its cachedir");
    let external: Map = [("token", "x")].into_iter().collect();
    for (user, fun, kwargs, name) in [
        ("root", "cmd.run", Map::new(), Some("AuthorizationError")),
        ("fred", "test.ping", Map::new(), Some("AuthorizationError")),
        ("root", "test.ping", external, Some("AuthenticationError")),
        ("root", "test.ping", Map::new(), None),
    ] {
        let load: Map = [
            ("cmd", Value::from("publish")),
            ("fun", fun.into()),
            ("tgt", "*".into()),
            ("arg", Value::Array(vec![])),
            ("key", key.trim().into()),
            ("user", user.into()),
            ("kwargs", kwargs.into()),
        ]
        .into_iter()
        .collect();
        let payload = Payload::Clear { version: 3, load }.to_value();
        let requester = Requester::new(format!("127.0.0.1:{}", master.ret_port));
        let answer = requester.request(&payload, PATIENCE).await.unwrap();
        let error = answer
            .as_map()
            .and_then(|answer| answer.get("error"))
            .and_then(Value::as_map);
        let found = error.and_then(|error| error.get("name"));
        assert_eq!(found.and_then(Value::as_str), name, "{user} {fun}");
    }
}

//! Every command of Salt's master under every kind of `enc`, from somebody who never signed in.

use brine_wire::{Map, Value};

use crate::honest::Minion;
use crate::master::{ALL, Master, Transport};

/// What minions and local clients ask for, and methods of Salt's master that were reachable once.
const COMMANDS: &[&str] = &[
    "_auth",
    "_dir_list",
    "_ext_nodes",
    "_file_envs",
    "_file_find",
    "_file_hash",
    "_file_hash_and_stat",
    "_file_list",
    "_file_list_emptydirs",
    "_file_recv",
    "_master_opts",
    "_master_tops",
    "_mine",
    "_mine_delete",
    "_mine_flush",
    "_mine_get",
    "_minion_event",
    "_pillar",
    "_prep_auth_info",
    "_prep_pub",
    "_register_resources",
    "_return",
    "_send_pub",
    "_send_ssh_pub",
    "_serve_file",
    "_symlink_list",
    "_syndic_return",
    "__init__",
    "fs_init",
    "get_method",
    "get_token",
    "minion_pub",
    "minion_publish",
    "minion_runner",
    "mk_token",
    "ping",
    "process_token",
    "pub_ret",
    "publish",
    "revoke_auth",
    "run_func",
    "runner",
    "verify_minion",
    "wheel",
    "",
];

fn encs() -> Vec<Option<Value>> {
    let texts = [
        "aes", "pub", "clear ", "CLEAR", "Aes", "", "clear\0", "none",
    ];
    let mut encs: Vec<_> = texts.map(|text| Some(Value::from(text))).into();
    encs.extend([
        None,
        Some(Value::Nil),
        Some(Value::Bool(true)),
        Some(Value::from(0)),
        Some(Value::Array(vec!["clear".into()])),
        Some(Value::Map(Map::new())),
    ]);
    encs
}

/// A well-formed request that asks for a command as a minion of this name.
fn request(enc: Option<Value>, cmd: &str, id: &str) -> Value {
    let mut load: Map = [("cmd", cmd), ("id", id), ("tok", "x"), ("key", "")]
        .into_iter()
        .collect();
    for (name, value) in [
        ("fun", Value::from("test.ping")),
        ("tgt", "*".into()),
        ("path", "../../etc/shadow".into()),
        ("saltenv", "base".into()),
        ("token", "../../etc/passwd".into()),
        ("data", Map::new().into()),
        ("tag", "salt/key".into()),
        ("arg", Value::Array(Vec::new())),
    ] {
        load.insert(name, value);
    }
    let mut payload = Map::new();
    if let Some(enc) = enc {
        payload.insert("enc", enc);
    }
    payload.insert("load", load);
    payload.insert("id", id);
    payload.insert("version", 3);
    Value::Map(payload)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_require_a_sign_in() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let minion = Minion::sign_in(&master, "honest").await;
        master.reached();
        let before = master.files();
        let stranger = master.requester();
        for enc in encs() {
            for cmd in COMMANDS {
                // In the name of somebody who is in, and of nobody.
                for id in ["honest", "nobody"] {
                    let reply = stranger.request(&request(enc.clone(), cmd, id)).await;
                    assert_eq!(reply, "bad load".into(), "{enc:?} {cmd}");
                }
            }
        }
        assert_eq!(master.reached(), []);
        assert_eq!(master.files(), before);
        minion.works().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_clear_only_a_sign_in_is_a_request_of_this_crate() {
    for transport in ALL {
        let master = Master::start(transport).await;
        let stranger = master.requester();
        for cmd in COMMANDS.iter().filter(|cmd| **cmd != "_auth") {
            let reply = stranger
                .request(&request(Some("clear".into()), cmd, "nobody"))
                .await;
            assert_eq!(reply, "bad load".into(), "{cmd}");
        }
        assert_eq!(master.reached(), []);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_payload_is_answered_all_the_same() {
    let master = Master::start(Transport::Tcp).await;
    let stranger = master.requester();
    let clear = |load: Value| -> Value {
        let map: Map = [
            ("enc", Value::from("clear")),
            ("load", load),
            ("version", 3.into()),
        ]
        .into_iter()
        .collect();
        Value::Map(map)
    };
    for payload in [
        Value::Nil,
        Value::Bool(true),
        0.into(),
        "".into(),
        Value::Bin(vec![0; 100]),
        Value::Array(vec![Value::Nil; 10]),
        Value::Map(Map::new()),
        clear(Value::Nil),
        clear("_auth".into()),
        clear(Value::Array(vec!["_auth".into()])),
        clear(Map::new().into()),
    ] {
        let reply = stranger.request(&payload).await;
        assert_eq!(reply, "bad load".into(), "{payload:?}");
    }
    // An _auth with every field missing or of another type: refused, and the next is answered.
    for (name, value) in [
        ("id", Value::Nil),
        ("pub", Value::Nil),
        ("pub", "rubbish".into()),
        ("nonce", "short".into()),
        ("enc_algo", "OAEP-MD5".into()),
        ("sig_algo", Value::Array(Vec::new())),
        ("token", Value::Bin(vec![0; 4096])),
        ("autosign_grains", "none".into()),
    ] {
        let mut load: Map = [("cmd", "_auth"), ("id", "m1")].into_iter().collect();
        load.insert(name, value.clone());
        let reply = stranger.request(&clear(load.into())).await;
        assert!(!matches!(reply, Value::Nil), "{name} {value:?}");
    }
    assert_eq!(master.reached(), []);
    assert!(!master.files().iter().any(|file| file.contains("m1")));
}

//! Real Salt over ZeroMQ: real minions on our ports, and our minion's ends on real masters.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_net::channel::{Audience, Publication};
use brine_net::crypto::rsa::PrivateKey;
use brine_net::master::{MasterChannel, MasterConfig};
use brine_net::minion::{Answer, MustBeSigned, Session, SignIn, Trust};
use brine_net::zeromq::client::{ClientConfig, Requester, Subscription, Topics};
use brine_net::zeromq::publish::Topics as Published;
use brine_testkit::DEADLINE;
use brine_testkit::salt::LATER_VERSIONS;
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::salt_master::{self, printed, start};
use crate::salt_minion::answer_all;
use crate::zeromq_server::{Server, ServerConfig};

fn id() -> MinionId {
    MinionId::parse("m1").unwrap()
}

fn job(jid: &str) -> Map {
    let mut job: Map = [
        ("fun", Value::from("test.ping")),
        ("arg", Value::Array(vec![])),
    ]
    .into_iter()
    .collect();
    for (key, value) in [
        ("tgt", "m1"),
        ("jid", jid),
        ("ret", ""),
        ("tgt_type", "glob"),
        ("user", "root"),
    ] {
        job.insert(key, value);
    }
    job
}

/// Our side of a master, in the test's process.
struct Master {
    channel: Arc<MasterChannel>,
    server: Server,
    requests: mpsc::Receiver<Map>,
}

impl Master {
    async fn start(root: &TempDir, config: &ServerConfig) -> Self {
        let (handler, incoming) = crate::requests::channel();
        let server = Server::start(config, handler).await;
        let mut opened = MasterConfig::new(root.path().join("pki"), root.path().join("cache"));
        opened.publish_port = server.publish_port;
        opened.rules.auto_accept = true;
        let channel = Arc::new(MasterChannel::open(opened).unwrap());
        let (seen, requests) = mpsc::channel(256);
        tokio::spawn(answer_all(channel.clone(), incoming, seen));
        Self {
            channel,
            server,
            requests,
        }
    }

    async fn next(&mut self, cmd: &str) -> Map {
        let found = async {
            loop {
                let fields = self.requests.recv().await.unwrap();
                if fields.get("cmd") == Some(&cmd.into()) {
                    return fields;
                }
            }
        };
        timeout(DEADLINE, found).await.unwrap()
    }

    /// Publishes until the return comes: nobody tells when a subscription has taken effect. A job
    /// id that a minion has seen is run once.
    async fn run_job(&mut self, jid: &str) {
        for _ in 0..60 {
            let publication = Publication {
                payload: self.channel.publish(job(jid)).unwrap().into(),
                audience: Audience::Minions(vec![id()]),
            };
            assert_eq!(self.server.publisher.publish(&publication), 0);
            let Ok(ret) = timeout(2 * SECOND, self.next("_return")).await else {
                continue;
            };
            assert_eq!(ret.get("jid"), Some(&jid.into()));
            assert_eq!(ret.get("return"), Some(&true.into()));
            return;
        }
        panic!("nobody runs the job");
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_minion_runs_jobs_and_outlives_a_rotation_and_a_restart() {
    for (version, zmq_filtering) in LATER_VERSIONS.into_iter().zip([false, true, true]) {
        println!("Salt {version}");
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("cache")).unwrap();
        let config = ServerConfig {
            topics: Published {
                filtering: zmq_filtering,
                syndics: false,
            },
            ..ServerConfig::default()
        };
        let mut master = Master::start(&root, &config).await;
        let minion = root.path().join("minion");
        let options = format!(
            "id: m1\nmaster: 127.0.0.1\nmaster_port: {}\ntransport: zeromq\n\
             zmq_filtering: {zmq_filtering}\nroot_dir: {root}\npki_dir: {root}/pki\n\
             cachedir: {root}/cache\nsock_dir: {root}/sock\nlog_file: {root}/log\nuser: root\n",
            master.server.ret_port,
            root = minion.display()
        );
        fs::create_dir_all(minion.join("pki")).unwrap();
        fs::write(minion.join("minion"), options).unwrap();
        let _running = start(version, "salt-minion", &minion, &[]);
        loop {
            let event = master.next("_minion_event").await;
            if event.get("tag") == Some(&"salt/minion/m1/start".into()) {
                break;
            }
        }
        master.run_job("20260101000000000001").await;
        master.channel.rotate().unwrap();
        master.run_job("20260101000000000002").await;
        let again = ServerConfig {
            ret_port: master.server.ret_port,
            publish_port: master.server.publish_port,
            ..config
        };
        master.server.end().await;
        let mut master = Master::start(&root, &again).await;
        master.run_job("20260101000000000003").await;

        let call = ["event.send", "my/tag", "{'a': 1}"];
        let _call = start(version, "salt-call", &minion, &call);
        let event = loop {
            let event = master.next("_minion_event").await;
            if event.get("tag") == Some(&"my/tag".into()) {
                break event;
            }
        };
        let data = event.get("data").and_then(Value::as_map).unwrap();
        assert_eq!(data.get("a"), Some(&1.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_masters_let_our_minion_in_and_take_its_events_and_returns() {
    for version in LATER_VERSIONS {
        println!("Salt {version}");
        let master = salt_master::Master::start(version, "zeromq");
        let key = PrivateKey::generate(2048).unwrap();
        let requester = Requester::open(ClientConfig::requests("127.0.0.1", master.ret_port));
        let session = timeout(DEADLINE, sign_in(&key, &requester)).await.unwrap();
        assert_eq!(session.publish_port(), master.publish_port);
        let event: Map = [("tag", Value::from("my/tag")), ("data", Map::new().into())]
            .into_iter()
            .collect();
        assert_eq!(
            ask(&session, &requester, "_minion_event", event).await,
            Value::Nil
        );

        let publishes = ClientConfig::publishes("127.0.0.1", master.publish_port);
        let mut subscription = Subscription::open(publishes, &Topics::All);
        let (salt, publish) = master
            .ping_until_heard(async || subscription.next().await)
            .await;
        let publish = publish.unwrap();
        let job = session.open_publish(&publish, MustBeSigned::Yes).unwrap();
        let mut ret: Map = [("success", true), ("return", true)].into_iter().collect();
        ret.insert("retcode", 0);
        for (key, from) in [("jid", "jid"), ("fun", "fun"), ("fun_args", "arg")] {
            ret.insert(key, job.get(from).unwrap().clone());
        }
        ask(&session, &requester, "_return", ret).await;
        let printed = printed(salt).await;
        assert!(printed.contains("\"m1\": true"), "{printed}");
    }
}

async fn sign_in(key: &PrivateKey, requester: &Requester) -> Session {
    loop {
        let sign_in = SignIn::begin(&id(), key, Trust::default(), Map::new()).unwrap();
        let Ok(reply) = requester.request(&sign_in.payload(), 5 * SECOND).await else {
            continue; // it is still starting
        };
        match sign_in.judge(&reply, key) {
            Ok(Answer::Accepted(session)) => return *session,
            other => panic!("expected to be let in, found {other:?}"),
        }
    }
}

async fn ask(session: &Session, requester: &Requester, cmd: &str, mut load: Map) -> Value {
    load.insert("cmd", cmd);
    load.insert("id", "m1");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let sealed = session.seal(load, now).unwrap();
    let reply = requester.request(&sealed.payload, DEADLINE).await.unwrap();
    session.open(&reply, &sealed.nonce).unwrap()
}

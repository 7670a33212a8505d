//! Real minions over tcp on our side of the protocol: a master that answers what they must have
//! and remembers what they sent.

use std::fs;
use std::sync::Arc;
use std::time::SystemTime;

use brine_net::channel::{Audience, Incoming, Limits, Presence, Publication};
use brine_net::keys::store::KeyState;
use brine_net::listener::Listener;
use brine_net::master::{MasterChannel, MasterConfig, Occupancy};
use brine_net::tcp::publish::{self, Publisher};
use brine_net::tcp::serve_requests;
use brine_net::tls::TlsServer;
use brine_testkit::DEADLINE;
use brine_testkit::program::{Program, command};
use brine_testkit::salt::VERSIONS;
use brine_wire::network::MinionId;
use brine_wire::network::payload::{self, Payload};
use brine_wire::{Map, Value};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_salt_call_sends_an_event() {
    for version in VERSIONS {
        println!("Salt {version}");
        let mut master = Master::start().await;
        let call = master.salt(version, "salt-call", &["event.send", "my/tag", "{'a': 1}"]);
        let event = master.next("_minion_event").await;
        assert_eq!(event.get("tag"), Some(&"my/tag".into()), "{event:?}");
        let data = event.get("data").and_then(Value::as_map).unwrap();
        assert_eq!(data.get("a"), Some(&1.into()));
        let ret = master.next("_return").await;
        assert_eq!(ret.get("return"), Some(&true.into()));
        assert_eq!(call.wait().code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_minion_runs_jobs_and_comes_back_after_a_rotation() {
    for version in VERSIONS {
        println!("Salt {version}");
        let mut master = Master::start().await;
        let _minion = master.salt(version, "salt-minion", &[]);
        let started = master.started().await;
        assert_eq!(started.get("id"), Some(&"m1".into()));
        let present = timeout(DEADLINE, master.presence.recv()).await.unwrap();
        assert_eq!(present, Some(Presence::Identified(id())));
        master.run_job("20260101000000000001").await;
        // The minion cannot read the next publish, signs in again, and runs the job all the same.
        master.channel.rotate().unwrap();
        master.run_job("20260101000000000002").await;
        let accepted = master.channel.store().list(KeyState::Accepted).unwrap();
        assert_eq!(accepted, [id()]);
    }
}

fn id() -> MinionId {
    MinionId::parse("m1").unwrap()
}

pub(crate) struct Master {
    root: TempDir,
    port: u16,
    channel: Arc<MasterChannel>,
    publisher: Publisher,
    presence: mpsc::Receiver<Presence>,
    requests: mpsc::Receiver<Map>,
}

impl Master {
    async fn start() -> Self {
        Self::with(None).await
    }

    /// With both ports within TLS.
    pub(crate) async fn with(tls: Option<TlsServer>) -> Self {
        let root = tempfile::tempdir().unwrap();
        let ret = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let publishing = TcpListener::bind("127.0.0.1:0").await.unwrap();
        fs::create_dir(root.path().join("cache")).unwrap();
        let mut config = MasterConfig::new(root.path().join("pki"), root.path().join("cache"));
        config.publish_port = publishing.local_addr().unwrap().port();
        config.rules.auto_accept = true;
        let port = ret.local_addr().unwrap().port();
        let channel = Arc::new(MasterChannel::open(config).unwrap());

        let [mut ret, mut publishing] = [ret, publishing].map(Listener::from);
        ret.tls.clone_from(&tls);
        publishing.tls = tls;
        let (handler, incoming) = crate::requests::channel();
        let (seen, requests) = mpsc::channel(256);
        tokio::spawn(serve_requests(
            ret,
            Limits::default(),
            handler,
            std::future::pending(),
        ));
        tokio::spawn(answer_all(channel.clone(), incoming, seen));
        let publisher = Publisher::default();
        let (changes, presence) = mpsc::channel(256);
        let identifying = channel.clone();
        tokio::spawn(publish::serve(
            publishing,
            Limits::default(),
            publisher.clone(),
            Arc::new(move |body: &Value| identifying.identify(body)),
            changes,
            std::future::pending(),
        ));
        Self {
            root,
            port,
            channel,
            publisher,
            presence,
            requests,
        }
    }

    /// Starts one of Salt's programs for this master.
    fn salt(&self, version: &str, program: &str, arguments: &[&str]) -> Program {
        self.salt_with(version, program, arguments, "")
    }

    /// The same with more configuration.
    pub(crate) fn salt_with(
        &self,
        version: &str,
        program: &str,
        arguments: &[&str],
        extra: &str,
    ) -> Program {
        let root = self.root.path().join("minion");
        fs::create_dir_all(root.join("pki")).unwrap(); // 3007's salt-call does not make it
        let config = format!(
            "id: m1\nmaster: 127.0.0.1\nmaster_port: {}\ntransport: tcp\nroot_dir: {root}\n\
             pki_dir: {root}/pki\ncachedir: {root}/cache\nsock_dir: {root}/sock\n\
             log_file: {root}/log\nuser: root\n{extra}",
            self.port,
            root = root.display()
        );
        fs::write(root.join("minion"), config).unwrap();
        let mut command = command(version, program, &root);
        command.args(arguments);
        Program::start(command, root.join("output"))
    }

    /// The next request with this command.
    async fn next(&mut self, cmd: &str) -> Map {
        let found = timeout(DEADLINE, async {
            loop {
                let fields = self.requests.recv().await.unwrap();
                if fields.get("cmd") == Some(&cmd.into()) {
                    return fields;
                }
            }
        });
        found.await.unwrap_or_else(|_| {
            let log = |name| fs::read_to_string(self.root.path().join("minion").join(name));
            panic!(
                "no {cmd} came:\n{:?}\n{:?}\n{:?}",
                log("output"),
                log("output.err"),
                log("log")
            )
        })
    }

    /// Waits for its start event.
    pub(crate) async fn started(&mut self) -> Map {
        loop {
            let event = self.next("_minion_event").await;
            if event.get("tag") == Some(&"salt/minion/m1/start".into()) {
                return event;
            }
        }
    }

    pub(crate) async fn run_job(&mut self, jid: &str) {
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
        let publication = Publication {
            payload: self.channel.publish(job).unwrap().into(),
            audience: Audience::Minions(vec![id()]),
        };
        assert_eq!(self.publisher.publish(&publication), 0);
        let ret = self.next("_return").await;
        assert_eq!(ret.get("jid"), Some(&jid.into()));
        assert_eq!(ret.get("return"), Some(&true.into()));
    }
}

/// Answers what minions must have answered, and tells of every request that was one.
pub(crate) async fn answer_all(
    channel: Arc<MasterChannel>,
    mut incoming: mpsc::Receiver<Incoming>,
    seen: mpsc::Sender<Map>,
) {
    while let Some(mut request) = incoming.recv().await {
        let value = request.take_payload();
        let answer = match Payload::from_value(value, channel.minimum_version()) {
            Ok(Payload::Clear { load, .. }) if load.get("cmd") == Some(&"_auth".into()) => {
                let now = SystemTime::now();
                channel
                    .sign_in(&load, Occupancy::default(), now)
                    .unwrap()
                    .reply
            }
            Ok(Payload::Encrypted(sealed)) => {
                match channel.open_request(&sealed, SystemTime::now()) {
                    Ok(opened) => {
                        request.peer.trust_minion(opened.minion.id());
                        let answer = match opened.load.cmd.as_deref() {
                            Some("_pillar") => channel.seal_pillar(&opened, Map::new()),
                            Some("_minion_event" | "_return") => opened.seal(&Value::Nil),
                            _ => opened.seal(&Value::Map(Map::new())),
                        };
                        seen.send(opened.load.fields).await.unwrap();
                        answer.unwrap()
                    }
                    Err(refused) => refused.reply().into(),
                }
            }
            _ => payload::BAD_LOAD.into(),
        };
        request.answer(answer);
    }
}

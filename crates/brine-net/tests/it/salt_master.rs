//! Our minion's side of the protocol on real masters over tcp: sign-in, pillar, events, a job.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use brine_net::crypto::rsa::{PrivateKey, PublicKey};
use brine_net::minion::{Answer, MustBeSigned, Session, SignIn, Trust};
use brine_net::tcp::client::{Destination, Requester, Subscription};
use brine_testkit::DEADLINE;
use brine_testkit::program::{Program, command};
use brine_testkit::salt::VERSIONS;
use brine_wire::network::MinionId;
use brine_wire::{Map, Value};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_masters_let_our_minion_in_and_take_its_events_and_returns() {
    for version in VERSIONS {
        println!("Salt {version}");
        let master = Master::start(version, "tcp");
        let minion = Minion::sign_in(&master).await;
        let grains: Map = [("id", "m1")].into_iter().collect();
        let pillar = minion.pillar(grains).await;
        assert_eq!(pillar, Map::new());
        let event: Map = [("tag", Value::from("my/tag")), ("data", Map::new().into())]
            .into_iter()
            .collect();
        assert_eq!(minion.ask("_minion_event", event).await, Value::Nil);
        assert_eq!(
            minion.ask("_no_such_thing", Map::new()).await,
            Map::new().into()
        );
        minion.answer_a_ping(&master).await;
    }
}

pub(crate) struct Minion {
    key: PrivateKey,
    destination: Destination,
    requester: Requester,
    session: Session,
}

impl Minion {
    /// Once without knowing the master, and again knowing it, as after a restart.
    async fn sign_in(master: &Master) -> Self {
        let address = format!("127.0.0.1:{}", master.ret_port);
        Self::sign_in_to(master, Destination::from(address)).await
    }

    /// The same, with more said of the master.
    pub(crate) async fn sign_in_to(master: &Master, destination: Destination) -> Self {
        let id = MinionId::parse("m1").unwrap();
        let key = PrivateKey::generate(2048).unwrap();
        let requester = Requester::new(destination.clone());
        let first = sign_in_once(&id, &key, &requester, None).await;
        let known = first.master().clone();
        let session = sign_in_once(&id, &key, &requester, Some(known)).await;
        assert_eq!(session.publish_port(), master.publish_port);
        Self {
            key,
            destination,
            requester,
            session,
        }
    }

    fn seal(&self, cmd: &str, mut load: Map) -> brine_net::minion::Sealed {
        load.insert("cmd", cmd);
        load.insert("id", "m1");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = i64::try_from(now.as_secs()).unwrap();
        self.session.seal(load, now).unwrap()
    }

    async fn ask(&self, cmd: &str, load: Map) -> Value {
        let sealed = self.seal(cmd, load);
        let reply = self
            .requester
            .request(&sealed.payload, DEADLINE)
            .await
            .unwrap();
        self.session.open(&reply, &sealed.nonce).unwrap()
    }

    pub(crate) async fn pillar(&self, grains: Map) -> Map {
        let mut load: Map = [("saltenv", Value::Nil), ("pillarenv", Value::Nil)]
            .into_iter()
            .collect();
        load.insert("grains", grains);
        load.insert("pillar_override", Map::new());
        load.insert("extra_minion_data", Map::new());
        load.insert("ver", "2");
        let sealed = self.seal("_pillar", load);
        let reply = self
            .requester
            .request(&sealed.payload, DEADLINE)
            .await
            .unwrap();
        let opened = (self.session).open_pillar(&reply, &sealed.nonce, &self.key);
        opened.unwrap_or_else(|error| panic!("{error}: {reply:?}"))
    }

    /// `salt m1 test.ping` prints what this minion returns.
    pub(crate) async fn answer_a_ping(&self, master: &Master) {
        let destination = Destination {
            address: format!("127.0.0.1:{}", self.session.publish_port()),
            ..self.destination.clone()
        };
        let identification = self.session.identification().unwrap();
        let mut subscription = Subscription::open(destination, &identification)
            .await
            .unwrap();
        let (salt, publish) = master
            .ping_until_heard(async || subscription.next().await)
            .await;
        let publish = publish.unwrap();
        let job = (self.session)
            .open_publish(&publish, MustBeSigned::Yes)
            .unwrap();
        assert_eq!(job.get("fun"), Some(&"test.ping".into()));
        let mut ret: Map = [("success", true), ("return", true)].into_iter().collect();
        ret.insert("retcode", 0);
        for (key, from) in [("jid", "jid"), ("fun", "fun"), ("fun_args", "arg")] {
            ret.insert(key, job.get(from).unwrap().clone());
        }
        self.ask("_return", ret).await;
        let printed = printed(salt).await;
        assert!(printed.contains("\"m1\": true"), "{printed}");
    }
}

async fn sign_in_once(
    id: &MinionId,
    key: &PrivateKey,
    requester: &Requester,
    known: Option<PublicKey>,
) -> Session {
    let asked = async {
        loop {
            let trust = Trust {
                master: known.clone(),
                ..Trust::default()
            };
            let sign_in = SignIn::begin(id, key, trust, Map::new()).unwrap();
            let wait = Duration::from_secs(5);
            let Ok(reply) = requester.request(&sign_in.payload(), wait).await else {
                sleep(Duration::from_millis(200)).await; // it is still starting
                continue;
            };
            return match sign_in.judge(&reply, key).unwrap() {
                Answer::Accepted(session) => *session,
                other => panic!("expected to be let in, found {other:?}"),
            };
        }
    };
    timeout(DEADLINE, asked).await.unwrap()
}

pub(crate) struct Master {
    root: TempDir,
    version: &'static str,
    pub(crate) ret_port: u16,
    pub(crate) publish_port: u16,
    _running: Program,
}

impl Master {
    pub(crate) fn start(version: &'static str, transport: &str) -> Self {
        Self::start_with(version, transport, "")
    }

    /// The same with more configuration.
    pub(crate) fn start_with(version: &'static str, transport: &str, extra: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let [ret_port, publish_port] = free_ports();
        let config = format!(
            "interface: 127.0.0.1\nret_port: {ret_port}\npublish_port: {publish_port}\n\
             transport: {transport}\nauto_accept: true\nworker_threads: 2\nuser: root\n\
             root_dir: {root}\npki_dir: {root}/pki\ncachedir: {root}/cache\n\
             sock_dir: {root}/sock\nlog_file: {root}/log\n{extra}",
            root = root.path().display()
        );
        fs::write(root.path().join("master"), config).unwrap();
        let running = start(version, "salt-master", root.path(), &[]);
        Self {
            root,
            version,
            ret_port,
            publish_port,
            _running: running,
        }
    }

    pub(crate) fn salt(&self, arguments: &[&str]) -> Program {
        start(self.version, "salt", self.root.path(), arguments)
    }

    /// Runs `salt m1 test.ping` until a minion hears it: nobody learns when its subscription takes effect. The command,
    /// which waits for the return, and what was heard.
    pub(crate) async fn ping_until_heard<T>(
        &self,
        mut next: impl AsyncFnMut() -> T,
    ) -> (Program, T) {
        loop {
            let salt = self.salt(&["m1", "test.ping", "--out", "json", "-t", "60"]);
            if let Ok(heard) = timeout(Duration::from_secs(30), next()).await {
                return (salt, heard);
            }
        }
    }
}

fn free_ports() -> [u16; 2] {
    [(); 2]
        .map(|()| TcpListener::bind("127.0.0.1:0").unwrap())
        .map(|listener| listener.local_addr().unwrap().port())
}

pub(crate) fn start(version: &str, program: &str, root: &Path, arguments: &[&str]) -> Program {
    let mut command = command(version, program, root);
    command.args(arguments);
    Program::start(command, root.join(format!("{program}.output")))
}

/// What it prints to its end.
pub(crate) async fn printed(program: Program) -> String {
    let left = tokio::task::spawn_blocking(|| program.wait()).await;
    left.unwrap().stdout
}

//! Our minion on real masters, of three releases and over all transports.

use std::fs;
use std::path::PathBuf;
use std::thread;

use brine_bus::address::Node;
use brine_testkit::program::{Program, command};
use brine_testkit::salt::{LATER_3007, LATER_VERSIONS, VERSIONS};
use brine_wire::Value;
use serde_json::json;
use tokio::time::{Duration, sleep};

use crate::support::{Fixture, Listener, Running, certificates, json_of, run_to_end, send};

/// Salt 3008.3 over tcp loses requests on a busy machine; a minute's wait for each is for real life.
const MINION: &str = "recon_default: 200\nrecon_max: 1000\nrequest_channel_timeout: 10";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_minion_lives_on_real_masters_over_zeromq() {
    live_on_real_masters("zeromq", &LATER_VERSIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_minion_lives_on_real_masters_over_tcp() {
    live_on_real_masters("tcp", &VERSIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_minion_lives_on_real_masters_over_ws() {
    live_on_real_masters("ws", &[LATER_3007, "3008.3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_minion_lives_on_a_real_master_over_ws_within_tls() {
    let fixture = Fixture::new("ws");
    let [master, minion] = certificates(&fixture);
    // With them, 3008.3 speaks TLS to its own workers where they do not.
    let master = format!("{master}worker_pools_enabled: false\n");
    let site = Site::start("3008.3", fixture, [master, minion]).await;
    site.live().await;
}

async fn live_on_real_masters(transport: &str, versions: &[&'static str]) {
    for version in versions {
        println!("Salt {version} over {transport}");
        let fixture = Fixture::new(transport);
        let site = Site::start(version, fixture, Default::default()).await;
        site.live().await;
    }
}

struct Site {
    version: &'static str,
    _log: MasterLog,
    fixture: Fixture,
    master: Option<Program>,
    minion: Running,
    /// Of the minion.
    ssl: String,
}

/// A real master's log file, shown when the test fails.
struct MasterLog(PathBuf);

impl Drop for MasterLog {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(&self.0).unwrap_or_default();
            println!("the master's log:\n{log}");
        }
    }
}

impl Site {
    async fn start(version: &'static str, fixture: Fixture, ssl: [String; 2]) -> Self {
        let [master_ssl, ssl] = ssl;
        fixture.serve_custom_module();
        let srv = fixture.path("srv").display().to_string();
        let more = format!("file_roots: {{base: ['{srv}']}}\n{master_ssl}");
        configure_master(&fixture, &more);
        let master = start_master(version, &fixture).await;
        let minion = fixture.minion(fixture.ports[0], &format!("{MINION}\n{ssl}"));
        Self {
            version,
            _log: MasterLog(fixture.path("r/log")),
            fixture,
            master: Some(master),
            minion,
            ssl,
        }
    }

    /// A command of the master's, to its end.
    async fn on_master(&self, name: &str, arguments: &[&str]) -> String {
        let command = command(self.version, name, &self.fixture.path("r"));
        run_to_end(command, arguments, &self.fixture, name).await
    }

    async fn salt(&self, arguments: &[&str]) -> serde_json::Value {
        let arguments = [&["--out", "json", "-t", "30"], arguments].concat();
        json_of(&self.on_master("salt", &arguments).await)
    }

    async fn bus(&self) -> Listener {
        Listener::at(&self.fixture.path("r/s"), &Node::Master).await
    }

    async fn live(mut self) {
        let mut bus = self.bus().await;
        self.accept().await;
        let start = bus.next("salt/minion/m1/start").await;
        assert_eq!(start.get("id"), Some(&"m1".into()));
        self.jobs(&mut bus).await;

        // Events fired while the master is away arrive in order when it is back.
        self.master = None;
        send(&self.fixture, "away", 0..20).await;
        self.master = Some(start_master(self.version, &self.fixture).await);
        let mut bus = self.bus().await;
        send(&self.fixture, "away", 20..21).await;
        // What a real master has taken without its reply arriving comes again: all of it, in the same order.
        let mut came = Vec::new();
        while came.last() != Some(&20) {
            let event = bus.next("away").await;
            let data = event.get("data").and_then(Value::as_map).unwrap();
            came.push(data.get("n").unwrap().as_int().unwrap());
        }
        let mut known = Vec::new();
        for n in &came {
            if !known.contains(n) {
                known.push(*n);
            }
        }
        let first = known[0];
        assert!(known.iter().copied().eq(first..=20), "{came:?}");
        println!(
            "events of 21, the first that a listener could hear: {first}; in all {}",
            came.len()
        );
        self.until_it_answers().await;

        // A deleted key is out; once accepted again, the minion is back.
        self.on_master("salt-key", &["-d", "m1", "-y"]).await;
        // It learns of it with the next thing it asks for.
        send(&self.fixture, "after/delete", 0..1).await;
        self.accept().await;
        bus.next("after/delete").await;
        self.until_it_answers().await;

        // Rejected, it ends.
        self.on_master("salt-key", &["-r", "m1", "--include-accepted", "-y"])
            .await;
        self.minion.end().await;
        let again = self.fixture.minion(self.fixture.ports[0], &self.ssl);
        again.ends_by_itself().await;
    }

    async fn accept(&self) {
        for _ in 0..60 {
            let listed = json_of(&self.on_master("salt-key", &["-L", "--out", "json"]).await);
            // Again if it is there again: salt-key of 3008 removes the pending key before it writes the accepted one, and
            // for a master that answers a sign-in between the two the key is new, and pending.
            if listed["minions_pre"] == json!(["m1"]) {
                self.on_master("salt-key", &["-a", "m1", "-y"]).await;
            } else if listed["minions"] == json!(["m1"]) {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
        panic!("its key does not come");
    }

    async fn jobs(&self, bus: &mut Listener) {
        assert_eq!(self.salt(&["*", "test.ping"]).await, json!({"m1": true}));
        let ret = bus.next("salt/job/*/ret/m1").await;
        assert_eq!(ret.get("success"), Some(&true.into()));
        let mut own = self.fixture.minion_bus().await;
        let fired = self
            .salt(&[
                "m1",
                "event.fire",
                r#"{"data": "x"}"#,
                "customtag/african/unladen",
            ])
            .await;
        assert_eq!(fired, json!({"m1": true}));
        assert_eq!(
            own.next("customtag/african/unladen").await.get("data"),
            Some(&"x".into())
        );
        assert_eq!(
            self.salt(&["m1", "event.send", "from/job", "{a: 1}", "b=2"])
                .await,
            json!({"m1": true})
        );
        let event = bus.next("from/job").await;
        let data = event.get("data").and_then(Value::as_map).unwrap();
        assert_eq!(
            (data.get("a"), data.get("b")),
            (Some(&1.into()), Some(&2.into()))
        );
        assert_eq!(data.get("__pub_fun"), Some(&"event.send".into()));
        send(&self.fixture, "from/program", 7..8).await;
        bus.next("from/program").await;
        assert_eq!(
            self.salt(&["-G", "id:m1", "test.echo", "x"]).await,
            json!({"m1": "x"})
        );
        assert_eq!(
            self.salt(&["-E", "m[0-9]", "test.echo", "x"]).await,
            json!({"m1": "x"})
        );
        assert_eq!(
            self.salt(&["-L", "m1", "test.echo", "x"]).await,
            json!({"m1": "x"})
        );
        assert_eq!(
            self.salt(&["-C", "G@id:m1 and not x*", "test.echo", "x"])
                .await,
            json!({"m1": "x"})
        );
        let synced = self.salt(&["*", "saltutil.sync_modules"]).await;
        assert_eq!(synced, json!({"m1": ["modules.my_custom_module"]}));
        assert_eq!(
            self.salt(&["m1", "my_custom_module.do_something"]).await,
            json!({"m1": {"changed": 5}})
        );
        bus.next("myco/my_custom_module/finished").await;
    }

    async fn until_it_answers(&self) {
        for _ in 0..20 {
            let arguments = ["m1", "test.ping", "--out", "json", "-t", "3"];
            if self.on_master("salt", &arguments).await.contains("true") {
                return;
            }
        }
        panic!("the minion does not come back");
    }
}

/// Writes a real master's file, with keys and all else below `r`.
pub(crate) fn configure_master(fixture: &Fixture, more: &str) {
    let root = fixture.path("r");
    fs::create_dir_all(&root).unwrap();
    let [ret, publish] = fixture.ports;
    let text = format!(
        "root_dir: {path}\npki_dir: {path}/pki\ncachedir: {path}/cache\nsock_dir: {path}/s\nlog_file: {path}/log\n\
         interface: 127.0.0.1\nret_port: {ret}\npublish_port: {publish}\ntransport: {transport}\nuser: {user}\n\
         worker_threads: 2\nloop_interval: 1\n{more}\n",
        path = root.display(),
        transport = fixture.transport,
        user = brine_config::Environment::current().user,
    );
    fs::write(root.join("master"), text).unwrap();
}

/// Starts it, and waits until it answers.
pub(crate) async fn start_master(version: &str, fixture: &Fixture) -> Program {
    let output: PathBuf = fixture.path("salt-master.out");
    let program = Program::start(command(version, "salt-master", &fixture.path("r")), output);
    let address = format!("127.0.0.1:{}", fixture.ports[0]);
    for _ in 0..600 {
        let is_up = tokio::net::TcpStream::connect(&address).await.is_ok();
        if is_up && fixture.path("r/s/master_event_pub.ipc").exists() {
            return program;
        }
        sleep(Duration::from_millis(100)).await;
    }
    panic!("salt-master does not start: {}", program.stderr());
}

//! Real minions, of three releases and over all transports, on our master; and real Salt's commands
//! for a master on our master's directories.

use std::fs;
use std::path::PathBuf;

use brine_net::keys::dropfile;
use brine_testkit::program::{Program, command};
use brine_testkit::salt::{LATER_3007, LATER_VERSIONS, VERSIONS};
use brine_wire::Value;
use serde_json::json;
use tokio::time::timeout;

use crate::support::{DEADLINE, Fixture, Running, certificates, json_of, run_to_end};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_minions_live_on_our_master_over_zeromq() {
    live_on_our_master("zeromq", &LATER_VERSIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_minions_live_on_our_master_over_tcp() {
    live_on_our_master("tcp", &VERSIONS).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_minions_live_on_our_master_over_ws() {
    live_on_our_master("ws", &[LATER_3007, "3008.3"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_minion_lives_on_our_master_over_ws_within_tls() {
    let fixture = Fixture::new("ws");
    let ssl = certificates(&fixture);
    Site::start("3008.3", fixture, ssl).await.live().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_minions_told_to_use_no_sha1_live_on_our_master_in_fips_mode() {
    let minion = "encryption_algorithm: OAEP-SHA224\nsigning_algorithm: PKCS1v15-SHA224\n";
    for version in [LATER_3007, "3008.3"] {
        println!("Salt {version} without SHA-1");
        let more = ["fips_mode: true\n", minion].map(str::to_owned);
        Site::start(version, Fixture::new("zeromq"), more)
            .await
            .live()
            .await;
    }
}

async fn live_on_our_master(transport: &str, versions: &[&'static str]) {
    for version in versions {
        println!("Salt {version} over {transport}");
        let fixture = Fixture::new(transport);
        Site::start(version, fixture, Default::default())
            .await
            .live()
            .await;
    }
}

struct Site {
    version: &'static str,
    fixture: Fixture,
    master: Option<Running>,
    config: String,
    /// More options of the minion.
    more: String,
}

impl Site {
    async fn start(version: &'static str, fixture: Fixture, more: [String; 2]) -> Self {
        let [master_more, more] = more;
        fixture.serve_custom_module();
        let config = format!(
            "id: central\nloop_interval: 1\npresence_events: true\nbrine: {{compat: '{version}'}}\n\
             file_roots: {{base: ['{}']}}\n{master_more}",
            fixture.path("srv").display()
        );
        let master = fixture.master(&config).await;
        Self {
            version,
            fixture,
            master: Some(master),
            config,
            more,
        }
    }

    fn minion_config(&self) -> PathBuf {
        let root = self.fixture.path("minion");
        fs::create_dir_all(root.join("pki")).unwrap(); // 3007's salt-call does not make it
        let port = self.master.as_ref().unwrap().ret_port;
        let path = root.display();
        let transport = &self.fixture.transport;
        let config = format!(
            "id: m1\nmaster: 127.0.0.1\nmaster_port: {port}\ntransport: {transport}\nroot_dir: {path}\n\
             pki_dir: {path}/pki\ncachedir: {path}/cache\nsock_dir: {path}/sock\nlog_file: {path}/log\n\
             user: {user}\nacceptance_wait_time: 1\nrecon_default: 200\nrecon_max: 1000\n{more}",
            user = brine_config::Environment::current().user,
            more = self.more,
        );
        fs::write(root.join("minion"), config).unwrap();
        root
    }

    fn minion(&self) -> Program {
        let command = command(self.version, "salt-minion", &self.minion_config());
        Program::start(command, self.fixture.path("minion.out"))
    }

    /// A command of the minion's, to its end.
    async fn on_minion(&self, name: &str, arguments: &[&str]) -> String {
        run_to_end(
            command(self.version, name, &self.minion_config()),
            arguments,
            &self.fixture,
            name,
        )
        .await
    }

    /// A command of the master's, on our master's directories.
    async fn on_master(&self, name: &str, arguments: &[&str]) -> String {
        run_to_end(
            command(self.version, name, &self.fixture.path("m")),
            arguments,
            &self.fixture,
            name,
        )
        .await
    }

    async fn live(mut self) {
        let mut bus = self.fixture.master_bus().await;
        let mut presence = self.fixture.master_bus().await;
        let mut keys = self.fixture.master_bus().await;
        let mut minion = self.minion();
        // Its key waits; real salt-key accepts it.
        assert_eq!(bus.next("salt/auth").await.get("act"), Some(&"pend".into()));
        let listed = self.on_master("salt-key", &["-L", "--out", "json"]).await;
        assert_eq!(json_of(&listed)["minions_pre"], json!(["m1"]), "{listed}");
        self.on_master("salt-key", &["-a", "m1", "-y"]).await;
        // Which the minion may know before salt-key tells of it.
        assert_eq!(keys.next("salt/key").await.get("id"), Some(&"m1".into()));
        // On a busy machine 3008.3 over ws sometimes asks nothing more after its key was accepted.
        let patience = match self.fixture.transport.as_str() {
            "ws" => DEADLINE / 3,
            _ => 2 * DEADLINE, // the listener gives up before
        };
        let refreshed = timeout(patience, bus.next("minion/refresh/m1")).await;
        if refreshed.is_err() {
            let log = fs::read_to_string(self.fixture.path("minion/log"));
            println!("started once more; its log:\n{}", log.unwrap_or_default());
            drop(minion);
            minion = self.minion();
            bus.next("minion/refresh/m1").await;
        }
        bus.next("minion_start").await;
        assert_eq!(
            bus.next("salt/minion/m1/start").await.get("id"),
            Some(&"m1".into())
        );

        let here = Value::Array(vec!["m1".into()]);
        while presence.next("salt/presence/present").await.get("present") != Some(&here) {}

        self.events(&mut bus).await;
        self.jobs(&mut bus).await;

        // The master comes back with another shared key, and so does the minion.
        self.master.take().unwrap().end().await;
        self.master = Some(self.fixture.master(&self.config).await);
        let mut bus = self.fixture.master_bus().await;
        if self.fixture.transport == "ws" {
            // Salt's does not come back by itself: it reads the end of its connection for ever.
            drop(minion);
            minion = self.minion();
        }
        self.ping_until_it_answers().await;

        // A new shared key: the minion signs in again with the next job. If that takes it longer than its own
        // timeout it has lost this job, beside Salt's master too; the next finds it signed in.
        dropfile::request(&self.fixture.path("m/cache"), "central").unwrap();
        assert_eq!(
            bus.next("key").await.get("rotate_aes_key"),
            Some(&true.into())
        );
        self.ping_until_it_answers().await;

        self.denied(&mut bus).await;

        // A deleted key: the shared key is replaced and the minion is out.
        self.on_master("salt-key", &["-d", "m1", "-y"]).await;
        assert_eq!(
            bus.next("key").await.get("rotate_aes_key"),
            Some(&true.into())
        );
        drop(minion);

        // Rejected, it is told so.
        let call = self.start_on_minion("salt-call", &["test.ping"]);
        while bus.next("salt/auth").await.get("act") != Some(&"pend".into()) {}
        self.on_master("salt-key", &["-r", "m1", "-y"]).await;
        drop(call);
        let _call = self.start_on_minion("salt-call", &["test.ping"]);
        let mut auth = bus.next("salt/auth").await;
        while auth.get("result") != Some(&false.into()) {
            auth = bus.next("salt/auth").await;
        }
        self.master.take().unwrap().end().await;
    }

    /// Another key under the same id is denied, and the minion with the right one goes on.
    async fn denied(&self, bus: &mut crate::support::Listener) {
        let own = self.minion_config();
        let other = self.fixture.path("other");
        fs::create_dir_all(other.join("pki")).unwrap();
        let config = fs::read_to_string(own.join("minion")).unwrap();
        let config = config.replace(&own.display().to_string(), &other.display().to_string());
        fs::write(other.join("minion"), config).unwrap();
        let mut stranger = command(self.version, "salt-call", &other);
        stranger.arg("test.ping");
        let _stranger = Program::start(stranger, self.fixture.path("stranger.out"));
        while bus.next("salt/auth").await.get("act") != Some(&"denied".into()) {}
        let listed = self.on_master("salt-key", &["-L", "--out", "json"]).await;
        assert_eq!(
            json_of(&listed)["minions_denied"],
            json!(["m1"]),
            "{listed}"
        );
        self.ping_until_it_answers().await;
    }

    fn start_on_minion(&self, name: &str, arguments: &[&str]) -> Program {
        let mut command = command(self.version, name, &self.minion_config());
        command.args(arguments);
        Program::start(command, self.fixture.path("left.out"))
    }

    async fn events(&self, bus: &mut crate::support::Listener) {
        let sent = r#"{success: True, message: "It works!"}"#;
        let printed = self
            .on_minion(
                "salt-call",
                &["event.send", "myco/custom/event", sent, "--out", "json"],
            )
            .await;
        assert_eq!(json_of(&printed)["local"], json!(true), "{printed}");
        let event = bus.next("myco/custom/event").await;
        let data = event.get("data").and_then(Value::as_map).unwrap();
        assert_eq!(data.get("message"), Some(&"It works!".into()));
        let ret = bus.next("salt/job/*/ret/m1").await;
        assert_eq!(ret.get("fun"), Some(&"event.send".into()));
        assert_eq!(ret.get("tgt"), Some(&"m1".into()));
    }

    async fn jobs(&self, bus: &mut crate::support::Listener) {
        let salt = async |arguments: &[&str]| {
            let arguments = [&["--out", "json", "-t", "30"], arguments].concat();
            json_of(&self.on_master("salt", &arguments).await)
        };
        assert_eq!(salt(&["*", "test.ping"]).await, json!({"m1": true}));
        let new = bus.next("salt/job/*/new").await;
        assert_eq!(new.get("minions"), Some(&Value::Array(vec!["m1".into()])));
        assert_eq!(
            bus.next("salt/job/*/ret/m1").await.get("return"),
            Some(&true.into())
        );
        let fired = salt(&[
            "m1",
            "event.fire",
            r#"{"data": "x"}"#,
            "customtag/african/unladen",
        ])
        .await;
        assert_eq!(fired, json!({"m1": true}));
        assert_eq!(
            salt(&["-L", "m1,m2", "event.send", "from/job", "{a: 1}"]).await["m1"],
            json!(true)
        );
        bus.next("from/job").await;
        assert_eq!(
            salt(&["-G", "id:m1", "test.echo", "x"]).await,
            json!({"m1": "x"})
        );
        assert_eq!(
            salt(&["-C", "m* and not E@m2", "test.echo", "x"]).await,
            json!({"m1": "x"})
        );
        let synced = salt(&["*", "saltutil.sync_modules"]).await;
        assert_eq!(synced, json!({"m1": ["modules.my_custom_module"]}));
        assert_eq!(
            salt(&["m1", "my_custom_module.do_something"]).await["m1"],
            json!({"changed": 5})
        );
        bus.next("myco/my_custom_module/finished").await;
        let left = salt(&["m1", "mine.send", "mine_ping", "mine_function=test.ping"]).await;
        assert_eq!(left, json!({"m1": true}));
        let found = salt(&["m1", "mine.get", "*", "mine_ping"]).await;
        assert_eq!(found["m1"], json!({"m1": true}));
        let up = self
            .on_master("salt-run", &["manage.up", "--out", "json"])
            .await;
        assert_eq!(json_of(&up), json!(["m1"]));
        let jobs = self
            .on_master("salt-run", &["jobs.list_jobs", "--out", "json"])
            .await;
        assert!(jobs.contains("my_custom_module.do_something"), "{jobs}");
    }

    async fn ping_until_it_answers(&self) {
        for _ in 0..20 {
            let arguments = ["m1", "test.ping", "--out", "json", "-t", "3"];
            let printed = self.on_master("salt", &arguments).await;
            if printed.contains("true") {
                return;
            }
        }
        panic!("the minion does not come back");
    }
}

//! Nodes of ours in the test's process, each with a bus on real sockets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use brine_bus::address::{Address, Node};
use brine_bus::client::tokio::{Publisher, Subscriber};
use brine_bus::client::{PublisherConfig, SubscriberConfig, Wait};
use brine_bus::{Bus, BusConfig, BusHandle, Modes, Served, Sockets};
use brine_config::{Environment, Loaded, Opts, Role};
use brine_log::{Framings, Log, LogConfig, LogId};
use brine_net::keys::store::{KeyState, KeyStore};
use brine_node::JobRequest;
use brine_node::functions::{Functions, FunctionsConfig};
use brine_node::master::{Master, MasterHandle, MasterOptions};
use brine_node::minion::{Minion, MinionHandle, MinionOptions};
pub(crate) use brine_testkit::DEADLINE;
use brine_testkit::program::Program;
use brine_wire::compat::Compat;
use brine_wire::frame::Framing;
use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::network::{Jid, MinionId};
use brine_wire::{Map, Value};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// What a listener hears first.
const LISTENS: &str = "test/listens";

/// A directory with the configuration of a master and a minion.
pub(crate) struct Fixture {
    pub(crate) root: TempDir,
    pub(crate) transport: String,
    pub(crate) ports: [u16; 2],
}

/// A node that runs; ends when told to, or with the test.
pub(crate) struct Running {
    end: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    pub(crate) ret_port: u16,
    /// Of a master.
    pub(crate) handle: Option<MasterHandle>,
    /// Of a minion.
    pub(crate) minion: Option<MinionHandle>,
}

impl Running {
    pub(crate) async fn end(mut self) {
        let _ = self.end.take().map(|end| end.send(()));
        self.task.await.unwrap();
    }
}

impl Running {
    /// Waits for its end without telling it to.
    pub(crate) async fn ends_by_itself(self) {
        tokio::time::timeout(DEADLINE, self.task)
            .await
            .unwrap()
            .unwrap();
    }
}

impl Fixture {
    pub(crate) fn new(transport: &str) -> Self {
        // Shown when the test fails. Another fixture of the same test may have done it.
        let _ = tracing_subscriber::fmt()
            .with_env_filter("info,brine_node=debug")
            .with_test_writer()
            .try_init();
        Self {
            root: tempfile::Builder::new().prefix("b").tempdir().unwrap(),
            transport: transport.to_owned(),
            ports: [free_port(), free_port()],
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Writes a node's file and reads it as Salt's programs do.
    fn configure(&self, role: Role, name: &str, text: &str) -> Loaded {
        let root = self.path(name);
        fs::create_dir_all(&root).unwrap();
        let path = root.join(match role {
            Role::Minion => "minion",
            _ => "master",
        });
        let root = root.display();
        let text = format!(
            "root_dir: {root}\nsock_dir: {root}/s\ncachedir: {root}/cache\npki_dir: {root}/pki\n\
             transport: {}\n{text}\n",
            self.transport
        );
        fs::write(&path, text).unwrap();
        Opts::load(role, &path, &Environment::current()).unwrap()
    }

    /// Starts a master at two free ports, the same every time.
    pub(crate) async fn master(&self, more: &str) -> Running {
        self.master_at("127.0.0.1", more).await
    }

    /// The same at another interface.
    pub(crate) async fn master_at(&self, interface: &str, more: &str) -> Running {
        let [ret, publish] = self.ports;
        let text =
            format!("interface: {interface}\nret_port: {ret}\npublish_port: {publish}\n{more}");
        let loaded = self.configure(Role::Master, "m", &text);
        let options = MasterOptions::from_opts(&loaded.opts, &loaded.brine).unwrap();
        let (bus, bus_handle) = bus(&self.path("m/s"), &Node::Master, options.compat());
        let master = Master::start(options, bus, bus_handle).await.unwrap();
        let (ret_port, handle) = (master.ret_port(), master.handle());
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(master.run(async move {
            let _ = ended.await;
        }));
        Running {
            end: Some(end),
            task,
            ret_port,
            handle: Some(handle),
            minion: None,
        }
    }

    /// Starts the minion `m1` for the master at a port.
    pub(crate) fn minion(&self, ret_port: u16, more: &str) -> Running {
        self.minion_of(ret_port, &format!("master: 127.0.0.1\n{more}"))
    }

    /// The same for a master that `more` names.
    pub(crate) fn minion_of(&self, ret_port: u16, more: &str) -> Running {
        self.minion_with(ret_port, more, |_| {})
    }

    /// The same with options that no file can say, such as shorter times.
    pub(crate) fn minion_with(
        &self,
        ret_port: u16,
        more: &str,
        change: impl FnOnce(&mut MinionOptions),
    ) -> Running {
        let loaded = self.configure_minion(ret_port, more);
        let mut options = MinionOptions::from_opts(&loaded.opts, &loaded.brine).unwrap();
        change(&mut options);
        let (bus, handle) = bus(&self.path("n/s"), &Node::minion("m1"), options.compat);
        let functions = |host| {
            let opts = loaded
                .opts
                .iter()
                .map(|(name, value)| (name, value.clone()));
            let mut config = FunctionsConfig::new(opts.collect());
            config.grains = [("id", "m1")].into_iter().collect();
            Functions::new(config, host)
        };
        let minion = Minion::start(options, functions, bus, handle).unwrap();
        let handle = minion.handle();
        let (end, ended) = oneshot::channel();
        let task = tokio::spawn(async move {
            minion
                .run(async move {
                    let _ = ended.await;
                })
                .await;
        });
        Running {
            end: Some(end),
            task,
            ret_port,
            handle: None,
            minion: Some(handle),
        }
    }

    /// What the minion `m1` would be told.
    pub(crate) fn minion_options(&self, ret_port: u16, more: &str) -> MinionOptions {
        let loaded = self.configure_minion(ret_port, more);
        MinionOptions::from_opts(&loaded.opts, &loaded.brine).unwrap()
    }

    pub(crate) fn configure_minion(&self, ret_port: u16, more: &str) -> Loaded {
        let text = format!("id: m1\nmaster_port: {ret_port}\nacceptance_wait_time: 1\n{more}");
        self.configure(Role::Minion, "n", &text)
    }

    /// Puts the documentation's module below `srv`, for masters that have their file roots there.
    pub(crate) fn serve_custom_module(&self) {
        fs::create_dir_all(self.path("srv/_modules")).unwrap();
        fs::write(self.path("srv/_modules/my_custom_module.py"), CUSTOM_MODULE).unwrap();
    }

    pub(crate) async fn master_bus(&self) -> Listener {
        Listener::at(&self.path("m/s"), &Node::Master).await
    }

    pub(crate) async fn minion_bus(&self) -> Listener {
        Listener::at(&self.path("n/s"), &Node::minion("m1")).await
    }
}

/// Writes an authority's certificate and those of both sides, and the option for each.
pub(crate) fn certificates(fixture: &Fixture) -> [String; 2] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // Python takes a certificate of its issuer's name for one that is signed by itself.
    params
        .distinguished_name
        .push(DnType::CommonName, "authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    fs::write(fixture.path("ca.crt"), authority.pem()).unwrap();
    ["127.0.0.1", "m1"].map(|name| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let [crt, pem] = [".crt", ".key"].map(|end| fixture.path(&format!("{name}{end}")));
        fs::write(&crt, certificate.pem()).unwrap();
        fs::write(&pem, key.serialize_pem()).unwrap();
        format!(
            "ssl:\n  certfile: {}\n  keyfile: {}\n  ca_certs: {}\n  cert_reqs: CERT_REQUIRED\n",
            crt.display(),
            pem.display(),
            fixture.path("ca.crt").display()
        )
    })
}

/// Accepts the minion's key, which a master has seen.
pub(crate) fn accept(fixture: &Fixture) {
    set_key(fixture, KeyState::Accepted);
}

/// Puts the minion's key, which a master has seen, into a state.
pub(crate) fn set_key(fixture: &Fixture, to: KeyState) {
    let store = KeyStore::open(fixture.path("m/pki"), "3008".parse().unwrap()).unwrap();
    let id = MinionId::parse("m1").unwrap();
    let (state, _) = store.find(&id).unwrap().unwrap();
    let changing = store.change().unwrap();
    (changing.transfer(&id, state, to)).unwrap();
}

/// A program on the minion's machine.
pub(crate) fn own_publisher(fixture: &Fixture) -> Publisher {
    let address = Address::ipc(fixture.path("n/s"), &Node::minion("m1")).unwrap();
    Publisher::new(&address, PublisherConfig::default())
}

/// A program on the minion's machine asks it to send events up, numbered.
pub(crate) async fn send(fixture: &Fixture, tag: &str, numbers: std::ops::Range<i64>) {
    let mut publisher = own_publisher(fixture);
    for n in numbers {
        let data: Map = [("n", n)].into_iter().collect();
        let sent = publisher.fire_master(tag, data, Some(DEADLINE)).await;
        sent.unwrap();
    }
}

/// Has a master publish to everybody; the job, with its `jid`.
pub(crate) async fn publish(master: &Running, fun: &str, arg: &[Value]) -> Map {
    let mut request = JobRequest::new("*", "glob", fun);
    request.arg = arg.to_vec();
    publish_job(master, request).await
}

/// The same for any job.
pub(crate) async fn publish_job(master: &Running, request: JobRequest) -> Map {
    let handle = master.handle.as_ref().unwrap();
    let published = handle.publish(request, &handle.own_caller()).await.unwrap();
    let jid = published.jid.as_ref().map(Jid::as_str);
    jid.map(|jid| ("jid", jid)).into_iter().collect()
}

fn bus(sock_dir: &Path, node: &Node, compat: Compat) -> (Bus, BusHandle) {
    fs::create_dir_all(sock_dir).unwrap();
    let modes = Modes {
        publish: 0o660,
        pull: 0o600,
    };
    let sockets = Sockets::bind(&Address::ipc(sock_dir, node).unwrap(), modes).unwrap();
    let framing = compat.publish_framing();
    let framings = match framing {
        Framing::Bare => Framings::Bare,
        Framing::Prefixed => Framings::Prefixed,
    };
    let log = LogConfig {
        framings,
        ..LogConfig::new(LogId(1))
    };
    let served = vec![Served { sockets, framing }];
    Bus::new(served, Log::new(log), BusConfig::default())
}

/// A listener to a bus.
pub(crate) struct Listener(Subscriber);

impl Listener {
    pub(crate) async fn at(sock_dir: &Path, node: &Node) -> Self {
        let address = Address::ipc(sock_dir, node).unwrap();
        let mut subscriber = Subscriber::new(&address, SubscriberConfig::default());
        subscriber.connect(DEADLINE).await.unwrap();
        let mut listener = Self(subscriber);
        // Connected is not heard yet: what comes between is for nobody.
        let mut bus = Publisher::new(&address, PublisherConfig::default());
        let listens = TagMatch::new(MatchType::StartsWith, LISTENS).unwrap();
        loop {
            let mut data = Map::new();
            bus.fire_event(LISTENS, &mut data, Some(DEADLINE))
                .await
                .unwrap();
            let wait = Wait::For(Duration::from_millis(100));
            if listener
                .0
                .get_event(&listens, wait)
                .await
                .unwrap()
                .is_some()
            {
                return listener;
            }
        }
    }

    /// The tags of all events that come before the next with this tag.
    pub(crate) async fn tags_until(&mut self, last: &str) -> Vec<String> {
        let mut tags = Vec::new();
        loop {
            let event = self.0.next_ref(Wait::For(DEADLINE)).await.unwrap();
            let tag = event
                .unwrap_or_else(|| panic!("no {last} comes"))
                .tag()
                .to_owned();
            if tag == last {
                return tags;
            }
            tags.push(tag);
        }
    }

    /// The data of the next event under a tag of this shell pattern; others are passed over.
    pub(crate) async fn next(&mut self, pattern: &str) -> Map {
        let wanted = TagMatch::new(MatchType::Fnmatch, pattern).unwrap();
        let event = self
            .0
            .get_event(&wanted, Wait::For(DEADLINE))
            .await
            .unwrap();
        let event = event.unwrap_or_else(|| panic!("no {pattern} comes"));
        let Value::Map(data) = event.decode().unwrap() else {
            panic!("expected a map under {pattern}")
        };
        data
    }
}

impl Listener {
    /// The tag of the next event under one of these patterns.
    pub(crate) async fn next_of(&mut self, patterns: &[&str]) -> String {
        let wanted: Vec<_> = patterns
            .iter()
            .map(|pattern| TagMatch::new(MatchType::Fnmatch, *pattern).unwrap())
            .collect();
        loop {
            let event = self
                .0
                .get_event(&TagMatch::any(), Wait::For(DEADLINE))
                .await
                .unwrap()
                .unwrap();
            if wanted.iter().any(|pattern| pattern.matches(event.tag())) {
                return event.tag().to_owned();
            }
        }
    }
}

/// The documentation's module, with a return value besides.
pub(crate) const CUSTOM_MODULE: &str = include_str!("salt_documentation/my_custom_module.py");

/// Runs one of real Salt's commands to its end and gives its stdout; what it says besides is shown if it fails.
pub(crate) async fn run_to_end(
    mut command: Command,
    arguments: &[&str],
    fixture: &Fixture,
    name: &str,
) -> String {
    command.args(arguments);
    let output = fixture.path(&format!("{name}.out"));
    let program = Program::start(command, output);
    let left = tokio::task::spawn_blocking(|| program.wait())
        .await
        .unwrap();
    if left.code != Some(0) {
        println!("{name} {arguments:?}: {left:?}");
    }
    left.stdout
}

/// A value as JSON.
pub(crate) fn as_json(value: &Value) -> serde_json::Value {
    let mut line = String::new();
    brine_wire::json::to_line(value, &mut line);
    serde_json::from_str(&line).unwrap()
}

/// A value from JSON, which is YAML too.
pub(crate) fn from_json(json: &serde_json::Value) -> Value {
    brine_config::yaml::load(json.to_string().as_bytes()).unwrap()
}

/// The first value a command printed as JSON; text around it, such as warnings, is passed over.
pub(crate) fn json_of(text: &str) -> serde_json::Value {
    let start = text.find(['{', '[']).unwrap_or(0);
    let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter();
    let first = values
        .next()
        .unwrap_or_else(|| panic!("expected JSON, found {text:?}"));
    first.unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

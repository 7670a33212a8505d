//! The files of a site: the configuration of a master and its minion, the minion's key, already accepted, and a
//! custom module.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use brine_config::{Environment, Loaded, Opts, Role};
use brine_net::keys::master::KeyOptions;
use brine_net::keys::minion::MinionKeys;
use brine_net::keys::store::{KeyState, KeyStore};
use brine_wire::compat::Compat;
use brine_wire::network::MinionId;

/// One master of a site, and its minion.
pub(super) struct Names {
    /// The master's id.
    pub(super) master: String,
    /// The minion's.
    pub(super) minion: String,
    /// The value of `brine: {cluster: …}`, of one master among several.
    pub(super) cluster: Option<String>,
    /// The release whose forms both speak; `None` for the newest.
    pub(super) compat: Option<Compat>,
}

impl Names {
    /// A master alone.
    pub(super) fn alone(compat: Option<Compat>) -> Self {
        Self {
            master: "site_master".to_owned(),
            minion: "web1".to_owned(),
            cluster: None,
            compat,
        }
    }

    /// The lines of the master's configuration, and of the minion's, that real Salt does not have.
    fn brine(&self) -> (String, String) {
        // Quoted, since YAML reads 3006.10 as 3006.1.
        let compat = self.compat.map(|compat| format!("compat: '{compat}'"));
        let cluster = self.cluster.as_ref();
        let cluster = cluster.map(|cluster| format!("cluster: {cluster}"));
        let line = |options: &[&Option<String>]| {
            let options: Vec<&str> = options.iter().filter_map(|it| it.as_deref()).collect();
            match options.is_empty() {
                true => String::new(),
                false => format!("brine: {{{}}}\n", options.join(", ")),
            }
        };
        (line(&[&compat, &cluster]), line(&[&compat]))
    }
}

/// The example module of Salt's documentation of events: it does something and fires an event.
const MODULE: &str = r#"def do_something():
    """
    Do something, and fire an event on the master's bus when it is done.
    """
    # ... something ...
    __salt__["event.send"](
        "myco/my_custom_module/finished",
        {"finished": True, "message": "The something is finished!"},
    )
    return "done"
"#;

/// The files of a site, and what they say.
pub(super) struct Scratch {
    pub(super) root: PathBuf,
    /// The minion's id.
    pub(super) minion_id: String,
    pub(super) master: Loaded,
    pub(super) minion: Loaded,
    /// The password of the HTTP API's user.
    pub(super) password: String,
}

/// The user of the HTTP API.
pub(super) const USER: &str = "admin";

impl Scratch {
    /// Writes them below a directory.
    pub(super) fn make(root: &Path, names: &Names) -> anyhow::Result<Self> {
        let modules = root.join("srv/salt/_modules");
        fs::create_dir_all(&modules).with_context(|| modules.display().to_string())?;
        let module = modules.join("my_custom_module.py");
        if !module.exists() {
            write(&module, MODULE)?;
        }
        let [publish_port, ret_port, api_port] = free_ports()?;
        let path = root.display();
        let password = random_word()?;
        let (certificate, key) = self_signed(root)?;
        let (master_brine, minion_brine) = names.brine();
        let (id, minion) = (&names.master, &names.minion);
        write_secret(
            &root.join("master"),
            &format!(
                "root_dir: {path}/master.d\nid: {id}\ninterface: 127.0.0.1\n\
                 publish_port: {publish_port}\nret_port: {ret_port}\nsock_dir: /sock\n\
                 file_roots: {{base: [{path}/srv/salt]}}\ndefault_include: none\n\
                 sharedsecret: '{password}'\n\
                 external_auth: {{sharedsecret: {{{USER}: ['.*', '@jobs', '@runner', '@wheel']}}}}\n\
                 netapi_enable_clients: [local, local_async, runner, runner_async, wheel, wheel_async]\n\
                 rest_cherrypy: {{host: 127.0.0.1, port: {api_port}, ssl_crt: {certificate}, \
                 ssl_key: {key}}}\n{master_brine}",
                certificate = certificate.display(),
                key = key.display(),
            ),
        )?;
        write(
            &root.join("minion"),
            &format!(
                "root_dir: {path}/minion.d\nid: {minion}\nmaster: 127.0.0.1\n\
                 master_port: {ret_port}\nsock_dir: /sock\ndefault_include: none\n{minion_brine}"
            ),
        )?;
        let scratch = Self {
            root: root.to_owned(),
            minion_id: minion.clone(),
            master: load(Role::Master, &root.join("master"))?,
            minion: load(Role::Minion, &root.join("minion"))?,
            password,
        };
        scratch.accept()?;
        Ok(scratch)
    }

    /// Puts the minion's key where `salt-key -a` puts it.
    fn accept(&self) -> anyhow::Result<()> {
        let keys = MinionKeys::open(self.minion.opts.text("pki_dir")?, &KeyOptions::default())?;
        let store = KeyStore::open(
            self.master.opts.text("pki_dir")?,
            self.master.brine.compat.unwrap_or(Compat::NEWEST),
        )?;
        let id = MinionId::parse(&self.minion_id)?;
        store
            .change()?
            .set(&id, KeyState::Accepted, keys.own.public())?;
        Ok(())
    }
}

fn load(role: Role, path: &Path) -> anyhow::Result<Loaded> {
    Opts::load(role, path, &Environment::current())
        .with_context(|| format!("configuration {}", path.display()))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Writes a file that nobody else may read: keys and passwords.
fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .with_context(|| path.display().to_string())?;
    Ok(file.write_all(text.as_bytes())?)
}

/// Ports that are free at the moment.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    let taken = [
        TcpListener::bind(("127.0.0.1", 0))?,
        TcpListener::bind(("127.0.0.1", 0))?,
        TcpListener::bind(("127.0.0.1", 0))?,
    ];
    let mut ports = [0; 3];
    for (port, socket) in ports.iter_mut().zip(&taken) {
        *port = socket.local_addr()?.port();
    }
    Ok(ports)
}

/// A word that nobody can guess: a password, or a secret.
pub(super) fn random_word() -> anyhow::Result<String> {
    let mut random = [0; 12];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .context("the system gives no random number")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A certificate for this machine's own names, and its key.
fn self_signed(root: &Path) -> anyhow::Result<(PathBuf, PathBuf)> {
    let (certificate, key) = (root.join("api.crt"), root.join("api.key"));
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    write(&certificate, &made.cert.pem())?;
    write_secret(&key, &made.signing_key.serialize_pem())?;
    Ok((certificate, key))
}

//! The files of a site: the configuration of a master and its minion, the minion's key among the
//! accepted ones, and a module of its own.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::Context;
use brine_config::{Environment, Loaded, Opts, Role};
use brine_net::keys::master::KeyOptions;
use brine_net::keys::minion::MinionKeys;
use brine_net::keys::store::{KeyState, KeyStore};
use brine_wire::compat::Compat;
use brine_wire::network::MinionId;

/// The minion's id.
pub(super) const MINION: &str = "web1";

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
    pub(super) master: Loaded,
    pub(super) minion: Loaded,
}

impl Scratch {
    /// Writes them below a directory.
    pub(super) fn make(root: &Path) -> anyhow::Result<Self> {
        let modules = root.join("srv/salt/_modules");
        fs::create_dir_all(&modules).with_context(|| modules.display().to_string())?;
        let module = modules.join("my_custom_module.py");
        if !module.exists() {
            write(&module, MODULE)?;
        }
        let [publish_port, ret_port] = free_ports()?;
        let path = root.display();
        write(
            &root.join("master"),
            &format!(
                "root_dir: {path}/master.d\nid: site_master\ninterface: 127.0.0.1\n\
                 publish_port: {publish_port}\nret_port: {ret_port}\nsock_dir: /sock\n\
                 file_roots: {{base: [{path}/srv/salt]}}\ndefault_include: none\n"
            ),
        )?;
        write(
            &root.join("minion"),
            &format!(
                "root_dir: {path}/minion.d\nid: {MINION}\nmaster: 127.0.0.1\n\
                 master_port: {ret_port}\nsock_dir: /sock\ndefault_include: none\n"
            ),
        )?;
        let scratch = Self {
            root: root.to_owned(),
            master: load(Role::Master, &root.join("master"))?,
            minion: load(Role::Minion, &root.join("minion"))?,
        };
        scratch.accept()?;
        Ok(scratch)
    }

    /// Puts the minion's key where `salt-key -a` puts it.
    fn accept(&self) -> anyhow::Result<()> {
        let keys = MinionKeys::open(self.minion.opts.text("pki_dir")?, &KeyOptions::default())?;
        let store = KeyStore::open(self.master.opts.text("pki_dir")?, Compat::NEWEST)?;
        let id = MinionId::parse(MINION)?;
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

/// Two ports that are free at the moment.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let taken = [
        TcpListener::bind(("127.0.0.1", 0))?,
        TcpListener::bind(("127.0.0.1", 0))?,
    ];
    let [publish, ret] = &taken;
    Ok([publish.local_addr()?.port(), ret.local_addr()?.port()])
}

//! A nats-server with JetStream, or a cluster of three, which tests kill and start again.
//!
//! Its program is made by `cargo xtask nats` below `.salt/`; the variable `NATS_SERVER` names another.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::free_port;
use crate::wait::DEADLINE;

/// A server on a port that stays the same over restarts; ends when dropped.
#[derive(Debug)]
pub struct Server {
    process: Option<Child>,
    port: u16,
    configuration: String,
    root: TempDir,
}

impl Server {
    /// Starts one on loopback.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same with more lines of configuration.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_with(configuration: &str) -> Self {
        let mut server = Self::on(free_port(), configuration);
        server.up();
        server
    }

    /// Three that are one cluster, each of which keeps what the others keep. They may not have agreed on a leader yet.
    ///
    /// # Panics
    /// When they do not start.
    #[must_use]
    pub fn start_cluster() -> [Self; 3] {
        let (ports, routes) = ([0; 3].map(|_| free_port()), [0; 3].map(|_| free_port()));
        let listed = routes.map(|port| format!("\"nats://127.0.0.1:{port}\""));
        let mut servers = [0, 1, 2].map(|nth| {
            let configuration = format!(
                "server_name: n{nth}\ncluster {{ name: test, listen: \"127.0.0.1:{}\", routes: [{}] }}",
                routes[nth],
                listed.join(", ")
            );
            Self::on(ports[nth], &configuration)
        });
        for server in &mut servers {
            server.up();
        }
        servers
    }

    fn on(port: u16, configuration: &str) -> Self {
        Self {
            process: None,
            port,
            configuration: configuration.to_owned(),
            root: TempDir::new().expect("a directory"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Its port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Kills it as `kill -9` does.
    ///
    /// # Panics
    /// When it cannot be killed.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("a process to kill");
            process.wait().expect("a child to wait for");
        }
    }

    /// Starts it again, with what it has stored, and waits until it accepts.
    ///
    /// # Panics
    /// When it does not.
    pub fn up(&mut self) {
        self.kill();
        let root = self.root.path();
        let configuration = root.join("nats.conf");
        let text = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{ store_dir: {:?} }}\n{}\n",
            self.port,
            root.join("store"),
            self.configuration
        );
        fs::write(&configuration, text).expect("a file of configuration");
        let log = File::options()
            .create(true)
            .append(true)
            .open(root.join("log"));
        let process = Command::new(program())
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("a file for its log"))
            .spawn()
            .expect("a program that starts");
        self.process = Some(process);
        let deadline = Instant::now() + DEADLINE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "nats-server does not start:\n{}",
                self.log()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// Removes all that it has stored; it must be killed.
    ///
    /// # Panics
    /// When it runs, or the files cannot be removed.
    pub fn forget(&self) {
        assert!(self.process.is_none(), "kill it first");
        fs::remove_dir_all(self.root.path().join("store")).expect("files to remove");
    }

    /// What it says.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("NATS_SERVER") {
        return program.into();
    }
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.salt/nats/bin/nats-server");
    assert!(
        program.exists(),
        "this test needs a nats-server at {}: run `cargo xtask nats`, or set NATS_SERVER",
        program.display()
    );
    program
}

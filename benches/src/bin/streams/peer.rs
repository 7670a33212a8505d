//! Who is measured: how each is started, and what its streams are asked for with.

use std::fmt;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::publisher::Bus;
use crate::readers::ask;
use crate::server::TOKEN;

/// How long a peer may take to start.
const START_WITHIN: Duration = Duration::from_secs(60);

/// A server of event streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// Brine's bus and streams in one process.
    Brine,
    /// Real salt-api beside a real master.
    Salt,
    /// nginx with nchan, with so many workers.
    Nchan(u8),
    /// One thread that does nothing but send.
    Floor,
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Ok(match name {
            "brine" => Self::Brine,
            "salt" => Self::Salt,
            "nchan" => Self::Nchan(1),
            "nchan2" => Self::Nchan(2),
            "floor" => Self::Floor,
            _ => return Err("expected brine, salt, nchan, nchan2 or floor".to_owned()),
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Brine => "brine",
            Self::Salt => "salt-api",
            Self::Nchan(1) => "nchan",
            Self::Nchan(_) => "nchan2",
            Self::Floor => "floor",
        })
    }
}

/// A peer that runs; ended when dropped.
pub(crate) struct Running {
    children: Vec<Child>,
    pub(crate) bus: Bus,
    pub(crate) port: u16,
    /// What a stream is asked for with.
    pub(crate) request: String,
    _dir: TempDir,
}

impl Running {
    pub(crate) fn start(peer: Peer, salt: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("brine-streams-")
            .tempdir()?;
        let path = dir.path().to_owned();
        match peer {
            Peer::Brine => Self::ours("brine", dir),
            Peer::Floor => Self::ours("floor", dir),
            Peer::Nchan(workers) => {
                let port = free_port()?;
                fs::write(path.join("nginx.conf"), nginx_conf(port, workers))?;
                let mut command = Command::new("nginx");
                command
                    .arg("-p")
                    .arg(&path)
                    .args(["-c", "nginx.conf", "-g", "daemon off;"]);
                let child = spawn(&mut command, &path)?;
                wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
                Ok(Self {
                    children: vec![child],
                    bus: Bus::Post(port),
                    port,
                    request: "GET /sub HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
                        .to_owned(),
                    _dir: dir,
                })
            }
            Peer::Salt => Self::salt(dir, salt),
        }
    }

    fn ours(name: &str, dir: TempDir) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--serve").arg(name).arg(dir.path());
        let child = spawn(&mut command, dir.path())?;
        let file = dir.path().join("port");
        wait_for(|| file.exists())?;
        let port = fs::read_to_string(file)?.parse()?;
        Ok(Self {
            children: vec![child],
            bus: Bus::Pull(dir.path().join("master_event_pull.ipc")),
            port,
            request: request(TOKEN),
            _dir: dir,
        })
    }

    fn salt(dir: TempDir, salt: &Path) -> Result<Self> {
        let path = dir.path().to_owned();
        let path = path.as_path();
        let (port, publish, ret) = (free_port()?, free_port()?, free_port()?);
        fs::write(path.join("master"), master_config(path, port, publish, ret))?;
        let program = |name: &str| -> Result<Child> {
            let mut command = Command::new(salt.join("bin").join(name));
            command.arg("-c").arg(path).args(["-l", "warning"]);
            spawn(&mut command, path)
        };
        let master = program("salt-master")?;
        let mut running = Self {
            children: vec![master],
            bus: Bus::Pull(path.join("sock/master_event_pull.ipc")),
            port,
            request: String::new(),
            _dir: dir,
        };
        let Bus::Pull(pull) = running.bus.clone() else {
            bail!("salt's bus is a pull socket");
        };
        wait_for(|| pull.exists())?;
        running.children.push(program("salt-api")?);
        wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())?;
        let body = r#"{"username": "bench", "password": "x", "eauth": "auto"}"#;
        let answer = ask(
            port,
            &format!(
                "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            ),
        )?;
        let token = answer
            .split("\"token\": \"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        running.request = request(token.context("no token in the answer to the login")?);
        Ok(running)
    }

    /// Its processes with their children.
    pub(crate) fn processes(&self) -> Vec<u32> {
        let mut found: Vec<u32> = self.children.iter().map(Child::id).collect();
        let mut at = 0;
        while let Some(pid) = found.get(at) {
            let children = fs::read_dir(format!("/proc/{pid}/task"))
                .into_iter()
                .flatten()
                .flatten();
            let children = children
                .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
                .flat_map(|text| {
                    text.split_whitespace()
                        .map(str::to_owned)
                        .collect::<Vec<_>>()
                })
                .filter_map(|pid| pid.parse().ok());
            let children: Vec<u32> = children.collect();
            found.extend(children.into_iter().filter(|pid| *pid != 0));
            at += 1;
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let all = self.processes();
        for pid in all {
            let pid = i32::try_from(pid)
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

fn request(token: &str) -> String {
    format!("GET /events HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n\r\n")
}

fn spawn(command: &mut Command, dir: &Path) -> Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))?;
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))
}

fn wait_for(mut is_there: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + START_WITHIN;
    while !is_there() {
        if Instant::now() > deadline {
            bail!("the peer did not start within {START_WITHIN:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn nginx_conf(port: u16, workers: u8) -> String {
    format!(
        "user root;\nload_module /usr/lib/nginx/modules/ngx_nchan_module.so;\nworker_processes {workers};\npid nginx.pid;\nerror_log log;\n\
         worker_rlimit_nofile 20000;\nevents {{ worker_connections 15000; }}\n\
         http {{\n  access_log off;\n  nchan_shared_memory_size 512m;\n  keepalive_requests 100000000;\n\
           server {{\n    listen 127.0.0.1:{port} backlog=8192;\n\
             location = /pub {{ nchan_publisher; nchan_channel_id all; nchan_message_buffer_length 20000; \
         nchan_message_timeout 5m; }}\n\
             location = /sub {{ nchan_subscriber eventsource; nchan_channel_id all; \
         nchan_subscriber_first_message newest; }}\n  }}\n}}\n"
    )
}

fn master_config(dir: &Path, port: u16, publish: u16, ret: u16) -> String {
    let dir: PathBuf = dir.to_owned();
    let dir = dir.display();
    format!(
        "root_dir: {dir}\npki_dir: {dir}/pki\ncachedir: {dir}/cache\nsock_dir: {dir}/sock\n\
         log_file: {dir}/log\napi_logfile: {dir}/log\nuser: root\ninterface: 127.0.0.1\npublish_port: {publish}\nret_port: {ret}\n\
         worker_threads: 3\nexternal_auth: {{auto: {{bench: ['.*', '@runner', '@wheel']}}}}\n\
         rest_cherrypy: {{port: {port}, host: 127.0.0.1, disable_ssl: true, thread_pool: 1100}}\n"
    )
}

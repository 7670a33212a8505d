//! `brine doctor` on a site that is broken in many ways, one after the other, and mended each time.
//!
//! What it says is one snapshot: a person reads there whether each fault and its remedy are named.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use brine_testkit::salt;
use rustix::process::{Resource, Rlimit, Signal, geteuid, prlimit};

use crate::site::{Left, Site, wait_until};

#[test]
fn each_fault_and_its_remedy_are_named_and_a_healthy_site_has_none() {
    let mut patient = Patient::healthy();
    patient.sockets();
    patient.keys();
    patient.configuration();
    patient.processes();
    patient.minion();
    patient.clock();
    patient.full_disk();
    patient.owners();
    patient.a_killed_master();
    insta::assert_snapshot!(patient.chart);
}

#[test]
fn a_master_that_accepts_connections_and_hangs_is_named_to_its_minion() {
    for transport in ["tcp", "zeromq"] {
        let mut site = Site::configured(transport, "");
        site.start_master();
        let doctor = || site.run(&["doctor", "--node", "minion"]).stdout;
        let text = doctor();
        assert!(!text.contains("accepts connections"), "{transport}: {text}");
        let master = site.master.as_ref().unwrap();
        let pid = master.pid();
        master.signal(Signal::STOP);
        let text = doctor();
        master.signal(Signal::CONT);
        assert!(
            text.contains("accepts connections but answers nothing: pid ")
                && text.contains(&format!("→ kill -CONT {pid}, or restart the master")),
            "{transport}: {text}"
        );
        assert!(!doctor().contains("accepts connections"), "{transport}");
    }
    // Somebody else's, who does not answer either.
    let site = Site::configured("tcp", "");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let options = fs::read_to_string(site.path("minion")).unwrap();
    let is_other = |line: &&str| !line.starts_with("master_port:");
    let lines: Vec<&str> = options.lines().filter(is_other).collect();
    let options = format!("{}\nmaster_port: {port}\n", lines.join("\n"));
    fs::write(site.path("minion"), options).unwrap();
    let text = site.run(&["doctor", "--node", "minion"]).stdout;
    let says = "accepts connections but does not answer a ping for 3 s: it hangs, or is no master";
    assert!(text.contains(says), "{text}");
}

#[test]
fn the_sockets_that_real_salt_leaves_are_no_fault() {
    let site = Site::configured("tcp", "");
    let sock_dir = site.path("m/s");
    fs::create_dir_all(&sock_dir).unwrap();
    let mut bus = salt::Bus::start("3008.3", salt::Node::Master, &sock_dir);
    bus.kill();
    assert!(sock_dir.join("master_event_pub.ipc").exists());
    let text = site.run(&["doctor", "--node", "master"]).stdout;
    let left = "no bus runs here; these sockets are left of one of real Salt";
    assert!(text.contains(left) && !text.contains("killed"), "{text}");
}

/// A site, and what was said of it.
struct Patient {
    site: Site,
    chart: String,
}

impl Patient {
    fn healthy() -> Self {
        let mut site = Site::configured("tcp", "");
        site.start_master();
        let mut bus = site.master_bus();
        site.start_minion();
        bus.next("salt/auth");
        let left = site.run(&["salt-key", "-a", "m1", "-y"]);
        assert_eq!(left.code, Some(0), "{left:?}");
        bus.next("salt/minion/m1/start");
        for file in ["master", "minion"] {
            fs::copy(site.path(file), site.path(&format!("{file}.good"))).unwrap();
        }
        let chart = String::new();
        let patient = Self { site, chart };
        patient.is_well();
        let left = patient.site.run(&["check"]);
        assert!(left.code == Some(0) && left.stdout.ends_with(": 0 errors, 0 warnings, 0 notes\n"));
        patient
    }

    fn is_well(&self) {
        self.has_no_finding("master");
        self.has_no_finding("minion");
    }

    fn has_no_finding(&self, node: &str) {
        let left = self.site.run(&["doctor", "--node", node]);
        assert!(left.code == Some(0) && left.stderr.is_empty(), "{left:?}");
        // That the key was accepted is no fault.
        let (accepted, notes) = match node {
            "minion" => (
                "note     master: had accepted this minion's key when it last signed in, at ",
                "1 note",
            ),
            _ => ("", "0 notes"),
        };
        let end = format!("{node}: 0 errors, 0 warnings, {notes}\n");
        assert!(
            left.stdout.starts_with(accepted) && left.stdout.ends_with(&end),
            "{left:?}"
        );
    }

    /// Breaks the site, writes down what the doctor says, and mends the site.
    fn fault(&mut self, what: &str, break_it: impl FnOnce(&Site), mend: impl FnOnce(&Site)) {
        break_it(&self.site);
        let left = self.site.run(&["doctor"]);
        self.write_down(what, &left);
        mend(&self.site);
        self.has_no_finding("master");
    }

    fn write_down(&mut self, what: &str, left: &Left) {
        assert!(left.stdout.contains('→'), "{what}: {left:?}");
        let mut said = plain(&self.site, &left.stdout);
        const SIGNED_IN: &str = "signed in, at ";
        if let Some(at) = said.find(SIGNED_IN).map(|at| at + SIGNED_IN.len()) {
            let end = said[at..].find('\n').map_or(said.len(), |end| at + end);
            said.replace_range(at..end, "TIME");
        }
        let code = left.code.unwrap();
        write!(self.chart, "# {what}: exit code {code}\n{said}\n").unwrap();
    }

    fn mode(&mut self, path: &str, bad: u32, good: u32) {
        let set = |mode| {
            let path = path.to_owned();
            move |site: &Site| {
                fs::set_permissions(site.path(&path), Permissions::from_mode(mode)).unwrap();
            }
        };
        self.fault(&format!("{path} {bad:o}"), set(bad), set(good));
    }

    fn moved(&mut self, what: &str, path: &str, instead: Option<&str>) {
        self.fault(
            what,
            |site| {
                fs::rename(site.path(path), site.path("moved")).unwrap();
                if let Some(text) = instead {
                    fs::write(site.path(path), text).unwrap();
                }
            },
            |site| fs::rename(site.path("moved"), site.path(path)).unwrap(),
        );
    }

    fn sockets(&mut self) {
        self.mode("m/s/master_event_pub.ipc", 0o666, 0o660);
        self.mode("m/s/master_event_pull.ipc", 0o666, 0o600);
        self.mode("m/s/master_event_pull.ipc", 0o400, 0o600);
        self.mode("m/s", 0o777, 0o755);
        self.moved("no pull socket", "m/s/master_event_pull.ipc", None);
        self.moved("no local socket", "m/s/brine.sock", None);
        self.moved("no publish socket", "m/s/master_event_pub.ipc", None);
        self.moved("a file for a socket", "m/s/master_event_pub.ipc", Some(""));
    }

    fn keys(&mut self) {
        self.mode("m/pki/master.pem", 0o644, 0o400);
        self.mode("m/pki", 0o777, 0o700);
        self.mode("m/pki", 0o500, 0o700);
        let key = |name: &'static str| move |site: &Site| site.path("m/pki").join(name);
        for (what, name, text) in [
            ("a broken key", "minions/m2", "no key\n"),
            ("a denied key", "minions_denied/m2", "-----BEGIN"),
            ("a pending key", "minions_pre/m3", "-----BEGIN"),
        ] {
            self.fault(
                what,
                |site| fs::write(key(name)(site), text).unwrap(),
                |site| fs::remove_file(key(name)(site)).unwrap(),
            );
        }
    }

    /// A file of the configuration with another line, or with a line instead.
    fn line(&mut self, node: &str, line: &str) {
        let (option, _) = line.split_once(':').unwrap();
        let (file, good) = (
            self.site.path(node),
            self.site.path(&format!("{node}.good")),
        );
        let text = fs::read_to_string(&good).unwrap();
        let is_other = |other: &&str| !other.starts_with(&format!("{option}:"));
        let mut lines: Vec<&str> = text.lines().filter(is_other).collect();
        lines.push(line);
        fs::write(&file, lines.join("\n")).unwrap();
        let left = self.site.run(&["doctor", "--node", node]);
        self.write_down(&format!("{node}: {line}"), &left);
        fs::copy(good, file).unwrap();
    }

    fn configuration(&mut self) {
        for line in [
            "ret_prot: 1",
            "auto_accept: true",
            "engines: [x: {}]",
            "client_acl: {}",
            "log_level: loud",
            "transport: udp",
            "publish_port: 70000",
            "interface: 192.0.2.7",
            "brine: {histroy: x}",
            "a: b: c",
            "include: [none/*.conf]",
            "user: no-such-user",
            "rest_cherrypy: {port: 8000, ssl_crt: /no/such.crt, ssl_key: /no/such.key}",
            "reactor: [{x: [/no/such.sls]}]",
        ] {
            self.line("master", line);
        }
        self.is_well();
    }

    fn processes(&mut self) {
        let pid = self.site.master.as_ref().unwrap().pid();
        let before = rustix::process::getrlimit(Resource::Nofile);
        let set = |current: Option<u64>| {
            move |_: &Site| {
                let limit = Rlimit {
                    current,
                    maximum: before.maximum,
                };
                prlimit(Some(pid), Resource::Nofile, limit).unwrap();
            }
        };
        self.fault(
            "a low limit of open files",
            set(Some(100)),
            set(before.current),
        );

        let number = fs::read_to_string(pid_file(&self.site)).unwrap();
        // Above what a kernel gives out.
        for text in ["2000000000", "nothing"] {
            self.fault(
                &format!("a pid file with {text}"),
                |site| fs::write(pid_file(site), text).unwrap(),
                |site| fs::write(pid_file(site), &number).unwrap(),
            );
        }
        self.old_listener();
        self.second_master();
    }

    /// A listener of another release reads nothing of what this bus writes.
    fn old_listener(&mut self) {
        let script = self.site.path("listens.py");
        let text = "import socket, sys\n\
                    s = socket.socket(socket.AF_UNIX)\n\
                    s.connect(sys.argv[1])\n\
                    sys.stdin.read()\n";
        fs::write(&script, text).unwrap();
        let mut command = salt::python("3006.28");
        command
            .arg(&script)
            .arg(self.site.path("m/s/master_event_pub.ipc"));
        let mut listener = Killed(command.stdin(Stdio::piped()).spawn().unwrap());
        wait_until("the listener's fault", || {
            self.site.run(&["doctor"]).code == Some(1)
        });
        let left = self.site.run(&["doctor"]);
        self.write_down("a listener of Salt 3006.28", &left);
        listener.0.kill().unwrap();
        wait_until("the listener's end", || {
            self.site.run(&["doctor"]).code == Some(0)
        });
    }

    /// What is said of another configuration.
    fn doctor(&self, name: &str, node: &str, text: &str) -> Left {
        let config = self.site.path(name);
        fs::create_dir(&config).unwrap();
        fs::write(config.join(node), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_brine"));
        command.args(["doctor", "--node", node, "-c"]).arg(config);
        let output = command.env("NO_COLOR", "1").output().unwrap();
        Left {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Another configuration with the same ports.
    fn second_master(&mut self) {
        let text = fs::read_to_string(self.site.path("master")).unwrap();
        fs::create_dir(self.site.path("m/two")).unwrap();
        let left = self.doctor("second", "master", &text.replace("/m/s\n", "/m/two\n"));
        self.write_down("two masters on one port", &left);
    }

    fn minion(&mut self) {
        self.line("minion", "master_port: 1");
        self.line("minion", "id: {}");
        // No name server is asked for such a name; what the system says of it differs.
        let text = fs::read_to_string(self.site.path("minion.good")).unwrap();
        let text = text.replace("master: 127.0.0.1", "master: no..name");
        let left = self.doctor("unnamed", "minion", &text);
        assert_eq!(left.code, Some(1), "{left:?}");
        assert!(
            left.stdout.contains("its name cannot be resolved: ")
                && left
                    .stdout
                    .contains("→ correct the option master, or the name service"),
            "{left:?}"
        );
    }

    /// What a minion says of its time against when it came.
    fn clock(&mut self) {
        let says = |site: &Site, ahead: u64| {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap()
                .as_secs();
            let data = format!("{{id: db3, ts: {}}}", now + ahead);
            let left = site.run(&["send", "--ack", "test/clock", &data]);
            assert_eq!(left.code, Some(0), "{left:?}");
        };
        // It was right before, which does not count any more.
        says(&self.site, 0);
        for _ in 0..3 {
            says(&self.site, 7200);
        }
        let left = self.site.run(&["doctor"]);
        assert_eq!(left.code, Some(1), "{left:?}");
        assert!(
            left.stdout.contains("minion db3: its clock is ")
                && left
                    .stdout
                    .contains("ahead of the master's\n         → set the clocks by NTP"),
            "{left:?}"
        );
        wait_until("a clock that is right again", || {
            says(&self.site, 0);
            self.site
                .run(&["doctor"])
                .stdout
                .contains(" 0 errors, 0 warnings,")
        });
    }

    /// Where this user may mount something that nobody else sees.
    fn full_disk(&mut self) {
        let disk = self.site.path("m/disk");
        fs::create_dir_all(&disk).unwrap();
        let config = self.site.path("full");
        fs::create_dir(&config).unwrap();
        let text = fs::read_to_string(self.site.path("master")).unwrap();
        fs::write(
            config.join("master"),
            format!("{text}log_file: {}/master\n", disk.display()),
        )
        .unwrap();
        let script = "mount -t tmpfs -o size=256k none \"$1\" || exit 99\n\
                      dd if=/dev/zero of=\"$1/full\" bs=64k 2>/dev/null\nexec \"$2\" doctor -c \"$3\"";
        let unshare = if geteuid().is_root() { "-m" } else { "-rm" };
        let words = [
            disk.as_path(),
            Path::new(env!("CARGO_BIN_EXE_brine")),
            &config,
        ];
        let output = Command::new("unshare")
            .args([unshare, "sh", "-c", script, "sh"])
            .args(words)
            .output();
        let Ok(output) = output.map_err(|error| println!("no unshare: {error}")) else {
            return;
        };
        let stdout = String::from_utf8(output.stdout).unwrap();
        if stdout.is_empty() {
            println!(
                "nothing can be mounted here: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            return;
        }
        assert_eq!(output.status.code(), Some(1), "{stdout}");
        let fault =
            "/m/disk: the disk of log_file is full: 0 MiB free\n         → remove what is not";
        assert!(stdout.contains(fault), "{stdout}");
    }

    /// Only root can give files away.
    fn owners(&mut self) {
        if !geteuid().is_root() {
            return;
        }
        let text = fs::read_to_string(self.site.path("master")).unwrap();
        let text = format!("{text}user: nobody\n");
        let stdout = self.doctor("owners", "master", &text).stdout;
        for path in ["m/s", "m/pki", "m/pki/master.pem", "m/cache"] {
            let path = self.site.path(path);
            let (path, fault) = (path.display(), "belongs to root, but option user is nobody");
            let line = format!("error    {path}: {fault}\n         → chown -R nobody {path}\n");
            assert!(stdout.contains(&line), "{stdout}");
        }
    }

    fn a_killed_master(&mut self) {
        let mut master = self.site.master.take().unwrap();
        master.signal(Signal::KILL);
        master.wait();
        for node in ["master", "minion"] {
            let left = self.site.run(&["doctor", "--node", node]);
            self.write_down(&format!("a killed master: the {node}"), &left);
        }
        self.site.start_master();
        let mut bus = self.site.master_bus();
        drop(bus.next("salt/minion/m1/start"));
        self.is_well();
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn pid_file(site: &Site) -> PathBuf {
    site.path("m/var/run/salt-master.pid")
}

/// Without what differs from run to run.
fn plain(site: &Site, text: &str) -> String {
    let text = text.replace(site.path("").to_str().unwrap(), "/site/");
    let mut parts = text.split("pid ");
    let mut plain = parts.next().unwrap().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        // With the process's command, which is cut.
        let rest = match rest.starts_with(" (") {
            true => rest.split_once(')').unwrap().1,
            false => rest,
        };
        write!(plain, "pid N{rest}").unwrap();
    }
    let config = fs::read_to_string(site.path("master.good")).unwrap();
    for option in ["ret_port", "publish_port"] {
        let start = format!("{option}: ");
        let port = config
            .lines()
            .find_map(|line| line.strip_prefix(&start))
            .unwrap();
        plain = plain.replace(port, option.to_uppercase().as_str());
    }
    plain
}

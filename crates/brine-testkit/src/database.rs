//! Real databases for the tests, each in a directory of its own, reached over a socket there; with certificates over TLS
//! on loopback, too.
//!
//! Servers refuse to run as root, and so run as [`NOBODY`] then. Nothing is synced to the disk: what a test kills is
//! the server, not the machine.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::free_port;
use crate::program::Program;
use crate::user::{NOBODY, can_switch};
use crate::wait::DEADLINE;

/// A server's certificate and its key, in files that [`NOBODY`] can read.
struct Pair {
    certificate: PathBuf,
    key: PathBuf,
}

impl Pair {
    fn of(certificate: &Path, key: &Path) -> Self {
        Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }
    }
}

/// A PostgreSQL server with an empty database `salt` of the user `salt`. Ended when dropped.
pub struct Postgres {
    directory: PathBuf,
    bin: PathBuf,
    /// Of its socket, and on loopback if it has certificates.
    port: u16,
    certificates: Option<Pair>,
    process: Option<Program>,
}

impl Postgres {
    /// Makes a server below a directory and starts it.
    ///
    /// # Panics
    /// When there is no PostgreSQL (`apt-get install postgresql`), or it does not start.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, None)
    }

    /// The same with TLS on loopback.
    ///
    /// # Panics
    /// As [`Postgres::start`].
    #[must_use]
    pub fn start_with_tls(directory: &Path, certificate: &Path, key: &Path) -> Self {
        Self::start_with(directory, Some(Pair::of(certificate, key)))
    }

    fn start_with(directory: &Path, certificates: Option<Pair>) -> Self {
        let directory = own(directory.join("postgres"));
        let bin = newest("/usr/lib/postgresql").map(|version| version.join("bin"));
        let mut server = Self {
            bin: bin.expect(
                "PostgreSQL in /usr/lib/postgresql; `apt-get install postgresql` brings it",
            ),
            directory,
            port: certificates.as_ref().map_or(5432, |_| free_port()),
            certificates,
            process: None,
        };
        let data = server.directory.join("data");
        run(unprivileged(server.bin.join("initdb"), &server.directory)
            .arg("-D")
            .arg(&data)
            .args([
                "-U",
                "salt",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "--no-locale",
                "--no-sync",
            ]));
        server.restart();
        server.sql_in("postgres", "CREATE DATABASE salt");
        server
    }

    /// Starts the server again after [`Postgres::kill`].
    ///
    /// # Panics
    /// When it is not up in time.
    pub fn restart(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut command = unprivileged(self.bin.join("postgres"), &self.directory);
            command
                .arg("-D")
                .arg(self.directory.join("data"))
                .arg("-k")
                .arg(&self.directory)
                .args(["-p", &self.port.to_string()])
                .args(["-c", "fsync=off", "-c", "max_connections=20"]);
            match &self.certificates {
                Some(tls) => {
                    let (certificate, key) = (tls.certificate.display(), tls.key.display());
                    command
                        .args(["-c", "listen_addresses=127.0.0.1", "-c", "ssl=on"])
                        .args(["-c", &format!("ssl_cert_file={certificate}")])
                        .args(["-c", &format!("ssl_key_file={key}")])
                }
                None => command.args(["-c", "listen_addresses="]),
            };
            self.process = Some(Program::start(command, self.directory.join("output")));
            if self.is_up_soon() {
                return;
            }
            // Processes of the one that was killed may still hold its memory.
            assert!(
                Instant::now() < deadline,
                "PostgreSQL does not start: {}",
                self.complaints()
            );
            self.process = None;
        }
    }

    /// Ends the server and all its processes at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Whether it was not killed.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// What to give as host.
    #[must_use]
    pub fn host(&self) -> String {
        self.directory.display().to_string()
    }

    /// And as port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements in the database `salt`; gives their rows, columns separated by `|`.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, statements: &str) -> String {
        self.sql_in("salt", statements)
    }

    fn sql_in(&self, database: &str, statements: &str) -> String {
        let mut command = self.psql(database);
        run(command.args(["-v", "ON_ERROR_STOP=1", "-c", statements]))
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.bin.join("psql"));
        command
            .args(["-X", "-q", "-A", "-t", "-U", "salt", "-d", database, "-h"])
            .arg(&self.directory)
            .args(["-p", &self.port.to_string()]);
        command
    }

    fn is_up_soon(&self) -> bool {
        let until = Instant::now() + Duration::from_secs(15);
        while Instant::now() < until {
            let mut ask = self.psql("postgres");
            let asked = ask.args(["-c", "SELECT 1"]).output();
            if asked.is_ok_and(|asked| asked.status.success()) {
                return true;
            }
            sleep(Duration::from_millis(50));
        }
        false
    }

    fn complaints(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(String::new, Program::stderr)
    }
}

/// A MariaDB server with an empty database `salt`, whose user `root` needs no password. Ended when dropped.
pub struct Mariadb {
    directory: PathBuf,
    port: u16,
    certificates: Option<Pair>,
    process: Option<Program>,
}

impl Mariadb {
    /// Makes a server below a directory and starts it.
    ///
    /// # Panics
    /// When there is no MariaDB (`apt-get install mariadb-server`), or it does not start.
    #[must_use]
    pub fn start(directory: &Path) -> Self {
        Self::start_with(directory, None)
    }

    /// The same with TLS on loopback, where a user `salt` needs no password.
    ///
    /// # Panics
    /// As [`Mariadb::start`].
    #[must_use]
    pub fn start_with_tls(directory: &Path, certificate: &Path, key: &Path) -> Self {
        let server = Self::start_with(directory, Some(Pair::of(certificate, key)));
        server.sql("CREATE USER salt@'%'; GRANT ALL ON salt.* TO salt@'%'");
        server
    }

    fn start_with(directory: &Path, certificates: Option<Pair>) -> Self {
        let mut server = Self {
            directory: own(directory.join("mariadb")),
            port: certificates.as_ref().map_or(3306, |_| free_port()),
            certificates,
            process: None,
        };
        run(unprivileged("mariadb-install-db", &server.directory)
            .args([
                "--no-defaults",
                "--skip-test-db",
                "--auth-root-authentication-method=normal",
            ])
            .arg(format!("--datadir={}/data", server.directory.display()))
            .stdout(Stdio::null()));
        server.restart();
        server.sql_in("mysql", "CREATE DATABASE salt CHARACTER SET utf8mb4");
        server
    }

    /// Starts the server again after [`Mariadb::kill`].
    ///
    /// # Panics
    /// When it is not up in time.
    pub fn restart(&mut self) {
        let mut command = unprivileged(mariadbd(), &self.directory);
        let directory = self.directory.display();
        command
            .args(["--no-defaults", "--innodb-flush-log-at-trx-commit=2"])
            .arg(format!("--datadir={directory}/data"))
            .arg(format!("--socket={directory}/socket"))
            .arg(format!("--pid-file={directory}/pid"));
        match &self.certificates {
            Some(tls) => command
                .arg("--bind-address=127.0.0.1")
                .arg(format!("--port={}", self.port))
                .arg(format!("--ssl-cert={}", tls.certificate.display()))
                .arg(format!("--ssl-key={}", tls.key.display())),
            None => command.arg("--skip-networking"),
        };
        self.process = Some(Program::start(command, self.directory.join("output")));
        let deadline = Instant::now() + DEADLINE;
        loop {
            let asked = self.client("mysql").args(["-e", "SELECT 1"]).output();
            if asked.is_ok_and(|asked| asked.status.success()) {
                return;
            }
            let said = self
                .process
                .as_ref()
                .map_or_else(String::new, Program::stderr);
            assert!(Instant::now() < deadline, "MariaDB does not start: {said}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Ends the server at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Whether it was not killed.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Its socket, to be given as host.
    #[must_use]
    pub fn host(&self) -> String {
        self.directory.join("socket").display().to_string()
    }

    /// Its port on loopback.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements in the database `salt`; gives their rows, columns separated by tabs.
    ///
    /// # Panics
    /// When one fails.
    pub fn sql(&self, statements: &str) -> String {
        self.sql_in("salt", statements)
    }

    fn sql_in(&self, database: &str, statements: &str) -> String {
        run(self
            .client(database)
            .args(["-N", "-B", "-r", "-e", statements]))
    }

    fn client(&self, database: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.args([
            "--no-defaults",
            "-u",
            "root",
            "--default-character-set=utf8mb4",
            "-S",
        ]);
        command.arg(self.directory.join("socket")).arg(database);
        command
    }
}

fn mariadbd() -> PathBuf {
    let server = PathBuf::from("/usr/sbin/mariadbd");
    assert!(
        server.exists(),
        "MariaDB in {}; `apt-get install mariadb-server` brings it",
        server.display()
    );
    server
}

/// A directory that belongs to whoever the server runs as.
fn own(directory: PathBuf) -> PathBuf {
    fs::create_dir_all(&directory).expect("a directory for the server");
    if can_switch() {
        // The way there must be open to it, too.
        for above in directory.ancestors().skip(1).take(1) {
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(above, open).expect("permissions of the directory");
        }
        chown(&directory, Some(NOBODY), Some(NOBODY)).expect("root may give files away");
    }
    directory
}

/// A command that runs as nobody, if this process may do that.
///
/// Its temporary files are in `directory` too: a MariaDB that starts removes every `#sql-temptable*` it finds in its
/// temporary directory, also those another server is using.
fn unprivileged(program: impl AsRef<std::ffi::OsStr>, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env("HOME", directory)
        .env("TMPDIR", directory)
        .env("TZ", "UTC");
    if can_switch() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// The directory with the highest number in a directory.
fn newest(directory: &str) -> Option<PathBuf> {
    let versions = fs::read_dir(directory).ok()?.filter_map(Result::ok);
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .map(|version| version.path())
        .filter(|path| path.join("bin/postgres").exists())
        .max_by_key(number)
}

fn run(command: &mut Command) -> String {
    let done = command.stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        done.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
    String::from_utf8_lossy(&done.stdout).trim_end().to_owned()
}

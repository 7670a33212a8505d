//! Shared by `salt-master` and `salt-minion`: changing the user, running in the background, the file with the process
//! id, the log.

use std::cell::Cell;
use std::future::Future;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use brine_config::{Loaded, Opts, Role};

use super::options::{BASIC, CONFIG_DIR, DAEMON, Key, LOG_LEVEL};
use super::optparse::{Opt, Parsed, Syntax};
use super::start::{self, Read};
use crate::daemon::account;
use crate::daemon::handover::Belongings;
use crate::daemon::syslog::SyslogAddress;
use crate::daemon::{self, Daemon, PidFile, signals};
use crate::host;
use crate::logs::{self, Level, Look};
use crate::show;
use crate::terminal;

/// The options of both commands.
pub(super) const OPTIONS: &[&[Opt<Key>]] = &[BASIC, CONFIG_DIR, LOG_LEVEL, DAEMON];

/// A daemon that is about to serve.
pub(super) struct Service {
    pub(super) loaded: Loaded,
    /// The umask of a minion's functions.
    pub(super) functions_umask: u32,
    daemon: Daemon,
    /// A user who started it in the foreground is told when it is ready; a log of level `info` does so itself.
    is_told: bool,
    /// Whether the warnings of the configuration are in the log.
    has_warned: Cell<bool>,
}

/// The result of starting.
pub(super) enum Begun {
    Service(Box<Service>),
    /// Done: another process serves, or nothing must be served.
    Done(ExitCode),
}

/// Reads the command line and the configuration, moves to the background and changes the user. Before anything is made,
/// `refuse_faults` sees what is wrong.
pub(super) fn begin(
    syntax: &Syntax<Key>,
    words: &[std::ffi::OsString],
    role: Role,
    name: &str,
    refuse_faults: impl FnOnce(&Loaded) -> anyhow::Result<()>,
) -> anyhow::Result<Begun> {
    let line = match start::read(syntax, &start::texts(words), |_| Ok(()))? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(Begun::Done(code)),
    };
    if line.has(Key::Daemon) && !line.has(Key::Detached) {
        return Ok(Begun::Done(daemon::start()?));
    }
    let mut loaded = start::load(&line, role, name)?;
    if let Some(user) = line.value(Key::User) {
        loaded.opts.set("user", user);
    }
    refuse_faults(&loaded)?;
    let daemon = daemon_of(syntax, &line, &loaded.opts)?;
    account::run_as_configured_user(&loaded.opts, &belongings(&daemon, &loaded.opts)?)?;
    let functions_umask = daemon::restrict_new_files(daemon.detached);
    let is_told = if daemon.detached {
        let level = start::level(&line, &loaded.opts, "log_level_logfile");
        logs::start(level, Look::Own);
        false
    } else {
        let level = start::level(&line, &loaded.opts, "log_level");
        start_logs_beside(&daemon, level, &line, &loaded.opts)?;
        matches!(level, Level::Warning | Level::Error | Level::Critical)
    };
    start::warn_of_level(&loaded.opts);
    start::warn_of_ignored(&line);
    host::raise_file_limit();
    Ok(Begun::Service(Box::new(Service {
        loaded,
        functions_umask,
        daemon,
        is_told,
        has_warned: Cell::new(false),
    })))
}

impl Service {
    /// Reports that the daemon is ready: to the process that started it, to the service manager, on the terminal, and by
    /// the file with the process id, which goes when what is returned is dropped.
    pub(super) fn is_up(&self, ready: &str) -> anyhow::Result<Option<PidFile>> {
        self.warn_beside(None);
        if self.is_told {
            // Nobody may read it.
            let _ = writeln!(terminal::stderr(), "{ready}");
        }
        match self.daemon.is_up() {
            // In the foreground the process can be ended without the file.
            Err(error) if !self.daemon.detached => {
                tracing::warn!("{}", show::one_line(&error));
                let daemon = Daemon {
                    pid_file: None,
                    ..self.daemon.clone()
                };
                daemon.is_up()
            }
            up => up,
        }
    }

    /// Runs the daemon to its end.
    pub(super) fn run(
        &self,
        serve: impl Future<Output = anyhow::Result<ExitCode>>,
    ) -> anyhow::Result<ExitCode> {
        let ended = host::node_runtime()?.block_on(signals::while_serving(serve))?;
        self.warn_beside(ended.as_ref().err());
        ended
    }

    /// Logs the warnings of the configuration, once: when the daemon is ready, or beside the error that keeps it from
    /// that, which may be one of them.
    pub(super) fn warn_beside(&self, error: Option<&anyhow::Error>) {
        if self.has_warned.replace(true) {
            return;
        }
        let error = error.map(show::one_line).unwrap_or_default();
        let warnings = self.loaded.warnings.iter().map(ToString::to_string);
        for warning in warnings.filter(|warning| !error.contains(warning)) {
            tracing::warn!("{warning}");
        }
    }
}

/// In the foreground: logs to the terminal, and to the log file, as Salt's daemons do.
fn start_logs_beside(
    daemon: &Daemon,
    level: Level,
    line: &Parsed<Key>,
    opts: &Opts,
) -> anyhow::Result<()> {
    let of_file = start::level(line, opts, "log_level_logfile");
    if of_file == Level::Quiet {
        logs::start(level, Look::Salt);
        return Ok(());
    }
    match daemon.open_log_beside() {
        Ok(true) => logs::start_beside_file(level, of_file),
        Ok(false) => logs::start(level, Look::Salt),
        Err(error)
            if line.has(Key::LogFile)
                || opts.is_given("log_file")
                || opts.is_given("api_logfile") =>
        {
            return Err(error);
        }
        // The default may be another user's; the terminal has the log.
        Err(error) => {
            logs::start(level, Look::Salt);
            tracing::debug!("{}", show::one_line(&error));
        }
    }
    Ok(())
}

fn daemon_of(syntax: &Syntax<Key>, line: &Parsed<Key>, opts: &Opts) -> anyhow::Result<Daemon> {
    // Beside a master: its files are the master's.
    let (pid_file, log_file) = match syntax.program {
        "salt-api" => ("api_pidfile", "api_logfile"),
        _ => ("pidfile", "log_file"),
    };
    let path = |said: Option<&str>, name| {
        let path = said.or(opts.text(name).ok());
        path.filter(|path| !path.is_empty()).map(PathBuf::from)
    };
    let log_file = path(line.value(Key::LogFile), log_file);
    let syslog = log_file.as_ref().and_then(|log_file| {
        let text = log_file.to_str()?;
        SyslogAddress::parse(text)
    });
    Ok(Daemon {
        detached: line.has(Key::Detached),
        pid_file: path(line.value(Key::PidFile), pid_file),
        log_file: match (&syslog, log_file) {
            // One of the command line begins where we are.
            (None, Some(file)) if line.has(Key::LogFile) => Some(std::path::absolute(file)?),
            (_, file) => file.filter(|path| path.is_absolute()),
        },
        syslog: syslog.transpose()?,
    })
}

fn belongings(daemon: &Daemon, opts: &Opts) -> anyhow::Result<Belongings> {
    Ok(Belongings {
        folders: account::node_folders(opts)?,
        pid_file: daemon.pid_file.clone(),
        log_file: daemon.log_file.clone(),
    })
}

//! Serving in the background: `brine bus -d`, `salt-master -d`, `salt-minion -d`.
//!
//! Without a fork: the program starts itself again, detached, and exits when the new process says that its sockets
//! are there. So whoever started it can use the bus at once, and sees what went wrong.

pub(crate) mod account;
pub(crate) mod activation;
pub(crate) mod handover;
pub(crate) mod log_file;
mod service_manager;
pub(crate) mod signals;
pub(crate) mod syslog;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::Context;
use rustix::fs::{Mode, OFlags};
use rustix::process::{setsid, umask};
use rustix::stdio::{dup2_stderr, dup2_stdout};

use self::log_file::Takes;
use crate::terminal;

/// How a process runs that serves until it is asked to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Daemon {
    /// It was started by [`start`] and is to leave the terminal.
    pub(crate) detached: bool,
    /// Gets the process id, and goes with the process.
    pub(crate) pid_file: Option<PathBuf>,
    /// Where the log goes once the terminal is left; nowhere without one.
    pub(crate) log_file: Option<PathBuf>,
    /// Where it goes instead.
    pub(crate) syslog: Option<syslog::SyslogAddress>,
}

/// What the detached process is told in addition to its own arguments.
pub(crate) const DETACHED: &str = "--detached";

/// What the detached process writes to the one that waits for it.
const READY: &[u8] = b"ready\n";

/// Starts the detached process; done when that is ready, failed when that fails.
pub(crate) fn start() -> anyhow::Result<ExitCode> {
    let program = std::env::current_exe().context("cannot find this program's own file")?;
    let mut child = Command::new(program)
        // The name may say which command we are.
        .arg0(std::env::args_os().next().unwrap_or_default())
        .args(std::env::args_os().skip(1))
        .arg(DETACHED)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start in the background")?;
    let mut said = Vec::new();
    if let Some(stdout) = &mut child.stdout {
        stdout.read_to_end(&mut said)?;
    }
    if said == READY {
        return Ok(ExitCode::SUCCESS);
    }
    // It has reported the reason on stderr.
    child.wait()?;
    Ok(ExitCode::FAILURE)
}

impl Daemon {
    /// All is there that others wait for: leaves the terminal if asked to, and says so. The file goes when what
    /// is returned is dropped.
    pub(crate) fn is_up(&self) -> anyhow::Result<Option<PidFile>> {
        let pid_file = self.pid_file.clone().map(PidFile::write).transpose()?;
        if self.detached {
            self.detach()?;
        }
        service_manager::report_ready();
        Ok(pid_file)
    }

    /// Has records written to the log file or to syslog.
    fn open_log(&self, takes: Takes) -> anyhow::Result<()> {
        if let Some(address) = &self.syslog {
            log_file::write_to_syslog(address)
                .context("option log_file: syslog does not answer")?;
        }
        if let Some(path) = &self.log_file {
            make_room(path);
            log_file::write_to(path, takes)
                .with_context(|| format!("log file {}", path.display()))?;
        }
        Ok(())
    }

    /// In the foreground: has records written there, beside the terminal. Whether there is such a log.
    pub(crate) fn open_log_beside(&self) -> anyhow::Result<bool> {
        self.open_log(Takes::Records)?;
        Ok(self.log_file.is_some() || self.syslog.is_some())
    }

    fn detach(&self) -> anyhow::Result<()> {
        // Refused only to the leader of a group, which a child is not.
        setsid().context("cannot leave the terminal")?;
        self.open_log(Takes::Stderr)?;
        if self.log_file.is_none() {
            dup2_stderr(nowhere()?).context("cannot leave the terminal")?;
        }
        // The process that waits may be gone; we stay.
        let _ = terminal::stdout()
            .write_all(READY)
            .and_then(|()| terminal::stdout().flush());
        dup2_stdout(nowhere()?).context("cannot leave the terminal")
    }
}

/// Whatever waits for this to be up is to wait on, for at least so long.
pub(crate) fn report_starting(time: std::time::Duration) {
    service_manager::report_starting(time);
}

/// New files are their owner's alone from here on, unless a mode is given. What functions of a minion make keeps
/// the mask that is returned, as in Salt: of who started the process, or 022 in the background.
pub(crate) fn restrict_new_files(is_detached: bool) -> u32 {
    let inherited = umask(Mode::RWXG | Mode::RWXO);
    if is_detached {
        0o022
    } else {
        inherited.as_raw_mode()
    }
}

/// Makes a folder, and those above it, that others may enter and list: it holds sockets or process ids, whose own
/// modes say who may use them.
pub(crate) fn make_public_folder(path: &Path) -> io::Result<()> {
    // A relative path begins where we are.
    if path.is_dir() || path.as_os_str().is_empty() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_public_folder(parent)?;
    }
    match fs::create_dir(path) {
        Ok(()) => fs::set_permissions(path, fs::Permissions::from_mode(0o755)),
        // Another process may start at the same time.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the folder of a file. What is wrong with it, opening the file tells.
fn make_room(path: &Path) {
    if let Some(folder) = path.parent() {
        let _ = make_public_folder(folder);
    }
}

fn nowhere() -> anyhow::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/null");
    opened.context("/dev/null")
}

/// A file with this process's id; removed when dropped.
#[derive(Debug)]
pub(crate) struct PidFile(PathBuf);

impl PidFile {
    fn write(path: PathBuf) -> anyhow::Result<Self> {
        make_room(&path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        // Not through a link that somebody left in a folder for all, such as /tmp.
        options.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let opened = options.open(&path);
        let mut file = opened.with_context(|| format!("pid file {}", path.display()))?;
        // An error from here on removes it.
        let written = Self(path);
        let mut write = || {
            // Others may read it whatever the umask says, but nobody may write it.
            file.set_permissions(fs::Permissions::from_mode(0o644))?;
            write!(file, "{}", std::process::id())
        };
        write().with_context(|| format!("pid file {}", written.0.display()))?;
        Ok(written)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // A file that stays names a process that no longer exists, as after a kill.
        if fs::symlink_metadata(&self.0).is_ok_and(|about| about.is_file()) {
            let _ = fs::remove_file(&self.0);
        }
    }
}

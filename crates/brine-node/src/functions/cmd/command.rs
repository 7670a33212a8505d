//! Starting a command as Salt's `cmdmod._run` does: its words, directory, user and environment, and its end.
//!
//! Knows no function's return value. Dropping the future of [`run`] kills the command with all it started.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use brine_wire::matching::{MatchType, TagMatch};
use brine_wire::{Map, Value, python_text};
use nix::unistd::User;
use rustix::fs::{Access, access};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::{Arguments, shlex, which};
use crate::functions::Failure;
use crate::functions::context::Context;

/// The most output kept of a command, in bytes for each of its two streams.
const MOST_OUTPUT: u64 = 64 << 20;

/// The locale that commands get unless told otherwise: Salt reads English only.
const LOCALE: [&str; 13] = [
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LC_MESSAGES",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
    "LANGUAGE",
];

/// A command that is to be run.
pub(super) struct Options {
    words: Words,
    cwd: PathBuf,
    /// The shell to run it with, if any.
    shell: Option<String>,
    stdin: Option<Vec<u8>>,
    runas: Option<User>,
    env: Vec<(String, String)>,
    clean_env: bool,
    prepend_path: Option<String>,
    umask: Option<u32>,
    timeout: Option<Duration>,
    rstrip: bool,
    is_background: bool,
    merges: bool,
    success: Success,
}

/// A command as it was given.
#[derive(Clone)]
enum Words {
    Line(String),
    List(Vec<String>),
}

/// What counts as success besides exit code 0.
struct Success {
    retcodes: Vec<i64>,
    stdout: Vec<String>,
    stderr: Vec<String>,
}

/// A command that has ended.
pub(super) struct Finished {
    pub(super) pid: u32,
    pub(super) retcode: i64,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Options {
    /// Reads a function's arguments. `merges`: standard error goes into standard output.
    pub(super) fn read(
        context: &Context,
        arguments: &Arguments,
        merges: bool,
    ) -> Result<Self, Failure> {
        let words = match arguments.get("cmd") {
            Value::Array(list) => Words::List(list.iter().map(python_text::str).collect()),
            line => Words::Line(python_text::str(line)),
        };
        Self::of(context, arguments, words, merges)
    }

    /// The same, executed without a shell.
    pub(super) fn without_shell(mut self) -> Self {
        self.shell = None;
        self
    }

    /// The same for words of our own.
    pub(super) fn of_list(
        context: &Context,
        arguments: &Arguments,
        words: Vec<String>,
    ) -> Result<Self, Failure> {
        Self::of(context, arguments, Words::List(words), false)
    }

    fn of(
        context: &Context,
        arguments: &Arguments,
        words: Words,
        merges: bool,
    ) -> Result<Self, Failure> {
        refuse_what_is_not_there(arguments)?;
        let shell = shell_program(arguments)?;
        if arguments.is_job() {
            check_permitted(context, &words)?;
        }
        let runas = runas(arguments)?;
        let cwd = directory(arguments, runas.as_ref())?;
        let uses_shell = match arguments.get("python_shell") {
            // As in Salt: a job's commands are for the shell, another function's are not.
            Value::Nil => {
                arguments.is_job() || context.config().opts.get("cmd_safe") == Some(&false.into())
            }
            set => *set == Value::Bool(true),
        };
        let words = match words {
            Words::Line(line) if !uses_shell => Words::List(split(&line)?),
            words => words,
        };
        Ok(Self {
            words,
            cwd,
            shell: uses_shell.then_some(shell),
            stdin: stdin(arguments),
            runas,
            env: environment(arguments),
            clean_env: arguments.is_set("clean_env"),
            prepend_path: text(arguments, "prepend_path"),
            umask: umask(arguments)?.or(context.config().umask),
            timeout: timeout(arguments)?,
            rstrip: !matches!(arguments.get("rstrip"), Value::Bool(false)),
            is_background: arguments.is_set("bg"),
            merges,
            success: Success::read(arguments)?,
        })
    }
}

impl Success {
    fn read(arguments: &Arguments) -> Result<Self, Failure> {
        let list = |name| match arguments.get(name) {
            Value::Nil => Vec::new(),
            Value::Array(values) => values.iter().map(python_text::str).collect(),
            value => python_text::str(value)
                .split(',')
                .map(|part| part.trim().to_owned())
                .collect(),
        };
        let codes = list("success_retcodes");
        let retcodes = codes.iter().map(|code| code.parse::<i64>());
        let retcodes: Result<Vec<i64>, _> = retcodes.collect();
        Ok(Self {
            retcodes: retcodes.map_err(|_| Failure::Invocation {
                message: "success_retcodes must be a list of integers".into(),
            })?,
            stdout: list("success_stdout"),
            stderr: list("success_stderr"),
        })
    }

    fn applies(&self, done: &Finished) -> bool {
        self.retcodes.contains(&done.retcode)
            || self.stdout.iter().any(|text| done.stdout.contains(text))
            || self.stderr.iter().any(|text| done.stderr.contains(text))
    }
}

/// Runs a command to its end, or to its timeout.
pub(super) async fn run(options: Options) -> Result<Finished, Failure> {
    if options.is_background {
        let pid = start(options).await?;
        return Ok(Finished {
            pid,
            retcode: 0,
            stdout: String::new(),
            stderr: String::new(),
        });
    }
    let mut group = spawn(&options, false).await?;
    let pid = group.child.id().unwrap_or_default();
    let ended = output_of(&mut group.child, options.stdin.clone());
    let ended = match options.timeout {
        None => Some(ended.await),
        Some(timeout) => tokio::time::timeout(timeout, ended).await.ok(),
    };
    let Some(ended) = ended else {
        let seconds = python_text::str(&seconds(options.timeout));
        return Ok(Finished {
            pid,
            retcode: 1,
            stdout: format!(
                "{} : Timed out after {seconds} seconds",
                options.words.python(options.shell.is_some())
            ),
            stderr: String::new(),
        });
    };
    let (status, stdout, stderr) = ended.map_err(|error| failed(error.to_string()))?;
    group.is_done = true;
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        if options.rstrip {
            text.trim_end().to_owned()
        } else {
            text
        }
    };
    let mut done = Finished {
        pid,
        retcode: code(status),
        stdout: text(&stdout),
        stderr: text(&stderr),
    };
    if options.success.applies(&done) {
        done.retcode = 0;
    }
    Ok(done)
}

/// Starts a command that goes on by itself; its process id.
pub(super) async fn start(options: Options) -> Result<u32, Failure> {
    let mut group = spawn(&options, true).await?;
    group.is_done = true;
    Ok(group.child.id().unwrap_or_default())
}

/// A command with all it starts; killed when dropped before it is done.
struct Group {
    child: Child,
    is_done: bool,
}

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self
            .child
            .id()
            .and_then(|pid| Pid::from_raw(pid.cast_signed()));
        if let (false, Some(pid)) = (self.is_done, pid) {
            let _ = kill_process_group(pid, Signal::KILL); // it may have ended just now
        }
    }
}

async fn spawn(options: &Options, is_background: bool) -> Result<Group, Failure> {
    let environment = full_environment(options).await;
    let path = environment.iter().find(|(name, _)| name == "PATH");
    let path = path.map(|(_, path)| path.clone());
    let mut words = options.words.program(options.shell.as_deref());
    let name = words.first().cloned().unwrap_or_default();
    let Some(program) = which::find(&name, path.as_deref()) else {
        return Err(cannot_run(options, &name));
    };
    if let Some(first) = words.first_mut() {
        *first = program.to_string_lossy().into_owned();
    }
    let words = changed_by(options, words)?;
    let (program, rest) = words
        .split_first()
        .ok_or_else(|| cannot_run(options, &name))?;
    let mut command = Command::new(program);
    command
        .args(rest)
        .current_dir(&options.cwd)
        .env_clear()
        .envs(environment)
        .process_group(0);
    let output = || {
        if is_background {
            Stdio::null()
        } else {
            Stdio::piped()
        }
    };
    let is_fed = options.stdin.is_some() && !is_background;
    command
        .stdin(if is_fed {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(output())
        .stderr(output());
    if options.merges && !is_background {
        let (reader, writer) = io::pipe().map_err(|error| failed(error.to_string()))?;
        let copy = writer
            .try_clone()
            .map_err(|error| failed(error.to_string()))?;
        command.stdout(writer).stderr(copy);
        let mut child = command
            .spawn()
            .map_err(|error| failed(format!("Unable to run command: {error}")))?;
        drop(command); // or the pipe would never end
        child.stdout = None;
        let reader = tokio::process::ChildStdout::from_std(std::process::ChildStdout::from(
            std::os::fd::OwnedFd::from(reader),
        ));
        child.stdout = Some(reader.map_err(|error| failed(error.to_string()))?);
        return Ok(Group {
            child,
            is_done: false,
        });
    }
    let child = command
        .spawn()
        .map_err(|error| failed(format!("Unable to run command: {error}")))?;
    Ok(Group {
        child,
        is_done: false,
    })
}

/// Feeds a command and takes its output until it has ended.
async fn output_of(
    child: &mut Child,
    stdin: Option<Vec<u8>>,
) -> io::Result<(ExitStatus, Vec<u8>, Vec<u8>)> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let (Some(mut input), Some(text)) = (input, stdin) {
            let _ = input.write_all(&text).await; // a command need not read what it is given
        }
        Ok(())
    };
    let read_output = async {
        match output {
            Some(output) => output
                .take(MOST_OUTPUT)
                .read_to_end(&mut stdout)
                .await
                .map(drop),
            None => Ok(()),
        }
    };
    let read_errors = async {
        match errors {
            Some(errors) => errors
                .take(MOST_OUTPUT)
                .read_to_end(&mut stderr)
                .await
                .map(drop),
            None => Ok(()),
        }
    };
    tokio::try_join!(feed, read_output, read_errors)?;
    let status = child.wait().await?;
    Ok((status, stdout, stderr))
}

impl Words {
    /// The words that are executed.
    fn program(&self, shell: Option<&str>) -> Vec<String> {
        match (self, shell) {
            (Self::Line(line), Some(shell)) => vec![shell.into(), "-c".into(), line.clone()],
            (Self::List(words), Some(shell)) => [shell.to_owned(), "-c".into()]
                .into_iter()
                .chain(words.clone())
                .collect(),
            (Self::Line(line), None) => vec![line.clone()],
            (Self::List(words), None) => words.clone(),
        }
    }

    /// As Python writes it in messages.
    fn python(&self, _uses_shell: bool) -> String {
        match self {
            Self::Line(line) => line.clone(),
            Self::List(words) => python_text::repr(
                &words
                    .iter()
                    .map(|word| Value::from(word.as_str()))
                    .collect::<Vec<_>>()
                    .into(),
            ),
        }
    }
}

/// The words with those before them that set the user and the umask.
fn changed_by(options: &Options, words: Vec<String>) -> Result<Vec<String>, Failure> {
    let mut before: Vec<String> = Vec::new();
    if let Some(user) = &options.runas
        && user.uid.as_raw() != rustix::process::geteuid().as_raw()
    {
        // The standard library would leave a user without its groups.
        let setpriv = which::find("setpriv", Some("/usr/bin:/bin:/usr/sbin:/sbin".as_ref()));
        let setpriv =
            setpriv.ok_or_else(|| failed("runas needs the program setpriv (util-linux)".into()))?;
        before.push(setpriv.to_string_lossy().into_owned());
        before.extend([
            format!("--reuid={}", user.uid),
            format!("--regid={}", user.gid),
            "--init-groups".into(),
            "--".into(),
        ]);
    }
    if let Some(umask) = options.umask {
        let script = format!("umask {umask:04o} && exec \"$@\"");
        before.extend(["/bin/sh".into(), "-c".into(), script, "sh".into()]);
    }
    before.extend(words);
    Ok(before)
}

/// All variables of the command.
async fn full_environment(options: &Options) -> Vec<(OsString, OsString)> {
    let mut all: Vec<(OsString, OsString)> = Vec::new();
    let mut set =
        |name: OsString, value: OsString| match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = value,
            None => all.push((name, value)),
        };
    if !options.clean_env {
        // The service manager's socket is the minion's.
        let inherited = std::env::vars_os().filter(|(name, _)| name != "NOTIFY_SOCKET");
        inherited.for_each(|(name, value)| set(name, value));
    }
    if let Some(user) = &options.runas {
        for (name, value) in login_environment(user, options.shell.as_deref()).await {
            set(name, value);
        }
    }
    for (name, value) in &options.env {
        set(name.into(), value.into());
    }
    if let Some(user) = &options.runas {
        set("USER".into(), user.name.as_str().into());
        set("HOME".into(), user.dir.as_os_str().to_owned());
    }
    if let Some(before) = &options.prepend_path {
        let path = all
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, path)| path.clone());
        let mut joined = OsString::from(before);
        joined.push(":");
        joined.push(path.unwrap_or_default());
        match all.iter_mut().find(|(name, _)| name == "PATH") {
            Some((_, path)) => *path = joined,
            None => all.push(("PATH".into(), joined)),
        }
    }
    all
}

/// The variables of a user who logs in, as Salt asks for them; none if the system refuses.
async fn login_environment(user: &User, shell: Option<&str>) -> Vec<(OsString, OsString)> {
    use std::os::unix::ffi::OsStringExt as _;

    const PATIENCE: Duration = Duration::from_secs(10);
    let mut command = Command::new("su");
    if let Some(shell) = shell {
        command.args(["-s", shell]);
    }
    // `env -0` between markers, whatever a profile prints.
    command.args([
        "-",
        &user.name,
        "-c",
        "printf '<<<brine\\0'; env -0; printf 'brine>>>'",
    ]);
    command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .current_dir("/");
    let output = match tokio::time::timeout(PATIENCE, command.output()).await {
        Ok(Ok(output)) => output.stdout,
        _ => Vec::new(),
    };
    let parts: Vec<&[u8]> = output.split(|byte| *byte == 0).collect();
    let begin = parts.iter().position(|part| part.ends_with(b"<<<brine"));
    let end = parts.iter().position(|part| part.starts_with(b"brine>>>"));
    let (Some(begin), Some(end)) = (begin, end) else {
        tracing::error!(
            user = user.name,
            "the environment of the user could not be retrieved"
        );
        return Vec::new();
    };
    let variables = parts.get(begin + 1..end).unwrap_or_default().iter();
    let variables = variables.filter_map(|line| {
        let at = line.iter().position(|byte| *byte == b'=')?;
        let (name, value) = line.split_at(at);
        let text = |bytes: &[u8]| OsString::from_vec(bytes.to_vec());
        Some((text(name), text(value.get(1..)?)))
    });
    variables.collect()
}

fn environment(arguments: &Arguments) -> Vec<(String, String)> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut add = |map: &Map| {
        for (name, value) in map {
            let value = if *value == Value::Nil {
                String::new()
            } else {
                python_text::str(value)
            };
            env.push((python_text::str(name), value));
        }
    };
    match arguments.get("env") {
        Value::Map(map) => add(map),
        Value::Array(list) => list.iter().filter_map(Value::as_map).for_each(add),
        _ => {}
    }
    if *arguments.get("reset_system_locale") != Value::Bool(false) {
        for name in LOCALE {
            if !env.iter().any(|(known, _)| known == name) {
                env.push((name.into(), "C".into()));
            }
        }
    }
    env
}

/// Options of Salt's that would change what is run, and that are not there.
fn refuse_what_is_not_there(arguments: &Arguments) -> Result<(), Failure> {
    for name in ["template", "group"] {
        // `cmd.script_retcode` has a template by default, which a script without one does not need.
        if arguments.is_set(name) && arguments.fun != "cmd.script_retcode" {
            return Err(failed(format!(
                "{name}: Brine's cmd functions do not have this option"
            )));
        }
    }
    Ok(())
}

fn shell_program(arguments: &Arguments) -> Result<String, Failure> {
    let given = text(arguments, "shell").filter(|shell| shell != "/bin/sh");
    // Salt's default is the shell of whoever started the minion.
    let shell = given.or_else(|| std::env::var("SHELL").ok());
    let shell = shell
        .filter(|shell| !shell.is_empty())
        .unwrap_or_else(|| "/bin/sh".into());
    if which::is_executable(shell.as_ref()) {
        Ok(shell)
    } else {
        Err(failed(format!("The shell {shell} is not available")))
    }
}

/// `cmd_blacklist_glob` and `cmd_whitelist_glob`.
fn check_permitted(context: &Context, words: &Words) -> Result<(), Failure> {
    let line = match words {
        Words::Line(line) => line.clone(),
        Words::List(words) => words.join(" "),
    };
    let globs = |name| match context.config().opts.get(name) {
        Some(Value::Array(globs)) => globs.iter().map(python_text::str).collect(),
        _ => Vec::new(),
    };
    let matches = |glob: &String| {
        // A pattern that cannot be read must not let a command through.
        TagMatch::new(MatchType::Fnmatch, glob.clone()).map(|glob| glob.matches(&line))
    };
    let is_listed = globs("cmd_blacklist_glob")
        .iter()
        .any(|glob| matches(glob).unwrap_or(true));
    let allowed: Vec<String> = globs("cmd_whitelist_glob");
    let is_allowed =
        allowed.is_empty() || allowed.iter().any(|glob| matches(glob).unwrap_or(false));
    if is_allowed && !is_listed {
        return Ok(());
    }
    let shown = words.python(true);
    Err(failed(format!(
        "The shell command \"{shown}\" is not permitted"
    )))
}

fn runas(arguments: &Arguments) -> Result<Option<User>, Failure> {
    let Some(name) = text(arguments, "runas") else {
        return Ok(None);
    };
    match User::from_name(&name).ok().flatten() {
        Some(user) => Ok(Some(user)),
        None => Err(failed(format!("User '{name}' is not available"))),
    }
}

fn directory(arguments: &Arguments, runas: Option<&User>) -> Result<PathBuf, Failure> {
    let Some(cwd) = text(arguments, "cwd") else {
        let home = match runas {
            Some(user) => user.dir.clone(),
            None => home(),
        };
        let is_there = home.is_dir() && access(&home, Access::READ_OK).is_ok();
        return Ok(if is_there { home } else { "/".into() });
    };
    let path = PathBuf::from(&cwd);
    if path.is_absolute() && path.is_dir() {
        return Ok(path);
    }
    Err(failed(format!(
        "Specified cwd '{cwd}' either not absolute or does not exist"
    )))
}

fn home() -> PathBuf {
    let own = || {
        User::from_uid(nix::unistd::geteuid())
            .ok()
            .flatten()
            .map(|user| user.dir)
    };
    let set = std::env::var_os("HOME")
        .filter(|home| !home.is_empty())
        .map(PathBuf::from);
    set.or_else(own).unwrap_or_else(|| "/".into())
}

fn stdin(arguments: &Arguments) -> Option<Vec<u8>> {
    let text = match arguments.get("stdin") {
        Value::Nil => return None,
        value => python_text::str(value),
    };
    let is_raw = arguments.is_set("stdin_raw_newlines");
    // As typed on a command line, where a line feed is hard to write.
    let text = if is_raw {
        text
    } else {
        text.replace("\\n", "\n")
    };
    (!text.is_empty()).then(|| text.into_bytes())
}

fn umask(arguments: &Arguments) -> Result<Option<u32>, Failure> {
    let Some(umask) = text(arguments, "umask") else {
        return Ok(None);
    };
    let digits = umask.trim_start_matches('0');
    if digits.is_empty() {
        return Err(failed("Zero umask is not allowed.".into()));
    }
    match u32::from_str_radix(digits, 8) {
        Ok(umask) => Ok(Some(umask & 0o777)),
        Err(_) => Err(failed(format!("Invalid umask: '{umask}'"))),
    }
}

fn timeout(arguments: &Arguments) -> Result<Option<Duration>, Failure> {
    let seconds = match arguments.get("timeout") {
        value if !value.is_true() => return Ok(None),
        Value::Int(seconds) => u64::try_from(*seconds).ok().map(Duration::from_secs),
        Value::Float(seconds) => Duration::try_from_secs_f64(*seconds).ok(),
        value => {
            let text = python_text::str(value);
            let message = format!("Error: timeout {text} must be a number");
            return Err(Failure::raised(
                "salt.exceptions.TimedProcTimeoutError",
                message,
            ));
        }
    };
    Ok(seconds)
}

fn seconds(timeout: Option<Duration>) -> Value {
    let timeout = timeout.unwrap_or_default();
    if timeout.subsec_nanos() == 0 {
        i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX).into()
    } else {
        Value::Float(timeout.as_secs_f64())
    }
}

fn split(line: &str) -> Result<Vec<String>, Failure> {
    shlex::split(line).map_err(|error| Failure::raised("ValueError", error.message()))
}

/// An option that is given, as text.
fn text(arguments: &Arguments, name: &str) -> Option<String> {
    let value = arguments.get(name);
    value.is_true().then(|| python_text::str(value))
}

/// A process's code as Python gives it: negative for a signal.
fn code(status: ExitStatus) -> i64 {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(code), _) => code.into(),
        (None, Some(signal)) => -i64::from(signal),
        (None, None) => 1,
    }
}

fn cannot_run(options: &Options, name: &str) -> Failure {
    let Words::List(_) = &options.words else {
        return failed(format!(
            "Unable to run command '{}': {name} not found",
            options.words.python(true)
        ));
    };
    let words = options.words.python(false);
    let stderr = if options.merges { -2 } else { -1 };
    let timeout = if options.timeout.is_some() {
        seconds(options.timeout)
    } else {
        Value::Nil
    };
    let context = format!(
        "{{'cwd': {}, 'shell': False, 'stdout': -1, 'stderr': {stderr}, 'with_communicate': True, 'timeout': {}, \
         'bg': {}, 'close_fds': True}}",
        python_text::repr(&options.cwd.to_string_lossy().as_ref().into()),
        python_text::repr(&timeout),
        python_text::repr(&options.is_background.into()),
    );
    let name = python_text::repr(&name.into());
    failed(format!(
        "Unable to run command '{words}' with the context '{context}', reason: [Errno 2] No such file or directory: {name}"
    ))
}

fn failed(message: String) -> Failure {
    Failure::Execution { message }
}

//! `cmd.*`: running commands on the minion's machine.
//!
//! The table of functions and what each returns; [`options`] reads their arguments, [`command`] runs the command.
//! Missing: templates, `use_vt`, `group`. Facts: Salt 3006.28 and 3008.3, `salt.modules.cmdmod`, by running them.

mod command;
mod environment;
mod finished;
mod options;
mod script;
mod shlex;
mod which;

use brine_wire::{Map, Value};

use self::finished::Finished;
use self::options::Options;
use super::context::Context;
use super::signature::Bound;
use super::table::{Builtin, Returned, Run, Waiting};
use super::{Failure, table};

pub(super) const TABLE: &[Builtin] = &[
    Builtin {
        name: "cmd.run",
        signature: "cmd, cwd=None, stdin=None, runas=None, group=None, shell='/bin/sh', \
                    python_shell=None, env=None, clean_env=False, template=None, rstrip=True, \
                    umask=None, output_encoding=None, output_loglevel='debug', log_callback=None, \
                    hide_output=False, timeout=None, reset_system_locale=True, \
                    ignore_retcode=False, saltenv=None, use_vt=False, redirect_stderr=True, \
                    bg=False, password=None, encoded_cmd=False, raise_err=False, \
                    prepend_path=None, success_retcodes=None, success_stdout=None, \
                    success_stderr=None, **kwargs",
        doc: "
    Run a command and return its output, standard error included.

    cmd
        the command: a text for the shell, or a list of arguments
    cwd
        the directory to run it in, by default the user's home directory
    stdin
        text for its standard input
    runas
        the user to run it as
    shell
        the shell that runs it
    python_shell
        False: without a shell
    env
        a mapping of variables to set
    clean_env
        True: with no other variables
    timeout
        seconds after which it is killed
    ignore_retcode
        True: its exit code does not make the job fail
    hide_output
        True: return nothing
    success_retcodes, success_stdout, success_stderr
        exit codes and texts that mean success

        salt '*' cmd.run 'ls -l | grep foo'
        salt '*' cmd.run 'cat' stdin='one line'
    ",
        run: Run::Waits(run),
    },
    Builtin {
        name: "cmd.shell",
        signature: "cmd, cwd=None, stdin=None, runas=None, group=None, shell='/bin/sh', env=None, \
                    clean_env=False, template=None, rstrip=True, umask=None, \
                    output_encoding=None, output_loglevel='debug', log_callback=None, \
                    hide_output=False, timeout=None, reset_system_locale=True, \
                    ignore_retcode=False, saltenv=None, use_vt=False, bg=False, password=None, \
                    prepend_path=None, success_retcodes=None, success_stdout=None, \
                    success_stderr=None, **kwargs",
        doc: "
    Run a command in a shell and return its output, as cmd.run with python_shell=True.

        salt '*' cmd.shell 'ls -l | grep foo'
    ",
        run: Run::Waits(shell),
    },
    Builtin {
        name: "cmd.run_stdout",
        signature: RUN_STDOUT,
        doc: "
    Run a command and return its standard output alone. Options as in cmd.run.

        salt '*' cmd.run_stdout 'ls -l'
    ",
        run: Run::Waits(run_stdout),
    },
    Builtin {
        name: "cmd.run_stderr",
        signature: RUN_STDOUT,
        doc: "
    Run a command and return its standard error alone. Options as in cmd.run.

        salt '*' cmd.run_stderr 'ls /nonexistent'
    ",
        run: Run::Waits(run_stderr),
    },
    Builtin {
        name: "cmd.run_all",
        signature: "cmd, cwd=None, stdin=None, runas=None, group=None, shell='/bin/sh', \
                    python_shell=None, env=None, clean_env=False, template=None, rstrip=True, \
                    umask=None, output_encoding=None, output_loglevel='debug', log_callback=None, \
                    hide_output=False, timeout=None, reset_system_locale=True, \
                    ignore_retcode=False, saltenv=None, use_vt=False, redirect_stderr=False, \
                    password=None, encoded_cmd=False, prepend_path=None, success_retcodes=None, \
                    success_stdout=None, success_stderr=None, **kwargs",
        doc: "
    Run a command and return its process id, exit code, standard output and standard error.
    Options as in cmd.run.

        salt '*' cmd.run_all 'ls -l'
    ",
        run: Run::Waits(run_all),
    },
    Builtin {
        name: "cmd.retcode",
        signature: "cmd, cwd=None, stdin=None, runas=None, group=None, shell='/bin/sh', \
                    python_shell=None, env=None, clean_env=False, template=None, umask=None, \
                    output_encoding=None, output_loglevel='debug', log_callback=None, \
                    timeout=None, reset_system_locale=True, ignore_retcode=False, saltenv=None, \
                    use_vt=False, password=None, success_retcodes=None, success_stdout=None, \
                    success_stderr=None, **kwargs",
        doc: "
    Run a command and return its exit code. Options as in cmd.run.

        salt '*' cmd.retcode 'test -e /etc/hosts'
    ",
        run: Run::Waits(retcode),
    },
    Builtin {
        name: "cmd.run_bg",
        signature: "cmd, cwd=None, runas=None, group=None, shell='/bin/sh', python_shell=None, \
                    env=None, clean_env=False, template=None, umask=None, timeout=None, \
                    output_encoding=None, output_loglevel='debug', log_callback=None, \
                    reset_system_locale=True, ignore_retcode=False, saltenv=None, password=None, \
                    prepend_path=None, success_retcodes=None, success_stdout=None, \
                    success_stderr=None, **kwargs",
        doc: "
    Start a command in the background and return its process id.

        salt '*' cmd.run_bg 'sleep 100'
    ",
        run: Run::Waits(run_bg),
    },
    Builtin {
        name: "cmd.script",
        signature: "source, args=None, cwd=None, stdin=None, runas=None, group=None, \
                    shell='/bin/sh', python_shell=None, env=None, template=None, umask=None, \
                    output_encoding=None, output_loglevel='debug', log_callback=None, \
                    hide_output=False, timeout=None, reset_system_locale=True, saltenv=None, \
                    use_vt=False, bg=False, password=None, success_retcodes=None, \
                    success_stdout=None, success_stderr=None, **kwargs",
        doc: "
    Fetch a script from the master (salt://) or this machine, run it and return what cmd.run_all does.

        salt '*' cmd.script salt://scripts/runme.sh 'arg1 \"arg 2\"'
    ",
        run: Run::Waits(script::script),
    },
    Builtin {
        name: "cmd.script_retcode",
        signature: "source, args=None, cwd=None, stdin=None, runas=None, group=None, \
                    shell='/bin/sh', python_shell=None, env=None, template='jinja', umask=None, \
                    timeout=None, reset_system_locale=True, saltenv=None, output_encoding=None, \
                    output_loglevel='debug', log_callback=None, use_vt=False, password=None, \
                    success_retcodes=None, success_stdout=None, success_stderr=None, **kwargs",
        doc: "
    Fetch a script and run it as cmd.script does, and return its exit code.

        salt '*' cmd.script_retcode salt://scripts/runme.sh
    ",
        run: Run::Waits(script::script_retcode),
    },
    Builtin {
        name: "cmd.exec_code",
        signature: "lang, code, cwd=None, args=None, **kwargs",
        doc: "
    Run code with an interpreter and return its standard output.

        salt '*' cmd.exec_code ruby 'puts \"cheese\"'
    ",
        run: Run::Waits(script::exec_code),
    },
    Builtin {
        name: "cmd.exec_code_all",
        signature: "lang, code, cwd=None, args=None, **kwargs",
        doc: "
    Run code with an interpreter and return what cmd.run_all does.

        salt '*' cmd.exec_code_all ruby 'puts \"cheese\"'
    ",
        run: Run::Waits(script::exec_code_all),
    },
    Builtin::now(
        "cmd.which",
        "cmd",
        "
    Return the path of a program, or None.

        salt '*' cmd.which cat
    ",
        |_, bound| Ok(which::which(&bound.text(0)).into()),
    ),
    Builtin::now(
        "cmd.which_bin",
        "cmds",
        "
    Return the path of the first program of a list that there is, or None.

        salt '*' cmd.which_bin '[pip2, pip, pip-python]'
    ",
        |_, bound| Ok(which::which_bin(bound.get(0)).into()),
    ),
    Builtin::now(
        "cmd.has_exec",
        "cmd",
        "
    Return whether there is a program of that name.

        salt '*' cmd.has_exec cat
    ",
        |_, bound| Ok(Value::Bool(which::which(&bound.text(0)) != Value::Nil).into()),
    ),
    Builtin::now(
        "cmd.shells",
        "",
        "
    Return the shells of /etc/shells.

        salt '*' cmd.shells
    ",
        |_, _| Ok(which::shells().into()),
    ),
];

const RUN_STDOUT: &str = "cmd, cwd=None, stdin=None, runas=None, group=None, shell='/bin/sh', \
    python_shell=None, env=None, clean_env=False, template=None, rstrip=True, umask=None, \
    output_encoding=None, output_loglevel='debug', log_callback=None, hide_output=False, \
    timeout=None, reset_system_locale=True, ignore_retcode=False, saltenv=None, use_vt=False, \
    password=None, prepend_path=None, success_retcodes=None, success_stdout=None, \
    success_stderr=None, **kwargs";

/// A call's arguments by the names of a function's parameters.
struct Arguments {
    fun: &'static str,
    bound: Bound,
}

impl Arguments {
    /// The value of a parameter; nil if the function has none of that name.
    fn get(&self, name: &str) -> &Value {
        let parameters = table::find(self.fun).map(|known| known.signature.parameters.iter());
        let at = parameters.and_then(|mut all| all.position(|(parameter, _)| *parameter == name));
        match at {
            Some(at) => self.bound.get(at),
            None => self.bound.keywords.get(name).unwrap_or(&Value::Nil),
        }
    }

    fn is_set(&self, name: &str) -> bool {
        self.get(name).is_true()
    }

    /// Whether a job calls, not another function.
    fn is_job(&self) -> bool {
        self.bound
            .keywords
            .get("__pub_jid")
            .is_some_and(Value::is_true)
    }
}

/// Runs the command in `arguments`; returns it with the job's exit code.
async fn finished(
    context: &Context,
    arguments: &Arguments,
    merges: bool,
) -> Result<Finished, Failure> {
    ended(arguments, Options::read(context, arguments, merges)?).await
}

/// Runs a command, and logs that it failed unless a failure is expected.
async fn ended(arguments: &Arguments, options: Options) -> Result<Finished, Failure> {
    let name = options.words.name();
    let done = command::run(options).await?;
    let is_quiet = arguments.get("output_loglevel").as_str() == Some("quiet");
    if done.retcode != 0 && !is_quiet && !arguments.is_set("ignore_retcode") {
        let text = format!("Command '{name}' failed with return code: {}", done.retcode);
        match &arguments.bound.log {
            Some(log) => log.error(text),
            None => tracing::error!("{text}"),
        }
    }
    Ok(done)
}

fn run(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.run",
            bound,
        };
        let merges = arguments.is_set("redirect_stderr");
        let done = finished(context, &arguments, merges).await?;
        if done.retcode != 0 && arguments.is_set("raise_err") && !arguments.is_set("ignore_retcode")
        {
            let message = shown(&arguments, &done.stdout).to_owned();
            return Err(Failure::Execution { message });
        }
        let output = shown(&arguments, &done.stdout).to_owned();
        Ok(returned(&arguments, &done, output.into()))
    })
}

fn shell(context: &Context, mut bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        if bound.keywords.get("python_shell").is_none() {
            bound.keywords.insert("python_shell", true);
        }
        let arguments = Arguments {
            fun: "cmd.shell",
            bound,
        };
        let done = finished(context, &arguments, true).await?;
        let output = shown(&arguments, &done.stdout).to_owned();
        Ok(returned(&arguments, &done, output.into()))
    })
}

fn run_stdout(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.run_stdout",
            bound,
        };
        let done = finished(context, &arguments, false).await?;
        let output = shown(&arguments, &done.stdout).to_owned();
        Ok(returned(&arguments, &done, output.into()))
    })
}

fn run_stderr(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.run_stderr",
            bound,
        };
        let done = finished(context, &arguments, false).await?;
        let output = shown(&arguments, &done.stderr).to_owned();
        Ok(returned(&arguments, &done, output.into()))
    })
}

fn run_all(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.run_all",
            bound,
        };
        let merges = arguments.is_set("redirect_stderr");
        let done = finished(context, &arguments, merges).await?;
        let all = everything(&arguments, &done);
        Ok(returned(&arguments, &done, all.into()))
    })
}

fn retcode(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.retcode",
            bound,
        };
        let done = finished(context, &arguments, true).await?;
        Ok(returned(&arguments, &done, done.retcode.into()))
    })
}

fn run_bg(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.run_bg",
            bound,
        };
        let pid = command::start(Options::read(context, &arguments, true)?).await?;
        let started: Map = [("pid", i64::from(pid))].into_iter().collect();
        Ok(Value::Map(started).into())
    })
}

/// The output as far as `hide_output` permits.
fn shown<'a>(arguments: &Arguments, output: &'a str) -> &'a str {
    if arguments.is_set("hide_output") {
        ""
    } else {
        output
    }
}

/// What `cmd.run_all` returns.
fn everything(arguments: &Arguments, done: &Finished) -> Map {
    let mut all = Map::new();
    all.insert("pid", i64::from(done.pid));
    all.insert("retcode", done.retcode);
    all.insert("stdout", shown(arguments, &done.stdout));
    all.insert("stderr", shown(arguments, &done.stderr));
    all
}

fn returned(arguments: &Arguments, done: &Finished, value: Value) -> Returned {
    let is_ignored = arguments.is_set("ignore_retcode") || arguments.is_set("bg");
    Returned {
        value,
        retcode: if is_ignored { 0 } else { done.retcode },
    }
}

fn failed(message: String) -> Failure {
    Failure::Execution { message }
}

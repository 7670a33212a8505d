//! `cmd.script` and `cmd.exec_code`: running a script from a temporary file.
//!
//! Only the command's user can read the file; it is removed when the command ends.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use brine_wire::{Map, Value, python_text};
use nix::unistd::User;

use super::finished::Finished;
use super::options::Options;
use super::{Arguments, ended, everything, returned, shlex};
use crate::functions::Failure;
use crate::functions::context::Context;
use crate::functions::signature::Bound;
use crate::functions::sync::fetch_file;
use crate::functions::table::Waiting;

pub(super) fn script(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.script",
            bound,
        };
        Ok(match run_script(context, &arguments).await? {
            Some(done) => returned(&arguments, &done, everything(&arguments, &done).into()),
            None => not_there().into(),
        })
    })
}

pub(super) fn script_retcode(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.script_retcode",
            bound,
        };
        Ok(match run_script(context, &arguments).await? {
            Some(done) => returned(&arguments, &done, done.retcode.into()),
            None => Value::from(1).into(),
        })
    })
}

pub(super) fn exec_code(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.exec_code",
            bound,
        };
        let done = run_code(context, &arguments).await?;
        Ok(returned(&arguments, &done, done.stdout.as_str().into()))
    })
}

pub(super) fn exec_code_all(context: &Context, bound: Bound) -> Waiting<'_> {
    Box::pin(async move {
        let arguments = Arguments {
            fun: "cmd.exec_code_all",
            bound,
        };
        let done = run_code(context, &arguments).await?;
        Ok(returned(
            &arguments,
            &done,
            everything(&arguments, &done).into(),
        ))
    })
}

/// What Salt returns for a script that cannot be fetched.
fn not_there() -> Value {
    let mut all = Map::new();
    all.insert("pid", 0);
    all.insert("retcode", 1);
    all.insert("stdout", "");
    all.insert("stderr", "");
    all.insert("cache_error", true);
    all.into()
}

/// `None` if there is no such script.
async fn run_script(context: &Context, arguments: &Arguments) -> Result<Option<Finished>, Failure> {
    let source = python_text::str(arguments.get("source"));
    let environment = match arguments.get("saltenv") {
        value if value.is_true() => python_text::str(value),
        _ => {
            let [(_, saltenv), _] = &context.settings().environments;
            saltenv.as_str().unwrap_or("base").to_owned()
        }
    };
    let bytes = match source.strip_prefix("salt://") {
        Some(path) => fetch_file(context, &environment, path).await,
        None => fs::read(source.strip_prefix("file://").unwrap_or(&source)).ok(),
    };
    let Some(bytes) = bytes else {
        tracing::error!(source, "cmd.script: no such file");
        return Ok(None);
    };
    let extension = Path::new(&source)
        .extension()
        .map(|end| format!(".{}", end.to_string_lossy()));
    let file = Temporary::new(
        &bytes,
        extension.as_deref().unwrap_or_default(),
        0o500,
        arguments,
    )?;
    let mut words = vec![file.path()];
    match arguments.get("args") {
        Value::Array(args) => words.extend(args.iter().map(python_text::str)),
        args if args.is_true() => {
            let line = python_text::str(args);
            words.extend(
                shlex::split(&line)
                    .map_err(|error| Failure::raised("ValueError", error.message()))?,
            );
        }
        _ => {}
    }
    let options = Options::of_list(context, arguments, words)?;
    ended(arguments, options.without_shell()).await.map(Some)
}

async fn run_code(context: &Context, arguments: &Arguments) -> Result<Finished, Failure> {
    let code = python_text::str(arguments.get("code"));
    let file = Temporary::new(code.as_bytes(), "", 0o600, arguments)?;
    let mut words = vec![python_text::str(arguments.get("lang")), file.path()];
    match arguments.get("args") {
        Value::Array(args) => words.extend(args.iter().map(python_text::str)),
        Value::Str(args) => words.push(args.clone()),
        _ => {}
    }
    let options = Options::of_list(context, arguments, words)?;
    ended(arguments, options.without_shell()).await
}

/// A file that is removed when this is dropped.
struct Temporary(PathBuf);

impl Temporary {
    fn new(
        bytes: &[u8],
        extension: &str,
        mode: u32,
        arguments: &Arguments,
    ) -> Result<Self, Failure> {
        let failed = |why: String| Failure::Execution {
            message: format!("temporary file: {why}"),
        };
        let random = brine_net::crypto::random::<8>().map_err(|error| failed(error.to_string()))?;
        let name = format!("brine-{:016x}{extension}", u64::from_le_bytes(random));
        let file = Self(std::env::temp_dir().join(name));
        let mut options = OpenOptions::new();
        let written = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&file.0);
        let written = written.and_then(|mut written| {
            written.write_all(bytes)?;
            if let Some(user) = user_of(arguments) {
                std::os::unix::fs::fchown(&written, Some(user.uid.as_raw()), None)?;
            }
            written.set_permissions(Permissions::from_mode(mode))
        });
        written.map_err(|error| failed(format!("{}: {error}", file.0.display())))?;
        Ok(file)
    }

    fn path(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
}

fn user_of(arguments: &Arguments) -> Option<User> {
    let name = arguments.get("runas");
    let name = name.is_true().then(|| python_text::str(name))?;
    User::from_name(&name).ok().flatten()
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // gone already, or never there
    }
}

//! `salt-call`: runs a function on this machine's minion and prints what it returns.
//!
//! A running minion runs the function itself ([`via_minion`]); otherwise, or for another minion's id, this
//! process does ([`in_process`]).

mod in_process;
mod options;
mod report;
mod via_minion;

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use brine_bus::client::local::LocalAddress;
use brine_config::{Loaded, Opts, Role, parse_arguments};
use brine_node::functions::{Call, Outcome};
use brine_wire::network::Jid;
use brine_wire::{Map, Value};

use self::in_process::MinionBus;
pub(super) use self::options::SYNTAX;
use self::via_minion::{ReportTo, ViaMinion};
use super::options::Key;
use super::optparse::Parsed;
use super::output::Printer;
use super::start::{self, Read};
use crate::daemon::account;
use crate::terminal;
use crate::{bus_location, clock};

/// Runs a function and prints what it returns.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, options::check)? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    let mut loaded = start::configure(&line, Role::Minion, "minion")?;
    account::become_configured_user(&loaded.opts)?;
    for (key, option) in [(Key::Id, "id"), (Key::Master, "master")] {
        if let Some(value) = line.value(key).filter(|value| !value.is_empty()) {
            loaded.opts.set(option, value);
        }
    }
    let printer = start::printer(&line, &loaded.opts)?;
    let call = call(&line);
    if call.fun.is_empty() {
        terminal::stdout().write_all(SYNTAX.help().as_bytes())?;
        let complaint = SYNTAX.complaint("Requires function, --grains or --doc");
        terminal::stderr().write_all(complaint.as_bytes())?;
        return Ok(ExitCode::from(start::USAGE));
    }
    let called = Called {
        fun: call.fun.clone(),
        jid: call.jid.clone(),
    };
    let outcome = outcome(&line, &mut loaded, call)?;
    if line.has(Key::Doc) && outcome.success {
        return print_docs(&outcome.ret, line.words.first().map_or("", String::as_str));
    }
    print(&line, &loaded.opts, &printer, &called, outcome)
}

/// The call that the command line describes.
fn call(line: &Parsed<Key>) -> Call {
    let (fun, words) = match line.words.split_first() {
        _ if line.has(Key::Grains) => ("grains.items", &[][..]),
        _ if line.has(Key::Doc) => ("sys.doc", &[][..]),
        Some((fun, words)) => (fun.as_str(), words),
        None => ("", &[][..]),
    };
    let no_parse = line.value(Key::NoParse).unwrap_or_default();
    let no_parse: Vec<_> = no_parse.split(',').collect();
    let arguments = parse_arguments(words.iter().map(String::as_str), &no_parse);
    let jid = Jid::at(clock::since_epoch()).to_string();
    let mut publication = Map::new();
    publication.insert("__pub_fun", fun);
    publication.insert("__pub_pid", i64::from(std::process::id()));
    publication.insert("__pub_jid", jid.as_str());
    publication.insert("__pub_tgt", "salt-call");
    Call {
        fun: fun.to_owned(),
        args: arguments.positional,
        kwargs: arguments.keyword,
        publication,
        jid,
        ..Call::default()
    }
}

/// Runs the call in the running minion if that minion is the one meant, else in this process.
fn outcome(line: &Parsed<Key>, loaded: &mut Loaded, call: Call) -> anyhow::Result<Outcome> {
    let Loaded { opts, brine, .. } = loaded;
    if line.has(Key::Local) {
        opts.set("file_client", "local");
        opts.set("local", true);
    }
    if let Some(seconds) = line
        .value(Key::AuthTimeout)
        .and_then(|text| text.trim().parse().ok())
    {
        opts.set("auth_timeout", Value::Int(seconds));
    }
    add_folders(line, opts);
    let node = bus_location::own_minion(opts)?;
    let sock_dir = Path::new(opts.text("sock_dir")?);
    let minion = match brine_node::uses_tcp(opts) {
        true => LocalAddress::TokenFile(sock_dir.join(node.local_token_name())),
        false => LocalAddress::Socket(sock_dir.join(node.local_socket_name())),
    };
    let bus = MinionBus {
        address: bus_location::address(opts, &node, None)?,
        config: bus_location::publisher_config(brine.compat, Some(opts))?,
    };
    let log_level = start::level(line, opts, "log_level").of_python();
    if opts
        .text("file_client")
        .is_ok_and(|client| client == "local")
    {
        return in_process::run_local(loaded, &bus, call);
    }
    let report_to = if line.has(Key::NoReturnEvent) {
        ReportTo::Nobody
    } else {
        ReportTo::Master
    };
    let written = line.words.get(1..).unwrap_or_default();
    // With another id, master or module directory the running minion is not the one meant.
    let others = [Key::Id, Key::Master, Key::ModuleDirs];
    let is_another = others.into_iter().any(|key| line.has(key));
    // `with_env` asks for this process's environment, not the minion's.
    let wants_env = call.kwargs.get("with_env").is_some_and(Value::is_true);
    if !is_another
        && !wants_env
        && let ViaMinion::Answered(outcome) =
            via_minion::run(minion, &call, written, report_to, log_level)?
    {
        return Ok(outcome);
    }
    in_process::run_signed_in(loaded, &bus, call, written, report_to)
}

/// The directories of modules and files that the command line adds.
fn add_folders(line: &Parsed<Key>, opts: &mut Opts) {
    let folders = |key| {
        let folders = line.values(key).flat_map(|text| text.split(','));
        let absolute = folders.map(|folder| std::path::absolute(folder).unwrap_or(folder.into()));
        let texts = absolute.map(|folder| Value::from(folder.to_string_lossy().as_ref()));
        texts.collect::<Vec<_>>()
    };
    if line.has(Key::ModuleDirs) {
        let mut all = folders(Key::ModuleDirs);
        if let Some(Value::Array(own)) = opts.get("module_dirs") {
            all.extend(own.iter().cloned());
        }
        opts.set("module_dirs", all);
    }
    if line.has(Key::FileRoot) {
        let roots = folders(Key::FileRoot);
        opts.set("file_roots", Map::from_iter([("base", roots)]));
    }
}

/// `--doc`: the documentation of the functions whose names begin so.
fn print_docs(docs: &Value, beginning: &str) -> anyhow::Result<ExitCode> {
    let mut docs: Vec<_> = docs.as_map().into_iter().flatten().collect();
    docs.sort_by(|(one, _), (other, _)| one.as_str().cmp(&other.as_str()));
    let mut stdout = terminal::stdout();
    for (name, doc) in docs {
        let (Some(name), Some(doc)) = (name.as_str(), doc.as_str()) else {
            continue;
        };
        if name.starts_with(beginning) && !doc.is_empty() {
            writeln!(stdout, "{name}:\n{doc}\n")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What `--metadata` prints of the call.
struct Called {
    fun: String,
    jid: String,
}

/// Prints the return value, or why there is none.
fn print(
    line: &Parsed<Key>,
    opts: &Opts,
    printer: &Printer,
    called: &Called,
    outcome: Outcome,
) -> anyhow::Result<ExitCode> {
    if let Some(failure) = report::failure(&called.fun, &outcome) {
        terminal::stderr().write_all(failure.stderr.as_bytes())?;
        terminal::stdout().write_all(failure.stdout.as_bytes())?;
        return Ok(ExitCode::from(failure.code));
    }
    let retcode = outcome.retcode;
    let (printed, out) = if line.has(Key::Metadata) {
        let mut all = Map::new();
        all.insert("jid", called.jid.as_str());
        all.insert("return", outcome.ret);
        all.insert("retcode", retcode);
        if let Some(out) = &outcome.out {
            all.insert("out", out.as_str());
        }
        all.insert("id", opts.text("id")?);
        all.insert("fun", called.fun.as_str());
        let written = line.words.iter().skip(1);
        let written = written.map(|word| Value::from(word.as_str()));
        all.insert("fun_args", written.collect::<Vec<_>>());
        (all.into(), None)
    } else {
        (outcome.ret, outcome.out)
    };
    let local = Map::from_iter([("local", printed)]);
    printer.print(&local.into(), out.as_deref(), retcode)?;
    Ok(if line.has(Key::RetcodePassthrough) {
        // An exit code is the low byte of a number.
        ExitCode::from(retcode.to_le_bytes()[0])
    } else {
        ExitCode::from(u8::from(retcode != 0))
    })
}

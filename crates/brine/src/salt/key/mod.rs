//! `salt-key`: lists, accepts, rejects and deletes minions' keys.
//!
//! Prompts and messages are Salt's; `brine-node` changes the keys. Facts: Salt
//! 3008.3 and 3006.28 as they behave, compared by `tests/`.

mod cli;
mod make;
mod options;
mod remote;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use brine_config::{Loaded, Opts, Role};
use brine_net::crypto::FingerprintHash;
use brine_net::keys::store::KeyStore;
use brine_node::keys::{Action, Include, Keys};
use brine_wire::compat::Compat;
use brine_wire::{Map, Value};

pub(super) use self::options::SYNTAX;
use super::login;
use super::options::Key;
use super::optparse::Parsed;
use super::output::Printer;
use super::start::{self, Read};
use crate::access;
use crate::daemon::account;
use crate::terminal;

/// The command that `salt-key` runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Command<'a> {
    GenKeys(&'a str),
    GenSignature,
    List(&'a str),
    Print(&'a str),
    Change(Action, &'a str),
    Finger(&'a str),
}

/// Runs the command.
pub(super) fn run(words: &[OsString]) -> anyhow::Result<ExitCode> {
    let words = start::texts(words);
    let line = match start::read(&SYNTAX, &words, options::check)? {
        Read::Line(line) => line,
        Read::Done(code) => return Ok(code),
    };
    let Loaded { opts, brine, .. } = start::configure(&line, Role::Client, "master")?;
    let logs_in = login::is_wanted(&line);
    if !logs_in {
        account::become_configured_user(&opts)?;
    }
    let compat = brine.compat.unwrap_or(Compat::NEWEST);
    if line.has(Key::DeleteAll) && !line.words.is_empty() {
        let text = "Error: Delete all takes no arguments. Use -d to delete specified keys\n";
        terminal::stderr().write_all(text.as_bytes())?;
        return Ok(ExitCode::FAILURE);
    }
    let printer = start::printer(&line, &opts)?;
    let command = command(&line);
    if let Command::GenKeys(name) = command {
        let print = make::keys(name, &line)?;
        show(&printer, &returned(print.into()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let session = Session {
        line: &line,
        opts: &opts,
        compat,
        printer: &printer,
        audit: brine.audit,
    };
    if logs_in && command != Command::GenSignature {
        remote::run(command, &session)?;
        return Ok(ExitCode::SUCCESS);
    }
    let keys = Keys::new(
        open(&opts, compat)?,
        PathBuf::from(opts.text("pki_dir")?),
        compat,
    );
    match command {
        Command::GenKeys(_) => {}
        Command::GenSignature => {
            let answer = make::signature(&line, &opts)?;
            show(&printer, &returned(answer))?;
        }
        Command::List(status) => show(&printer, &keys.list(status)?)?,
        Command::Print(glob) => show(&printer, &keys.texts(glob)?)?,
        Command::Finger(glob) => {
            let hash = hash(&opts)?;
            show(&printer, &keys.fingerprints(glob, hash)?)?;
        }
        Command::Change(action, glob) => {
            let include = include(&line, action);
            let found = keys.matching(glob)?;
            cli::change(found, action, glob, include, &session, |found| {
                cli::change_files(&keys, action, found, include, &session)
            })?;
        }
    }
    terminal::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}

/// What a change of keys needs in addition to the keys.
#[derive(Debug, Clone, Copy)]
struct Session<'a> {
    line: &'a Parsed<Key>,
    opts: &'a Opts,
    compat: Compat,
    printer: &'a Printer,
    /// Whether changes are reported in events of the audit.
    audit: bool,
}

fn open(opts: &Opts, compat: Compat) -> anyhow::Result<KeyStore> {
    let pki_dir = opts.text("pki_dir")?;
    access::require("pki_dir", Path::new(pki_dir), access::READ)?;
    KeyStore::open(pki_dir, compat).with_context(|| format!("pki_dir {pki_dir}"))
}

/// The first command given, in Salt's order; without one all keys are listed.
fn command(line: &Parsed<Key>) -> Command<'_> {
    let given = |key| line.value(key).filter(|text| !text.is_empty());
    let change = |action, one, all| {
        let all = line.has(all).then_some("*");
        given(one).or(all).map(|glob| Command::Change(action, glob))
    };
    let all = |key| line.has(key).then_some("*");
    None.or_else(|| given(Key::GenKeys).map(Command::GenKeys))
        .or_else(|| line.has(Key::GenSignature).then_some(Command::GenSignature))
        .or_else(|| given(Key::List).map(Command::List))
        .or_else(|| line.has(Key::ListAll).then_some(Command::List("all")))
        .or_else(|| given(Key::Print).or(all(Key::PrintAll)).map(Command::Print))
        .or_else(|| change(Action::Accept, Key::Accept, Key::AcceptAll))
        .or_else(|| change(Action::Reject, Key::Reject, Key::RejectAll))
        .or_else(|| change(Action::Delete, Key::Delete, Key::DeleteAll))
        .or_else(|| {
            given(Key::Finger)
                .or(all(Key::FingerAll))
                .map(Command::Finger)
        })
        .unwrap_or(Command::List("all"))
}

/// Which keys besides pending ones an action includes.
fn include(line: &Parsed<Key>, action: Action) -> Include {
    let all = line.has(Key::IncludeAll);
    Include {
        accepted: match action {
            Action::Accept => false,
            Action::Reject => all || line.has(Key::IncludeAccepted),
            Action::Delete => line.has(Key::IncludeAccepted),
        },
        rejected: match action {
            Action::Accept => all || line.has(Key::IncludeRejected),
            Action::Reject => false,
            Action::Delete => line.has(Key::IncludeRejected),
        },
        denied: line.has(Key::IncludeDenied),
    }
}

fn hash(opts: &Opts) -> anyhow::Result<FingerprintHash> {
    let name = opts.text("hash_type")?;
    FingerprintHash::parse(name).with_context(|| {
        let expected = FingerprintHash::NAMES;
        format!("option hash_type: expected {expected}, found {name}")
    })
}

fn returned(value: Value) -> Value {
    Map::from_iter([("return", value)]).into()
}

fn show(printer: &Printer, value: &Value) -> anyhow::Result<()> {
    printer.print(value, Some("key"), 0)
}

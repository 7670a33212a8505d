//! The process that asks PAM: it checks one login, prints the result, and ends.
//!
//! Its stdin has service, user and password, separated by NUL; its answer is a JSON object in one line: `{"accepted":
//! true, "groups": […]}`, `{"accepted": false, "reason": …}`, or `{"reason": …}` when PAM does not work.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Write as _};

use brine_wire::{Map, Value, json};
use nix::unistd::{Group, User, getgrouplist};
use nonstick::{
    AuthnFlags, ConversationAdapter, Result as PamResult, Transaction as _, TransactionBuilder,
};
use rustix::process::{
    DumpableBehavior, Signal, set_dumpable_behavior, set_parent_process_death_signal,
};
use zeroize::Zeroizing;

/// The argument by which a program that has it is this process.
pub const COMMAND: &str = "pam-helper";

/// The longest question, in bytes.
const MAX_QUESTION: u64 = 16 << 10;

/// Checks the login on stdin and answers on stdout.
///
/// # Errors
/// When stdin holds none, and when stdout cannot be written.
pub fn run() -> io::Result<()> {
    // Whoever has asked waits as long as it lives.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // A module that crashes leaves no file of memory with a password in it.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let mut question = Zeroizing::new(String::new());
    let stdin = io::stdin().lock();
    stdin.take(MAX_QUESTION).read_to_string(&mut question)?;
    let mut fields = question.splitn(3, '\0');
    let (Some(service), Some(user), Some(password)) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // What modules and their children print is no answer.
    let mut answer = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    rustix::stdio::dup2_stdout(File::options().write(true).open("/dev/null")?)?;
    let mut line = String::new();
    json::to_exact_line(&verdict(service, user, password).into(), &mut line);
    line.push('\n');
    answer.write_all(line.as_bytes())
}

fn verdict(service: &str, user: &str, password: &str) -> Map {
    let told = Told {
        user: user.into(),
        password: password.into(),
    };
    let modules = TransactionBuilder::new_with_service(service)
        .username(user)
        .build(told.into_conversation());
    let mut modules = match modules {
        Ok(modules) => modules,
        Err(error) => {
            return [("reason", Value::from(error.to_string()))]
                .into_iter()
                .collect();
        }
    };
    let checked = modules.authenticate(AuthnFlags::empty());
    let checked = checked.and_then(|()| modules.account_management(AuthnFlags::empty()));
    // What modules have made for a session goes before the answer does.
    drop(modules);
    match checked {
        Ok(()) => [
            ("accepted", Value::Bool(true)),
            ("groups", groups(user).into()),
        ]
        .into_iter()
        .collect(),
        Err(error) => [
            ("accepted", Value::Bool(false)),
            ("reason", error.to_string().into()),
        ]
        .into_iter()
        .collect(),
    }
}

/// What is told to modules that ask: as in Salt, the name where it may be seen, and the password where it may not.
struct Told {
    user: OsString,
    password: OsString,
}

impl ConversationAdapter for Told {
    fn prompt(&self, _: impl AsRef<OsStr>) -> PamResult<OsString> {
        Ok(self.user.clone())
    }

    fn masked_prompt(&self, _: impl AsRef<OsStr>) -> PamResult<OsString> {
        Ok(self.password.clone())
    }

    fn error_msg(&self, _: impl AsRef<OsStr>) {}

    fn info_msg(&self, _: impl AsRef<OsStr>) {}
}

/// The names of the system's groups that a user is in, the first of all among them.
fn groups(user: &str) -> Vec<Value> {
    let known = User::from_name(user).ok().flatten();
    let name = CString::new(user).ok();
    let ids = known
        .zip(name)
        .and_then(|(known, name)| getgrouplist(&name, known.gid).ok());
    let ids = ids.unwrap_or_default().into_iter();
    let groups = ids.filter_map(|id| Group::from_gid(id).ok().flatten());
    let names: BTreeSet<String> = groups.map(|group| group.name).collect();
    names.into_iter().map(Value::from).collect()
}

//! `pam`: the system's pluggable authentication modules say whether user and password belong together.
//!
//! Modules crash, leak and hang, and many do not support threads. So a separate process checks each login, as in
//! Salt: this program again, which reads service, user and password from its stdin ([`helper`]), answers with one
//! line and ends. If it takes too long, it is killed with everything that it has started. Facts: `salt.auth.pam` and
//! `salt.utils.user` of Salt 3008.3, by running them.

pub mod helper;

use std::process::Stdio;
use std::sync::Once;
use std::time::Duration;

use brine_wire::{Map, Value, json};
use rustix::fs::Access;
use rustix::process::{Pid, Signal, geteuid, kill_process, kill_process_group};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::{BackendError, Known};
use crate::config::PamOptions;
use crate::login::Login;

/// How much of an answer is read, in bytes: the names of the user's groups are in it.
const MAX_ANSWER: u64 = 256 << 10;

/// How long a helper may take to end once it has answered.
const END_WITHIN: Duration = Duration::from_secs(1);

/// Asks the modules of a service.
pub(super) fn check(login: &Login, options: &PamOptions) -> Result<Option<Known>, BackendError> {
    let service = options.service.as_str();
    if service.is_empty() || service.contains(['/', '\0']) {
        return Err(BackendError::Option {
            option: "auth.pam.service",
            expected: "the name of a file in /etc/pam.d",
        });
    }
    // The library takes a text only as far as this.
    if login.username.contains('\0') || login.password.contains('\0') {
        return Ok(None);
    }
    let question = Zeroizing::new(format!(
        "{service}\0{}\0{}",
        login.username, *login.password
    ));
    let broken = |reason: String| BackendError::Server {
        server: format!("PAM service {service}"),
        reason,
    };
    let runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = { runtime }.enable_all().build();
    let runtime = runtime.map_err(|error| broken(error.to_string()))?;
    let answer = runtime.block_on(ask(options, &question)).map_err(broken)?;
    let reason = answer.get("reason").and_then(Value::as_str);
    match answer.get("accepted") {
        Some(Value::Bool(true)) => Ok(Some(Known {
            groups: names(answer.get("groups")),
            ..Known::default()
        })),
        Some(Value::Bool(false)) => {
            let reason = reason.unwrap_or_default();
            tracing::debug!(service, reason, "PAM refuses a user");
            warn_without_shadow();
            Ok(None)
        }
        _ => Err(broken(
            reason.unwrap_or("an answer without a verdict").to_owned(),
        )),
    }
}

fn names(groups: Option<&Value>) -> Vec<String> {
    let groups = groups.and_then(Value::as_array).unwrap_or_default();
    let names = groups.iter().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// Runs a helper; its answer, or why there is none.
async fn ask(options: &PamOptions, question: &str) -> Result<Map, String> {
    let helper = Command::new(&options.program)
        .arg(helper::COMMAND)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .current_dir("/")
        // A group of its own, which can be killed.
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    let program = options.program.display();
    let mut helper = helper.map_err(|error| format!("cannot start {program}: {error}"))?;
    let answered = timeout(options.answer_within, exchange(&mut helper, question)).await;
    let has_ended = match &answered {
        Ok(Some(_)) => timeout(END_WITHIN, helper.wait()).await.is_ok(),
        _ => false,
    };
    if !has_ended {
        kill(&helper);
    }
    match answered {
        Ok(Some(line)) => match json::parse(&line) {
            Ok(Value::Map(answer)) => Ok(answer),
            _ => Err("an answer that is no JSON object".to_owned()),
        },
        Ok(None) => Err(match helper.wait().await {
            Ok(status) => format!("its process ended without an answer: {status}"),
            Err(error) => error.to_string(),
        }),
        Err(_) => Err(format!(
            "no answer within {} s",
            options.answer_within.as_secs_f32()
        )),
    }
}

/// Hands over the question and reads the line of the answer; `None` when the helper ends without one.
async fn exchange(helper: &mut Child, question: &str) -> Option<Vec<u8>> {
    let mut stdin = helper.stdin.take()?;
    // A helper that is dead already gives no answer, which says more.
    let _ = stdin.write_all(question.as_bytes()).await;
    drop(stdin);
    let mut answer = Vec::new();
    let stdout = helper.stdout.take()?.take(MAX_ANSWER);
    let read = BufReader::new(stdout).read_until(b'\n', &mut answer).await;
    (read.is_ok() && answer.ends_with(b"\n")).then_some(answer)
}

/// Kills a helper that nobody has waited for, and whatever it has started. Its number cannot be another's: it is still
/// there, be it as a zombie.
fn kill(helper: &Child) {
    let helper = helper.id().and_then(|id| i32::try_from(id).ok());
    let Some(helper) = helper.and_then(Pid::from_raw) else {
        return;
    };
    // What is stopped starts nothing more, and does not take the numbers of its children back.
    let (mut all, mut found) = (Vec::new(), vec![helper]);
    while !found.is_empty() {
        for process in &found {
            let _ = kill_process(*process, Signal::STOP);
        }
        all.append(&mut found);
        let children = processes().into_iter();
        let children = children.filter(|(id, parent)| all.contains(parent) && !all.contains(id));
        found = children.map(|(id, _)| id).collect();
    }
    for process in all {
        let _ = kill_process(process, Signal::KILL);
    }
    // Those whose parent has ended already.
    let _ = kill_process_group(helper, Signal::KILL);
}

/// The processes that can be seen, each with its parent. A module's child often has a session of its own, so that the
/// group is not enough.
fn processes() -> Vec<(Pid, Pid)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let ids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let parents = ids.filter_map(|id: i32| {
        let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
        // Its name, in brackets, may hold anything; the state follows, then the parent.
        let name = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(&stat[name + 1..]).ok()?;
        let parent = fields.split_ascii_whitespace().nth(1)?.parse().ok()?;
        Some((Pid::from_raw(id)?, Pid::from_raw(parent)?))
    });
    parents.collect()
}

/// Says once why nobody but the master's own user can log in, if it may be that.
fn warn_without_shadow() {
    static SAID: Once = Once::new();
    if !geteuid().is_root() && rustix::fs::access("/etc/shadow", Access::READ_OK).is_err() {
        SAID.call_once(|| {
            tracing::warn!(
                "external_auth: pam: a master that does not run as root and cannot read /etc/shadow cannot check \
                 passwords that are there; put its user in the group shadow (Debian) or run it as root"
            );
        });
    }
}

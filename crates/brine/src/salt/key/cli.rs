//! Accepting, rejecting and deleting as a conversation: what is going to be done, the question, and
//! what was done.

use std::io::{self, BufRead, Write};

use brine_net::keys::store::KeyState;

use super::change::{self, Action};
use super::keys::{Found, Include, Keys, printed};
use super::{Session, show};
use crate::salt::options::Key;

/// Asks, does and tells.
pub(super) fn change(
    keys: &Keys,
    action: Action,
    glob: &str,
    include: Include,
    session: &Session<'_>,
) -> anyhow::Result<()> {
    let mut found = keys.matching(glob)?;
    if action != Action::Delete {
        found = only_included(&found, include);
    }
    let mut stdout = io::stdout();
    if found.is_empty() {
        let states = states(include);
        writeln!(
            stdout,
            "The key glob '{glob}' does not match any {states} keys."
        )?;
        return Ok(());
    }
    let done = action.done();
    writeln!(stdout, "The following keys are going to be {done}:")?;
    show(session.printer, &printed(&found))?;
    if !session.line.has(Key::Yes) && !says_yes(action)? {
        return Ok(());
    }
    let refused = change::all(keys, action, &found, include, session)?;
    let told = if action == Action::Delete {
        found.into_iter().flat_map(|(_, ids)| ids).collect()
    } else {
        keys.now(&found)?
    };
    for id in told {
        if !refused.contains(&id) {
            writeln!(stdout, "Key for minion {id} {done}.")?;
        }
    }
    Ok(())
}

/// The keys in states that were asked for, in Salt's order of saying so.
fn only_included(found: &Found, include: Include) -> Found {
    let wanted = [
        (KeyState::Pending, true),
        (KeyState::Accepted, include.accepted),
        (KeyState::Rejected, include.rejected),
        (KeyState::Denied, include.denied),
    ];
    let wanted = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
    wanted
        .filter_map(|(state, _)| found.iter().find(|(own, _)| *own == state).cloned())
        .collect()
}

/// `unaccepted, accepted or rejected`
fn states(include: Include) -> String {
    let states = [
        ("unaccepted", true),
        ("accepted", include.accepted),
        ("rejected", include.rejected),
        ("denied", include.denied),
    ];
    let states = states.into_iter().filter(|(_, is_wanted)| *is_wanted);
    let mut states: Vec<_> = states.map(|(state, _)| state).collect();
    match (states.pop(), states.as_slice()) {
        (Some(last), []) => last.to_owned(),
        (last, before) => format!("{} or {}", before.join(", "), last.unwrap_or_default()),
    }
}

/// Asks; nothing said means what does no harm.
fn says_yes(action: Action) -> anyhow::Result<bool> {
    let (question, otherwise) = match action {
        Action::Delete => ("Proceed? [N/y] ", false),
        Action::Accept | Action::Reject => ("Proceed? [n/Y] ", true),
    };
    let mut stdout = io::stdout();
    stdout.write_all(question.as_bytes())?;
    stdout.flush()?;
    let mut answer = String::new();
    if io::stdin().lock().read_line(&mut answer)? == 0 {
        tracing::error!("EOF when reading a line");
        return Ok(false);
    }
    let answer = answer.trim_end_matches('\n');
    Ok(match answer {
        "" => otherwise,
        answer => answer.to_lowercase().starts_with('y'),
    })
}

//! Which commands fire events with a tag that the user chooses, and whether that user may.
//!
//! What minions fire while they run a job is not known here, and nor is what functions of a site's own fire: whether a
//! user may run those is a matter of functions, not of tags.
//! Facts: the runner functions of Salt 3006.28 and 3008.3. No wheel function fires what its caller names.

use brine_config::Arguments;
use brine_wire::{Value, python_text};

use crate::acl::Permitted;

/// The runner function that fires one event.
const SEND: &str = "event.send";
/// Runner functions that call any function on the master, by a name among their arguments.
const CALL_ANY: [&str; 5] = [
    "queue.insert_runner",
    "queue.process_runner",
    "salt.cmd",
    "state.orchestrate_high",
    "state.orchestrate_single",
];

/// Why a user may not run a command.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MayNotFire {
    /// It would fire an event with this tag.
    #[error("\"{0}\" is not among the tags you may fire (brine: {{acl: …}})")]
    Tag(String),
    /// It could fire any event.
    #[error(
        "{0} can fire events with any tag, so it is only for users who may fire all (brine: {{acl: …}})"
    )]
    Any(String),
}

/// Whether a runner function fires events with a tag of the user's choice.
pub(crate) fn chooses_tags(fun: &str) -> bool {
    fun == SEND || CALL_ANY.contains(&fun)
}

/// Refuses a call of a runner function that may fire what is not permitted.
pub(crate) fn check(
    permitted: &Permitted,
    fun: &str,
    arguments: &Arguments,
) -> Result<(), MayNotFire> {
    if permitted.is_everything() || !chooses_tags(fun) {
        return Ok(());
    }
    if fun != SEND {
        return Err(MayNotFire::Any(fun.to_owned()));
    }
    // Whichever of them counts.
    let tags = [arguments.positional.first(), arguments.keyword.get("tag")];
    for tag in tags.into_iter().flatten() {
        let is_permitted = matches!(tag, Value::Str(tag) if permitted.contains(tag));
        if !is_permitted {
            return Err(MayNotFire::Tag(python_text::str(tag)));
        }
    }
    Ok(())
}

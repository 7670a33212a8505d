//! The runner functions: which there are, and what they ask.

mod bind;
mod table;

use super::manage::What;
use crate::minion_cache::Bank;

pub use self::bind::{BindError, Bound, Watched};
pub use self::table::FUNCTIONS;

/// A runner function.
#[derive(Debug)]
pub struct Function {
    /// `module.function`
    pub name: &'static str,
    which: Which,
    parameters: &'static [Parameter],
    /// What it does, for people: indented, with an example.
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    EventSend,
    StateEvent,
    /// It asks the job cache.
    Jobs(JobFunction),
    /// Which minions are connected, or which are not.
    Presence {
        is_connected: bool,
    },
    /// What the master has cached.
    Cached(Bank),
    ClearCached(&'static [Bank]),
    ClearMineFunction,
    /// It asks minions.
    Asks(What),
    /// It asks the reactor.
    Reactor(ReactorFunction),
    /// It shows what functions do.
    Documents(Documented),
    /// It returns its arguments.
    Echo,
    /// There is nothing to do here, and it says so with `True`.
    Nothing,
}

/// Whose functions are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documented {
    /// Runner functions.
    Runner,
    /// Wheel functions.
    Wheel,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JobFunction {
    LookupJid,
    ListJob,
    PrintJob,
    ExitSuccess,
    ListJobs,
    LatestJobs,
    LastRun,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ReactorFunction {
    List,
    Add,
    Delete,
    IsLeader,
    SetLeader,
    Status,
    Rerun,
}

#[derive(Debug)]
struct Parameter {
    name: &'static str,
    is_required: bool,
}

const fn required(name: &'static str) -> Parameter {
    Parameter {
        name,
        is_required: true,
    }
}

const fn optional(name: &'static str) -> Parameter {
    Parameter {
        name,
        is_required: false,
    }
}

/// The function of this name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

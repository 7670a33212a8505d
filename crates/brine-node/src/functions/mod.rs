//! Execution functions: what a job, `salt-call` and `Caller` can run on a minion.
//!
//! A [`Call`] comes to an [`Outcome`]. Functions know no socket: what they want of the minion they
//! run in, they ask of their [`Host`].

mod host;

pub use host::{Answer, Host, HostError, HostRequest};

use brine_wire::{Map, Value};

/// A function to run, with its arguments as they are after the command line was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// Its name, such as `event.send`.
    pub fun: String,
    /// Arguments by place.
    pub args: Vec<Value>,
    /// Arguments by name.
    pub kwargs: Map,
    /// The `__pub_*` keys of the job, which functions that take any keyword see. In Salt's order.
    pub publication: Map,
    /// The job's id.
    pub jid: String,
}

/// What a call came to: the fields of a return.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// What the function returned, or the message of why it did not.
    pub ret: Value,
    /// Salt's exit code: 0 done, 1 failed, 254 raised, 255 not available.
    pub retcode: i64,
    /// Whether the function ran to its end.
    pub success: bool,
    /// The outputter that suits the value best, if the function names one.
    pub out: Option<String>,
}

//! `reactor.*`: requests to the reactor that runs in the master.
//!
//! Real Salt's functions send the master's own key over the bus, where every listener can read it. Ours ask
//! in-process, or over the local socket. Facts: `salt/runners/reactor.py` of 3008.3.

use brine_wire::Value;

/// A question to a running reactor, or something it is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum ReactorQuestion {
    /// `reactor.list`
    List,
    /// `reactor.add`
    Add {
        /// The pattern of tags.
        event: String,
        /// A file, or a list of files.
        reactors: Value,
    },
    /// `reactor.delete`
    Delete {
        /// The pattern of tags.
        event: String,
    },
    /// `reactor.is_leader`
    IsLeader,
    /// `reactor.set_leader`
    SetLeader(bool),
    /// `reactor.status`, which Salt does not have: what each rule has done.
    Status,
    /// `reactor.rerun`, which Salt does not have: runs a reaction of the record again.
    Rerun(u64),
}

/// The owner of a reactor.
pub trait AskReactor: Send + Sync {
    /// Answers a question. Waits for nothing but the disk.
    ///
    /// # Errors
    /// Why there is no answer.
    fn ask(&self, question: &ReactorQuestion) -> Result<Value, String>;
}

/// What the functions answer where no reactor is configured, in Salt's words.
pub(crate) const NOT_RUNNING: &str = "CommandExecutionError: Reactor system is not running.";

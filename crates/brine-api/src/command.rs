//! Commands for a node, and who runs them.

use std::future::Future;
use std::pin::Pin;

use brine_config::Arguments;
use brine_wire::{Map, Value};

use crate::subject::Subject;

/// Runs a node's commands. A master and a minion each have one.
pub trait RunCommand: Send + Sync {
    /// Runs a command that `by` is permitted. Dropping the future does not stop it.
    fn run<'a>(
        &'a self,
        command: Command,
        by: &'a Subject,
    ) -> Pin<Box<dyn Future<Output = Result<Value, RunError>> + Send + 'a>>;
}

/// Why a command was not run, or how it ended without a result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// This node does not run such commands.
    #[error("{client}: this {node} does not run such commands")]
    NotHere {
        /// What was asked for.
        client: CommandClient,
        /// What this node is.
        node: &'static str,
    },
    /// The command is not understood.
    #[error("{0}")]
    BadCommand(String),
    /// The command failed, or its target or permission was refused by the node.
    #[error("{message}")]
    Failed {
        /// The name of Salt's exception.
        name: String,
        /// What happened.
        message: String,
    },
}

/// Which of Salt's clients a command is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandClient {
    /// Publishes a job and answers with its id and its minions.
    LocalAsync,
    /// Runs a runner function and answers with its result.
    Runner,
    /// Starts a runner function and answers with its tag and job id.
    RunnerAsync,
    /// Runs a wheel function and answers with its result.
    Wheel,
    /// Runs a wheel function and answers with the tag and job id of its events.
    WheelAsync,
    /// Runs an execution function in the minion.
    Caller,
}

impl CommandClient {
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("local_async", Self::LocalAsync),
        ("runner", Self::Runner),
        ("runner_async", Self::RunnerAsync),
        ("wheel", Self::Wheel),
        ("wheel_async", Self::WheelAsync),
        ("caller", Self::Caller),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(own, client)| (own == name).then_some(client))
    }

    /// The name of a function in a list of permissions.
    pub(crate) fn permission(self, fun: &str) -> String {
        match self {
            Self::LocalAsync | Self::Caller => fun.to_owned(),
            Self::Runner | Self::RunnerAsync => format!("@runner/{fun}"),
            Self::Wheel | Self::WheelAsync => format!("@wheel/{fun}"),
        }
    }
}

impl std::fmt::Display for CommandClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = Self::ALL.iter().find(|(_, client)| client == self);
        name.map_or("", |(name, _)| name).fmt(out)
    }
}

/// A command, as far as every node reads it.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// For which client.
    pub client: CommandClient,
    /// Everything that was sent except `client`: `fun`, `arg`, `kwarg`, `tgt`, `tgt_type` and so on.
    pub load: Map,
}

impl Command {
    /// The arguments of its function: `arg` and `kwarg`, as they were sent.
    #[must_use]
    pub fn arguments(&self) -> Arguments {
        let positional = self.load.get("arg").and_then(Value::as_array);
        let keyword = self.load.get("kwarg").and_then(Value::as_map);
        Arguments {
            positional: positional.unwrap_or_default().to_vec(),
            keyword: keyword.cloned().unwrap_or_default(),
        }
    }
}

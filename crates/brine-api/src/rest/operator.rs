//! Who runs what is asked for: our own master in this process, or one beside it.

use std::future::Future;
use std::pin::Pin;

use brine_wire::{Map, Value};

use super::session::Session;

/// One command of a request, for one of Salt's clients ("lowstate chunk").
#[derive(Debug, Clone, PartialEq)]
pub struct Low {
    /// `local`, `runner`, …
    pub client: String,
    /// All of what was sent but `client` and credentials.
    pub fields: Map,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The user may not do this.
    #[error("{0}")]
    NotPermitted(String),
    /// The command is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The master does not run or does not answer.
    #[error("{0}")]
    NoMaster(String),
    /// It took too long.
    #[error("the request timed out")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A master, as the HTTP API uses it.
pub trait Operator: Send + Sync {
    /// Runs a command for whoever is logged in, to its end.
    fn run<'a>(
        &'a self,
        low: Low,
        by: &'a Session,
    ) -> Pin<Box<dyn Future<Output = Result<Value, OperatorError>> + Send + 'a>>;
}

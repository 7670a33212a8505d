//! Why a function returned no value, and the text a minion sends instead.
//!
//! The kinds are those that Salt's minion distinguishes. `salt-call` words some differently, so it gets the
//! [`Failure`] itself. Facts: Salt 3006.28 and 3008.3, by running them.

use brine_wire::{Map, Value};

use super::Outcome;

/// A call that returned no value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// There is no such function.
    #[error("{}", not_available(.fun, .reason.as_ref()))]
    NotAvailable {
        /// The requested function.
        fun: String,
        /// Why its module is not loaded, if that is known (`__virtual__`, or an import that failed).
        reason: Option<Unloaded>,
        /// The documentation of functions whose names begin with it; may be empty.
        docs: Map,
    },
    /// The function failed (`CommandExecutionError`).
    #[error("{message}")]
    Execution {
        /// In the function's words.
        message: String,
    },
    /// A program that the function needs is missing (`CommandNotFoundError`).
    #[error("{message}")]
    CommandNotFound {
        /// In the function's words.
        message: String,
    },
    /// The function was called wrongly (`SaltInvocationError`).
    #[error("{message}")]
    Invocation {
        /// What is wrong.
        message: String,
    },
    /// The arguments do not fit the function's signature (Python's `TypeError`).
    #[error("{message}")]
    Arguments {
        /// What Python says.
        message: String,
        /// The function's documentation, which Salt prints below the message.
        doc: String,
    },
    /// The function raised any other exception.
    #[error("{kind}: {message}")]
    Raised {
        /// The exception's class.
        kind: String,
        /// Its text.
        message: String,
        /// The whole traceback, ending in a line feed.
        traceback: String,
    },
    /// The process that ran the user's module ended, or could not be started.
    #[error("{message}")]
    Worker {
        /// What happened, in one line.
        message: String,
    },
    /// The job was killed.
    #[error("job {jid} was killed")]
    Killed {
        /// Which.
        jid: String,
    },
}

/// Why a module is not loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unloaded {
    /// Its `__virtual__` returned False, perhaps with a reason.
    Virtual(Option<String>),
    /// It could not be imported, and this is why.
    Import(String),
    /// Brine lacks it, and no Python with Salt is configured.
    SaltOnly,
}

impl Failure {
    /// An exception of a built-in function, which has no Python traceback.
    pub(crate) fn raised(kind: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let traceback = if message.is_empty() {
            format!("Traceback (most recent call last):\n{kind}\n")
        } else {
            format!("Traceback (most recent call last):\n{kind}: {message}\n")
        };
        Self::Raised {
            kind: kind.into(),
            message,
            traceback,
        }
    }

    /// The fields of the return that a minion sends for a failed call of `fun`.
    #[must_use]
    pub fn outcome(&self, fun: &str) -> Outcome {
        let ret = match self {
            Self::NotAvailable { docs, .. } if !docs.is_empty() => {
                let mut docs = docs.clone();
                docs.insert(fun, self.to_string());
                Value::Map(docs)
            }
            Self::NotAvailable { .. } | Self::Killed { .. } => self.to_string().into(),
            Self::Execution { message } => format!("ERROR: {message}").into(),
            Self::CommandNotFound { message } => {
                format!("Command required for '{fun}' not found: {message}").into()
            }
            Self::Invocation { message } => format!("ERROR executing '{fun}': {message}").into(),
            Self::Arguments { message, doc } => {
                format!("Passed invalid arguments to {fun}: {message}\n{doc}").into()
            }
            Self::Raised { traceback, .. } => {
                format!("The minion function caused an exception: {traceback}").into()
            }
            Self::Worker { message } => {
                format!("The minion function caused an exception: {message}").into()
            }
        };
        Outcome {
            ret,
            retcode: 1,
            success: false,
            out: Some("nested".into()),
        }
    }
}

fn not_available(fun: &str, reason: Option<&Unloaded>) -> String {
    let module = fun.split('.').next().unwrap_or(fun);
    match reason {
        // Salt words both alike.
        Some(Unloaded::Virtual(Some(reason)) | Unloaded::Import(reason)) => {
            format!("'{module}' __virtual__ returned False: {reason}")
        }
        Some(Unloaded::Virtual(None)) => format!("'{module}' __virtual__ returned False"),
        Some(Unloaded::SaltOnly) => format!(
            "'{fun}' is not available: Brine has no function of that name. It runs Salt's modules where option \
             brine: {{python: PATH}} names a Python that has Salt installed."
        ),
        None => format!("'{fun}' is not available."),
    }
}

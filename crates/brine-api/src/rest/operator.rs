//! Who checks logins and runs what is asked for: our own master in this process, or one beside it.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use brine_auth::{Login, Token};
use brine_wire::{Map, Value};

/// One command of a request, for one of Salt's clients ("lowstate chunk").
#[derive(Debug, Clone, PartialEq)]
pub struct Low {
    /// Which client.
    pub client: Client,
    /// All of what was sent but `client` and credentials.
    pub fields: Map,
}

/// The clients of Salt's that commands are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// Runs a function on minions and waits for their returns.
    Local,
    /// Runs a function on minions.
    LocalAsync,
    /// Runs a function on so many minions at a time; the result is a list with one for each minion.
    LocalBatch,
    /// Runs a function on a few minions of a target, chosen at random.
    LocalSubset,
    /// Runs a runner function to its end.
    Runner,
    /// Starts a runner function.
    RunnerAsync,
    /// Runs a wheel function to its end.
    Wheel,
    /// Runs a wheel function; answers with where its events are.
    WheelAsync,
}

impl Client {
    const ALL: [(&'static str, Self); 8] = [
        ("local", Self::Local),
        ("local_async", Self::LocalAsync),
        ("local_batch", Self::LocalBatch),
        ("local_subset", Self::LocalSubset),
        ("runner", Self::Runner),
        ("runner_async", Self::RunnerAsync),
        ("wheel", Self::Wheel),
        ("wheel_async", Self::WheelAsync),
    ];

    pub(crate) const fn is_for_minions(self) -> bool {
        matches!(
            self,
            Self::Local | Self::LocalAsync | Self::LocalBatch | Self::LocalSubset
        )
    }

    pub(crate) const fn is_runner(self) -> bool {
        matches!(self, Self::Runner | Self::RunnerAsync)
    }

    /// The client of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::ALL.into_iter();
        all.find_map(|(own, client)| (own == name).then_some(client))
    }
}

/// How a command proves that it may be run: a secret.
#[derive(Clone)]
pub enum Credential {
    /// By a token of Salt's.
    Token(String),
    /// By user and password, with the command itself.
    Login {
        /// What was sent.
        login: Box<Login>,
        /// From where.
        from: IpAddr,
    },
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Token(_) => out.write_str("Token([redacted])"),
            Self::Login { login, from } => write!(out, "{login:?} from {from}"),
        }
    }
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// Nobody of this name, password or token.
    #[error("{0}")]
    NotAuthenticated(String),
    /// Too many failed logins.
    #[error("too many failed logins of this user or address; try again later")]
    TooMany {
        /// After how long it may be tried again.
        wait: Duration,
    },
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

/// What an [`Operator`] answers in time.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A master, as the HTTP API uses it.
pub trait Operator: Send + Sync {
    /// Whether the master runs, as far as one can see.
    fn is_running(&self) -> bool;

    /// Checks a login and makes a token of Salt's.
    fn log_in(&self, login: Login, from: IpAddr) -> Pending<'_, Result<Token, OperatorError>>;

    /// Salt's token with this text, if it is valid now. After an error the token may or may not be valid.
    fn token<'a>(&'a self, text: &'a str) -> Pending<'a, Result<Option<Token>, OperatorError>>;

    /// Removes a token of Salt's.
    fn revoke<'a>(&'a self, text: &'a str) -> Pending<'a, ()>;

    /// Whether whoever the credential is of may call a runner function with these fields, as far as that is known without
    /// running it.
    fn may_run<'a>(
        &'a self,
        _fields: &'a Map,
        _by: &'a Credential,
    ) -> Pending<'a, Result<bool, OperatorError>> {
        Box::pin(async { Ok(true) })
    }

    /// Runs a command for whoever the credential is of. Dropping the future does not take it back.
    fn run(&self, low: Low, by: Credential) -> Pending<'_, Result<Value, OperatorError>>;

    /// Fires an event; `false` if the bus cannot be reached.
    fn fire<'a>(&'a self, tag: &'a str, data: Map) -> Pending<'a, bool>;
}

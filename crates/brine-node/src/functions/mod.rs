//! Execution functions: what a job, `salt-call` and `Caller` can run on a minion.
//!
//! A [`Call`] gives an [`Outcome`]. Built-in functions are Rust, in tables by module; users' own modules run in Python
//! beside the minion. Functions know no socket: what they need from the minion they request through their [`Host`].

mod cmd;
mod config;
mod context;
pub(crate) mod digest;
mod event;
mod filter_by;
pub mod grains;
mod grains_set;
mod host;
mod key;
mod lookup;
mod run;
mod salt_modules;
mod saltutil;
mod settings;
pub(crate) mod signature;
mod sync;
mod sys;
mod table;
mod test;
mod yaml_text;

pub use config::{Caller, FunctionsConfig, salt_release};
pub use host::{Answer, Host, HostError, HostRequest};
pub use run::Functions;

/// The names of all built-in functions, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    table::all().map(|known| known.builtin.name)
}
pub(crate) use sync::fuzz_module_path;

pub use crate::call::{Call, CallLog, Failure, LogRecord, Outcome, Unloaded};

/// Keywords that Salt's clients take for themselves, or send with every call of a runner or wheel function.
pub const CLIENT_KEYWORDS: [&str; 5] = ["client", "kwarg", "match", "print_event", "full_return"];

//! The reactor: which events start which reactions, how their files are rendered, and what became of each.
//!
//! - [`rules`] reads the `reactor` option: patterns of tags, and files.
//! - [`files`] finds and reads the files, [`jinja`] renders them, [`low`] makes single reactions of what they say, and
//!   [`call`] the calls that these make. All of it together, for one event: [`react()`].
//! - [`run`] follows a log: one cursor per rule, so that a reaction that hangs holds up its own rule alone. Before a
//!   reaction starts, [`journal`] has that it does, and afterwards what became of it: after a crash nothing is run twice,
//!   and what was under way is listed as uncertain.
//! - [`check()`] finds what is wrong with rules and files before anything starts.
//!
//! Calls are made by whoever gives the reactor an [`Execute`]: this crate knows no master, no socket and no process.

pub mod call;
mod check;
pub mod files;
pub mod jinja;
pub mod journal;
mod lane;
pub mod low;
mod problem;
mod react;
pub mod rules;
pub mod run;
mod scan;
mod throttle;

pub use check::{check, rules as rules_of};
pub use problem::Problem;
pub use react::{Execute, Future, Reacted, Reaction, react};

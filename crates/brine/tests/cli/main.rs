//! The program from outside: exit codes, stdout and stderr of its commands, and `salt-run` beside
//! real Salt's.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bench_fleet;
mod bus;
mod crash;
mod history;
mod local_socket;
mod node;
#[path = "../site/page.rs"]
mod page;
#[cfg(feature = "pam")]
mod pam;
mod reference;
mod salt_key;
mod salt_master;
mod salt_run;
mod send;
mod sinks;
mod state_event;
mod support;
mod top;
mod up;
mod usage;
mod watch;

//! One module per command of `brine`'s own.

pub(crate) mod bench;
pub(crate) mod bus;
pub(crate) mod completions;
pub(crate) mod links;
pub(crate) mod man;
pub(crate) mod send;
pub(crate) mod up;
pub(crate) mod watch;

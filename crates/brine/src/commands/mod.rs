//! One module per command of `brine`'s own.

pub(crate) mod attach;
pub(crate) mod bench;
pub(crate) mod bus;
mod bus_options;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod consumer;
pub(crate) mod doctor;
pub(crate) mod event_output;
pub(crate) mod explain;
pub(crate) mod findings;
pub(crate) mod history;
pub(crate) mod history_store;
pub(crate) mod links;
pub(crate) mod local_events;
mod local_starts;
pub(crate) mod log;
pub(crate) mod man;
pub(crate) mod password;
pub(crate) mod permitted;
pub(crate) mod reactor;
pub(crate) mod selection;
pub(crate) mod send;
pub(crate) mod status;
pub(crate) mod top;
pub(crate) mod up;
pub(crate) mod watch;

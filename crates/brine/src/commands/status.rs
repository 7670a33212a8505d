//! `brine status`: whether a bus runs, and what can be read from its history.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use brine_bus::client::SubscriberConfig;
use brine_bus::client::blocking::Subscriber;
use brine_log::history::HistoryReader;

use super::bench::listener;
use super::event_output::utc;
use super::history_store::StoreArgs;

/// The arguments of `brine status`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit codes: 0 the bus runs; 1 it does not, or cannot be reached; 2 wrong usage."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints what there is.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let location = arguments.store.bus.resolve()?;
    let mut out = io::stdout().lock();
    let mut bus = Subscriber::new(&location.address, SubscriberConfig::default());
    let code = match bus.connect(Duration::ZERO) {
        Ok(()) => {
            let pid = listener(location.address.publish());
            let pid = pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
            writeln!(
                out,
                "bus      running{pid} at {}",
                location.address.publish()
            )?;
            ExitCode::SUCCESS
        }
        Err(error) => {
            writeln!(out, "bus      {error}")?;
            ExitCode::FAILURE
        }
    };
    // A bus without history is as good as one with.
    let store = arguments.store.directory().ok();
    let Some(mut reader) = store.and_then(|directory| HistoryReader::open(&directory).ok()) else {
        writeln!(out, "history  none")?;
        return Ok(code);
    };
    let info = reader.info()?;
    match (info.oldest, info.newest) {
        (Some((oldest, since)), Some((newest, until))) => writeln!(
            out,
            "history  {} events: {oldest} of {} to {newest} of {}; {} bytes on disk",
            info.totals.events,
            utc(since),
            utc(until),
            info.totals.used_bytes
        )?,
        _ => writeln!(out, "history  no events yet")?,
    }
    let newest = info.newest.map_or(0, |(seq, _)| seq.0);
    for consumer in reader.consumers()? {
        let lag = newest.saturating_sub(consumer.position.seq.0);
        writeln!(out, "consumer {} is {lag} events behind", consumer.name)?;
    }
    Ok(code)
}

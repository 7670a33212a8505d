//! Events after a position that is saved under a name: `brine consumer next` and `brine history --cursor`.

use std::process::ExitCode;
use std::time::Duration;

use brine_bus::client::Wait;
use brine_bus::client::local::blocking::LocalClient;
use brine_bus::client::local::{self, Delivery, EventQuery, LocalError, Method};
use brine_log::history::{Consumer, ConsumerName, HistoryReader, Paused};
use brine_log::{Position, Seq};
use brine_view::text;
use brine_wire::Value;
use brine_wire::time::StartText;

use super::is_gone;
use super::stored::{StoredEvents, counted};
use crate::clock::{self, Zone};
use crate::commands::event_output::{FormArgs, Missing, Output, Printer};
use crate::commands::history_store::{self, StoreArgs};
use crate::commands::late;
use crate::commands::permitted;
use crate::commands::selection::{Selection, SelectionArgs};
use crate::show;

/// The arguments of `brine consumer next`.
#[derive(Debug, clap::Args)]
pub(crate) struct NextArguments {
    /// The consumer
    #[arg(value_parser = history_store::consumer_name)]
    name: ConsumerName,
    /// How many events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Leave the position where it is
    #[arg(long)]
    no_ack: bool,
    #[command(flatten)]
    form: FormArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Prints a consumer's next events.
pub(crate) fn run_next(arguments: &NextArguments) -> anyhow::Result<ExitCode> {
    let mut printer = arguments.form.printer(Zone::Local);
    if let Some(client) = arguments.store.bus()? {
        let (name, count) = (&arguments.name, Some(arguments.count));
        let acknowledge = !arguments.no_ack;
        return next_over_local_socket(client, name, None, count, acknowledge, &mut printer);
    }
    let mut reader = arguments.store.open()?;
    let saved = reader.consumers()?;
    let Some(consumer) = saved.iter().find(|saved| saved.name == arguments.name) else {
        anyhow::bail!(
            "no consumer {}; brine consumer add makes one",
            arguments.name
        );
    };
    drop(reader);
    let selection = SelectionArgs {
        filter: Some(consumer.filter.clone()).filter(|filter| filter.contains(':')),
        tags: tags_of(&consumer.filter),
        ..SelectionArgs::default()
    };
    let selection = selection.compile();
    next(
        &arguments.store,
        &arguments.name,
        &selection,
        Some(arguments.count),
        !arguments.no_ack,
        &mut printer,
    )
}

/// A consumer's filter is a tag pattern, or field terms.
fn tags_of(filter: &str) -> Vec<String> {
    let is_tag = !filter.is_empty() && !filter.contains(':');
    is_tag.then(|| filter.to_owned()).into_iter().collect()
}

/// Makes a consumer that begins with the earliest event, unless there is one.
pub(super) fn ensure_consumer(client: &mut LocalClient, name: &ConsumerName) -> anyhow::Result<()> {
    let timeout = Some(Duration::from_secs(10));
    match client.request(Method::Get, &format!("/consumers/{name}"), timeout) {
        Err(LocalError::Refused { status: 404, .. }) => {
            let target = format!("/consumers/{name}?deliver=all");
            client.request(Method::Put, &target, timeout)?;
        }
        answer => drop(answer?),
    }
    Ok(())
}

/// Prints what a running bus has after a saved position, and moves the position behind it.
pub(super) fn next_over_local_socket(
    mut client: LocalClient,
    name: &ConsumerName,
    selection: Option<&Selection>,
    count: Option<u64>,
    acknowledge: bool,
    printer: &mut Printer,
) -> anyhow::Result<ExitCode> {
    /// How long the bus may take to answer.
    const ANSWER_TIME: Duration = Duration::from_secs(10);
    /// How long it may take to begin the stream.
    const STREAM_TIME: Duration = local::ANSWER_TIME;
    let query = EventQuery {
        consumer: Some(name.to_string()),
        limit: count.filter(|_| selection.is_none()),
        ends: true,
        ..EventQuery::default()
    };
    let mut stream = late::ask(&mut client, STREAM_TIME, |client| {
        client.events(&query, Some(ANSWER_TIME))
    })?;
    if let Ok(Value::Map(status)) = client.status(Some(ANSWER_TIME))
        && let Some(hidden) = permitted::hidden(&status, &query)
    {
        show::complain(&hidden);
    }
    let (mut left, mut last) = (count, None);
    loop {
        match stream.next(Wait::Forever)? {
            None => {}
            Some(Delivery::End) => break,
            Some(Delivery::Gap {
                from,
                to,
                missed,
                reason,
            }) => {
                show::complain(&Missing::new(from, to, missed, reason.as_deref()));
                // Reported once: the next call begins behind it.
                last = Some(to);
            }
            Some(Delivery::Event(stored)) => {
                let event = stored.event.to_ref();
                let is_wanted = selection.is_none_or(|selection| selection.wants(event));
                let at = Some((stored.position, stored.at));
                let is_printed = is_wanted && printer.event_at(event, at)?;
                last = Some(stored.position);
                if counted(&mut left, is_printed).is_break() {
                    break;
                }
            }
        }
    }
    // What is not written out is not acknowledged.
    printer.flush()?;
    if let Some(position) = last.filter(|_| acknowledge) {
        let target = format!("/consumers/{name}/ack?position={position}");
        client.request(Method::Post, &target, Some(ANSWER_TIME))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints what comes after a saved position, and saves the new one.
pub(super) fn next(
    store: &StoreArgs,
    name: &ConsumerName,
    selection: &Selection,
    count: Option<u64>,
    acknowledge: bool,
    printer: &mut Printer,
) -> anyhow::Result<ExitCode> {
    let directory = store.directory()?;
    let mut reader = HistoryReader::open(&directory)?;
    let saved = reader
        .consumers()?
        .into_iter()
        .find(|saved| saved.name == *name);
    // Where the consumer goes if there is nothing to read, so that what is gone is reported once.
    let mut behind = None;
    if let Some(saved) = &saved {
        if saved.paused.is_paused(clock::now()) {
            anyhow::bail!("consumer {name} is paused; brine consumer resume {name}");
        }
        let start = StartText::After {
            log: saved.position.log.to_string(),
            sequence: saved.position.seq.0,
        };
        // Events that retention removed before they were read are shown as a gap, not skipped.
        if let Err(gone) = history_store::seek(&mut reader, Some(&start), true)? {
            return Ok(is_gone(&gone));
        }
        if complain_of_removed(&reader, saved) {
            let before = Seq(reader.seq().0.saturating_sub(1));
            behind = Some(Position {
                log: reader.log_id(),
                seq: before,
            });
        }
        history_store::expect(&mut reader, selection, Some(&start), None);
    }
    // Taken before anything is printed: what cannot be saved would be printed again.
    let mut maintenance = acknowledge
        .then(|| history_store::maintenance(&directory))
        .transpose()?;
    let mut events = StoredEvents {
        reader,
        selection,
        printer,
        count,
    };
    let last = events.print_forward(None)?;
    events.printer.flush()?;
    if let Some(mut maintenance) = maintenance.take() {
        if let Some(position) = last.or(behind) {
            let consumer = saved.unwrap_or_else(|| Consumer {
                name: name.clone(),
                position,
                kind: "cursor".to_owned(),
                filter: String::new(),
                paused: Paused::No,
                saved_at: clock::now(),
            });
            maintenance.save(Consumer {
                position,
                saved_at: clock::now(),
                ..consumer
            })?;
        }
        maintenance.close(&directory)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says which events are gone that a consumer had not read; whether there are any.
fn complain_of_removed(reader: &HistoryReader, saved: &Consumer) -> bool {
    let (name, position) = (&saved.name, saved.position);
    if reader.log_id() != position.log {
        show::complain(&format_args!(
            "events after {position} are gone, which {name} had not read: this log is {}; starting at its oldest event",
            reader.log_id()
        ));
        return true;
    }
    let count = reader.count(Seq(position.seq.0 + 1)..reader.seq());
    if count > 0 {
        let events = text::counted(count, "event");
        let (were, them) = match count {
            1 => ("was", "it"),
            _ => ("were", "them"),
        };
        show::complain(&format_args!(
            "{events} after {} {were} removed before {name} read {them}",
            position.seq
        ));
    }
    count > 0
}

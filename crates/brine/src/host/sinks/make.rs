//! Makes a sink from its options: which events, and which other side.

use std::path::PathBuf;

use anyhow::Context;
#[cfg(feature = "file")]
use brine_bridge::file::{FileOptions, FileSink};
#[cfg(feature = "mysql")]
use brine_bridge::mysql::MysqlSink;
use brine_bridge::nats::{NatsSink, PublishOptions};
#[cfg(feature = "otlp")]
use brine_bridge::otlp::OtlpSink;
#[cfg(feature = "postgres")]
use brine_bridge::postgres::PostgresSink;
#[cfg(feature = "webhook")]
use brine_bridge::webhook::WebhookSink;
use brine_bridge::{Batching, Filter, SinkConfig};
#[cfg(feature = "file")]
use brine_config::FileSinkOptions;
use brine_config::{SinkKind, SinkOptions};
use brine_log::history::ConsumerName;

use super::super::cluster;
#[cfg(any(feature = "mysql", feature = "postgres"))]
use super::databases;
#[cfg(any(feature = "otlp", feature = "webhook"))]
use super::http;
use super::returner::ReturnerSink;
use super::{Node, Start, starting};

/// After this many refusals an event is set aside.
const ATTEMPTS: u32 = 3;

/// A sink that is not connected. Finds everything that is wrong without asking the other side; says where the sink is
/// asked for.
pub(super) fn sink(node: Node<'_>, options: &SinkOptions) -> anyhow::Result<(SinkConfig, Start)> {
    parts(node, options).with_context(|| match &options.place {
        Some((file, line)) => format!("{file}, line {line}: {}", options.option),
        None => options.option.clone(),
    })
}

pub(super) fn parts(node: Node<'_>, options: &SinkOptions) -> anyhow::Result<(SinkConfig, Start)> {
    let id = node.opts.and_then(|opts| opts.text("id").ok());
    let master_id = id.unwrap_or_default();
    let start = match &options.kind {
        #[cfg(feature = "postgres")]
        SinkKind::Postgres(database) => starting(PostgresSink::new(
            options.name.as_str(),
            databases::postgres(database, master_id),
        )?),
        #[cfg(feature = "mysql")]
        SinkKind::Mysql(database) => starting(MysqlSink::new(
            options.name.as_str(),
            databases::mysql(database, master_id),
        )?),
        #[cfg(feature = "file")]
        SinkKind::File(file) => starting(FileSink::new(self::file(file))),
        #[cfg(feature = "webhook")]
        SinkKind::Webhook(webhook) => starting(WebhookSink::new(
            options.name.as_str(),
            http::webhook(webhook),
        )?),
        #[cfg(feature = "otlp")]
        SinkKind::Otlp(otlp) => starting(OtlpSink::new(http::otlp(otlp, master_id))?),
        SinkKind::Nats(nats) => {
            let (connection, stream) = cluster::nats(nats)?;
            let options = PublishOptions {
                connection,
                stream,
                master: master_id.to_owned(),
            };
            starting(NatsSink::new(options, None))
        }
        SinkKind::Returner(module) => starting(ReturnerSink::of(node, module)?),
        other => anyhow::bail!(
            "this program was built without sinks of the type {}",
            other.name()
        ),
    };
    Ok((config(node, options)?, start))
}

fn config(node: Node<'_>, options: &SinkOptions) -> anyhow::Result<SinkConfig> {
    let defaults = Batching::default();
    let filter = Filter::new(&options.tags, &options.exclude, &options.filter);
    let filter = filter.map(|filter| match options.takes_others {
        true => filter.of_all_masters(),
        false => filter,
    });
    Ok(SinkConfig {
        name: ConsumerName::parse(&options.name)?,
        filter: filter?,
        shown_filter: shown_filter(options),
        batching: Batching {
            max_events: options.batch_events.unwrap_or(defaults.max_events),
            max_bytes: options.batch_bytes.unwrap_or(defaults.max_bytes),
            wait: options.batch_wait.unwrap_or(defaults.wait),
        },
        attempts: options.attempts.unwrap_or(ATTEMPTS),
        from_oldest: options.from_oldest,
        dead_letters: PathBuf::new(),
        waits_for_disk: true,
        redact: node.brine.redact.clone(),
    })
}

/// The filter in one line, as `brine consumer info` shows it.
fn shown_filter(options: &SinkOptions) -> String {
    let mut parts = options.tags.clone();
    parts.extend(options.exclude.iter().map(|tag| format!("!{tag}")));
    if !options.filter.is_empty() {
        parts.push(options.filter.clone());
    }
    parts.join(" ")
}

#[cfg(feature = "file")]
fn file(options: &FileSinkOptions) -> FileOptions {
    FileOptions {
        path: options.path.clone(),
        rotate_bytes: options.rotate_bytes,
        rotate_after: options.rotate_after,
        keep: options.keep,
        compress: options.compress,
        sync: options.sync,
    }
}

//! A sink out of its options: which events, which other side.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use brine_bridge::file::{FileOptions, FileSink};
use brine_bridge::http::HttpOptions;
use brine_bridge::mysql::{MysqlOptions, MysqlSink};
use brine_bridge::nats::{NatsSink, PublishOptions};
use brine_bridge::otlp::{OtlpOptions, OtlpSink};
use brine_bridge::postgres::{PostgresOptions, PostgresSink, PostgresTls};
use brine_bridge::rows::{AlterTime, Tables};
use brine_bridge::tls::{TlsOptions, Trust};
use brine_bridge::webhook::{WebhookForm, WebhookOptions, WebhookSink};
use brine_bridge::{Batching, Filter, Secret, SinkConfig};
use brine_config::{
    Brine, DatabaseOptions, DatabaseTls, FileSinkOptions, HttpSinkOptions, Opts, SinkKind,
    SinkOptions, WebhookOptions as WebhookSettings,
};
use brine_log::history::ConsumerName;

use super::super::cluster;
use super::returner::ReturnerSink;

/// After so many refusals one event is set aside.
const ATTEMPTS: u32 = 3;

/// The other side of one sink.
pub(super) enum Other {
    Postgres(Box<PostgresSink>),
    Mysql(Box<MysqlSink>),
    File(Box<FileSink>),
    Webhook(Box<WebhookSink>),
    Otlp(Box<OtlpSink>),
    Nats(Box<NatsSink>),
    Returner(Box<ReturnerSink>),
}

/// What a sink needs of its node's configuration.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) opts: Option<&'a Opts>,
    pub(super) brine: &'a Brine,
}

/// A sink that is not connected. Finds everything that is wrong without asking the other side; says where the sink is
/// asked for.
pub(super) fn sink(node: Node<'_>, options: &SinkOptions) -> anyhow::Result<(SinkConfig, Other)> {
    parts(node, options).with_context(|| match &options.place {
        Some((file, line)) => format!("{file}, line {line}: {}", options.option),
        None => options.option.clone(),
    })
}

pub(super) fn parts(node: Node<'_>, options: &SinkOptions) -> anyhow::Result<(SinkConfig, Other)> {
    let id = node.opts.and_then(|opts| opts.text("id").ok());
    let master_id = id.unwrap_or_default();
    let name = options.name.as_str();
    let other = match &options.kind {
        SinkKind::Postgres(database) => {
            let sink = PostgresSink::new(name, postgres(database, master_id))?;
            Other::Postgres(Box::new(sink))
        }
        SinkKind::Mysql(database) => {
            let sink = MysqlSink::new(name, mysql(database, master_id))?;
            Other::Mysql(Box::new(sink))
        }
        SinkKind::File(file) => Other::File(Box::new(FileSink::new(self::file(file)))),
        SinkKind::Webhook(webhook) => {
            let sink = WebhookSink::new(name, self::webhook(webhook))?;
            Other::Webhook(Box::new(sink))
        }
        SinkKind::Otlp(otlp) => {
            let sink = OtlpSink::new(OtlpOptions {
                http: http(&otlp.http),
                service: otlp.service.clone(),
                master_id: master_id.to_owned(),
            })?;
            Other::Otlp(Box::new(sink))
        }
        SinkKind::Nats(nats) => {
            let (connection, stream) = cluster::nats(nats)?;
            let options = PublishOptions {
                connection,
                stream,
                master: master_id.to_owned(),
            };
            Other::Nats(Box::new(NatsSink::new(options, None)))
        }
        SinkKind::Returner(module) => Other::Returner(Box::new(ReturnerSink::of(node, module)?)),
        other => anyhow::bail!("no such sink is built in: {other:?}"),
    };
    Ok((config(node, options)?, other))
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
        filter: filter.context("tags, exclude and filter")?,
        shown_filter: shown_filter(options),
        batching: Batching {
            max_events: options.batch_events.unwrap_or(defaults.max_events),
            max_bytes: options.batch_bytes.unwrap_or(defaults.max_bytes),
            wait: options.batch_wait.unwrap_or(defaults.wait),
        },
        attempts: options.attempts.unwrap_or(ATTEMPTS),
        from_oldest: options.from_oldest,
        dead_letters: PathBuf::new(),
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

const fn alter_time(is_event_time: bool) -> AlterTime {
    match is_event_time {
        true => AlterTime::Event,
        false => AlterTime::Stored,
    }
}

fn secret(secret: Option<&brine_config::Secret>) -> Option<Secret> {
    secret.map(|secret| Secret::new(secret.0.clone()))
}

fn postgres(options: &DatabaseOptions, master_id: &str) -> PostgresOptions {
    PostgresOptions {
        host: options.host.clone(),
        port: options.port,
        user: options.user.clone(),
        password: secret(options.password.as_ref()),
        database: options.database.clone(),
        connect_timeout: options.connect_timeout,
        tls: postgres_tls(&options.tls),
        tables: Tables {
            events: options.events,
            jobs: options.jobs,
        },
        create_tables: options.create_tables,
        alter_time: alter_time(options.is_event_time),
        master_id: master_id.to_owned(),
    }
}

/// As PostgreSQL's own clients: encrypted where the server can, and trusted only where that is asked for.
fn postgres_tls(options: &DatabaseTls) -> PostgresTls {
    let tls = |trust| TlsOptions {
        trust,
        identity: options.identity.clone(),
    };
    let roots = options.ca.clone().map(Trust::Roots);
    match options.mode {
        Some("off") => PostgresTls::Off,
        Some("require") => PostgresTls::Required(tls(roots.unwrap_or(Trust::Anyone))),
        Some("verify") => PostgresTls::Required(tls(roots.unwrap_or(Trust::System))),
        _ => PostgresTls::Preferred(tls(roots.unwrap_or(Trust::Anyone))),
    }
}

fn mysql(options: &DatabaseOptions, master_id: &str) -> MysqlOptions {
    MysqlOptions {
        host: options.host.clone(),
        port: options.port,
        user: options.user.clone(),
        password: secret(options.password.as_ref()),
        database: options.database.clone(),
        connect_timeout: options.connect_timeout,
        tls: match postgres_tls(&options.tls) {
            PostgresTls::Required(tls) => Some(tls),
            PostgresTls::Off | PostgresTls::Preferred(_) => None,
        },
        tables: Tables {
            events: options.events,
            jobs: options.jobs,
        },
        create_tables: options.create_tables,
        alter_time: alter_time(options.is_event_time),
        master_id: master_id.to_owned(),
    }
}

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

fn webhook(options: &WebhookSettings) -> WebhookOptions {
    WebhookOptions {
        http: http(&options.http),
        secret: secret(options.secret.as_ref()),
        form: match options.is_lines {
            true => WebhookForm::Lines,
            false => WebhookForm::List,
        },
    }
}

fn http(options: &HttpSinkOptions) -> HttpOptions {
    let headers = options.headers.iter();
    HttpOptions {
        url: options.url.clone(),
        headers: headers
            .map(|(name, value)| (name.clone(), Secret::new(value.0.clone())))
            .collect(),
        timeout: options.timeout.max(Duration::from_millis(1)),
        tls: TlsOptions {
            trust: options.ca.clone().map_or(Trust::System, Trust::Roots),
            identity: options.identity.clone(),
        },
    }
}

//! A connection to NATS, and the stream on it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream};
use async_nats::jetstream::{Context, context::GetStreamErrorKind};
use async_nats::{Client, ConnectOptions, Event};
use tokio::sync::watch;

use crate::text::{chain, with_hint};

use super::options::{Connection, Login, StreamOptions};

/// How long a server may take to answer a request, an acknowledgement of an event included.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Acknowledgements that may be outstanding: as many as a batch has events, and room for the next.
const WINDOW: usize = 4096;

/// Why NATS cannot be used now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

impl Unavailable {
    pub(crate) fn new(what: &str, error: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {error}"))
    }
}

/// A connection, and whether it has ever been lost.
pub(crate) struct Link {
    pub(crate) client: Client,
    pub(crate) jetstream: Context,
    lost: watch::Receiver<bool>,
}

impl Link {
    /// Connects, as one of these programs: `name` is what the server shows.
    pub(crate) async fn open(connection: &Connection, name: &str) -> Result<Self, Unavailable> {
        let (is_lost, lost) = watch::channel(false);
        let is_lost = Arc::new(is_lost);
        let options = options(connection)?
            .name(name)
            .connection_timeout(CONNECT)
            .request_timeout(Some(ANSWER))
            .ping_interval(Duration::from_secs(10))
            .event_callback(move |event| {
                let is_lost = Arc::clone(&is_lost);
                async move {
                    match event {
                        Event::Disconnected | Event::Closed => {
                            is_lost.send_replace(true);
                        }
                        Event::ServerError(error) => tracing::warn!(%error, "NATS"),
                        _ => {}
                    }
                }
            });
        let shown = shown(connection);
        let client = options.connect(&connection.servers[..]).await;
        let client = client.map_err(|error| {
            let error = with_hint(chain(&error));
            Unavailable::new(&format!("NATS at {shown}"), error)
        })?;
        let mut jetstream = async_nats::jetstream::ContextBuilder::new()
            .timeout(ANSWER)
            .ack_timeout(ANSWER)
            .max_ack_inflight(WINDOW)
            .build(client.clone());
        jetstream.set_timeout(ANSWER);
        Ok(Self {
            client,
            jetstream,
            lost,
        })
    }

    /// Waits until the connection is lost. Dropping the future loses nothing.
    pub(crate) async fn lost(&self) {
        // Whoever tells is gone with the connection.
        let _ = self.lost.clone().wait_for(|is_lost| *is_lost).await;
    }

    /// The stream, which is created if it does not exist.
    pub(crate) async fn stream(&self, options: &StreamOptions) -> Result<Stream, Unavailable> {
        let name = &options.name;
        let stream = match self.jetstream.get_stream(name).await {
            Ok(stream) => stream,
            Err(error) if is_not_found(&error) => {
                let made = self.jetstream.create_stream(config(options)).await;
                // Another master may have made it meanwhile.
                match made {
                    Ok(stream) => stream,
                    Err(error) => {
                        let again = self.jetstream.get_stream(name).await;
                        again.map_err(|_| Unavailable::new(&format!("stream {name}"), error))?
                    }
                }
            }
            Err(error) => return Err(Unavailable::new(&format!("stream {name}"), error)),
        };
        let wanted = format!("{}.>", options.events());
        let subjects = &stream.cached_info().config.subjects;
        if !subjects.iter().any(|subject| is_within(&wanted, subject)) {
            return Err(Unavailable(format!(
                "stream {name}: expected subjects {wanted}, found {}; add them, or name another stream or prefix",
                subjects.join(", ")
            )));
        }
        Ok(stream)
    }
}

fn is_not_found(error: &async_nats::jetstream::context::GetStreamError) -> bool {
    use async_nats::jetstream::ErrorCode;
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether one pattern of subjects, a prefix with `>`, is covered by another.
fn is_within(wanted: &str, covering: &str) -> bool {
    let (mut wanted, mut covering) = (wanted.split('.'), covering.split('.'));
    loop {
        match (wanted.next(), covering.next()) {
            (_, Some(">")) => return true,
            (Some(own), Some(word)) if word == own || word == "*" && own != ">" => {}
            (own, word) => return own.is_none() && word.is_none(),
        }
    }
}

fn config(options: &StreamOptions) -> Config {
    Config {
        name: options.name.clone(),
        subjects: vec![format!("{}.>", options.events())],
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::Old,
        storage: StorageType::File,
        num_replicas: options.replicas,
        max_age: options.max_age.unwrap_or_default(),
        max_bytes: options
            .max_bytes
            .map_or(-1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        max_messages: -1,
        max_messages_per_subject: -1,
        duplicate_window: Duration::from_secs(120),
        allow_direct: true,
        description: Some("Events of Salt's masters, published by Brine".to_owned()),
        ..Config::default()
    }
}

fn options(connection: &Connection) -> Result<ConnectOptions, Unavailable> {
    let mut options = ConnectOptions::new();
    options = match &connection.login {
        Login::None => options,
        Login::Password { user, password } => {
            options.user_and_password(user.clone(), password.clone())
        }
        Login::Token(token) => options.token(token.clone()),
        Login::Credentials(path) => {
            let text = read(path)?;
            options
                .credentials(&text)
                .map_err(|error| Unavailable::new(&path.display().to_string(), error))?
        }
        Login::NKey(path) => options.nkey(read(path)?.trim().to_owned()),
    };
    if connection.is_tls_required {
        options = options.require_tls(true);
    }
    if let Some(ca) = &connection.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let Some((certificate, key)) = &connection.certificate {
        options = options.add_client_certificate(certificate.clone(), key.clone());
    }
    Ok(options)
}

fn read(path: &Path) -> Result<String, Unavailable> {
    fs::read_to_string(path).map_err(|error| Unavailable::new(&path.display().to_string(), error))
}

/// The servers without what is secret in their addresses.
fn shown(connection: &Connection) -> String {
    let shown = connection.servers.iter().map(|server| {
        let (scheme, rest) = server.split_once("//").unwrap_or(("nats:", server));
        let host = rest.rsplit('@').next().unwrap_or_default();
        format!("{scheme}//{host}")
    });
    shown.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_must_cover_the_events() {
        for (covering, expected) in [
            ("salt.event.>", true),
            ("salt.>", true),
            (">", true),
            ("*.event.>", true),
            ("salt.event.*", false),
            ("salt.events.>", false),
            ("salt.event.m1.>", false),
            ("salt.event", false),
        ] {
            assert_eq!(is_within("salt.event.>", covering), expected, "{covering}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        let connection = Connection {
            servers: vec!["nats://u:secret@h:1".to_owned(), "h2".to_owned()],
            ..Connection::default()
        };
        assert_eq!(shown(&connection), "nats://h:1, nats://h2");
    }
}

//! Messages between masters: each says which master sent it and when, and carries a code made with the secret.
//!
//! Messages that were not made with the secret, are too old, or come from another master than their subject says are
//! dropped. No I/O here.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::{HeaderMap, Message};
use brine_wire::{Map, Value, msgpack, nats_subject};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::nats::options::{Connection, StreamOptions};

/// How far clocks may differ, and how old a message may be.
const WINDOW: Duration = Duration::from_secs(30);
/// The code of a message, made with the secret.
const CODE: &str = "Brine-Code";

/// What is needed to talk to other masters.
#[derive(Clone)]
pub struct ControlOptions {
    /// How to reach NATS.
    pub connection: Connection,
    /// Where the subjects begin.
    pub stream: StreamOptions,
    /// The own master's id.
    pub master: String,
    /// A number that tells this master from another with the same id.
    pub instance: u64,
    /// What all masters share.
    pub secret: Option<String>,
}

impl ControlOptions {
    /// A message, and its code.
    pub(super) fn sealed(&self, subject: &str, body: &Map) -> (HeaderMap, Vec<u8>) {
        let mut payload = Vec::new();
        msgpack::encode_map(body, &mut payload);
        let mut headers = HeaderMap::new();
        if let Some(code) = self.code(subject, &payload) {
            headers.insert(CODE, hex(&code.finalize().into_bytes()));
        }
        (headers, payload)
    }

    /// A message of another master, if it is one and of now; who says so.
    pub(super) fn opened(&self, message: &Message) -> Option<(String, Map)> {
        let code = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get(CODE));
        if let Some(own) = self.code(&message.subject, &message.payload) {
            let code = code
                .and_then(|code| unhex(code.as_str()))
                .unwrap_or_default();
            // Compares in constant time.
            if own.verify_slice(&code).is_err() {
                tracing::warn!(
                    subject = %message.subject,
                    "ignoring a message that was not made with this cluster's secret; set the same secret on all masters"
                );
                return None;
            }
        }
        let Ok(Value::Map(body)) = msgpack::decode(&message.payload) else {
            return None;
        };
        let from = body.get("from").and_then(Value::as_str)?.to_owned();
        let at = Duration::from_millis(number(&body, "at")?);
        if at.abs_diff(since_epoch()) > WINDOW {
            tracing::warn!(
                master = from,
                "ignoring a message of another master that is older than {} s; do the masters' clocks agree?",
                WINDOW.as_secs()
            );
            return None;
        }
        Some((from, body))
    }

    fn code(&self, subject: &str, payload: &[u8]) -> Option<Hmac<Sha256>> {
        let secret = self.secret.as_ref()?;
        let mut code = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
        code.update(subject.as_bytes());
        code.update(b"\n");
        code.update(payload);
        Some(code)
    }
}

/// Whether a message claims to be from the master that its subject names: NATS servers can restrict who may publish
/// what.
pub(super) fn is_from(message: &Message, master: &str) -> bool {
    let last = message.subject.rsplit('.').next().unwrap_or_default();
    last == nats_subject::name_word(master)
}

pub(super) fn number(body: &Map, key: &str) -> Option<u64> {
    u64::try_from(body.get(key)?.as_int()?).ok()
}

pub(super) fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::nats::control) fn options(secret: Option<&str>) -> ControlOptions {
        ControlOptions {
            connection: Connection::default(),
            stream: StreamOptions::default(),
            master: "m1".to_owned(),
            instance: 7,
            secret: secret.map(str::to_owned),
        }
    }

    fn message(options: &ControlOptions, subject: &str, at: Duration) -> Message {
        let mut body = Map::new();
        body.insert("from", "m2");
        body.insert("at", Value::Int(i128::try_from(at.as_millis()).unwrap()));
        let (headers, payload) = options.sealed(subject, &body);
        Message {
            subject: subject.into(),
            reply: None,
            payload: payload.into(),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn a_message_without_the_secret_is_left_out() {
        let (own, other) = (options(Some("a")), options(Some("b")));
        let now = since_epoch();
        let made = message(&own, "salt.cluster.job.m2", now);
        assert_eq!(own.opened(&made).unwrap().0, "m2");
        assert!(other.opened(&made).is_none());
        assert!(
            own.opened(&message(&options(None), "salt.cluster.job.m2", now))
                .is_none()
        );
        // The same words about something else, and changed ones.
        let mut moved = made.clone();
        moved.subject = "salt.cluster.alive.m2".into();
        assert!(own.opened(&moved).is_none());
        let mut changed = made.clone();
        changed.payload = [&*made.payload, b"x"].concat().into();
        assert!(own.opened(&changed).is_none());
    }

    #[test]
    fn an_old_message_is_left_out() {
        let own = options(Some("a"));
        let old = since_epoch().checked_sub(WINDOW * 2).unwrap();
        assert!(own.opened(&message(&own, "s", old)).is_none());
    }
}

//! HTTP requests with JSON: a batch is a request, and counts as delivered when the answer says so.
//!
//! If an answer was lost, the receiver gets the request again, and recognises it by the idempotency key or by the
//! events' positions. Which answers mean what: `docs/sinks.md`.

use std::time::Duration;

use brine_log::{LogId, Position};
use brine_wire::compat::StampStyle;
use brine_wire::{json, stamp};
use hmac::{Hmac, Mac as _};
use hyper::Request;
use sha2::Sha256;

use crate::batch::{Batch, Event};
use crate::http::{BadHttp, HttpOptions, Poster};
use crate::secret::Secret;
use crate::sink::{Sink, SinkError};
use crate::text::{self, Taker};

/// Where requests go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Where.
    pub http: HttpOptions,
    /// What bodies are signed with.
    pub secret: Option<Secret>,
    /// A list, or one object per line.
    pub form: WebhookForm,
}

/// How a batch is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WebhookForm {
    /// A JSON list of objects.
    #[default]
    List,
    /// One JSON object per line.
    Lines,
}

/// Events into an HTTP server.
pub struct WebhookSink {
    name: String,
    options: WebhookOptions,
    poster: Poster,
}

impl WebhookSink {
    /// A sink of this name, which is part of its idempotency keys.
    ///
    /// # Errors
    /// [`BadHttp`] names the option that cannot be used.
    pub fn new(name: impl Into<String>, options: WebhookOptions) -> Result<Self, BadHttp> {
        Ok(Self {
            name: name.into(),
            poster: Poster::new(&options.http)?,
            options,
        })
    }

    fn request(&self, batch: &Batch<'_>) -> Result<Request<String>, SinkError> {
        let body = body(batch, self.options.form);
        let content_type = match self.options.form {
            WebhookForm::List => "application/json",
            WebhookForm::Lines => "application/x-ndjson",
        };
        let mut request = (self.poster.request(content_type))
            .header("Idempotency-Key", key(&self.name, batch))
            .header("X-Brine-Sequence", batch.through().seq.0);
        if let Some(secret) = &self.options.secret {
            request = request.header("X-Brine-Signature", signature(secret, body.as_bytes()));
        }
        request.body(body).map_err(SinkError::refused)
    }
}

impl Sink for WebhookSink {
    async fn begin(&mut self, _log: LogId) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        self.poster.send(self.request(batch)?).await?;
        Ok(batch.len())
    }
}

/// The same for the same events, however often they are sent.
fn key(name: &str, batch: &Batch<'_>) -> String {
    let mut events = batch.events().map(|event| event.position);
    let through = batch.through();
    let first = events.next().unwrap_or(through);
    let last = events.last().unwrap_or(first);
    format!("{name}:{first}..{}", last.seq)
}

/// As GitHub signs: `sha256=` and the HMAC of the body in hexadecimal.
fn signature(secret: &Secret, body: &[u8]) -> String {
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        return String::new();
    };
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    let digits = digest.iter().map(|byte| format!("{byte:02x}"));
    format!("sha256={}", digits.collect::<String>())
}

fn body(batch: &Batch<'_>, form: WebhookForm) -> String {
    let (open, between, close) = match form {
        WebhookForm::List => ("[", ",\n ", "]\n"),
        WebhookForm::Lines => ("", "\n", "\n"),
    };
    let mut out = open.as_bytes().to_vec();
    for (nth, event) in batch.events().enumerate() {
        if nth > 0 {
            out.extend_from_slice(between.as_bytes());
        }
        object(&event, &mut out);
    }
    out.extend_from_slice(close.as_bytes());
    // Every part of it is text.
    String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// `{"position": "7f3a-42", "time": "…Z", "tag": "…", "sender": "…", "data": {…}}`.
fn object(event: &Event<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"position\": \"");
    out.extend_from_slice(event.position.to_string().as_bytes());
    out.extend_from_slice(b"\", \"time\": \"");
    stamp::append(Duration::from_millis(event.at.0), StampStyle::Naive, out);
    out.extend_from_slice(b"Z\", \"tag\": ");
    json::quote(&event.tag_text(), out);
    if let Some(sender) = event.sender {
        out.extend_from_slice(b", \"sender\": ");
        json::quote(sender, out);
    }
    if let Some(origin) = event.origin {
        out.extend_from_slice(b", \"origin\": ");
        json::quote(origin.master(), out);
    }
    out.extend_from_slice(b", \"data\": ");
    out.extend_from_slice(text::of_data(event.data, Taker::Json).json.as_bytes());
    out.push(b'}');
}

impl std::fmt::Debug for WebhookSink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("WebhookSink")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::gathered;

    #[test]
    fn a_batch_is_a_list_or_lines() {
        let gathered = gathered(2);
        let batch = gathered.piece(0..2).unwrap();
        let first = "{\"position\": \"7-2\", \"time\": \"1970-01-01T00:00:00.001000Z\", \"tag\": \"my/tag\", \
                     \"sender\": \"web1\", \"data\": {\"n\": 1}}";
        let list = body(&batch, WebhookForm::List);
        assert!(list.starts_with(&format!("[{first},\n {{")), "{list}");
        assert!(list.ends_with("}]\n"));
        let lines = body(&batch, WebhookForm::Lines);
        assert_eq!(lines.lines().next(), Some(first));
        assert_eq!(key("hook", &batch), "hook:7-2..4");
        assert_eq!(key("hook", &gathered.piece(0..1).unwrap()), "hook:7-2..2");
    }

    #[test]
    fn bodies_are_signed_as_receivers_check_them() {
        // RFC 4231, test case 2.
        let secret = Secret::new("Jefe".to_owned());
        assert_eq!(
            signature(&secret, b"what do ya want for nothing?"),
            "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}

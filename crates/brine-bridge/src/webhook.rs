//! HTTP requests with JSON: a batch is a request, and counts when the answer says so.
//!
//! A receiver that is asked twice, because its answer was lost, knows it by the idempotency key or by the events'
//! positions. Which answers mean what: `docs/sinks.md`.

use std::collections::BTreeMap;
use std::time::Duration;

use brine_log::Position;
use brine_wire::compat::StampStyle;
use brine_wire::{json, stamp};
use hmac::{Hmac, Mac as _};
use hyper::header::{self, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Request, StatusCode, Uri};
use sha2::Sha256;

use crate::batch::{Batch, Event};
use crate::http::{self, HttpClient, address, place};
use crate::secret::Secret;
use crate::sink::{Sink, SinkError};
use crate::text::{self, Taker};
use crate::tls::TlsOptions;

/// Where requests go, and how they look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookOptions {
    /// The address, `http://` or `https://`.
    pub url: String,
    /// What bodies are signed with.
    pub secret: Option<Secret>,
    /// Further headers; values may be passwords.
    pub headers: BTreeMap<String, Secret>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// A list, or one object per line.
    pub form: WebhookForm,
    /// Whom to trust.
    pub tls: TlsOptions,
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

/// What is wrong with the options of a webhook.
#[derive(Debug, thiserror::Error)]
pub enum BadWebhook {
    /// The address.
    #[error("url: {0}")]
    Url(String),
    /// A header.
    #[error("headers: {name:?} is no header, or its value is no text of one line")]
    Header {
        /// Its name.
        name: String,
    },
    /// Certificates.
    #[error(transparent)]
    Tls(#[from] crate::tls::TlsError),
}

/// Events into an HTTP server.
pub struct WebhookSink {
    name: String,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    options: WebhookOptions,
    client: HttpClient,
}

/// How much of it people are shown.
const SHOWN: usize = 200;

impl WebhookSink {
    /// A sink of this name, which is part of its idempotency keys.
    ///
    /// # Errors
    /// [`BadWebhook`] names the option that cannot be used.
    pub fn new(name: impl Into<String>, options: WebhookOptions) -> Result<Self, BadWebhook> {
        let url = address(&options.url).map_err(BadWebhook::Url)?;
        let headers = options.headers.iter().map(|(name, value)| {
            let header = HeaderName::try_from(name.as_str()).ok();
            let value = HeaderValue::try_from(value.reveal()).ok();
            header
                .zip(value)
                .ok_or_else(|| BadWebhook::Header { name: name.clone() })
        });
        Ok(Self {
            name: name.into(),
            headers: headers.collect::<Result<_, _>>()?,
            client: HttpClient::new(&options.tls)?,
            url,
            options,
        })
    }

    fn request(&self, batch: &Batch<'_>) -> Result<Request<String>, SinkError> {
        let body = body(batch, self.options.form);
        let mut request = Request::post(self.url.clone())
            .header(header::USER_AGENT, http::USER_AGENT)
            .header(
                CONTENT_TYPE,
                match self.options.form {
                    WebhookForm::List => "application/json",
                    WebhookForm::Lines => "application/x-ndjson",
                },
            )
            .header("Idempotency-Key", key(&self.name, batch))
            .header("X-Brine-Sequence", batch.through().seq.0);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(secret) = &self.options.secret {
            request = request.header("X-Brine-Signature", signature(secret, body.as_bytes()));
        }
        request.body(body).map_err(SinkError::refused)
    }

    async fn send(&self, request: Request<String>) -> Result<(StatusCode, String), SinkError> {
        let answer = self.client.send(request, self.options.timeout).await;
        answer.map_err(|reason| self.away(&reason))
    }

    fn away(&self, reason: &str) -> SinkError {
        SinkError::unavailable(format!("{}: {reason}", place(&self.url)))
    }
}

impl Sink for WebhookSink {
    async fn begin(&mut self) -> Result<Option<Position>, SinkError> {
        Ok(None)
    }

    async fn deliver(&mut self, batch: &Batch<'_>) -> Result<usize, SinkError> {
        let (status, said) = self.send(self.request(batch)?).await?;
        if status.is_success() {
            return Ok(batch.len());
        }
        let said = text::cut(said.trim(), SHOWN);
        let reason = match said {
            "" => status.to_string(),
            said => format!("{status}: {said}"),
        };
        match status {
            // The receiver has looked at the events, and does not want them.
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => Err(SinkError::refused(format!(
                "{}: {reason}",
                place(&self.url)
            ))),
            _ => Err(self.away(&reason)),
        }
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

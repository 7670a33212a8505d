//! A body by HTTP to one address, and what became of it: for whatever takes events that way. It knows nothing of events.

use std::collections::BTreeMap;
use std::time::Duration;

use hyper::header::{self, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request;
use hyper::{Request, StatusCode, Uri};

use super::client::{HttpClient, USER_AGENT, Unanswered, address, place};
use crate::secret::Secret;
use crate::sink::SinkError;
use crate::text;
use crate::tls::TlsOptions;

/// Where requests go, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpOptions {
    /// The address, `http://` or `https://`.
    pub url: String,
    /// Further headers; values may be passwords.
    pub headers: BTreeMap<String, Secret>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Whom to trust.
    pub tls: TlsOptions,
}

/// What is wrong with such options.
#[derive(Debug, thiserror::Error)]
pub enum BadHttp {
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

/// Posts to one address.
pub(crate) struct Poster {
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    client: HttpClient,
}

/// How much of it people are shown.
const SHOWN: usize = 200;

impl Poster {
    pub(crate) fn new(options: &HttpOptions) -> Result<Self, BadHttp> {
        let url = address(&options.url).map_err(BadHttp::Url)?;
        let plain = TlsOptions::default();
        let headers = options.headers.iter().map(|(name, value)| {
            let header = HeaderName::try_from(name.as_str()).ok();
            let value = HeaderValue::try_from(value.reveal()).ok();
            header
                .zip(value)
                .ok_or_else(|| BadHttp::Header { name: name.clone() })
        });
        let client = HttpClient::new(match url.scheme_str() {
            Some("https") => &options.tls,
            // Nobody asks for the system's certificates then, which need not be there.
            _ => &plain,
        })?;
        Ok(Self {
            headers: headers.collect::<Result<_, _>>()?,
            client,
            timeout: options.timeout,
            url,
        })
    }

    /// A request without its body.
    pub(crate) fn request(&self, content_type: &'static str) -> request::Builder {
        let mut request = Request::post(self.url.clone())
            .header(header::USER_AGENT, USER_AGENT)
            .header(CONTENT_TYPE, content_type);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// Sends a request; gives the beginning of what was answered, if that is a success. Dropping the future leaves it
    /// open what the receiver has.
    pub(crate) async fn send(&self, request: Request<String>) -> Result<String, SinkError> {
        let answered = tokio::time::timeout(self.timeout, self.client.exchange(request)).await;
        let answered = answered.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs();
            Err(Unanswered::Uncertain(format!(
                "no answer within {seconds} s"
            )))
        });
        let (status, said) = answered.map_err(|error| match error {
            Unanswered::NotConnected(reason) => SinkError::unavailable(self.said(&reason)),
            // It may be these events that it has choked on.
            Unanswered::Uncertain(reason) => SinkError::uncertain(self.said(&reason)),
        })?;
        if status.is_success() {
            return Ok(said);
        }
        let reason = match text::cut(said.trim(), SHOWN) {
            "" => self.said(&status.to_string()),
            said => self.said(&format!("{status}: {said}")),
        };
        Err(match status {
            // The receiver has looked at the events, and does not want them.
            StatusCode::BAD_REQUEST
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => SinkError::refused(reason),
            // Not now, whatever it is.
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                SinkError::unavailable(reason)
            }
            _ => SinkError::uncertain(reason),
        })
    }

    /// What has happened, and where.
    pub(crate) fn said(&self, reason: &str) -> String {
        format!("{}: {reason}", place(&self.url))
    }
}

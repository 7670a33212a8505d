//! Posts a body to one address over HTTP, and says how that ended. It knows nothing of events.

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
    /// A user and a password in the address, which would not be sent.
    #[error(
        "url: must not contain a user and a password; send them with headers: {{Authorization: …}}"
    )]
    Login,
    /// A header.
    #[error("headers: {name:?} is not a valid header name, or its value is not one line of text")]
    Header {
        /// Its name.
        name: String,
    },
    /// A header that every request has anyway.
    #[error("headers: the sink sets {name:?} itself; remove it")]
    OwnHeader {
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

/// Headers that say where a request ends and what is in it, and those by which receivers know it again.
const OWN_HEADERS: [&str; 12] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "host",
    "idempotency-key",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
/// Where the names of further ones begin.
const OWN_PREFIX: &str = "x-brine-";

/// How much of it people are shown.
const SHOWN: usize = 200;

impl Poster {
    pub(crate) fn new(options: &HttpOptions) -> Result<Self, BadHttp> {
        let url = address(&options.url).map_err(BadHttp::Url)?;
        if url
            .authority()
            .is_some_and(|host| host.as_str().contains('@'))
        {
            return Err(BadHttp::Login);
        }
        let plain = TlsOptions::default();
        let headers = options.headers.iter();
        let headers = headers.map(|(name, value)| further_header(name, value));
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
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.headers.iter().cloned());
        }
        request
    }

    /// Sends a request; returns the beginning of the answer, if that is a success. If the future is dropped, nobody
    /// knows whether the receiver has it.
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

/// A header of the user's.
fn further_header(name: &str, value: &Secret) -> Result<(HeaderName, HeaderValue), BadHttp> {
    let header = HeaderName::try_from(name).ok();
    let value = HeaderValue::try_from(value.reveal()).ok();
    let name = name.to_owned();
    match header.zip(value) {
        None => Err(BadHttp::Header { name }),
        Some((header, _))
            if OWN_HEADERS.contains(&header.as_str())
                || header.as_str().starts_with(OWN_PREFIX) =>
        {
            Err(BadHttp::OwnHeader { name })
        }
        Some(header) => Ok(header),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_in_the_address_is_refused_and_not_shown() {
        let options = HttpOptions {
            url: "http://user:hidden@example.org/in".to_owned(),
            headers: BTreeMap::new(),
            timeout: Duration::from_secs(1),
            tls: TlsOptions::default(),
        };
        let error = Poster::new(&options).err().unwrap().to_string();
        assert!(error.starts_with("url: must not contain a user"), "{error}");
        assert!(!error.contains("hidden"), "{error}");
    }

    #[test]
    fn no_header_takes_the_place_of_one_of_ours() {
        let of = |name: &str| further_header(name, &Secret::new("1".to_owned()));
        for name in ["Authorization", "x-key", "X-Brine"] {
            assert!(of(name).is_ok(), "{name}");
        }
        for name in [
            "Content-Length",
            "transfer-encoding",
            "HOST",
            "X-Brine-Sequence",
        ] {
            assert_eq!(
                of(name).unwrap_err().to_string(),
                format!("headers: the sink sets {name:?} itself; remove it")
            );
        }
        assert!(matches!(of("a b"), Err(BadHttp::Header { .. })));
    }
}

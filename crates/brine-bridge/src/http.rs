//! A body by HTTP to one address, and what became of it: for whatever takes events that way. It knows nothing of events.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::request;
use hyper::{Request, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

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
    #[error("url: expected an address such as https://example.org/events, found {found:?}")]
    Url {
        /// What it is.
        found: String,
    },
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
    client: Client<HttpsConnector<HttpConnector>, String>,
}

/// How much of an answer is looked at.
const MAX_ANSWER: usize = 64 << 10;
/// How much of it people are shown.
const SHOWN: usize = 200;

impl Poster {
    pub(crate) fn new(options: &HttpOptions) -> Result<Self, BadHttp> {
        let url = options.url.parse::<Uri>().ok();
        let url = url.filter(|url| {
            url.host().is_some() && matches!(url.scheme_str(), Some("http" | "https"))
        });
        let url = url.ok_or_else(|| BadHttp::Url {
            found: options.url.clone(),
        })?;
        let headers = options.headers.iter().map(|(name, value)| {
            let header = HeaderName::try_from(name.as_str()).ok();
            let value = HeaderValue::try_from(value.reveal()).ok();
            header
                .zip(value)
                .ok_or_else(|| BadHttp::Header { name: name.clone() })
        });
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(match url.scheme_str() {
                Some("https") => options.tls.client_config()?,
                // Nobody asks for the system's certificates then, which need not be there.
                _ => TlsOptions::default().client_config()?,
            })
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            headers: headers.collect::<Result<_, _>>()?,
            client: Client::builder(TokioExecutor::new()).build(connector),
            timeout: options.timeout,
            url,
        })
    }

    /// A request without its body.
    pub(crate) fn request(&self, content_type: &'static str) -> request::Builder {
        let mut request = Request::post(self.url.clone())
            .header(USER_AGENT, concat!("brine/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, content_type);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
    }

    /// Sends a request; gives the beginning of what was answered, if that is a success. Dropping the future leaves it
    /// open what the receiver has.
    pub(crate) async fn send(&self, request: Request<String>) -> Result<String, SinkError> {
        let answered = tokio::time::timeout(self.timeout, self.exchange(request)).await;
        let (status, said) = answered.unwrap_or_else(|_| {
            let seconds = self.timeout.as_secs();
            Err(SinkError::uncertain(
                self.said(&format!("no answer within {seconds} s")),
            ))
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

    async fn exchange(&self, request: Request<String>) -> Result<(StatusCode, String), SinkError> {
        let response = self.client.request(request).await;
        let response = response.map_err(|error| match error.is_connect() {
            true => SinkError::unavailable(self.said(&text::with_hint(text::chain(&error)))),
            // It may be these events that it has choked on.
            false => SinkError::uncertain(self.said(&text::chain(&error))),
        })?;
        let status = response.status();
        // An answer that breaks off is none: the receiver may have given up.
        let body = read(response.into_body()).await;
        let body = body
            .map_err(|error| SinkError::uncertain(self.said(&format!("{status}, then {error}"))))?;
        Ok((status, body))
    }

    /// What has happened, and where.
    pub(crate) fn said(&self, reason: &str) -> String {
        format!("{}: {reason}", place(&self.url))
    }
}

/// The address without what may be a password in it.
fn place(url: &Uri) -> String {
    let host = url.host().unwrap_or_default();
    let scheme = url.scheme_str().unwrap_or_default();
    let port = url.port_u16().map(|port| format!(":{port}"));
    format!(
        "{scheme}://{host}{}{}",
        port.unwrap_or_default(),
        url.path()
    )
}

/// The answer to its end; only its beginning is kept.
async fn read(mut body: Incoming) -> Result<String, hyper::Error> {
    let mut kept = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            let room = MAX_ANSWER.saturating_sub(kept.len());
            kept.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_passwords() {
        let url = "https://user:secret@example.org:8443/in?token=x"
            .parse()
            .unwrap();
        assert_eq!(place(&url), "https://example.org:8443/in");
    }
}
